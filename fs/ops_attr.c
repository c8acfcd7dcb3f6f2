/* ops_attr.c -- attributes, extended attributes, space. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "special.h"

#define CAPS "security.capability"

struct op *op_named(struct mnt *m, fuse_req_t req, struct node *n,
		    struct node *n2, const char *name, const char *name2)
{
	struct op *op = op_new(m, req, n, n2);

	if (!op)
		return NULL;
	op->name = strdup(name);
	op->name2 = name2 ? strdup(name2) : NULL;
	if (!op->name || (name2 && !op->name2)) {
		op_end(op, -ENOMEM);
		return NULL;
	}
	return op;
}

void reply_attr(struct op *op, const struct stat *st, bool valid)
{
	fuse_reply_attr(op->req, st, valid ? FOREVER : 0);
	op_done(op);
}

/*
 * A void grant's attributes were true when the server answered, which is all
 * that this one request may ask for.
 */
int take_attrs(struct op *op, const struct rpc_msg *msg, struct stat *ret,
	       bool *ret_valid)
{
	struct msg_fs_attrs m;
	int r = REPLY_OF(msg, fs_attrs, &m);

	if (!r)
		r = attr_get(m.attr, ret);
	if (r || m.lease > LEASE_WRITE)
		return -EPROTO;
	op->m->tight = m.tight;
	*ret_valid = node_grant(op->n, ret, (enum lease_level)m.lease, m.seq);
	if (*ret_valid) {
		*ret = op->n->st;
		*ret_valid = node_valid(op->n);
	}
	return 0;
}

/* ---- getattr ---- */

static void on_attrs(struct op *op, int status, const struct rpc_msg *msg)
{
	struct stat st;
	bool valid;

	if (!status)
		status = take_attrs(op, msg, &st, &valid);
	if (status)
		op_end(op, status);
	else
		reply_attr(op, &st, valid);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	(void)fi;
	if (!n || special_getattr(m, req, n))
		return;
	/* While it is on its way back a lease still is one. */
	if (n->lease > LEASE_NONE) {
		m->stats.getattr_local++;
		fuse_reply_attr(req, &n->st, n->revoking ? 0 : FOREVER);
		return;
	}
	m->stats.getattr_far++;
	op = op_new(m, req, n, NULL);
	if (op)
		OP_CALL(op, fs_getattr, on_attrs, .fh = node_fh(n),
			.want = LEASE_READ);
}

/* ---- setattr ---- */

static uint32_t what_to_set(int to_set)
{
	static const struct {
		int fuse;
		enum fs_set ours;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, SET_MODE },
		{ FUSE_SET_ATTR_UID, SET_UID },
		{ FUSE_SET_ATTR_GID, SET_GID },
		{ FUSE_SET_ATTR_SIZE, SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, SET_ATIME },
		{ FUSE_SET_ATTR_MTIME, SET_MTIME },
		{ FUSE_SET_ATTR_ATIME_NOW, SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, SET_MTIME_NOW },
	};
	uint32_t valid = 0;

	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
		if (to_set & bits[i].fuse)
			valid |= bits[i].ours;
	}
	return valid;
}

static void send_setattr(struct op *op)
{
	struct stat *s = &op->st;
	uint32_t valid = what_to_set(op->set);

	OP_CALL(op, fs_setattr, on_setattr, .fh = node_fh(op->n), .valid = valid,
		.mode = s->st_mode, .owner = s->st_uid, .group = s->st_gid,
		.size = (uint64_t)s->st_size, .atime = s->st_atim.tv_sec,
		.atime_ns = (uint32_t)s->st_atim.tv_nsec,
		.mtime = s->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)s->st_mtim.tv_nsec,
		.want = valid & SET_SIZE ? LEASE_WRITE : LEASE_READ,
		.uid = op->uid, .gid = op->gid, .groups = op_groups(op));
}

/* What was set counts, also where dirty data made us the authority. */
static void adopt(struct node *n, const struct stat *st, int set)
{
	if (set & FUSE_SET_ATTR_SIZE)
		n->st.st_size = st->st_size;
	if (set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW |
		   FUSE_SET_ATTR_SIZE))
		n->st.st_mtim = st->st_mtim;
}

void on_setattr(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_attrs m;
	struct stat st;
	bool valid;

	if (op_try_groups(op, status))
		return;
	if (!status)
		status = REPLY_OF(msg, fs_attrs, &m);
	if (!status)
		status = attr_get(m.attr, &st);
	if (status) {
		op_end(op, status);
		return;
	}
	op->m->tight = m.tight;
	valid = node_grant(op->n, &st, (enum lease_level)m.lease, m.seq);
	adopt(op->n, &st, op->set);
	if (valid)
		st = op->n->st;
	/* Of an open that truncates: goes on as such. */
	if (op->flags) {
		finish_open(op);
		return;
	}
	reply_attr(op, &st, valid && node_valid(op->n));
}

