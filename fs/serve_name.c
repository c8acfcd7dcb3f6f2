/*
 * serve_name.c -- operations on names.
 *
 * Each one finds the objects, asks for what it needs of other holders, and
 * only when nothing is in the way does it act, in one go.  An operation that
 * a client sends again because the server restarted under it may find its own
 * work done: it then says so instead of failing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server.h"

struct place {
	struct obj *dir;
	int fd;
	const char *name;
};

static int find_place(struct sreq *q, wire_blob dir, const char *name,
		      struct place *ret)
{
	int r = sreq_obj(q, dir, &ret->dir);

	if (!r && !S_ISDIR(ret->dir->mode))
		r = -ENOTDIR;
	if (!r)
		r = export_name_ok(q->s->x, ret->dir, name);
	if (!r)
		r = obj_path_fd(q->s->x, ret->dir, &ret->fd);
	ret->name = name;
	return r;
}

/* What the name stands for now; NULL if for nothing. */
static int find_child(struct sreq *q, struct place *p, struct obj **ret,
		      struct stat *st)
{
	int r = export_child(q->s->x, p->dir, p->name, ret, st);

	if (r == -ENOENT)
		*ret = NULL;
	else if (!r)
		sreq_keep(q, *ret);
	return r == -ENOENT ? 0 : r;
}

/* The directory's new attributes, for the answer. */
static int give_dir(struct sreq *q, struct obj *dir, struct given *ret)
{
	struct stat st;
	int r = obj_stat(q->s->x, dir, &st);

	return r ? r : sreq_give(q, dir, &st, LEASE_READ, ret);
}

static int answer_entry(struct sreq *q, struct place *p, struct obj *o,
			enum lease_level want, bool changed)
{
	struct given g = { 0 }, d = { 0 };
	struct stat st;
	bool cache = lease_cache_name(&p->dir->lease, &q->h->lease, p->name);
	int r = 0;

	if (o) {
		r = obj_stat(q->s->x, o, &st);
		if (!r)
			r = sreq_give(q, o, &st, want, &g);
	}
	if (!r && changed)
		r = give_dir(q, p->dir, &d);
	if (r)
		return r;
	return ANSWER(q, fs_entry, .fh = g.fh, .attr = g.attr,
		      .lease = (uint8_t)g.lease, .seq = o ? g.seq : q->s->leases.seq,
		      .cache = cache, .tight = export_tight(q->s->x),
		      .dir_attr = d.attr, .dir_lease = (uint8_t)d.lease,
		      .dir_seq = d.seq);
}

static int may_search(const struct place *p, uint32_t uid, uint32_t gid,
		      wire_blob groups)
{
	int r;

	if (uid == 0)
		return 0;
	cred_enter(uid, gid, groups);
	r = faccessat(p->fd, ".", X_OK, AT_EACCESS) ? -errno : 0;
	cred_leave();
	return r;
}

int serve_fs_lookup(struct sreq *q, const struct msg_fs_lookup *m)
{
	struct place p;
	struct stat st;
	struct obj *o;
	int r = find_place(q, m->dir, m->name, &p);

	/* Hidden, not forbidden. */
	if (r == -EPERM)
		return -ENOENT;
	if (!r)
		r = may_search(&p, m->uid, m->gid, m->groups);
	if (!r)
		r = find_child(q, &p, &o, &st);
	if (r)
		return r;
	if (o && !sreq_need(q, o, LEASE_READ))
		return SERVE_PARK;
	return answer_entry(q, &p, o, LEASE_READ, false);
}

/* ---- making ---- */

static int make_regular(struct sreq *q, const struct place *p,
			const struct msg_fs_make *m, struct obj **ret)
{
	struct stat st;
	int fd, err;

	cred_enter(m->uid, m->gid, m->groups);
	fd = openat(p->fd, p->name,
		    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    m->mode & 07777);
	err = errno;
	cred_leave();
	if (fd < 0)
		return -err;
	return export_of_fd(q->s->x, fd, ret, &st);
}

