/*
 * ops_io.c -- open files: data.
 *
 * A file opened for writing bypasses the kernel's page cache (FOPEN_DIRECT_IO,
 * with mapping allowed): its writes come here unchanged and, what matters,
 * hold no page while they wait for a lease, so that a recall of the same file
 * never waits for them.  Files opened for reading use the page cache, which is
 * true for as long as the lease lasts.  Pages that a shared mapping has made
 * dirty come as writes too; the kernel may be waiting for those while it obeys
 * a recall, so they are accepted at once, whatever is going on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "ops.h"
#include "special.h"

#define READ_TRIES 1000
#define PAGE	   4096u

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

void node_opened(struct mnt *m, struct node *n, struct fuse_file_info *fi)
{
	n->nopen++;
	fi->fh = 0;
	if (writes(fi->flags)) {
		n->nwrite++;
		fi->fh = FH_WRITE | FH_DIRECT;
		fi->direct_io = 1;
	} else {
		fi->keep_cache = 1;
	}
	node_note(&m->nodes, n);
}

static bool has_dirty(const struct node *n)
{
	return !dirty_empty(&n->dirty) || !dirty_empty(&n->flushing);
}

void node_closed(struct mnt *m, struct node *n, const struct fuse_file_info *fi)
{
	n->nopen--;
	if (fi->fh & FH_WRITE)
		n->nwrite--;
	node_note(&m->nodes, n);
	/* Recalled while it was open: now the server need not keep it for us,
	 * though the kernel may remember the inode for a long time. */
	if (!n->nopen && n->lease == LEASE_NONE && !n->revoking && n->seq &&
	    !has_dirty(n)) {
		forget_later(m, n);
		n->seq = 0;
	}
	node_tidy(m, n);
}

/* ---- open, close ---- */

void finish_open(struct op *op)
{
	node_opened(op->m, op->n, &op->fi);
	if (fuse_reply_open(op->req, &op->fi))
		node_closed(op->m, op->n, &op->fi);
	op_done(op);
}

static void on_held(struct op *op, int status, const struct rpc_msg *msg)
{
	struct stat st;
	bool valid;

	if (!status)
		status = take_attrs(op, msg, &st, &valid);
	if (status)
		op_end(op, status);
	else
		finish_open(op);
}

/*
 * The kernel has checked permissions against attributes that are true; the
 * lease for the data is asked for when there is data to be read or written.
 * An object that the server does not keep for us (any more) may be gone.
 */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n || special_open(m, req, n, fi))
		return;
	if (!(fi->flags & O_TRUNC) && n->seq) {
		node_opened(m, n, fi);
		if (fuse_reply_open(req, fi))
			node_closed(m, n, fi);
		return;
	}
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->fi = *fi;
	if (fi->flags & O_TRUNC) {
		op->flags = 1;
		op->set = FUSE_SET_ATTR_SIZE;
		setattr_start(op);
	} else {
		OP_CALL(op, fs_getattr, on_held, .fh = node_fh(n),
			.want = LEASE_READ);
	}
}

static int take_err(struct node *n)
{
	int err = n->err;

	n->err = 0;
	return err;
}

static void flush_done(struct node *n, int status, void *arg)
{
	struct op *op = arg;
	int err = take_err(n);

	op_end(op, status ? status : err);
}

/* close(): what was written stays here, unless the server has little space. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n)
		return;
	if (has_locks(n, fi->lock_owner, false))
		unlock_owner(m, n, fi->lock_owner, false);
	if ((!m->tight && !n->err) || dirty_empty(&n->dirty)) {
		fuse_reply_err(req, -take_err(n));
		return;
	}
	op = op_new(m, req, n, NULL);
	if (op)
		flush_node(m, n, flush_done, op);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);

	if (!n || special_release(m, req, n, fi))
		return;
	if (fi->flock_release && has_locks(n, fi->lock_owner, true))
		unlock_owner(m, n, fi->lock_owner, true);
	fuse_reply_err(req, 0);
	node_closed(m, n, fi);
}

static void on_synced(struct op *op, int status, const struct rpc_msg *msg)
{
	int err = take_err(op->n);

	(void)msg;
	op_end(op, status ? status : err);
}

static void sync_flushed(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	if (status) {
		take_err(n);
		op_end(op, status);
		return;
	}
	OP_CALL(op, fs_sync, on_synced, .fh = node_fh(n), .data = (uint8_t)op->set);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	      struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	(void)fi;
	if (!n)
		return;
	if (n->special) {
		fuse_reply_err(req, 0);
		return;
	}
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->set = datasync;
	flush_node(m, n, sync_flushed, op);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		 struct fuse_file_info *fi)
{
	op_fsync(req, ino, datasync, fi);
}

/* ---- reading ---- */

