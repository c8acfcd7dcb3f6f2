/*
 * ops_lock.c -- locks are the server's; here is only remembered which ones
 * this host has, to release them on close and to claim them again after the
 * server restarted.
 *
 * A program that waits for a lock can be interrupted: the kernel says so, and
 * the wait is called off at the server, which may have granted it just then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "ops.h"

struct held {
	struct list link; /* node's */
	uint64_t owner;
	uint32_t pid;
	bool flock;
	short type;
	uint64_t start, end;
};

bool has_locks(const struct node *n, uint64_t owner, bool flock)
{
	list_each(h, &n->locks, struct held, link) {
		if (h->owner == owner && h->flock == flock)
			return true;
	}
	return false;
}

static void drop(struct held *h)
{
	list_del(&h->link);
	free(h);
}

void locks_forget(struct node *n)
{
	list_each_safe(h, &n->locks, struct held, link)
		drop(h);
}

void locks_put(const struct node *n, struct wire_writer *w)
{
	list_each(h, &n->locks, struct held, link) {
		struct msg_fs_held_lock m = { .fh = node_fh(n),
					      .owner = h->owner,
					      .pid = h->pid,
					      .type = (uint8_t)h->type,
					      .flock = h->flock,
					      .start = h->start,
					      .end = h->end };

		msg_fs_held_lock_put(w, &m);
	}
}

static void add(struct node *n, const struct held *from)
{
	struct held *h = malloc(sizeof(*h));

	if (!h)
		return; /* then a restart of the server loses it */
	*h = *from;
	list_init(&h->link);
	list_add_tail(&n->locks, &h->link);
}

/* What the server just did, done to the list: cut out, then put in. */
static void remember(struct node *n, const struct held *k)
{
	list_each_safe(h, &n->locks, struct held, link) {
		struct held tail = *h;

		if (h->owner != k->owner || h->flock != k->flock ||
		    h->start > k->end || h->end < k->start)
			continue;
		if (h->end > k->end && h->start < k->start) {
			tail.start = k->end + 1;
			add(n, &tail);
		}
		if (h->start < k->start)
			h->end = k->start - 1;
		else if (h->end > k->end)
			h->start = k->end + 1;
		else
			drop(h);
	}
	if (k->type != F_UNLCK)
		add(n, k);
}

static uint64_t end_of(const struct flock *l)
{
	return l->l_len ? (uint64_t)(l->l_start + l->l_len - 1) : UINT64_MAX;
}

static void on_locked(struct op *op, int status, const struct rpc_msg *msg)
{
	struct held k = { .owner = op->owner,
			  .pid = op->pid,
			  .flock = op->flags != 0,
			  .type = op->lock.l_type,
			  .start = (uint64_t)op->lock.l_start,
			  .end = end_of(&op->lock) };

	(void)msg;
	if (!status)
		remember(op->n, &k);
	op_end(op, status);
}

static void on_cancelled(struct op *op, int status, const struct rpc_msg *msg)
{
	(void)status;
	(void)msg;
	op_free(op);
}

static void call_off(struct op *wait)
{
	struct op *op;

	op = op_new(wait->m, NULL, wait->n, NULL);
	if (op)
		OP_CALL(op, fs_lock_cancel, on_cancelled, .fh = node_fh(wait->n),
			.owner = wait->owner, .flock = wait->flags != 0);
}

static void lock_start(struct op *op, bool wait)
{
	op->on_interrupt = wait ? call_off : NULL;
	OP_CALL(op, fs_lock, on_locked, .fh = node_fh(op->n), .owner = op->owner,
		.pid = op->pid, .type = (uint8_t)op->lock.l_type,
		.flock = op->flags != 0, .wait = wait,
		.start = (uint64_t)op->lock.l_start, .end = end_of(&op->lock));
}

static void lock(fuse_req_t req, fuse_ino_t ino, uint64_t owner,
		 const struct flock *l, bool flock, bool wait)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n)
		return;
	if (n->special) {
		fuse_reply_err(req, ENOLCK);
		return;
	}
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->owner = owner;
	op->lock = *l;
	op->flags = flock;
	if (l->l_pid)
		op->pid = (uint32_t)l->l_pid;
	lock_start(op, wait);
}

void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct flock *l, int sleep)
{
	lock(req, ino, fi->lock_owner, l, false, sleep != 0);
}

void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct flock l = { .l_type = op & LOCK_SH ? F_RDLCK :
				     op & LOCK_EX ? F_WRLCK :
						    F_UNLCK };

	lock(req, ino, fi->lock_owner, &l, true, !(op & LOCK_NB));
}

void unlock_owner(struct mnt *m, struct node *n, uint64_t owner, bool flock)
{
	struct op *op = op_new(m, NULL, n, NULL);

	if (!op)
		return;
	op->owner = owner;
	op->flags = flock;
	op->lock.l_type = F_UNLCK;
	lock_start(op, false);
}

static void on_found(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_lock_found m;

	if (!status)
		status = REPLY_OF(msg, fs_lock_found, &m);
	if (status) {
		op_end(op, status);
		return;
	}
	op->lock.l_type = (short)m.type;
	if (m.type != F_UNLCK) {
		op->lock.l_pid = (pid_t)m.pid;
		op->lock.l_start = (off_t)m.start;
		op->lock.l_len = m.end >= INT64_MAX ?
					 0 :
					 (off_t)(m.end - m.start + 1);
	}
	fuse_reply_lock(op->req, &op->lock);
	op_done(op);
}

void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct flock *l)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n)
		return;
	if (n->special) {
		fuse_reply_err(req, ENOLCK);
		return;
	}
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->lock = *l;
	OP_CALL(op, fs_lock_test, on_found, .fh = node_fh(n),
		.owner = fi->lock_owner, .type = (uint8_t)l->l_type,
		.start = (uint64_t)l->l_start, .end = end_of(l));
}