static int make_other(struct sreq *q, const struct place *p,
		      const struct msg_fs_make *m, struct obj **ret)
{
	int r, err;

	cred_enter(m->uid, m->gid, m->groups);
	if (S_ISDIR(m->mode))
		r = mkdirat(p->fd, p->name, m->mode & 07777);
	else if (S_ISLNK(m->mode))
		r = symlinkat(m->target, p->fd, p->name);
	else
		r = mknodat(p->fd, p->name, m->mode, (dev_t)m->rdev);
	err = errno;
	cred_leave();
	return r ? -err : export_child(q->s->x, p->dir, p->name, ret, NULL);
}

/* It is there already: right for a plain open(O_CREAT), and for a repetition
 * of what was done before the server restarted. */
static int make_existing(struct sreq *q, struct place *p, struct obj *o,
			 const struct msg_fs_make *m)
{
	bool plain = S_ISREG(m->mode) && !(m->flags & O_EXCL);
	int fd, r;

	if (!(plain || q->m.replayed) || (m->mode & S_IFMT) != (o->mode & S_IFMT))
		return -EEXIST;
	if (!sreq_need(q, o, m->flags & O_TRUNC ? LEASE_WRITE : LEASE_READ))
		return SERVE_PARK;
	if (m->flags & O_TRUNC && S_ISREG(o->mode)) {
		r = obj_io_fd(q->s->x, o, true, &fd);
		if (!r && ftruncate(fd, 0))
			r = -errno;
		if (r)
			return r;
		o->changes++;
	}
	return answer_entry(q, p, o, LEASE_READ, false);
}

int serve_fs_make(struct sreq *q, const struct msg_fs_make *m)
{
	struct obj *o = NULL;
	struct place p;
	struct stat st;
	int r = find_place(q, m->dir, m->name, &p);

	if (!r)
		r = find_child(q, &p, &o, &st);
	if (r)
		return r;
	if (!sreq_need_name(q, p.dir, m->name))
		return SERVE_PARK;
	if (o)
		return make_existing(q, &p, o, m);
	r = S_ISREG(m->mode) ? make_regular(q, &p, m, &o) :
			       make_other(q, &p, m, &o);
	if (r)
		return r;
	sreq_keep(q, o);
	sreq_touched(q, p.dir);
	return answer_entry(q, &p, o,
			    S_ISREG(m->mode) ? LEASE_WRITE : LEASE_READ, true);
}

int serve_fs_link(struct sreq *q, const struct msg_fs_link *m)
{
	struct obj *o, *old = NULL;
	struct place p;
	struct stat st;
	int fd, r = find_place(q, m->dir, m->name, &p);

	if (!r)
		r = sreq_obj(q, m->fh, &o);
	if (!r)
		r = find_child(q, &p, &old, &st);
	if (r)
		return r;
	if (old == o && q->m.replayed)
		return answer_entry(q, &p, o, LEASE_READ, true);
	if (old)
		return -EEXIST;
	r = sreq_need_name(q, p.dir, m->name) ? 0 : SERVE_PARK;
	if (!sreq_need(q, o, LEASE_WRITE))
		r = SERVE_PARK;
	if (!r)
		r = obj_path_fd(q->s->x, o, &fd);
	if (r)
		return r;
	if (o->orphan)
		return -ENOENT; /* as of a file without names */
	r = may_search(&p, m->uid, m->gid, m->groups);
	if (!r && m->uid) {
		cred_enter(m->uid, m->gid, m->groups);
		r = faccessat(p.fd, ".", W_OK | X_OK, AT_EACCESS) ? -errno : 0;
		cred_leave();
	}
	/* By descriptor it needs a right that users do not have. */
	if (!r && linkat(fd, "", p.fd, m->name, AT_EMPTY_PATH))
		r = -errno;
	if (r)
		return r;
	sreq_touched(q, p.dir);
	return answer_entry(q, &p, o, LEASE_READ, true);
}

/* ---- removing ---- */

/*
 * Does anybody still use the object whose last name goes?  Others do if they
 * hold it, since they may have it open without having said so; the asker does
 * if it says so, or if it does not know what it removes.
 */
