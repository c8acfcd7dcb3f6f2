#ifndef FS_MNT_H
#define FS_MNT_H
/*
 * mnt.h -- the mounting side: what its files share.
 *
 *   mount.c     the session with the kernel: /dev/fuse, INIT, invalidations
 *   op.c        one request of the kernel that is not answered at once
 *   ops_*.c     the requests, by kind
 *   flush.c     writing back what is dirty
 *   recall.c    giving leases back
 *   recov.c     losing and finding the server
 *   special.c   names that no server has
 */
#include <stdbool.h>
#include <stdint.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "env.h"
#include "fs_msg.h"
#include "hostconf.h"
#include "keep.h"
#include "link.h"
#include "node.h"
#include "notify.h"
#include "roster.h"

#define FOREVER	      (365.0 * 86400)
#define DIRTY_SCAN_MS 5000
#define DIRTY_SOFT    (128u << 20) /* then the oldest are written back */
#define DIRTY_HARD    (256u << 20) /* then writers wait for the server */
#define DIRTY_FILE    (32u << 20)  /* of one file, then it is begun with */
#define FLIGHT_MAX    8		   /* messages of one file under way */

struct ev_loop;
struct pdev;

struct mnt_stats {
	uint64_t requests, calls, lookups_local, lookups_far, getattr_local,
		getattr_far, reads_local, reads_far, writes_local, writes_far,
		flushed_bytes, dropped_bytes, recalls, name_recalls, epochs,
		fenced;
};

struct mnt {
	struct ev_loop *loop;
	struct env *env;
	const struct hostconf *conf;
	struct roster *roster;
	struct rpc *rpc;
	struct link link;
	struct nodes nodes;
	struct session *session; /* mount.c's */
	struct keep keep;
	bool taken_over; /* the mount is of an earlier life of this daemon */
	bool resent; /* the kernel sends the present request again */
	struct list calls; /* ops that are at another host */
	struct fuse_session *se;
	struct notifier *notifier;
	struct pool *pool;
	struct list dirty; /* nodes, oldest first */
	size_t dirty_bytes;
	bool tight; /* the server is short of space: do not delay */
	int64_t clock_ns; /* the server's clock minus ours */
	struct timer scan;
	struct list forgotten; /* recall.c: to be told to the server */
	unsigned nforgotten;
	struct timer tell;
	struct list flush_waits;
	struct recov *recov;
	struct pdev *pdev; /* NULL: no pseudo-devices */
	struct list streams; /* stream.c: imported */
	uint64_t next_token;
	struct mnt_stats stats;
};

/* ---- op.c ---- */

struct op;
typedef void op_fn(struct op *op);
typedef void op_reply_fn(struct op *op, int status, const struct rpc_msg *m);

struct op {
	struct list link; /* a node's deferred */
	fuse_req_t req;
	struct mnt *m;
	struct node *n, *n2; /* referenced */
	struct node *doomed; /* referenced: may lose its last name (ops_name.c) */
	uint64_t doomed_seq;
	char *name, *name2;
	uint64_t off;
	size_t size;
	uint8_t *data;	     /* owned */
	struct stat st;
	int set, flags;
	struct fuse_file_info fi;
	bool busy, busy2;    /* counts in n->busy, n2->busy */
	bool groups_known;
	bool interrupted; /* its program was sent a signal */
	unsigned tries;
	struct list at_server; /* mnt's calls */
	uint64_t owner;
	struct flock lock;
	uint32_t uid, gid, pid;
	uint8_t *groups;
	size_t groups_len;
	op_reply_fn *on_reply;
	op_fn *on_interrupt; /* may be NULL: what else a signal means */
	op_fn *again;
	struct link_call call;
	struct list waiting; /* flush_waits and the like */
	int status;
};

/* n and n2 may be NULL.  NULL: -ENOMEM has been answered. */
struct op *op_new(struct mnt *m, fuse_req_t req, struct node *n, struct node *n2);
void op_free(struct op *op);
/* Answer with an error (0: success without data) and free. */
void op_end(struct op *op, int status);
/* The answer was given by fuse_reply_*: free. */
#define op_done(op) op_free(op)
/* Send; on_reply comes later or at once.  An error ends the op. */
void op_call(struct op *op, const struct rpc_out *o, op_reply_fn *on_reply);
/* The server is away: those that were interrupted end with -EINTR. */
void ops_interrupt(struct mnt *m);
/* Operations on names: while at the server, n (and n2) count as busy. */
void op_mark_busy(struct op *op);
/* Refused for want of rights: `again` tries with the caller's other groups.
 * True: it is under way. */
