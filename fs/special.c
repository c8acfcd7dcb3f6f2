/*
 * special.c -- see special.h.
 *
 * Offsets in the root's listing: the server's own come first; ours are the few
 * behind OUR_OFFSETS, where no file system has any (ext4's end is higher).
 */
#include "special.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "pdev_hooks.h"
#include "stream.h"

#define OUR_OFFSETS 0x7ffffffffffff000u
#define SERVED_SECS 0

static const struct {
	const char *name;
	enum special_kind kind;
	bool listed;
} roots[] = {
	{ "hosts", SP_HOSTS, true },
	{ "svc", SP_SVC, true },
	{ ".stream", SP_STREAMS, false },
};

#define NROOTS (sizeof(roots) / sizeof(*roots))

static int root_index(const char *name)
{
	for (size_t i = 0; i < NROOTS; i++) {
		if (strcmp(roots[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

bool special_hides(const char *name)
{
	return root_index(name) >= 0;
}

static void make_attr(struct node *n)
{
	bool dir = n->special->kind != SP_SERVED;
	mode_t mode = !dir ? S_IFREG | (n->special->mode & 0777) :
		      n->special->kind == SP_STREAMS ? S_IFDIR | 0700 :
						       S_IFDIR | 0755;

	/* Far from the numbers of the server's objects. */
	n->st = (struct stat){ .st_ino = n->id | 1ULL << 63,
			       .st_mode = mode,
			       .st_nlink = dir ? 2 : 1,
			       .st_uid = n->special->uid,
			       .st_gid = n->special->gid,
			       .st_blksize = 4096 };
}

static void reply_special(struct mnt *m, fuse_req_t req, int kind,
			  const char *path)
{
	struct node *n = node_special(&m->nodes, kind, path);
	struct fuse_entry_param e;

	if (!n) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	make_attr(n);
	entry_of(m, n, false, false, &e);
	e.attr_timeout = SERVED_SECS;
	if (fuse_reply_entry(req, &e)) {
		n->nlookup--;
		node_tidy(m, n);
	}
}

/* ---- lookup ---- */

static void on_found(void *arg, int status, const struct msg_pdev_found *f)
{
	struct op *op = arg;
	struct node *n = status ? NULL :
				  node_special(&op->m->nodes, SP_SERVED,
					       op->name);

	if (!n) {
		op_end(op, status ? status : -ENOMEM);
		return;
	}
	n->special->mode = f->mode;
	n->special->uid = f->uid;
	n->special->gid = f->gid;
	reply_special(op->m, op->req, SP_SERVED, op->name);
	op_done(op);
}

static void find_served(struct mnt *m, fuse_req_t req, struct node *p,
			const char *name)
{
	char path[PDEV_NAME_MAX + 1];
	struct op *op;
	int n = snprintf(path, sizeof(path), "%s/%s", p->special->path, name);

	if (n < 0 || (size_t)n >= sizeof(path) || !m->pdev) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	op = op_named(m, req, p, NULL, path, NULL);
	if (op)
		pdev_find(m->pdev, path, on_found, op);
}

static void find_host(struct mnt *m, fuse_req_t req, const char *name)
{
	char path[HOST_NAME_MAX_LEN + 8];

	if (!m->roster || !roster_by_name(m->roster, name)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	snprintf(path, sizeof(path), "hosts/%s", name);
	reply_special(m, req, SP_HOST, path);
}

static void find_stream(struct mnt *m, fuse_req_t req, const char *name)
{
	struct node *n = fuse_req_ctx(req)->uid == 0 ? stream_node(m, name) : NULL;
	struct fuse_entry_param e;

	if (!n) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	entry_of(m, n, false, true, &e);
	fuse_reply_entry(req, &e);
}

bool special_lookup(struct mnt *m, fuse_req_t req, struct node *p, const char *name)
{
	int i;

	if (p->id == NODE_ROOT) {
		i = root_index(name);
		if (i >= 0)
			reply_special(m, req, (int)roots[i].kind, name);
		return i >= 0;
	}
	if (!p->special)
		return false;
	switch (p->special->kind) {
	case SP_HOSTS:
		find_host(m, req, name);
		break;
	case SP_STREAMS:
		find_stream(m, req, name);
		break;
	case SP_HOST:
	case SP_SVC:
		find_served(m, req, p, name);
		break;
	default:
		fuse_reply_err(req, ENOTDIR);
	}
	return true;
}

bool special_refuses(fuse_req_t req, const struct node *p, const char *name)
{
	if (!p->special && !(p->id == NODE_ROOT && special_hides(name)))
		return false;
	fuse_reply_err(req, p->special && p->special->kind == SP_SERVED ? ENOTDIR :
									  EPERM);
	return true;
}

bool special_getattr(struct mnt *m, fuse_req_t req, struct node *n)
{
	(void)m;
	if (!n->special)
		return false;
	make_attr(n);
	fuse_reply_attr(req, &n->st, SERVED_SECS);
	return true;
}

/* An open with O_TRUNC, a redirection of a shell: means nothing here. */
bool special_setattr(struct mnt *m, fuse_req_t req, struct node *n)
{
	if (!n->special)
		return false;
	if (n->special->kind == SP_SERVED)
		return special_getattr(m, req, n);
	fuse_reply_err(req, EPERM);
	return true;
}

/* ---- open pseudo-devices ---- */

static bool served(const struct mnt *m, const struct node *n)
{
	return n->special && n->special->kind == SP_SERVED && m->pdev;
}

static bool no_file(fuse_req_t req, const struct node *n)
{
	if (n->special)
		fuse_reply_err(req, n->special->kind == SP_SERVED ? ENXIO : EISDIR);
	return n->special != NULL;
}

bool special_open(struct mnt *m, fuse_req_t req, struct node *n,
		  struct fuse_file_info *fi)
{
	if (!served(m, n))
		return no_file(req, n);
	pdev_open(m->pdev, req, n->special->path, NULL, fi);
	return true;
}

bool special_release(struct mnt *m, fuse_req_t req, struct node *n,
		     struct fuse_file_info *fi)
{
	if (!served(m, n))
		return no_file(req, n);
	front_release(req, fi);
	return true;
}

bool special_read(struct mnt *m, fuse_req_t req, struct node *n, size_t size,
		  off_t off, struct fuse_file_info *fi)
{
	(void)off;
	if (!served(m, n))
		return no_file(req, n);
	front_read(req, size, fi);
	return true;
}

bool special_write(struct mnt *m, fuse_req_t req, struct node *n, const char *p,
		   size_t size, struct fuse_file_info *fi)
{
	if (!served(m, n))
		return no_file(req, n);
	front_write(req, p, size, fi);
	return true;
}

bool special_ioctl(struct mnt *m, fuse_req_t req, struct node *n, unsigned cmd,
		   void *arg, struct fuse_file_info *fi, unsigned flags,
		   const void *in, size_t in_size, size_t out_size)
{
	if (!served(m, n))
		return no_file(req, n);
	front_ioctl(req, cmd, arg, fi, flags, in, in_size, out_size);
	return true;
}

/* Files are always ready. */
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	     struct fuse_pollhandle *ph)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);

	if (n && served(m, n)) {
		front_poll(req, fi, ph);
		return;
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	if (n)
		fuse_reply_poll(req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
}

/* ---- listings ---- */

struct listing {
	struct op *op;
	char *buf;
	size_t at;
	uint64_t index;
	bool full;
};

static void put_entry(struct listing *l, const char *name, mode_t mode,
		      uint64_t cookie)
{
	/* A number, any but 0: with that libc takes the entry for deleted. */
	struct stat st = { .st_mode = mode, .st_ino = 1ULL << 63 };
	struct fuse_entry_param p = { .attr = st };
	struct op *op = l->op;
	size_t n;

	if (l->full)
		return;
	n = op->set ? fuse_add_direntry_plus(op->req, l->buf + l->at,
					     op->size - l->at, name, &p,
					     (off_t)cookie) :
		      fuse_add_direntry(op->req, l->buf + l->at,
					op->size - l->at, name, &st,
					(off_t)cookie);
	if (n > op->size - l->at)
		l->full = true;
	else
		l->at += n;
}

static void put_next(struct listing *l, const char *name, mode_t mode)
{
	if (l->index++ >= l->op->off)
		put_entry(l, name, mode, l->index);
}

static void on_name(void *arg, const char *name, uint64_t number)
{
	(void)number;
	put_next(arg, name, S_IFREG);
}

static void end_listing(struct listing *l)
{
	struct op *op = l->op;

	fuse_reply_buf(op->req, l->buf, l->at);
	free(l->buf);
	free(l);
	op_done(op);
}

/* What cannot be asked for now is just not listed. */
static void on_listed(void *arg, int status)
{
	(void)status;
	end_listing(arg);
}

static void list_hosts(struct listing *l)
{
	const struct roster_host *h;

	for (unsigned i = 0; l->op->m->roster && (h = roster_at(l->op->m->roster, i));
	     i++) {
		if (!h->removed)
			put_next(l, h->name, S_IFDIR);
	}
}

bool special_readdir(struct mnt *m, fuse_req_t req, struct node *n, size_t size,
		     off_t off, int plus)
{
	struct listing *l;
	struct op *op;

	if (!n->special)
		return false;
	op = op_new(m, req, n, NULL);
	if (!op)
		return true;
	op->size = size;
	op->off = (uint64_t)off;
	op->set = plus;
	l = calloc(1, sizeof(*l));
	if (l)
		l->buf = malloc(size);
	if (!l || !l->buf) {
		free(l);
		op_end(op, -ENOMEM);
		return true;
	}
	l->op = op;
	put_next(l, ".", S_IFDIR);
	put_next(l, "..", S_IFDIR);
	if (n->special->kind == SP_HOSTS)
		list_hosts(l);
	if (m->pdev && (n->special->kind == SP_HOST || n->special->kind == SP_SVC))
		pdev_list(m->pdev, n->special->path, on_name, on_listed, l);
	else
		end_listing(l);
	return true;
}

size_t special_list_root(struct mnt *m, fuse_req_t req, char *buf, size_t size,
			 uint64_t off, int plus)
{
	struct op op = { .m = m, .req = req, .size = size, .set = plus };
	struct listing l = { .op = &op, .buf = buf };
	uint64_t from = off > OUR_OFFSETS && off <= OUR_OFFSETS + NROOTS ?
				off - OUR_OFFSETS :
				0;

	for (uint64_t i = from; i < NROOTS; i++) {
		if (roots[i].listed)
			put_entry(&l, roots[i].name, S_IFDIR, OUR_OFFSETS + i + 1);
	}
	return l.at;
}
