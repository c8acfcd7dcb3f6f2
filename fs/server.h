#ifndef FS_SERVER_H
#define FS_SERVER_H
/*
 * server.h -- the serving side: requests of hosts, recalls to hosts.
 *
 * A request (struct sreq) is tried at once.  If leases of others are in its
 * way they are recalled, the request is parked, and tried again from the
 * beginning when they are gone.  Between two tries it holds nothing but a mark
 * on the objects that it waits for (lease.h); so no request ever waits for
 * another one, only for answers to recalls, and those have a deadline.
 *
 * Each host is a struct holder for as long as its fsd lives: another epoch is
 * another life and begins with nothing.  A holder that does not answer a
 * recall is fenced: all it holds ends, and it is refused until it has said
 * (fs_hello with reset) that it has dropped its caches.
 */
#include <stdbool.h>
#include <stdint.h>

#include "env.h"
#include "export.h"
#include "fs_msg.h"
#include "lock.h"
#include "rpc.h"
#include "work.h"

#define RECALL_MS 15000 /* to answer a recall */
#define FENCE_MS  6000	/* without a connection, while others wait */
#define LOST_MS	  600000 /* the same, without anybody waiting */
#define GRACE_MS  8000	/* for clients to come back after a restart */

#define SERVE_PARK 1 /* a handler's result: tried again later */

struct server;

struct holder {
	struct lease_holder lease;
	struct server *server;
	uint32_t host;
	uint64_t epoch, life;
	struct rpc_conn *conn; /* NULL: away, or local */
	bool local, fenced;
	uint64_t away_since_ms;
	bool locks_wanted; /* somebody waits for its locks */
	struct list recalls;
};

/* A recall on its way to a holder, or waiting for it to come back. */
struct recall {
	struct list link; /* holder's */
	struct holder *holder;
	struct obj *obj; /* referenced */
	char *name;	 /* NULL: of the object itself */
	enum lease_level keep;
	uint64_t seq;
	bool sent;
};

struct sreq {
	struct list link; /* server's parked */
	struct server *s;
	struct holder *h;
	struct rpc_req *rpc;	   /* from another host */
	rpc_done_fn *done;	   /* from this host */
	void *arg;
	struct rpc_msg m;
	void *copy; /* of body and payload, once parked */
	struct lock_wait *lock;
	struct {
		struct obj *obj;
		char *name;
		bool quiet; /* does not keep others from leases */
	} waits[8];
	unsigned nwaits;
	uint64_t life; /* of its holder, when it came */
	bool ready, busy;
	struct obj *refs[6]; /* of this try */
	unsigned nrefs;
};

struct server_stats {
	uint64_t requests, parked, recalls, name_recalls, fences, reads,
		writes, read_bytes, write_bytes;
};

struct server {
	struct env *env;
	struct export *x;
	struct pool *pool;
	struct lease_table leases;
	struct holder *holders[LEASE_HOLDERS_MAX];
	struct holder *local;
	struct list parked, pins;
	size_t npins;
	bool grace, started, running;
	struct timer tick, grace_end;
	char clients_path[512]; /* hosts to wait for after a restart; "": none */
	uint32_t expected[LEASE_HOLDERS_MAX];
	unsigned nexpected;
	/* Recalls of the local client; it answers by server_recall_done. */
	void (*recall_local)(void *arg, struct recall *r);
	void *local_arg;
	struct server_stats stats;
};

/* clients_path may be "": no grace after a restart. */
int server_new(struct env *env, struct export *x, struct pool *p,
	       uint32_t self, const char *clients_path, struct server **ret);
void server_free(struct server *s);

/* From another host's fsd.  m is copied if it must wait. */
void server_request(struct server *s, struct rpc_req *rq, const struct rpc_msg *m);
void server_note(struct server *s, struct rpc_conn *c, const struct rpc_msg *m);
void server_conn_open(struct server *s, struct rpc_conn *c);
void server_conn_close(struct server *s, struct rpc_conn *c);
/* From the client in this process.  done may come before this returns.
 * replayed: it may have been executed in an earlier life. */
