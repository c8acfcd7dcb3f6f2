#ifndef MIGD_WORLD_H
#define MIGD_WORLD_H
/*
 * world.h -- the world of this host: the PID and mount namespaces in which
 * the cell's processes live, and its first process, which keeps things for us.
 */
#include "keep.h"
#include "migd.h"

struct stubc;

/* Handed every item the keeper has, at start; fds are the receiver's. */
typedef void world_item_fn(struct migd *m, uint64_t key, const void *data,
			   size_t len, int *fds, size_t nfds);
/* A child of the first process ended. */
typedef void world_exit_fn(struct migd *m, const struct keep_msg *end);

/*
 * Adopt the world of an earlier migd or make one.  Blocks (at start only).
 * adopted: there was one; then item has been called for all it keeps.
 */
int world_open(struct migd *m, world_item_fn *item, world_exit_fn *on_exit,
	       bool *ret_adopted);
/* Start handing on_exit what comes: after all tables are set up. */
void world_start(struct migd *m);
/* End it, and everything in it. */
void world_end(struct migd *m);
void world_close(struct migd *m); /* leave it alone */

pid_t world_pid(const struct migd *m); /* of its first process, seen from here */
/* An O_PATH descriptor of the world's /proc. */
int world_proc(const struct migd *m);
/* /proc/N/ns/pid and ns/mnt of the first process; for movers. */
int world_pidns(const struct migd *m);
int world_mntns(const struct migd *m);
bool world_has_tmp(const struct migd *m);

/* Make s (stubs.h) a child of the first process.  flags: KEEP_SPAWN_SETSID,
 * and WORLD_GUEST: with its descendants it is a guest (freezer.h). */
#define WORLD_GUEST 0x100u
int world_spawn(struct migd *m, uint32_t pid, unsigned flags, bool rejoin,
		int child_end, struct stubc *s);
void world_keep(struct migd *m, uint64_t key, const void *data, size_t len,
		const int *fds, size_t nfds);
void world_forget(struct migd *m, uint64_t key);
void world_ack(struct migd *m, const struct keep_msg *end);

/* Run then(arg) when PIDs as high as pid may be made; at once if they may. */
void world_when_wide(struct migd *m, uint32_t pid, void (*then)(void *),
		     void *arg);

#endif