bool op_try_groups(struct op *op, int status);
wire_blob op_groups(const struct op *op);
/* Come back by `again` when the node's recall has been obeyed. */
void op_defer(struct op *op, op_fn *again);
#define OP_CALL(op, name, reply, ...)                                         \
	do {                                                                  \
		struct msg_##name call_m = { __VA_ARGS__ };                   \
		uint8_t call_b[9216];                                         \
		struct rpc_out call_o = { .code = MSG_##name,                 \
					  .body = call_b };                   \
		int call_r = msg_##name##_encode(&call_m, call_b,             \
						 sizeof(call_b), &call_o.len); \
		if (call_r)                                                   \
			op_end((op), call_r);                                 \
		else                                                          \
			op_call((op), &call_o, (reply));                      \
	} while (0)
static inline wire_blob node_fh(const struct node *n)
{
	return (wire_blob){ .p = n->fh, .len = n->len };
}
/* An answer's body, if it is the expected one. */
#define REPLY_OF(m, name, ret) \
	((m)->code == MSG_##name ? \
		 msg_##name##_decode((m)->body, (m)->len, (ret)) : -EPROTO)

/* ---- mount.c ---- */

int mnt_open(struct mnt *m, char *err, size_t cap);
/* Begin to take requests: the way to the server is known, and if it is in this
 * process, it knows what is open here. */
void mnt_start(struct mnt *m);
/* Unmount and end; what is dirty must have been flushed.  Not told to end (the
 * daemon fails): the mount is left to the next life. */
void mnt_close(struct mnt *m, bool unmount);
void mnt_raise_epoch(struct mnt *m);
/* Attributes only: never blocks.  -ENOENT: not known to the kernel (yet). */
int mnt_inval_attr(struct mnt *m, const struct node *n);
dev_t mnt_dev(const struct mnt *m);
void mnt_now(const struct mnt *m, struct timespec *ret); /* the server's time */
extern const struct fuse_lowlevel_ops mnt_ops;

/* ---- ops_*.c ---- */

/* Fill an entry of n and count the lookup. */
void entry_of(struct mnt *m, struct node *n, bool cache_name, bool valid,
	      struct fuse_entry_param *ret);
/* Attributes and lease of the directory after a change in it. */
void take_dir(struct node *dir, wire_blob attr, uint8_t lease, uint64_t seq);
/* The kernel forgot it, or its last user ended: free it if nobody else does. */
void node_tidy(struct mnt *m, struct node *n);
/* It has no name and no user: what is dirty is nobody's any more. */
void node_discard(struct mnt *m, struct node *n);
/* ---- flush.c ---- */

typedef void flush_fn(struct node *n, int status, void *arg);
/* Everything dirty now is at the server, or has failed: then `done`, maybe at
 * once. */
void flush_node(struct mnt *m, struct node *n, flush_fn *done, void *arg);
void flush_all(struct mnt *m, flush_fn *done, void *arg); /* done may be NULL */
/* New dirty bytes; off may be behind the end.  -ENOMEM. */
int dirty_add(struct mnt *m, struct node *n, uint64_t off, const void *p, size_t n_bytes);
void dirty_forget(struct mnt *m, struct node *n);
void dirty_cut(struct mnt *m, struct node *n, uint64_t size);
/* What an earlier life had taken and not delivered. */
void dirty_replay(struct mnt *m);
void flush_start_timer(struct mnt *m);

/* ---- recall.c ---- */

/* How a recall is answered; kept until then. */
typedef void recall_ack_fn(void *arg, int status);
void recall_node(struct mnt *m, wire_blob fh, enum lease_level keep, uint64_t seq,
		 recall_ack_fn *ack, void *arg);
void recall_name(struct mnt *m, wire_blob dir, const char *name, uint64_t seq,
		 recall_ack_fn *ack, void *arg);
/* Everything that this host believed is doubtful: leases end, the kernel's
 * caches go.  Dirty data is kept if keep_dirty, else lost (EIO). */
void recall_all(struct mnt *m, bool keep_dirty);
void recall_request(struct mnt *m, struct rpc_req *rq, const struct rpc_msg *msg);
struct recall;
void recall_local(void *mnt, struct recall *r);
/* Tell the server that the object is not known here any more. */
void forget_later(struct mnt *m, const struct node *n);
/* The same of an answer's object that never became known. */
void forget_fh(struct mnt *m, wire_blob fh, uint64_t seq);
void forget_init(struct mnt *m);
void forget_fini(struct mnt *m);

/* ---- ops_lock.c ---- */
void locks_forget(struct node *n);
void locks_put(const struct node *n, struct wire_writer *w);

/* ---- recov.c ---- */
int recov_new(struct mnt *m);
void recov_free(struct mnt *m);
/* The server is (now) that peer. */
void recov_watch(struct mnt *m, struct rpc_peer *p);

#endif
