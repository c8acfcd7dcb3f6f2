/*
 * ops_name.c -- the kernel's requests about names.
 *
 * Names and attributes that this host holds are answered at once; after the
 * epoch was raised the kernel asks for all of them once more, and that must
 * not cost a journey each.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "special.h"

void entry_of(struct mnt *m, struct node *n, bool cache_name, bool valid,
	      struct fuse_entry_param *ret)
{
	n->nlookup++;
	node_note(&m->nodes, n);
	*ret = (struct fuse_entry_param){
		.ino = n->id,
		.generation = 1,
		.attr = n->st,
		.attr_timeout = valid && node_valid(n) ? FOREVER : 0,
		.entry_timeout = cache_name ? FOREVER : 0,
	};
}

void take_dir(struct node *dir, wire_blob attr, uint8_t lease, uint64_t seq)
{
	struct stat st;

	if (!attr_get(attr, &st))
		node_grant(dir, &st, (enum lease_level)lease, seq);
}

void node_discard(struct mnt *m, struct node *n)
{
	if (n->st.st_nlink == 0 && !n->nopen && S_ISREG(n->st.st_mode))
		dirty_forget(m, n);
}

void node_tidy(struct mnt *m, struct node *n)
{
	if (!n->nlookup && !n->nopen)
		node_discard(m, n);
	if (!node_unused(n) || !list_empty(&n->locks))
		return;
	forget_later(m, n);
	node_free(&m->nodes, n);
}

/*
 * An answer that names an object.  cache says whether the kernel may keep the
 * name; a name recall that came meanwhile has made that void.
 */
static int take_entry(struct op *op, const struct msg_fs_entry *e,
		      struct node **ret, bool *ret_cache, bool *ret_valid)
{
	struct mnt *m = op->m;
	struct node *n = NULL;
	struct stat st;
	int r = 0;

	*ret_valid = false;
	m->tight = e->tight;
	if (e->fh.len) {
		r = attr_get(e->attr, &st);
		if (r || e->lease > LEASE_WRITE)
			return -EPROTO;
		n = node_get(&m->nodes, e->fh);
		if (!n)
			return -ENOMEM;
		*ret_valid = node_grant(n, &st, (enum lease_level)e->lease,
					e->seq);
	}
	*ret_cache = e->cache && e->seq > op->n->name_seq;
	if (*ret_cache && name_set(&m->nodes, op->n, op->name, n))
		*ret_cache = false;
	*ret = n;
	return 0;
}

/* ---- lookup ---- */

static void reply_absent(fuse_req_t req, bool cache)
{
	struct fuse_entry_param e = { .entry_timeout = FOREVER };

	if (cache)
		fuse_reply_entry(req, &e);
	else
		fuse_reply_err(req, ENOENT);
}

static void send_lookup(struct op *op)
{
	OP_CALL(op, fs_lookup, on_lookup, .dir = node_fh(op->n),
		.name = op->name, .uid = op->uid, .gid = op->gid,
		.groups = op_groups(op));
}

void on_lookup(struct op *op, int status, const struct rpc_msg *msg)
{
	struct fuse_entry_param e;
	struct msg_fs_entry m;
	struct node *n;
	bool cache, valid;

	if (op_try_groups(op, status))
		return;
	if (!status)
		status = REPLY_OF(msg, fs_entry, &m);
	if (!status)
		status = take_entry(op, &m, &n, &cache, &valid);
	if (status) {
		op_end(op, status);
		return;
	}
	if (!n) {
		reply_absent(op->req, cache);
	} else {
		entry_of(op->m, n, cache, valid, &e);
		fuse_reply_entry(op->req, &e);
	}
	op_done(op);
}

