#ifndef MIGD_GUESTS_H
#define MIGD_GUESTS_H
/*
 * guests.h -- the processes that run here for other hosts: the root of each
 * tree that came (by exec or by migration); its descendants are the
 * kernel's affair.
 */
#include <sys/resource.h>

#include "keep.h"
#include "migd.h"
#include "mirror.h"
#include "stubs.h"

enum guest_state { GUEST_STARTING, GUEST_RUNNING, GUEST_LEAVING, GUEST_ENDED };

struct guest {
	struct map_node node;
	struct migd *m;
	uint32_t pid, home, uid, gid;
	uint64_t job;
	uint32_t flags; /* enum migd_run_flags */
	uint32_t moves;
	uint32_t from; /* the host it came from last, if not home */
	uint32_t client; /* lease at home, 0 unknown */
	enum guest_state state;
	struct msg_migd_place at_home; /* its place, for the next host */
	bool has_tty;
	bool stuck; /* could not be sent away */
	bool dying; /* ended or killed; told once its mirror may run */
	struct place place;
	bool early; /* ended (status) while still STARTING */
	struct list signals; /* that came before it ran */
	int dir; /* its /proc folder: signals go exactly to it */
	uint64_t since_ms;
	uint32_t adopt_parent, adopt_group; /* until guests_adopted */
	char command[64];
	/* Of one that ended: what home has to be told. */
	int32_t status;
	uint8_t reason;
	uint64_t utime_us, stime_us, maxrss_kb;
	char why[160];
};

struct guest *guest_find(struct migd *m, uint32_t pid);
unsigned guests_count(const struct migd *m);
/* A record in state STARTING; not in the keeper yet. */
struct guest *guest_new(struct migd *m, uint32_t pid, uint32_t home);
void guest_runs(struct guest *g);
/* Not here any more (it moved, or it never began). */
void guest_free(struct guest *g);
void guest_ended(struct guest *g, int status, uint8_t reason, const char *why);

/* A mirror's child changed state. */
void guests_child(struct migd *m, const struct stub_msg *msg);
/* A child of the world's first process ended; true if it was a guest. */
bool guests_orphan(struct migd *m, const struct keep_msg *end);
/* Signal it, and with group its descendants in its process group. */
int guest_signal(struct guest *g, int sig, const void *siginfo, size_t len,
		 bool group);
static inline bool guest_came_from(const struct guest *g, uint32_t host)
{
	return g->from && g->from == host;
}
/* Kill the tree. */
void guest_kill(struct guest *g);
/* Home does not answer and will not: its guests end. */
void guests_home_lost(struct migd *m, uint32_t home);
/* A session with home was made anew: compare. */
void guests_census(struct migd *m, uint32_t home);

void guest_keep(struct guest *g);
void guest_adopt(struct migd *m, const void *data, size_t len, int *fds,
		 size_t nfds);
void guests_adopted(struct migd *m);
void guests_free_all(struct migd *m);

/* exec.c: a program for another host. */
void on_migd_exec(struct migd *m, struct rpc_req *q,
		  const struct msg_migd_exec *b, const struct rpc_msg *msg);

/* argc and envc strings of a payload as two NULL-terminated arrays in one
 * malloc'ed block; -EBADMSG. */
int strings_split(const struct rpc_msg *msg, uint32_t argc, uint32_t envc,
		  char ***ret_argv, char ***ret_envp);
struct eng_exec;
/* limits: STRUCT migd_limit. */
int limits_split(wire_blob limits, struct eng_exec *x);

#endif
