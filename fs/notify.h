#ifndef FS_NOTIFY_H
#define FS_NOTIFY_H
/*
 * notify.h -- the only callers of the kernel's invalidations that can block.
 *
 * Dropping an inode's pages waits for its reads under way; dropping a name
 * waits for all operations in its directory.  So these calls are made by
 * threads of their own, one for each kind, and their end comes back to the
 * loop.  A name has a way out: if it takes longer than STUCK_MS, the mount's
 * epoch is raised, after which no cached name is used without asking us, and
 * the job counts as done.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"

#define STUCK_MS 20

struct ev_loop;
struct notifier;

struct notify_ops {
	/* May block.  0 or -errno (-ENOENT: the kernel does not have it). */
	int (*inval_inode)(void *arg, uint64_t id, int64_t off, int64_t len);
	int (*inval_entry)(void *arg, uint64_t dir, const char *name);
	/* Never blocks. */
	void (*raise_epoch)(void *arg);
	void *arg;
};

typedef void notify_done_fn(void *arg, int status);

int notifier_new(struct ev_loop *loop, struct env *env,
		 const struct notify_ops *ops, struct notifier **ret);
/* Jobs not done yet end with -ECANCELED. */
void notifier_free(struct notifier *t);
/* 0, and done comes later; or -ENOMEM. */
int notify_inode(struct notifier *t, uint64_t id, int64_t off, int64_t len,
		 notify_done_fn *done, void *arg);
int notify_entry(struct notifier *t, uint64_t dir, const char *name,
		 notify_done_fn *done, void *arg);
/* How often a name was stuck. */
uint64_t notifier_stuck(const struct notifier *t);

#endif