static void read_start(struct op *op);

/*
 * Into the page cache?  A mapping of a file opened for writing reads its pages
 * through that open file, and looks like any read of whole pages.
 */
static bool fills_cache(const struct op *op)
{
	return !(op->fi.fh & FH_DIRECT) || (op->off | op->size) % PAGE == 0;
}

static void answer_read(struct op *op, const void *p, size_t n)
{
	if (fills_cache(op)) {
		op->n->cached = true;
		op->n->fills++;
		op->n->write_fills++;
	}
	fuse_reply_buf(op->req, p, n);
	op_done(op);
}

/* The server's bytes with ours on top. */
static void answer_merged(struct op *op, const uint8_t *p, size_t n)
{
	struct node *f = op->n;
	uint64_t size = (uint64_t)f->st.st_size;
	size_t want = op->off >= size ? 0 :
		      size - op->off < op->size ? (size_t)(size - op->off) :
						  op->size;
	uint8_t *buf = calloc(1, want ? want : 1);

	if (!buf) {
		op_end(op, -ENOMEM);
		return;
	}
	memcpy(buf, p, n < want ? n : want);
	dirty_read(&f->flushing, op->off, buf, want);
	dirty_read(&f->dirty, op->off, buf, want);
	answer_read(op, buf, want);
	free(buf);
}

/*
 * Pages may only be given to the kernel under a lease.  One that is void is
 * asked for again; but while the kernel drops pages it may be waiting for this
 * very answer, and then it gets it, and drops once more.
 */
static bool must_ask_again(const struct op *op)
{
	return fills_cache(op) && op->n->lease == LEASE_NONE &&
	       !op->n->invalidating && op->tries < READ_TRIES;
}

static void on_data(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_data m;
	struct stat st;

	if (!status)
		status = REPLY_OF(msg, fs_data, &m);
	if (!status)
		status = attr_get(m.attr, &st);
	if (!status && (m.lease > LEASE_WRITE || msg->payload_len > op->size))
		status = -EPROTO;
	if (status) {
		op_end(op, status);
		return;
	}
	node_grant(op->n, &st, (enum lease_level)m.lease, m.seq);
	if (must_ask_again(op)) {
		op->tries++;
		read_start(op);
		return;
	}
	if (has_dirty(op->n))
		answer_merged(op, msg->payload, msg->payload_len);
	else
		answer_read(op, msg->payload, msg->payload_len);
}

/* All of it is here, or known to be zeros. */
static bool readable_here(const struct op *op)
{
	const struct node *n = op->n;
	uint64_t end = op->off + op->size;

	if (n->lease != LEASE_WRITE || !has_dirty(n))
		return false;
	if (end > (uint64_t)n->st.st_size)
		end = (uint64_t)n->st.st_size;
	if (end > n->ssize)
		end = n->ssize; /* behind it the server has nothing */
	return op->off >= end || dirty_covers(&n->dirty, &n->flushing, op->off,
					      (size_t)(end - op->off));
}

static void read_start(struct op *op)
{
	if (readable_here(op)) {
		op->m->stats.reads_local++;
		answer_merged(op, (const uint8_t *)"", 0);
		return;
	}
	op->m->stats.reads_far++;
	OP_CALL(op, fs_read, on_data, .fh = node_fh(op->n), .off = op->off,
		.size = (uint32_t)op->size, .want = LEASE_READ);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	     struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n || special_read(m, req, n, size, off, fi))
		return;
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->off = (uint64_t)off;
	op->size = size < FS_IO_MAX ? size : FS_IO_MAX;
	op->fi = *fi;
	read_start(op);
}

/* ---- writing ---- */

static void write_start(struct op *op);

void pages_dropped(void *arg, int status)
{
	struct op *op = arg;

	(void)status;
	fuse_reply_write(op->req, op->size);
	op_done(op);
}

/*
 * The kernel drops the pages it is about to overwrite before it sends a write;
 * others on this host may have read the old bytes into new pages since.  It
 * lets only one write(2) into a file at a time, so that can only have happened
 * after the last one was answered.  A request as long as they get may be a
 * part of a longer write(2), whose pages were all dropped at its beginning.
 */
static void answer_write(struct op *op)
{
	struct node *n = op->n;
	bool refilled = n->write_fills != 0;

	if (op->size < FS_IO_MAX)
		n->write_fills = 0;
	if (n->cached && refilled && !op->fi.writepage &&
	    !notify_inode(op->m->notifier, n->id, (int64_t)op->off,
			  (int64_t)op->size, pages_dropped, op))
		return;
	fuse_reply_write(op->req, op->size);
	op_done(op);
}

