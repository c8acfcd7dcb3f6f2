/*
 * ops_file.c -- what else can be done to an open file: done at the server,
 * after what is dirty here went there.
 */
#include <errno.h>

#include "ops.h"
#include "special.h"

static void on_allocated(struct op *op, int status, const struct rpc_msg *msg)
{
	struct stat st;
	bool valid;

	if (!status)
		status = take_attrs(op, msg, &st, &valid);
	op_end(op, status);
}

static void allocate_flushed(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	if (status)
		op_end(op, status);
	else
		OP_CALL(op, fs_allocate, on_allocated, .fh = node_fh(n),
			.mode = (uint32_t)op->set, .off = op->off,
			.len = op->size, .want = LEASE_WRITE);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
		  off_t length, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	(void)fi;
	if (!n)
		return;
	if (n->special) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->set = mode;
	op->off = (uint64_t)offset;
	op->size = (size_t)length;
	flush_node(m, n, allocate_flushed, op);
}

static void on_sought(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_sought m;

	if (!status)
		status = REPLY_OF(msg, fs_sought, &m);
	if (status) {
		op_end(op, status);
		return;
	}
	fuse_reply_lseek(op->req, (off_t)m.off);
	op_done(op);
}

static void seek_flushed(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	if (status)
		op_end(op, status);
	else
		OP_CALL(op, fs_seek, on_sought, .fh = node_fh(n), .off = op->off,
			.whence = (uint32_t)op->set);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	(void)fi;
	if (!n)
		return;
	if (n->special) {
		fuse_reply_err(req, ESPIPE);
		return;
	}
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->off = (uint64_t)off;
	op->set = whence;
	flush_node(m, n, seek_flushed, op);
}

static void on_copied(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_copied m;
	struct stat st;

	if (!status)
		status = REPLY_OF(msg, fs_copied, &m);
	if (!status)
		status = attr_get(m.attr, &st);
	if (status) {
		op_end(op, status);
		return;
	}
	node_grant(op->n2, &st, (enum lease_level)m.lease, m.seq);
	op->size = (size_t)m.len;
	op->fi.writepage = 0;
	if (op->n2->cached &&
	    !notify_inode(op->m->notifier, op->n2->id, 0, 0, pages_dropped, op))
		return;
	fuse_reply_write(op->req, op->size);
	op_done(op);
}

static void copy_to_flushed(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	(void)n;
	if (status)
		op_end(op, status);
	else
		OP_CALL(op, fs_copy, on_copied, .from = node_fh(op->n),
			.from_off = op->off, .to = node_fh(op->n2),
			.to_off = op->owner, .len = op->size);
}

static void copy_from_flushed(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	(void)n;
	if (status)
		op_end(op, status);
	else
		flush_node(op->m, op->n2, copy_to_flushed, op);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			off_t off_out, struct fuse_file_info *fi_out, size_t len,
			int flags)
{
	struct mnt *m = mnt_of(req);
	struct node *from = node_of(m, req, ino_in);
	struct node *to = from ? node_of(m, req, ino_out) : NULL;
	struct op *op;

	(void)fi_in;
	(void)fi_out;
	(void)flags;
	if (!to)
		return;
	if (from->special || to->special) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	op = op_new(m, req, from, to);
	if (!op)
		return;
	op->off = (uint64_t)off_in;
	op->owner = (uint64_t)off_out;
	op->size = len;
	flush_node(m, from, copy_from_flushed, op);
}

void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
	      struct fuse_file_info *fi, unsigned flags, const void *in,
	      size_t in_size, size_t out_size)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);

	if (n && !special_ioctl(m, req, n, cmd, arg, fi, flags, in, in_size,
				out_size))
		fuse_reply_err(req, ENOTTY);
}