void setattr_start(struct op *op)
{
	struct node *n = op->n;

	if (op->set & FUSE_SET_ATTR_SIZE) {
		dirty_cut(op->m, n, (uint64_t)op->st.st_size);
		if (n->st.st_size > op->st.st_size)
			n->st.st_size = op->st.st_size;
		if (n->ssize > (uint64_t)op->st.st_size)
			n->ssize = (uint64_t)op->st.st_size;
	}
	op->again = send_setattr;
	send_setattr(op);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	(void)fi;
	if (!n || special_setattr(m, req, n))
		return;
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->st = *attr;
	op->set = to_set;
	setattr_start(op);
}

/* ---- space ---- */

static void on_space(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_space m;
	struct statvfs v;

	if (!status)
		status = REPLY_OF(msg, fs_space, &m);
	if (status) {
		op_end(op, status);
		return;
	}
	v = (struct statvfs){ .f_bsize = m.bsize, .f_frsize = m.bsize,
			      .f_blocks = m.blocks, .f_bfree = m.bfree,
			      .f_bavail = m.bavail, .f_files = m.files,
			      .f_ffree = m.ffree, .f_favail = m.ffree,
			      .f_namemax = m.namemax };
	fuse_reply_statfs(op->req, &v);
	op_done(op);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n)
		return;
	op = op_new(m, req, n, NULL);
	if (op)
		OP_CALL(op, fs_statfs, on_space,
			.fh = n->special ? (wire_blob){ 0 } : node_fh(n));
}

/* ---- extended attributes ---- */

static void on_xattr(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_xattr_value m;

	if (op_try_groups(op, status))
		return;
	if (status == -ENODATA && op->set == XATTR_GET &&
	    strcmp(op->name, CAPS) == 0 && node_valid(op->n))
		op->n->no_caps = true;
	if (!status)
		status = REPLY_OF(msg, fs_xattr_value, &m);
	if (status || op->set == XATTR_SET || op->set == XATTR_REMOVE) {
		if (!status)
			op->n->no_caps = false;
		op_end(op, status);
		return;
	}
	if (op->size == 0)
		fuse_reply_xattr(op->req, m.size);
	else
		fuse_reply_buf(op->req, msg->payload, msg->payload_len);
	op_done(op);
}

static void send_xattr(struct op *op)
{
	struct msg_fs_xattr m = { .fh = node_fh(op->n),
				  .op = (uint8_t)op->set,
				  .name = op->name,
				  .flags = (uint32_t)op->flags,
				  .size = (uint32_t)op->size,
				  .uid = op->uid,
				  .gid = op->gid,
				  .groups = op_groups(op) };
	uint8_t body[8192];
	struct rpc_out o = { .code = MSG_fs_xattr, .body = body };
	int r = msg_fs_xattr_encode(&m, body, sizeof(body), &o.len);

	if (op->set == XATTR_SET) {
		o.payload = op->data;
		o.payload_len = op->size;
	}
	if (r)
		op_end(op, r);
	else
		op_call(op, &o, on_xattr);
}

static void xattr(fuse_req_t req, fuse_ino_t ino, enum fs_xattr_op what,
		  const char *name, const char *value, size_t size, int flags)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n)
		return;
	if (n->special) {
		fuse_reply_err(req, what == XATTR_LIST ? EOPNOTSUPP :
			       what == XATTR_GET       ? ENODATA :
							 EPERM);
		return;
	}
	/* Asked for at every exec and write, and nearly never there. */
	if (what == XATTR_GET && n->no_caps && node_valid(n) &&
	    strcmp(name, CAPS) == 0) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	op = op_named(m, req, n, NULL, name, NULL);
	if (!op)
		return;
	op->set = (int)what;
	op->flags = flags;
	op->size = size;
	if (value) {
		op->data = malloc(size ? size : 1);
		if (!op->data) {
			op_end(op, -ENOMEM);
			return;
		}
		memcpy(op->data, value, size);
	}
	op->again = send_xattr;
	send_xattr(op);
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		 const char *value, size_t size, int flags)
{
	xattr(req, ino, XATTR_SET, name, value, size, flags);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	xattr(req, ino, XATTR_GET, name, NULL, size, 0);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	xattr(req, ino, XATTR_LIST, "", NULL, size, 0);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	xattr(req, ino, XATTR_REMOVE, name, NULL, 0, 0);
}