static void wrote(struct mnt *m, struct node *n, uint64_t off, size_t size)
{
	uint64_t end = off + size;

	if (end > (uint64_t)n->st.st_size) {
		n->st.st_size = (off_t)end;
		n->st.st_blocks = (blkcnt_t)((end + 511) / 512);
	}
	mnt_now(m, &n->st.st_mtim);
	n->st.st_ctim = n->st.st_mtim;
}

static void on_write_synced(struct op *op, int status, const struct rpc_msg *msg)
{
	(void)msg;
	if (status)
		op_end(op, status);
	else
		answer_write(op);
}

static void on_written(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_written m;
	struct stat st;

	if (!status)
		status = REPLY_OF(msg, fs_written, &m);
	if (!status)
		status = attr_get(m.attr, &st);
	if (status) {
		op_end(op, status);
		return;
	}
	op->m->tight = m.tight;
	op->off = m.off;
	node_grant(op->n, &st, (enum lease_level)m.lease, m.seq);
	if (op->fi.flags & (O_SYNC | O_DSYNC))
		OP_CALL(op, fs_sync, on_write_synced, .fh = node_fh(op->n),
			.data = (op->fi.flags & O_SYNC) != O_SYNC);
	else
		answer_write(op);
}

static bool kills_bits(const struct op *op)
{
	return op->uid && op->n->st.st_mode & (S_ISUID | S_ISGID);
}

static void write_through(struct op *op)
{
	struct msg_fs_write m = {
		.fh = node_fh(op->n),
		.off = op->off,
		.flags = (op->fi.flags & O_APPEND && !op->fi.writepage ?
				  (uint32_t)WR_APPEND :
				  0) |
			 (kills_bits(op) ? (uint32_t)WR_KILL : 0),
		.want = LEASE_WRITE,
	};
	uint8_t body[FS_HANDLE_MAX + 64];
	struct rpc_out o = { .code = MSG_fs_write,
			     .body = body,
			     .payload = op->data,
			     .payload_len = op->size };

	op->m->stats.writes_far++;
	(void)msg_fs_write_encode(&m, body, sizeof(body), &o.len);
	op_call(op, &o, on_written);
}

/* Older bytes first. */
static void flushed_first(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	(void)n;
	if (status)
		op_end(op, status);
	else
		write_through(op);
}

/* Into the delayed-write cache? */
static bool may_delay(const struct op *op)
{
	const struct node *n = op->n;

	return !op->m->link.local && n->lease == LEASE_WRITE && !op->m->tight &&
	       op->m->dirty_bytes < DIRTY_HARD && !kills_bits(op) &&
	       journal_room(&op->m->keep, op->size) &&
	       !(op->fi.flags & (O_SYNC | O_DSYNC | O_DIRECT));
}

static void write_here(struct op *op)
{
	struct node *n = op->n;
	int r;

	if (op->fi.flags & O_APPEND && !op->fi.writepage)
		op->off = (uint64_t)n->st.st_size;
	r = dirty_add(op->m, n, op->off, op->data, op->size);
	if (r) {
		op_end(op, r);
		return;
	}
	op->m->stats.writes_local++;
	wrote(op->m, n, op->off, op->size);
	answer_write(op);
}

/* Pages of a mapping: taken at once, and on their way at once if we may not
 * keep them. */
static void take_page(struct op *op)
{
	struct node *n = op->n;
	struct mnt *m = op->m;
	bool ours = n->lease == LEASE_WRITE;
	int r = dirty_add(m, n, op->off, op->data, op->size);

	if (r) {
		op_end(op, r);
		return;
	}
	wrote(m, n, op->off, op->size);
	n->refs++;
	fuse_reply_write(op->req, op->size);
	op_done(op);
	if (!ours || m->tight || m->link.local)
		flush_node(m, n, NULL, NULL);
	n->refs--;
	node_tidy(m, n);
}

static void write_start(struct op *op)
{
	if (op->n->revoking)
		op_defer(op, write_start);
	else if (may_delay(op))
		write_here(op);
	else if (has_dirty(op->n))
		flush_node(op->m, op->n, flushed_first, op);
	else
		write_through(op);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	      off_t off, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n || special_write(m, req, n, buf, size, fi))
		return;
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->data = malloc(size ? size : 1);
	if (!op->data) {
		op_end(op, -ENOMEM);
		return;
	}
	memcpy(op->data, buf, size);
	op->size = size;
	op->off = (uint64_t)off;
	op->fi = *fi;
	if (fi->writepage)
		take_page(op);
	else
		write_start(op);
}
