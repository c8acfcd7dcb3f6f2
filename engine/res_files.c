/*
 * res_files.c -- descriptors: DESC records for the descriptions of the whole
 * tree, one FDS record per process that says which number leads where.
 *
 * At the target every description is made once, in the mover, and the new
 * processes take theirs from there by pidfd_getfd (blob.c): so what was
 * shared is shared again.
 */
#include "desc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "new.h"
#include "report.h"

#define DESCS_MAX 65536u
#define PIPE_MAX  (1u << 20)

#define KEPT_FLAGS                                                          \
	((uint32_t)(O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | \
		    O_DIRECT | O_NOATIME | O_DIRECTORY | O_PATH))
#define SETFL_FLAGS ((uint32_t)(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME))

/* ---- source ---- */

int fds_collect(struct eng *e, struct eng_report *rep)
{
	SCOPED(free) pid_t *pids = calloc(e->np, sizeof(*pids));
	unsigned n = 0;
	int r;

	if (!pids)
		return -ENOMEM;
	for (unsigned i = 0; i < e->np; i++)
		if (!e->p[i].m.zombie)
			pids[n++] = e->p[i].m.pid;
	fds_free(e->descs);
	e->descs = NULL;
	r = descs_find(pids, n, &e->descs);
	return r ? r : descs_judge(e->descs, &e->o, rep);
}

int fds_check(const pid_t *pids, unsigned n, const struct eng_opts *o,
	      struct eng_report *rep)
{
	struct desc_table *t;
	int r = descs_find(pids, n, &t);

	if (r)
		return r;
	r = descs_judge(t, o, rep);
	fds_free(t);
	return r;
}

/* A descriptor of the same description in the mover. */
static int copy_of(const struct desc *d)
{
	int pidfd = (int)syscall(SYS_pidfd_open, d->i.pid, 0);
	int fd;

	if (pidfd < 0)
		return -errno;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, d->i.fd, 0);
	if (fd < 0)
		fd = -errno;
	close(pidfd);
	return fd;
}

static int caller_blob(struct eng *e, const struct desc *d,
		       struct img_writer *w)
{
	uint8_t blob[ENG_FD_BLOB_MAX];
	size_t len = 0;
	int copy, r;

	if (!d->caller) {
		img_blob(w, "", 0);
		return 0;
	}
	copy = d->i.kind == ENG_FD_PATH ? -1 : copy_of(d);
	if (copy < 0 && d->i.kind != ENG_FD_PATH)
		return copy;
	r = e->o.fds->fd_save(e->o.fds->arg, &d->i, copy, blob, sizeof(blob),
			      &len);
	if (copy >= 0)
		close(copy);
	if (r == 0 && len <= sizeof(blob))
		img_blob(w, blob, len);
	return r;
}

static int save_desc(struct eng *e, const struct desc *d, struct img_writer *w)
{
	int r;

	img_begin(w);
	img_u32(w, d->i.kind);
	img_u32(w, d->caller);
	img_i32(w, d->i.pid);
	img_i32(w, d->i.fd);
	img_u32(w, d->i.flags);
	img_u64(w, d->i.pos);
	img_u64(w, d->i.dev);
	img_u64(w, d->i.ino);
	img_u64(w, d->i.rdev);
	img_u64(w, d->i.size);
	img_u32(w, d->i.mode);
	img_u64(w, d->i.mtime_ns);
	img_str(w, d->i.path);
	img_u32(w, d->i.deleted);
	img_u32(w, d->i.holders);
	for (int i = 0; i < DESC_EXTRA; i++)
		img_u64(w, d->x[i]);
	r = caller_blob(e, d, w);
	return r ? r : img_send(w, IMG_DESC, 0);
}