int server_local(struct server *s, const struct rpc_out *o, bool replayed,
		 rpc_done_fn *done, void *arg, struct sreq **ret);
void server_local_note(struct server *s, const struct rpc_out *o);
void server_cancel(struct sreq *q);
/*
 * A new server serves nobody until the mount of its own host has said what it
 * still has open from an earlier life, and the other hosts have come back (or
 * GRACE_MS are over).
 */
void server_local_holds(struct server *s, const void *fh, size_t len);
void server_start(struct server *s);
void server_recall_done(struct recall *r, int status);

/* ---- for the serve_*.c ---- */

/* Referenced until the end of this try. */
int sreq_obj(struct sreq *q, wire_blob fh, struct obj **ret);
void sreq_keep(struct sreq *q, struct obj *o); /* takes over a reference */
/* False: recalls are under way; the handler goes on asking for all that it
 * needs, then returns SERVE_PARK. */
bool sreq_need(struct sreq *q, struct obj *o, enum lease_level level);
bool sreq_need_name(struct sreq *q, struct obj *dir, const char *name);
/*
 * Can a lease on o be had now?  If not because somebody waits to change it,
 * this request waits for him without being waited for itself; but never while
 * its own host has a recall of o to answer, which may depend on this answer.
 */
bool sreq_settled(struct sreq *q, struct obj *o);
/* Others should look at its attributes again; nobody waits for them. */
void sreq_touched(struct sreq *q, struct obj *o);
/* The object, for the answer. */
struct given {
	wire_blob fh, attr;
	enum lease_level lease;
	uint64_t seq;
	uint8_t attr_room[FS_ATTR_MAX];
};
int sreq_give(struct sreq *q, struct obj *o, const struct stat *st,
	      enum lease_level want, struct given *ret);
/* The end: 0. */
int sreq_answer(struct sreq *q, int status, const struct rpc_out *o);
#define ANSWER(q, name, ...)                                              \
	__extension__({                                                   \
		struct msg_##name answer_m = { __VA_ARGS__ };             \
		uint8_t answer_b[2048];                                   \
		struct rpc_out answer_o = { .code = MSG_##name,           \
					    .body = answer_b };           \
		int answer_r = msg_##name##_encode(                       \
			&answer_m, answer_b, sizeof(answer_b),            \
			&answer_o.len);                                   \
		answer_r ? answer_r : sreq_answer((q), 0, &answer_o);     \
	})
/* The request stays alive, unanswered, until sreq_answer or sreq_again. */
void sreq_busy(struct sreq *q);
/* Try once more from the beginning. */
void sreq_again(struct sreq *q);
/* Leases or locks of o may have become free. */
void server_kick(struct server *s, const struct obj *o);

/* Act with the caller's rights: leave as soon as the system call is done. */
void cred_enter(uint32_t uid, uint32_t gid, wire_blob groups);
void cred_leave(void);

#define SERVED(F)                                                            \
	F(fs_lookup) F(fs_make) F(fs_link) F(fs_remove) F(fs_rename)         \
	F(fs_readlink) F(fs_readdir) F(fs_getattr) F(fs_setattr)             \
	F(fs_statfs) F(fs_xattr) F(fs_read) F(fs_write) F(fs_sync)           \
	F(fs_allocate) F(fs_seek) F(fs_copy) F(fs_lock) F(fs_lock_test)      \
	F(fs_lock_cancel) F(fs_pin) F(fs_unpin)
#define DECLARE(name) int serve_##name(struct sreq *q, const struct msg_##name *m);
SERVED(DECLARE)
#undef DECLARE
void locks_restore(struct holder *h, struct obj *o, const struct msg_fs_held_lock *m);
void locks_drop_holder(struct server *s, struct holder *h);
void pins_tick(struct server *s);
void pins_fini(struct server *s);

#endif