/* From what is known here.  True: answered. */
static bool lookup_here(struct mnt *m, fuse_req_t req, struct node *p,
			const char *name)
{
	struct name *e = name_get(&m->nodes, p, name);
	struct fuse_entry_param ep;

	if (!e || (e->child && !node_valid(e->child)))
		return false;
	m->stats.lookups_local++;
	if (!e->child) {
		reply_absent(req, true);
		return true;
	}
	entry_of(m, e->child, true, true, &ep);
	fuse_reply_entry(req, &ep);
	return true;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mnt *m = mnt_of(req);
	struct node *p = node_of(m, req, parent);
	struct op *op;

	if (!p || special_lookup(m, req, p, name))
		return;
	if (strlen(name) > FS_NAME_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	if (lookup_here(m, req, p, name))
		return;
	m->stats.lookups_far++;
	op = op_named(m, req, p, NULL, name, NULL);
	if (!op)
		return;
	op->again = send_lookup;
	op_mark_busy(op);
	send_lookup(op);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_by_id(&m->nodes, ino);

	if (n && n->id != NODE_ROOT) {
		n->nlookup -= nlookup < n->nlookup ? nlookup : n->nlookup;
		node_note(&m->nodes, n);
		node_tidy(m, n);
	}
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
	struct mnt *m = mnt_of(req);

	for (size_t i = 0; i < count; i++) {
		struct node *n = node_by_id(&m->nodes, f[i].ino);

		if (!n || n->id == NODE_ROOT)
			continue;
		n->nlookup -= f[i].nlookup < n->nlookup ? f[i].nlookup : n->nlookup;
		node_note(&m->nodes, n);
		node_tidy(m, n);
	}
	fuse_reply_none(req);
}

/* ---- making ---- */

static void send_make(struct op *op)
{
	OP_CALL(op, fs_make, on_made, .dir = node_fh(op->n), .name = op->name,
		.mode = op->st.st_mode, .flags = (uint32_t)op->flags,
		.rdev = op->st.st_rdev, .target = op->name2 ? op->name2 : "",
		.uid = op->uid, .gid = op->gid, .groups = op_groups(op));
}

void on_made(struct op *op, int status, const struct rpc_msg *msg)
{
	struct fuse_entry_param e;
	struct msg_fs_entry m;
	struct node *n;
	bool cache, valid;

	if (op_try_groups(op, status))
		return;
	if (!status)
		status = REPLY_OF(msg, fs_entry, &m);
	if (!status)
		status = take_entry(op, &m, &n, &cache, &valid);
	if (!status && !n)
		status = -EPROTO;
	if (status) {
		op_end(op, status);
		return;
	}
	take_dir(op->n, m.dir_attr, m.dir_lease, m.dir_seq);
	entry_of(op->m, n, cache, valid, &e);
	if (op->set) {
		node_opened(op->m, n, &op->fi);
		if (fuse_reply_create(op->req, &e, &op->fi))
			node_closed(op->m, n, &op->fi);
	} else {
		fuse_reply_entry(op->req, &e);
	}
	op_done(op);
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name,
		 mode_t mode, dev_t rdev, const char *target,
		 const struct fuse_file_info *fi)
{
	struct mnt *m = mnt_of(req);
	struct node *p = node_of(m, req, parent);
	struct op *op;

	if (!p || special_refuses(req, p, name))
		return;
	op = op_named(m, req, p, NULL, name, target);
	if (!op)
		return;
	op->st.st_mode = mode;
	op->st.st_rdev = rdev;
	if (fi) {
		op->fi = *fi;
		op->set = 1;
		op->flags = fi->flags & (O_EXCL | O_TRUNC);
	} else {
		op->flags = O_EXCL;
	}
	op->again = send_make;
	op_mark_busy(op);
	send_make(op);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	make(req, parent, name, (mode & 07777) | S_IFREG, 0, NULL, fi);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev)
{
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	make(req, parent, name, mode, rdev, NULL, NULL);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, (mode & 07777) | S_IFDIR, 0, NULL, NULL);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name)
{
	if (strlen(target) > 4095)
		fuse_reply_err(req, ENAMETOOLONG);
	else
		make(req, parent, name, S_IFLNK | 0777, 0, target, NULL);
}

static void send_link(struct op *op)
{
	OP_CALL(op, fs_link, on_made, .fh = node_fh(op->n2),
		.dir = node_fh(op->n), .name = op->name, .uid = op->uid,
		.gid = op->gid, .groups = op_groups(op));
}

/* Dirty data belongs to the object, whatever names it has; but the answer's
 * attributes come from the server. */
static void link_flushed(struct node *n, int status, void *arg)
{
	struct op *op = arg;

	(void)n;
	(void)status; /* fsync and close tell of it */
	op_mark_busy(op);
	send_link(op);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
	     const char *name)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino), *p;
	struct op *op;

	p = n ? node_of(m, req, newparent) : NULL;
	if (!p || special_refuses(req, p, name))
		return;
	if (n->special) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	op = op_named(m, req, p, n, name, NULL);
	if (!op)
		return;
	op->again = send_link;
	flush_node(m, n, link_flushed, op);
}

/* ---- removing ---- */

/*
 * What is about to lose this name.  If it is not open we say so, and until the
 * answer is here an open must ask the server, which may have removed it.
 */
static const struct node *doomed(struct op *op, struct node *dir, const char *name)
{
	struct name *e = name_get(&op->m->nodes, dir, name);
	struct node *n = e ? e->child : NULL;

	if (n && !n->nopen && n->seq && !op->doomed) {
		n->refs++;
		op->doomed = n;
		op->doomed_seq = n->seq;
		n->seq = 0;
	}
	return n;
}

/* The server keeps it after all (or again): go on from where we were. */
static void not_doomed(struct op *op)
{
	if (op->doomed && !op->doomed->seq)
		op->doomed->seq = op->doomed_seq;
}

static void send_remove(struct op *op)
{
	const struct node *n = doomed(op, op->n, op->name);

	OP_CALL(op, fs_remove, on_removed, .dir = node_fh(op->n),
		.name = op->name, .rmdir = (uint8_t)op->set,
		.hint = n ? node_fh(n) : (wire_blob){ 0 },
		.open = n && n->nopen, .uid = op->uid, .gid = op->gid,
		.groups = op_groups(op));
}

