/*
 * ops_dir.c -- reading directories.
 *
 * Every listing is asked for at the server, where it is never stale; with
 * `plus` the answer also fills the caches of names and attributes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "special.h"

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);

	if (!n)
		return;
	n->nopen++;
	node_note(&m->nodes, n);
	if (fuse_reply_open(req, fi)) {
		n->nopen--;
		node_note(&m->nodes, n);
		node_tidy(m, n);
	}
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);

	(void)fi;
	if (!n)
		return;
	n->nopen--;
	node_note(&m->nodes, n);
	fuse_reply_err(req, 0);
	node_tidy(m, n);
}

static bool plain_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static size_t put_plain(struct op *op, char *buf, size_t left,
			const struct msg_fs_dirent *e)
{
	struct stat st = { .st_ino = e->ino, .st_mode = e->mode };

	return fuse_add_direntry(op->req, buf, left, e->name, &st,
				 (off_t)e->cookie);
}

static size_t put_plus(struct op *op, char *buf, size_t left,
		       const struct msg_fs_dirent *e)
{
	struct fuse_entry_param p = { .attr = { .st_ino = e->ino,
						.st_mode = e->mode } };
	struct mnt *m = op->m;
	struct node *n = NULL;
	struct stat st;
	bool cache, valid;
	size_t need = fuse_add_direntry_plus(op->req, NULL, 0, e->name, NULL, 0);

	if (need > left)
		return need;
	if (e->fh.len && !plain_dot(e->name) && !attr_get(e->attr, &st) &&
	    e->lease <= LEASE_WRITE)
		n = node_get(&m->nodes, e->fh);
	if (n) {
		valid = node_grant(n, &st, (enum lease_level)e->lease, e->seq);
		cache = e->cache && e->seq > op->n->name_seq &&
			!name_set(&m->nodes, op->n, e->name, n);
		entry_of(m, n, cache, valid, &p);
	}
	return fuse_add_direntry_plus(op->req, buf, left, e->name, &p,
				      (off_t)e->cookie);
}

/* It did not fit; but its server counts it as known here. */
static void not_put(struct mnt *m, const struct msg_fs_dirent *e)
{
	struct node *n;
	struct stat st;

	if (!e->fh.len || e->fh.len > FS_HANDLE_MAX)
		return;
	n = node_by_fh(&m->nodes, e->fh.p, e->fh.len);
	if (!n)
		forget_fh(m, e->fh, e->seq);
	else if (!attr_get(e->attr, &st) && e->lease <= LEASE_WRITE)
		node_grant(n, &st, (enum lease_level)e->lease, e->seq);
}

static void on_listing(struct op *op, int status, const struct rpc_msg *msg)
{
	struct wire_reader r;
	struct msg_fs_dirents m;
	char *buf = NULL;
	size_t at = 0;
	bool full = false;

	if (op_try_groups(op, status))
		return;
	if (!status)
		status = REPLY_OF(msg, fs_dirents, &m);
	if (!status && !(buf = malloc(op->size)))
		status = -ENOMEM;
	if (status) {
		op_end(op, status);
		return;
	}
	r = wire_reader(msg->payload, msg->payload_len);
	while (r.left) {
		struct msg_fs_dirent e = msg_fs_dirent_get(&r);
		size_t n = 0;

		if (r.failed || !*e.name || strlen(e.name) > FS_NAME_MAX)
			break;
		if (op->n->id == NODE_ROOT && special_hides(e.name))
			continue;
		if (!full)
			n = op->set ? put_plus(op, buf + at, op->size - at, &e) :
				      put_plain(op, buf + at, op->size - at, &e);
		full = full || n > op->size - at;
		if (full)
			not_put(op->m, &e);
		else
			at += n;
	}
	if (m.end && op->n->id == NODE_ROOT)
		at = special_list_root(op->m, op->req, buf, op->size, op->off,
				       op->set);
	fuse_reply_buf(op->req, buf, at);
	free(buf);
	op_done(op);
}

/* Names are shorter on the wire than what the kernel gets. */
static void send_readdir(struct op *op)
{
	OP_CALL(op, fs_readdir, on_listing, .fh = node_fh(op->n),
		.cookie = op->off,
		.max = (uint32_t)(op->set ? op->size / 5 : op->size),
		.plus = (uint8_t)op->set, .uid = op->uid, .gid = op->gid,
		.groups = op_groups(op));
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, int plus)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n || special_readdir(m, req, n, size, off, plus))
		return;
	op = op_new(m, req, n, NULL);
	if (!op)
		return;
	op->size = size;
	op->off = (uint64_t)off;
	op->set = plus;
	op->again = send_readdir;
	op_mark_busy(op);
	send_readdir(op);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, 0);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, 1);
}