static bool in_use(const struct sreq *q, const struct obj *o, wire_blob hint,
		   bool open)
{
	if (o->pins || !locks_none(o->locks))
		return true;
	list_each(h, &o->lease.holds, struct lease_hold, of_obj) {
		if (h->holder != &q->h->lease)
			return true;
		if (open || hint.len != o->len ||
		    memcmp(hint.p, o->fh, o->len) != 0)
			return true;
	}
	return false;
}

static int before_last_name(struct sreq *q, struct obj *o, const struct stat *st,
			    wire_blob hint, bool open)
{
	if (S_ISDIR(o->mode) || st->st_nlink > 1 || !in_use(q, o, hint, open))
		return 0;
	return export_orphan(q->s->x, o);
}

/* After its name went: what the asker may know of it. */
static int give_gone(struct sreq *q, struct obj *o, struct stat *st,
		     struct given *ret)
{
	/* A directory, or a file that nobody uses, cannot be looked at. */
	if (obj_stat(q->s->x, o, st))
		st->st_nlink = 0;
	if (S_ISDIR(o->mode))
		st->st_nlink = 0;
	if (st->st_nlink == 0 && !o->orphan) {
		struct lease_hold *h = lease_hold_of(&o->lease, &q->h->lease);

		ret->fh = (wire_blob){ .p = o->fh, .len = o->len };
		ret->attr = attr_put(st, ret->attr_room);
		ret->lease = LEASE_NONE;
		ret->seq = 0; /* nothing is held any more */
		if (h)
			lease_drop(h);
		export_gone(q->s->x, o);
		return 0;
	}
	return sreq_give(q, o, st, LEASE_READ, ret);
}

int serve_fs_remove(struct sreq *q, const struct msg_fs_remove *m)
{
	struct given g = { 0 }, d = { 0 };
	struct obj *o = NULL;
	struct place p;
	struct stat st;
	int err, r = find_place(q, m->dir, m->name, &p);

	if (!r)
		r = find_child(q, &p, &o, &st);
	if (!r && !o && !q->m.replayed)
		r = -ENOENT;
	if (r)
		return r;
	if (o) {
		r = sreq_need_name(q, p.dir, m->name) ? 0 : SERVE_PARK;
		if (!sreq_need(q, o, LEASE_WRITE) || r)
			return SERVE_PARK;
		r = before_last_name(q, o, &st, m->hint, m->open);
		if (r)
			return r;
		cred_enter(m->uid, m->gid, m->groups);
		r = unlinkat(p.fd, m->name, m->rmdir ? AT_REMOVEDIR : 0);
		err = errno;
		cred_leave();
		if (r && o->orphan && st.st_nlink == 1)
			export_unorphan(q->s->x, o);
		if (r)
			return -err;
		sreq_touched(q, p.dir);
		r = give_gone(q, o, &st, &g);
	}
	if (!r)
		r = give_dir(q, p.dir, &d);
	if (r)
		return r;
	return ANSWER(q, fs_removed, .fh = g.fh, .attr = g.attr,
		      .lease = (uint8_t)g.lease, .seq = g.seq,
		      .dir_attr = d.attr, .dir_lease = (uint8_t)d.lease,
		      .dir_seq = d.seq);
}

/* ---- renaming ---- */

struct renaming {
	struct place from, to;
	struct obj *o, *old; /* old: what the new name stood for, or NULL */
	struct stat st, old_st;
};

static int rename_find(struct sreq *q, const struct msg_fs_rename *m,
		       struct renaming *ret)
{
	int r = find_place(q, m->dir, m->name, &ret->from);

	if (!r)
		r = find_place(q, m->to_dir, m->to_name, &ret->to);
	if (!r)
		r = find_child(q, &ret->from, &ret->o, &ret->st);
	if (!r)
		r = find_child(q, &ret->to, &ret->old, &ret->old_st);
	/* Descriptors of places are borrowed; the second may have cost the first. */
	if (!r)
		r = obj_path_fd(q->s->x, ret->from.dir, &ret->from.fd);
	return r;
}