/* An object lost a name. */
void lost_name(struct mnt *m, wire_blob fh, wire_blob attr, uint8_t lease,
	       uint64_t seq)
{
	struct node *n = fh.len ? node_by_fh(&m->nodes, fh.p, fh.len) : NULL;
	struct stat st;

	if (!n && fh.len && seq)
		forget_fh(m, fh, seq);
	if (!n || attr_get(attr, &st))
		return;
	/* No number: the server does not keep it for us. */
	if (seq)
		node_grant(n, &st, (enum lease_level)lease, seq);
	else
		n->lease = LEASE_NONE;
	n->st.st_nlink = st.st_nlink;
	n->refs++;
	node_discard(m, n);
	n->refs--;
	node_tidy(m, n);
}

void on_removed(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_removed m;

	if (status)
		not_doomed(op);
	if (op_try_groups(op, status))
		return;
	if (!status)
		status = REPLY_OF(msg, fs_removed, &m);
	if (!status) {
		name_drop(&op->m->nodes, name_get(&op->m->nodes, op->n, op->name));
		lost_name(op->m, m.fh, m.attr, m.lease, m.seq);
		take_dir(op->n, m.dir_attr, m.dir_lease, m.dir_seq);
	}
	op_end(op, status);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
			int rmdir)
{
	struct mnt *m = mnt_of(req);
	struct node *p = node_of(m, req, parent);
	struct op *op;

	if (!p || special_refuses(req, p, name))
		return;
	op = op_named(m, req, p, NULL, name, NULL);
	if (!op)
		return;
	op->set = rmdir;
	op->again = send_remove;
	op_mark_busy(op);
	send_remove(op);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, 0);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, 1);
}

/* ---- renaming ---- */

static void send_rename(struct op *op)
{
	const struct node *n = op->flags & RENAME_EXCHANGE ?
				       NULL :
				       doomed(op, op->n2, op->name2);

	OP_CALL(op, fs_rename, on_renamed, .dir = node_fh(op->n),
		.name = op->name, .to_dir = node_fh(op->n2),
		.to_name = op->name2, .flags = (uint32_t)op->flags,
		.hint = n ? node_fh(n) : (wire_blob){ 0 },
		.open = n && n->nopen, .uid = op->uid, .gid = op->gid,
		.groups = op_groups(op));
}

static void take_object(struct mnt *m, wire_blob fh, wire_blob attr,
			uint8_t lease, uint64_t seq, struct node **ret)
{
	struct stat st;

	*ret = NULL;
	if (!fh.len || attr_get(attr, &st))
		return;
	*ret = node_by_fh(&m->nodes, fh.p, fh.len);
	if (*ret)
		node_grant(*ret, &st, (enum lease_level)lease, seq);
	else
		forget_fh(m, fh, seq);
}

/* The kernel moves its cached names along without asking. */
static void move_names(struct op *op, struct node *moved, struct node *back)
{
	struct nodes *t = &op->m->nodes;

	name_drop(t, name_get(t, op->n, op->name));
	name_drop(t, name_get(t, op->n2, op->name2));
	if (moved)
		(void)name_set(t, op->n2, op->name2, moved);
	if (back)
		(void)name_set(t, op->n, op->name, back);
}

void on_renamed(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_renamed m;
	struct node *moved, *back = NULL;

	if (status)
		not_doomed(op);
	if (op_try_groups(op, status))
		return;
	if (!status)
		status = REPLY_OF(msg, fs_renamed, &m);
	if (!status) {
		take_object(op->m, m.fh, m.attr, m.lease, m.seq, &moved);
		if (op->flags & RENAME_EXCHANGE)
			take_object(op->m, m.gone, m.gone_attr, m.gone_lease,
				    m.gone_seq, &back);
		move_names(op, moved, back);
		if (!(op->flags & RENAME_EXCHANGE))
			lost_name(op->m, m.gone, m.gone_attr, m.gone_lease,
				  m.gone_seq);
		take_dir(op->n, m.dir_attr, m.dir_lease, m.dir_seq);
		take_dir(op->n2, m.to_dir_attr, m.to_dir_lease, m.to_dir_seq);
	}
	op_end(op, status);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t newparent, const char *newname, unsigned int flags)
{
	struct mnt *m = mnt_of(req);
	struct node *p = node_of(m, req, parent), *q;
	struct op *op;

	q = p ? node_of(m, req, newparent) : NULL;
	if (!q || special_refuses(req, p, name) || special_refuses(req, q, newname))
		return;
	op = op_named(m, req, p, q, name, newname);
	if (!op)
		return;
	op->flags = (int)flags;
	op->again = send_rename;
	op_mark_busy(op);
	send_rename(op);
}

/* ---- symbolic links ---- */

static void on_target(struct op *op, int status, const struct rpc_msg *msg)
{
	struct msg_fs_target m;

	if (!status)
		status = REPLY_OF(msg, fs_target, &m);
	if (status) {
		op_end(op, status);
		return;
	}
	fuse_reply_readlink(op->req, m.target);
	op_done(op);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mnt *m = mnt_of(req);
	struct node *n = node_of(m, req, ino);
	struct op *op;

	if (!n)
		return;
	op = op_new(m, req, n, NULL);
	if (op)
		OP_CALL(op, fs_readlink, on_target, .fh = node_fh(n));
}
