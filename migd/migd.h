#ifndef MIGD_MIGD_H
#define MIGD_MIGD_H
/*
 * migd.h -- what the parts of sprite-migd share: the daemon itself, and calls
 * to other hosts.
 *
 * One struct migd per process, made by main.c and passed to everything.  Its
 * tables belong to the module whose name they carry.
 */
#include <ev.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "env.h"
#include "hostconf.h"
#include "list.h"
#include "map.h"
#include "migd_msg.h"
#include "roster.h"
#include "rpc.h"

/* The engine's format and all that two hosts must have in common. */
#define MIGRATION_VERSION 1u

#define CALL_MS	   5000	 /* a question between migds */
#define PREPARE_MS 10000 /* a target that gets ready */
#define MOVE_MS	   60000 /* a whole migration */

struct world;
struct opener;
struct ends;
struct tokens;
struct eng_kernel;
struct evictor;
struct grants;
struct report;
struct history;
struct status_dev;

struct migd {
	struct ev_loop *loop;
	struct env *env;
	struct rpc *rpc;
	struct roster *roster;
	struct hostconf conf;
	struct rpc_identity self;
	char stub_exe[PATH_MAX];
	char rejoin[PATH_MAX]; /* "@" and the path of the stub socket */
	int stub_listen;
	ev_io stub_accept;
	struct world *world;
	struct map mirrors;  /* mirror.c: by PID */
	struct list stubs;   /* stubs.c: those that have not said HELLO */
	struct map guests;   /* guests.c: by PID */
	struct timer unseen; /* guests.c: ends that nobody reported */
	struct map away;     /* away.c: by PID */
	struct map locals;   /* local.c: by PID */
	struct map subs;     /* subs.c: by PID */
	struct map hstreams; /* hstream.c: by number */
	struct map gstreams; /* gstream.c: by number */
	struct list moves, moves_waiting; /* move.c, leave.c */
	struct list watches; /* peers.c */
	struct opener *opener;
	struct eng_kernel *kernel; /* lent to movers; may be NULL */
	struct ends *ends; /* away.c */
	struct tokens *tokens; /* settle.c */
	struct evictor *evictor;
	struct grants *grants;
	struct report *report;
	struct history *history;
	struct status_dev *status_dev;
	uint64_t stream_seq, job_seq;
	uint32_t stub_seq;
	char guests_procs[1100]; /* freezer.c */
	bool ending;
};

/* ---- calls (calls.c) ---- */

/* A body under construction, on the caller's stack. */
struct body {
	size_t len;
	uint8_t b[16384];
};

/* BODY(migd_why, &m, b): encode m into the struct body b; 0 or -EMSGSIZE. */
#define BODY(name, m, out) \
	msg_##name##_encode((m), (out)->b, sizeof((out)->b), &(out)->len)

/*
 * Call the migd of a host (this one too).  done always comes, also for a host
 * that is not in the roster.
 */
void call_host(struct migd *m, uint32_t host, uint16_t code,
	       const struct body *b, uint32_t deadline_ms, unsigned flags,
	       rpc_done_fn *done, void *arg);
void call_host_out(struct migd *m, uint32_t host, const struct rpc_out *o,
		   uint32_t deadline_ms, unsigned flags, rpc_done_fn *done,
		   void *arg);
/* For calls whose end is of no interest. */
void call_done_nothing(void *arg, int status, const struct rpc_msg *m);
/* Answer with a body. */
void reply_body(struct rpc_req *q, uint16_t code, const struct body *b);
void reply_say(struct rpc_req *q, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const char *host_name(const struct migd *m, uint32_t host);
/* By name, "h3", or number; 0: unknown. */
uint32_t host_by_name(const struct migd *m, const char *name);
/* Home of a global PID by its block; 0: nobody's. */
uint32_t home_of(const struct migd *m, uint32_t pid);
uint64_t clock_us(void);

#endif