static bool rename_free(struct sreq *q, const struct renaming *n)
{
	bool ok = sreq_need_name(q, n->from.dir, n->from.name);

	ok = sreq_need_name(q, n->to.dir, n->to.name) && ok;
	/* A directory's own times: as with other changes inside, nobody waits. */
	if (S_ISDIR(n->o->mode))
		sreq_touched(q, n->o);
	else
		ok = sreq_need(q, n->o, LEASE_WRITE) && ok;
	if (n->old)
		ok = sreq_need(q, n->old, LEASE_WRITE) && ok;
	return ok;
}

static int rename_do(struct sreq *q, const struct renaming *n,
		     const struct msg_fs_rename *m)
{
	bool replaces = n->old && n->old != n->o && !(m->flags & RENAME_EXCHANGE);
	int r = 0, err;

	if (replaces && !(m->flags & RENAME_NOREPLACE))
		r = before_last_name(q, n->old, &n->old_st, m->hint, m->open);
	if (r)
		return r;
	cred_enter(m->uid, m->gid, m->groups);
	r = renameat2(n->from.fd, n->from.name, n->to.fd, n->to.name, m->flags);
	err = errno;
	cred_leave();
	if (r && replaces && n->old->orphan && n->old_st.st_nlink == 1)
		export_unorphan(q->s->x, n->old);
	return r ? -err : 0;
}

static int rename_answer(struct sreq *q, struct renaming *n,
			 const struct msg_fs_rename *m)
{
	struct given g = { 0 }, old = { 0 }, d = { 0 }, td = { 0 };
	int r = obj_stat(q->s->x, n->o, &n->st);

	if (!r)
		r = sreq_give(q, n->o, &n->st, LEASE_READ, &g);
	if (!r && n->old && n->old != n->o) {
		if (m->flags & RENAME_EXCHANGE) {
			r = obj_stat(q->s->x, n->old, &n->old_st);
			if (!r)
				r = sreq_give(q, n->old, &n->old_st, LEASE_READ,
					      &old);
		} else {
			r = give_gone(q, n->old, &n->old_st, &old);
		}
	}
	if (!r)
		r = give_dir(q, n->from.dir, &d);
	if (!r)
		r = give_dir(q, n->to.dir, &td);
	if (r)
		return r;
	lease_force_name(&n->to.dir->lease, &q->h->lease, n->to.name);
	if (m->flags & RENAME_EXCHANGE)
		lease_force_name(&n->from.dir->lease, &q->h->lease, n->from.name);
	return ANSWER(q, fs_renamed, .fh = g.fh, .attr = g.attr,
		      .lease = (uint8_t)g.lease, .seq = g.seq, .gone = old.fh,
		      .gone_attr = old.attr, .gone_lease = (uint8_t)old.lease,
		      .gone_seq = old.seq, .dir_attr = d.attr,
		      .dir_lease = (uint8_t)d.lease, .dir_seq = d.seq,
		      .to_dir_attr = td.attr, .to_dir_lease = (uint8_t)td.lease,
		      .to_dir_seq = td.seq);
}

int serve_fs_rename(struct sreq *q, const struct msg_fs_rename *m)
{
	struct renaming n = { 0 };
	int r = rename_find(q, m, &n);

	if (r)
		return r;
	if (!n.o) {
		if (!q->m.replayed || !n.old)
			return -ENOENT;
		n.o = n.old; /* done before the restart */
		return rename_answer(q, &n, m);
	}
	if (!rename_free(q, &n))
		return SERVE_PARK;
	r = rename_do(q, &n, m);
	if (r)
		return r;
	sreq_touched(q, n.from.dir);
	sreq_touched(q, n.to.dir);
	return rename_answer(q, &n, m);
}

int serve_fs_readlink(struct sreq *q, const struct msg_fs_readlink *m)
{
	char target[4097];
	struct obj *o;
	ssize_t n;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_path_fd(q->s->x, o, &fd);
	if (r)
		return r;
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	{
		struct msg_fs_target a = { .target = target };
		uint8_t body[sizeof(target) + 16];
		struct rpc_out out = { .code = MSG_fs_target, .body = body };

		r = msg_fs_target_encode(&a, body, sizeof(body), &out.len);
		return r ? r : sreq_answer(q, 0, &out);
	}
}
