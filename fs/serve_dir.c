/*
 * serve_dir.c -- reading directories.
 *
 * The cookie is the file system's own offset.  With `plus`, an entry whose
 * object another host writes at this moment is sent without attributes rather
 * than recalled: a listing must not disturb a whole build.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server.h"

#define LISTING_MAX (256u << 10)

struct raw_dirent {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

static void describe(struct sreq *q, struct obj *dir, const char *name,
		     struct msg_fs_dirent *e, struct given *g)
{
	struct stat st;
	struct obj *o;

	if (export_child(q->s->x, dir, name, &o, &st))
		return;
	if (lease_free_for(&o->lease, &q->h->lease, LEASE_READ) &&
	    !sreq_give(q, o, &st, LEASE_READ, g)) {
		e->fh = g->fh;
		e->attr = g->attr;
		e->lease = (uint8_t)g->lease;
		e->seq = g->seq;
		e->cache = lease_cache_name(&dir->lease, &q->h->lease, name);
	}
	obj_put(q->s->x, o);
}

static bool hidden(const struct sreq *q, const struct obj *dir, const char *name)
{
	return dir == export_root(q->s->x) && strcmp(name, EXPORT_HIDDEN) == 0;
}

static void put_entry(struct sreq *q, struct obj *dir, const struct raw_dirent *d,
		      bool plus, struct wire_writer *w)
{
	struct msg_fs_dirent e = { .name = d->name,
				   .cookie = (uint64_t)d->off,
				   .ino = d->ino,
				   .mode = (uint32_t)d->type << 12 };
	struct given g = { 0 };

	if (hidden(q, dir, d->name))
		return;
	if (plus && strcmp(d->name, ".") != 0 && strcmp(d->name, "..") != 0)
		describe(q, dir, d->name, &e, &g);
	msg_fs_dirent_put(w, &e);
}

int serve_fs_readdir(struct sreq *q, const struct msg_fs_readdir *m)
{
	size_t max = m->max < 1024 ? 1024 : m->max > 32768 ? 32768 : m->max;
	struct wire_writer w;
	struct obj *dir;
	uint8_t *out;
	char names[32768];
	long n;
	int fd, r = sreq_obj(q, m->fh, &dir);

	if (!r)
		r = S_ISDIR(dir->mode) ? obj_io_fd(q->s->x, dir, false, &fd) :
					 -ENOTDIR;
	if (!r && m->uid) {
		cred_enter(m->uid, m->gid, m->groups);
		r = faccessat(fd, ".", R_OK, AT_EACCESS) ? -errno : 0;
		cred_leave();
	}
	if (!r && lseek(fd, (off_t)m->cookie, SEEK_SET) < 0)
		r = -errno;
	if (r)
		return r;
	n = syscall(SYS_getdents64, fd, names, max);
	if (n < 0)
		return -errno;
	out = malloc(LISTING_MAX);
	if (!out)
		return -ENOMEM;
	w = wire_writer(out, LISTING_MAX);
	for (long at = 0; at < n;) {
		const struct raw_dirent *d = (const void *)(names + at);

		put_entry(q, dir, d, m->plus, &w);
		at += d->reclen;
	}
	{
		struct rpc_out o = { .code = MSG_fs_dirents,
				     .payload = out,
				     .payload_len = w.len,
				     .free_payload = free,
				     .free_arg = out };
		struct msg_fs_dirents a = { .end = n == 0 };
		uint8_t body[16];

		o.body = body;
		r = msg_fs_dirents_encode(&a, body, sizeof(body), &o.len);
		if (!r)
			r = wire_write_end(&w);
		if (r) {
			free(out);
			return r;
		}
		return sreq_answer(q, 0, &o);
	}
}
