/* serve_attr.c -- attributes, extended attributes, space. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "server.h"

#define XATTR_MAX 65536

static int answer_attrs(struct sreq *q, struct obj *o, enum lease_level want)
{
	struct given g;
	struct stat st;
	int r = obj_stat(q->s->x, o, &st);

	if (!r)
		r = sreq_give(q, o, &st, want, &g);
	if (r)
		return r;
	return ANSWER(q, fs_attrs, .attr = g.attr, .lease = (uint8_t)g.lease,
		      .seq = g.seq, .tight = export_tight(q->s->x));
}

static enum lease_level level_of(uint8_t want)
{
	return want <= LEASE_WRITE ? (enum lease_level)want : LEASE_READ;
}

int serve_fs_getattr(struct sreq *q, const struct msg_fs_getattr *m)
{
	enum lease_level want = level_of(m->want);
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r)
		return r;
	if (!sreq_need(q, o, want == LEASE_WRITE ? LEASE_WRITE : LEASE_READ))
		return SERVE_PARK;
	return answer_attrs(q, o, want);
}

/* ---- changing ---- */

/* By path of the descriptor, which may be O_PATH: a fifo or device is never
 * opened. */
static void proc_path(int fd, char *buf, size_t cap)
{
	snprintf(buf, cap, "/proc/self/fd/%d", fd);
}

static int set_mode(int fd, mode_t mode)
{
	char path[64];

	proc_path(fd, path, sizeof(path));
	return chmod(path, mode & 07777) ? -errno : 0;
}

static int set_times(int fd, const struct msg_fs_setattr *m)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT },
				 { .tv_nsec = UTIME_OMIT } };
	char path[64];

	if (m->valid & SET_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	else if (m->valid & SET_ATIME)
		t[0] = (struct timespec){ m->atime, (long)(m->atime_ns % 1000000000) };
	if (m->valid & SET_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	else if (m->valid & SET_MTIME)
		t[1] = (struct timespec){ m->mtime, (long)(m->mtime_ns % 1000000000) };
	if (utimensat(fd, "", t, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOENT)
		return -errno;
	proc_path(fd, path, sizeof(path));
	return utimensat(AT_FDCWD, path, t, 0) ? -errno : 0;
}

static int set_size(struct sreq *q, struct obj *o, const struct msg_fs_setattr *m)
{
	struct stat st;
	int io, r = obj_io_fd(q->s->x, o, true, &io);

	if (r)
		return r;
	if (m->size > INT64_MAX)
		return -EFBIG;
	if (ftruncate(io, (off_t)m->size))
		return -errno;
	o->changes++;
	if (m->uid && fstat(io, &st) == 0 && st.st_mode & (S_ISUID | S_ISGID))
		r = set_mode(io, st.st_mode & ~(mode_t)(S_ISUID | S_ISGID));
	return r;
}

static int apply(struct sreq *q, struct obj *o, const struct msg_fs_setattr *m)
{
	uid_t uid = m->valid & SET_UID ? m->owner : (uid_t)-1;
	gid_t gid = m->valid & SET_GID ? m->group : (gid_t)-1;
	int fd, r = obj_path_fd(q->s->x, o, &fd);

	if (!r && m->valid & SET_SIZE)
		r = set_size(q, o, m);
	if (r || !(m->valid & ~(uint32_t)SET_SIZE))
		return r;
	/* The rest is a matter of ownership, and size was one of opening. */
	cred_enter(m->uid, m->gid, m->groups);
	if (m->valid & (SET_UID | SET_GID) &&
	    fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		r = -errno;
	if (!r && m->valid & SET_MODE)
		r = set_mode(fd, m->mode);
	if (!r && m->valid & (SET_ATIME | SET_MTIME | SET_ATIME_NOW | SET_MTIME_NOW))
		r = set_times(fd, m);
	cred_leave();
	return r;
}

int serve_fs_setattr(struct sreq *q, const struct msg_fs_setattr *m)
{
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r)
		return r;
	if (!sreq_need(q, o, LEASE_WRITE))
		return SERVE_PARK;
	r = apply(q, o, m);
	return r ? r : answer_attrs(q, o, level_of(m->want));
}

int serve_fs_statfs(struct sreq *q, const struct msg_fs_statfs *m)
{
	struct statvfs v;
	struct obj *o;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_path_fd(q->s->x, o, &fd);
	if (!r && fstatvfs(fd, &v))
		r = -errno;
	if (r)
		return r;
	return ANSWER(q, fs_space, .bsize = (uint32_t)v.f_frsize,
		      .blocks = v.f_blocks, .bfree = v.f_bfree,
		      .bavail = v.f_bavail, .files = v.f_files,
		      .ffree = v.f_ffree, .namemax = FS_NAME_MAX);
}

/* ---- extended attributes ---- */

static int xattr_answer(struct sreq *q, ssize_t n, void *value, bool with_value)
{
	struct msg_fs_xattr_value a = { .size = (uint32_t)n };
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_fs_xattr_value, .body = body };

	(void)msg_fs_xattr_value_encode(&a, body, sizeof(body), &o.len);
	if (with_value) {
		o.payload = value;
		o.payload_len = (size_t)n;
	}
	return sreq_answer(q, 0, &o);
}

static int xattr_read(struct sreq *q, const struct msg_fs_xattr *m,
		      const char *path)
{
	char value[XATTR_MAX];
	size_t cap = m->size < XATTR_MAX ? m->size : XATTR_MAX;
	ssize_t n;
	int err;

	cred_enter(m->uid, m->gid, m->groups);
	n = m->op == XATTR_GET ? getxattr(path, m->name, cap ? value : NULL, cap) :
				 listxattr(path, cap ? value : NULL, cap);
	err = errno;
	cred_leave();
	return n < 0 ? -err : xattr_answer(q, n, value, cap != 0);
}

/*
 * Symbolic links have none that a user may set, and the path of a link's
 * descriptor would lead to its target's.
 */
int serve_fs_xattr(struct sreq *q, const struct msg_fs_xattr *m)
{
	char path[64];
	struct obj *o;
	int fd, err, r = sreq_obj(q, m->fh, &o);

	if (!r && S_ISLNK(o->mode))
		return m->op == XATTR_LIST ? xattr_answer(q, 0, NULL, false) :
		       m->op == XATTR_GET  ? -ENODATA :
					     -EPERM;
	if (!r)
		r = obj_path_fd(q->s->x, o, &fd);
	if (r)
		return r;
	proc_path(fd, path, sizeof(path));
	if (m->op == XATTR_GET || m->op == XATTR_LIST)
		return xattr_read(q, m, path);
	if (!sreq_need(q, o, LEASE_WRITE))
		return SERVE_PARK;
	cred_enter(m->uid, m->gid, m->groups);
	r = m->op == XATTR_SET ?
		    setxattr(path, m->name, q->m.payload, q->m.payload_len,
			     (int)m->flags) :
		    removexattr(path, m->name);
	err = errno;
	cred_leave();
	return r ? -err : xattr_answer(q, 0, NULL, false);
}