/* tee copies the contents and leaves them where they are. */
static int save_pipe(struct eng *e, uint32_t number, struct img_writer *w)
{
	struct desc *d = NULL;
	SCOPED(free) uint8_t *data = malloc(PIPE_MAX);
	SCOPED(close) int from = -1;
	int own[2] = { -1, -1 }, size, r = 0;
	ssize_t n = 0;

	for (unsigned i = 0; i < e->descs->nd && !d; i++) {
		struct desc *x = &e->descs->d[i];

		if (x->i.kind == ENG_FD_PIPE_IN && x->x[0] == number &&
		    (x->i.flags & O_ACCMODE) == O_RDONLY)
			d = x;
	}
	if (!d || !data)
		return d ? -ENOMEM : -EINVAL;
	from = copy_of(d);
	if (from < 0)
		return from;
	size = fcntl(from, F_GETPIPE_SZ);
	if (size < 0 || pipe2(own, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	if (fcntl(own[1], F_SETPIPE_SZ, size) < 0)
		r = -errno;
	if (r == 0)
		n = tee(from, own[1], PIPE_MAX, SPLICE_F_NONBLOCK);
	if (n < 0 && errno != EAGAIN)
		r = -errno;
	if (r == 0 && n > 0 && read(own[0], data, (size_t)n) != n)
		r = -EIO;
	close(own[0]);
	close(own[1]);
	if (r)
		return r;
	img_begin(w);
	img_u32(w, number);
	img_u32(w, (uint32_t)size);
	img_blob(w, data, n > 0 ? (size_t)n : 0);
	return img_send(w, IMG_PIPE, 0);
}

int fds_save_descs(struct eng *e, struct img_writer *w, struct eng_report *rep)
{
	int r = fds_collect(e, rep);

	for (unsigned i = 0; r == 0 && i < e->descs->nd; i++)
		r = save_desc(e, &e->descs->d[i], w);
	for (uint32_t i = 0; r == 0 && i < e->descs->npipes; i++)
		r = save_pipe(e, i, w);
	return r;
}

static int fds_save(struct eng *e, struct proc *p, struct img_writer *w,
		    struct eng_report *rep)
{
	struct desc_table *t = e->descs;
	uint32_t n = 0, nw = 0;

	(void)rep;
	for (unsigned i = 0; i < t->nh; i++)
		n += t->h[i].pid == p->m.pid;
	for (unsigned i = 0; i < t->nw; i++)
		nw += t->w[i].pid == p->m.pid;
	img_begin(w);
	img_u32(w, n);
	for (unsigned i = 0; i < t->nh; i++) {
		if (t->h[i].pid != p->m.pid)
			continue;
		img_i32(w, t->h[i].fd);
		img_u32(w, t->h[i].cloexec);
		img_u32(w, t->h[i].desc);
	}
	img_u32(w, nw);
	for (unsigned i = 0; i < t->nw; i++) {
		if (t->w[i].pid != p->m.pid)
			continue;
		img_i32(w, t->w[i].epfd);
		img_i32(w, t->w[i].fd);
		img_u32(w, t->w[i].events);
		img_u64(w, t->w[i].data);
	}
	return img_send(w, IMG_FDS, p->index);
}

/* ---- target ---- */

struct new_desc {
	int fd;
	enum eng_fd_kind kind;
	uint32_t flags;
	uint64_t pipe;
};

static int open_file(const struct eng_fd_info *i, struct eng_report *rep)
{
	struct stat st;
	int fd = open(i->path, (int)(i->flags & KEPT_FLAGS) | O_CLOEXEC |
				       O_NOCTTY);

	if (fd < 0)
		return refuse(rep, ENG_FILE_MISSING, i->pid, "%s", i->path);
	if (fstat(fd, &st) || (st.st_mode & S_IFMT) != (i->mode & S_IFMT) ||
	    (i->kind == ENG_FD_FILE && st.st_ino != i->ino &&
	     (uint64_t)st.st_size != i->size)) {
		close(fd);
		return refuse(rep, ENG_FILE_DIFFERS, i->pid, "%s", i->path);
	}
	return fd;
}

static int make_timerfd(const uint64_t x[DESC_EXTRA])
{
	struct itimerspec its = {
		.it_value = { (time_t)x[3], (long)x[4] },
		.it_interval = { (time_t)x[5], (long)x[6] },
	};
	int fd = timerfd_create((int)x[0], TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	/* An expiry that was not read yet comes again at once. */
	if (x[1]) {
		its.it_value.tv_sec = 0;
		its.it_value.tv_nsec = 1;
	}
	if (timerfd_settime(fd, 0, &its, NULL)) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int make_signalfd(uint64_t mask)
{
	int fd = (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask),
			      SFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Both ends are made with the first of them; others are opened again. */
static int pipe_end(struct eng_new *n, const struct eng_fd_info *i,
		    uint64_t number)
{
	uint32_t access = i->flags & O_ACCMODE;
	int any = -1, ends[2], fd;
	char path[64];

	for (unsigned k = 0; k < n->ndescs; k++)
		if (n->descs[k].kind == ENG_FD_PIPE_IN &&
		    n->descs[k].pipe == number)
			any = n->descs[k].fd;
	if (any < 0) {
		if (pipe2(ends, O_CLOEXEC))
			return -errno;
		close(ends[access == O_RDONLY ? 1 : 0]);
		return ends[access == O_RDONLY ? 0 : 1];
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", any);
	/* O_RDWR first: opening a lone end would wait for the other. */
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ends[0] = open(path, (int)access | O_CLOEXEC);
	if (ends[0] < 0)
		ends[0] = -errno;
	close(fd);
	return ends[0];
}

static int make_desc(struct eng_new *n, const struct eng_fd_info *i,
		     const uint64_t x[DESC_EXTRA], struct eng_report *rep)
{
	int fd;

	switch (i->kind) {
	case ENG_FD_FILE:
	case ENG_FD_DIR:
	case ENG_FD_PATH:
	case ENG_FD_CHAR:
		return open_file(i, rep);
	case ENG_FD_TTY:
		fd = open(i->path, (int)(i->flags & KEPT_FLAGS) | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	case ENG_FD_EVENTFD:
		fd = eventfd(0, EFD_CLOEXEC | (x[1] ? EFD_SEMAPHORE : 0));
		if (fd >= 0 && x[0] && write(fd, &x[0], 8) != 8) {
			close(fd);
			return -EIO;
		}
		return fd < 0 ? -errno : fd;
	case ENG_FD_TIMERFD:
		return make_timerfd(x);
	case ENG_FD_SIGNALFD:
		return make_signalfd(x[0]);
	case ENG_FD_EPOLL:
		fd = epoll_create1(EPOLL_CLOEXEC);
		return fd < 0 ? -errno : fd;
	case ENG_FD_PIPE_IN:
		return pipe_end(n, i, x[0]);
	default:
		return -EBADMSG;
	}
}

static int settle(int fd, const struct eng_fd_info *i)
{
	if (i->kind == ENG_FD_PATH || i->kind == ENG_FD_EPOLL)
		return 0;
	if ((i->kind == ENG_FD_FILE || i->kind == ENG_FD_DIR) &&
	    lseek(fd, (off_t)i->pos, SEEK_SET) < 0 && errno != ESPIPE)
		return -errno; /* ESPIPE: the caller relays it by a pipe */
	if (fcntl(fd, F_SETFL, (int)(i->flags & SETFL_FLAGS)))
		return -errno;
	return 0;
}

static int keep_desc(struct eng_new *n, int fd, const struct eng_fd_info *i,
		     uint64_t number)
{
	struct new_desc *more =
		realloc(n->descs, (n->ndescs + 1) * sizeof(*more));

	if (!more) {
		close(fd);
		return -ENOMEM;
	}
	n->descs = more;
	n->descs[n->ndescs++] = (struct new_desc){ .fd = fd,
						   .kind = i->kind,
						   .flags = i->flags,
						   .pipe = number };
	return 0;
}

int desc_load(struct eng_new *n, struct img_rec *rec, struct eng_report *rep)
{
	struct wire_reader *b = &rec->body;
	struct eng_fd_info i = { .desc = n->ndescs };
	uint64_t x[DESC_EXTRA];
	uint32_t kind = wire_get_u32(b), caller = wire_get_u32(b);
	struct wire_blob blob;
	int fd = -1, r = 0;

	i.kind = (enum eng_fd_kind)kind;
	i.pid = wire_get_i32(b);
	i.fd = wire_get_i32(b);
	i.flags = wire_get_u32(b);
	i.pos = wire_get_u64(b);
	i.dev = wire_get_u64(b);
	i.ino = wire_get_u64(b);
	i.rdev = wire_get_u64(b);
	i.size = wire_get_u64(b);
	i.mode = wire_get_u32(b);
	i.mtime_ns = wire_get_u64(b);
	i.path = wire_get_str(b);
	i.deleted = wire_get_u32(b);
	i.holders = wire_get_u32(b);
	for (int k = 0; k < DESC_EXTRA; k++)
		x[k] = wire_get_u64(b);
	blob = wire_get_blob(b);
	if (wire_read_end(b) || kind < ENG_FD_FILE || kind > ENG_FD_OTHER ||
	    n->ndescs >= DESCS_MAX || blob.len > ENG_FD_BLOB_MAX)
		return -EBADMSG;
	if (!caller)
		fd = make_desc(n, &i, x, rep);
	else if (!n->o.fds || !n->o.fds->fd_open)
		return -EBADMSG;
	else
		r = n->o.fds->fd_open(n->o.fds->arg, &i, blob.p, blob.len, &fd);
	if (r == 0 && fd < 0)
		r = fd;
	if (r == 0)
		r = settle(fd, &i);
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	return keep_desc(n, fd, &i, x[0]);
}

int pipe_load(struct eng_new *n, struct img_rec *rec)
{
	uint32_t number = wire_get_u32(&rec->body);
	uint32_t size = wire_get_u32(&rec->body);
	struct wire_blob data = wire_get_blob(&rec->body);
	ssize_t got;
	int fd = -1, flags;

	if (wire_read_end(&rec->body) || data.len > size)
		return -EBADMSG;
	for (unsigned k = 0; k < n->ndescs; k++)
		if (n->descs[k].kind == ENG_FD_PIPE_IN &&
		    n->descs[k].pipe == number &&
		    (n->descs[k].flags & O_ACCMODE) != O_RDONLY)
			fd = n->descs[k].fd;
	if (fd < 0)
		return -EBADMSG;
	if (fcntl(fd, F_GETPIPE_SZ) != (int)size &&
	    fcntl(fd, F_SETPIPE_SZ, (int)size) < 0)
		return -errno;
	if (!data.len)
		return 0;
	flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	got = write(fd, data.p, data.len);
	fcntl(fd, F_SETFL, flags);
	return got == (ssize_t)data.len ? 0 : -EIO;
}

static int fds_load(struct eng_new *n, struct nproc *p, struct img_rec *rec,
		    struct eng_report *rep)
{
	struct wire_reader *b = &rec->body;
	uint32_t count = wire_get_u32(b);
	int last = -1;

	(void)rep;
	if (p->args.nfds || buf_len(&p->watches) || count > DESCS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct blob_fd f = { .to = wire_get_i32(b) };
		uint32_t desc;

		f.cloexec = wire_get_u32(b);
		desc = wire_get_u32(b);
		if (b->failed || f.to <= last || desc >= n->ndescs)
			return -EBADMSG;
		last = f.to;
		f.from = n->descs[desc].fd;
		if (buf_add(&p->fds, &f, sizeof(f)))
			return -ENOMEM;
	}
	p->args.nfds = count;
	count = wire_get_u32(b);
	if (count > DESCS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct blob_watch x = { .epfd = wire_get_i32(b) };

		x.fd = wire_get_i32(b);
		x.events = wire_get_u32(b);
		x.data = wire_get_u64(b);
		if (b->failed)
			return -EBADMSG;
		if (buf_add(&p->watches, &x, sizeof(x)))
			return -ENOMEM;
	}
	p->args.nwatches = count;
	return wire_read_end(b);
}

void descs_close(struct eng_new *n)
{
	for (unsigned i = 0; i < n->ndescs; i++)
		close(n->descs[i].fd);
	free(n->descs);
	n->descs = NULL;
	n->ndescs = 0;
}

const struct res_ops res_fds = {
	.name = "descriptors",
	.tag = IMG_FDS,
	.save = fds_save,
	.load = fds_load,
};
