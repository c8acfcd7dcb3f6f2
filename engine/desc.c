/*
 * desc.c -- finds the open file descriptions of a tree and says which can be
 * carried.
 *
 * Descriptors with equal (device, inode, flags, position) are compared with
 * kcmp; others cannot be the same description.
 *
 * A pipe is *inside* when the tree has both kinds of ends and no process
 * outside has any.  That needs a look at every descriptor of every process
 * in sight, so it is done only when there is a candidate.
 */
#include "desc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "report.h"

#define PATH_CAP 4200

static enum eng_fd_kind anon_kind(const char *path)
{
	static const struct {
		const char *name;
		enum eng_fd_kind kind;
	} table[] = {
		{ "anon_inode:[eventfd]", ENG_FD_EVENTFD },
		{ "anon_inode:[timerfd]", ENG_FD_TIMERFD },
		{ "anon_inode:[signalfd]", ENG_FD_SIGNALFD },
		{ "anon_inode:[eventpoll]", ENG_FD_EPOLL },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(path, table[i].name))
			return table[i].kind;
	return ENG_FD_OTHER;
}

static enum eng_fd_kind char_kind(dev_t rdev)
{
	unsigned maj = major(rdev), min = minor(rdev);

	if (maj == 1 && (min == 3 || min == 5 || (min >= 7 && min <= 9)))
		return ENG_FD_CHAR;
	if (maj == 4 || maj == 5 || (maj >= 136 && maj <= 143))
		return ENG_FD_TTY;
	return ENG_FD_OTHER;
}

static enum eng_fd_kind kind_of(const struct stat *st, const char *path,
				uint32_t flags)
{
	if (flags & O_PATH)
		return ENG_FD_PATH;
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return strncmp(path, "/memfd:", 7) ? ENG_FD_FILE
						   : ENG_FD_MEMFD;
	case S_IFDIR:
		return ENG_FD_DIR;
	case S_IFIFO:
		return strncmp(path, "pipe:", 5) ? ENG_FD_FIFO : ENG_FD_PIPE;
	case S_IFSOCK:
		return ENG_FD_SOCKET;
	case S_IFCHR:
		return char_kind(st->st_rdev);
	}
	return anon_kind(path);
}

static int add_watch(struct desc_table *t, const struct desc *d,
		     const char *line)
{
	struct watch w = { .pid = d->i.pid, .epfd = d->i.fd }, *more;
	unsigned long long data;

	if (sscanf(line, "tfd: %d events: %x data: %llx", &w.fd, &w.events,
		   &data) != 3)
		return 0;
	w.data = data;
	more = realloc(t->w, (t->nw + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->w = more;
	t->w[t->nw++] = w;
	return 0;
}

static int info_line(struct desc_table *t, struct desc *d, const char *l)
{
	unsigned long long a, b;

	if (sscanf(l, "pos: %llu", &a) == 1)
		d->i.pos = a;
	else if (sscanf(l, "flags: %llo", &a) == 1)
		d->i.flags = (uint32_t)a;
	else if (!strncmp(l, "lock:", 5))
		d->lock = true;
	else if (sscanf(l, "eventfd-count: %llx", &a) == 1)
		d->x[0] = a;
	else if (sscanf(l, "eventfd-semaphore: %llu", &a) == 1)
		d->x[1] = a;
	else if (sscanf(l, "clockid: %llu", &a) == 1)
		d->x[0] = a;
	else if (sscanf(l, "ticks: %llu", &a) == 1)
		d->x[1] = a;
	else if (sscanf(l, "settime flags: %llo", &a) == 1)
		d->x[2] = a;
	else if (sscanf(l, "it_value: (%llu, %llu)", &a, &b) == 2)
		d->x[3] = a, d->x[4] = b;
	else if (sscanf(l, "it_interval: (%llu, %llu)", &a, &b) == 2)
		d->x[5] = a, d->x[6] = b;
	else if (sscanf(l, "sigmask: %llx", &a) == 1)
		d->x[0] = a;
	else if (!strncmp(l, "tfd:", 4))
		return add_watch(t, d, l);
	return 0;
}

static int read_info(struct desc_table *t, struct desc *d)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[64], *save = NULL;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", d->i.pid, d->i.fd);
	r = fd_read_file(path, 4u << 20, &b);
	if (r || !buf_len(&b))
		return r;
	for (char *l = strtok_r((char *)buf_data(&b), "\n", &save); l && !r;
	     l = strtok_r(NULL, "\n", &save))
		r = info_line(t, d, l);
	return r;
}

/* Everything about one descriptor; -ENOENT if it has been closed. */
static int examine(struct desc_table *t, pid_t pid, int fd, struct desc *d)
{
	char what[32], path[PATH_CAP], link[64];
	struct stat st;
	size_t len;
	int r;

	*d = (struct desc){ .i = { .pid = pid, .fd = fd, .holders = 1 } };
	snprintf(what, sizeof(what), "fd/%d", fd);
	snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, fd);
	if (ps_link(pid, what, path, sizeof(path)) || stat(link, &st))
		return -ENOENT;
	r = read_info(t, d);
	if (r)
		return r == -ESRCH ? -ENOENT : r;
	len = strlen(path);
	if (*path == '/' && len > 10 && !strcmp(path + len - 10, " (deleted)")) {
		path[len - 10] = 0;
		d->i.deleted = true;
	}
	d->i.kind = kind_of(&st, path, d->i.flags);
	d->i.dev = st.st_dev;
	d->i.ino = st.st_ino;
	d->i.rdev = st.st_rdev;
	d->i.size = (uint64_t)st.st_size;
	d->i.mode = st.st_mode;
	d->i.mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
			(uint64_t)st.st_mtim.tv_nsec;
	d->i.path = strdup(path);
	return d->i.path ? 0 : -ENOMEM;
}

#define CLOEXEC_BIT ((uint32_t)O_CLOEXEC)

static bool same_desc(const struct desc *a, const struct desc *b)
{
	return a->i.dev == b->i.dev && a->i.ino == b->i.ino &&
	       a->i.pos == b->i.pos && a->i.flags == b->i.flags &&
	       a->i.kind == b->i.kind &&
	       ps_same(a->i.pid, b->i.pid, KCMP_FILE, (unsigned long)a->i.fd,
		       (unsigned long)b->i.fd);
}

static int add_fd(struct desc_table *t, pid_t pid, int fd)
{
	struct holder h = { .pid = pid, .fd = fd }, *moreh;
	unsigned watches = t->nw, i;
	struct desc d, *mored;
	int r = examine(t, pid, fd, &d);

	if (r)
		return r == -ENOENT ? 0 : r;
	/* The flag of the descriptor is shown among those of its description. */
	h.cloexec = d.i.flags & CLOEXEC_BIT;
	d.i.flags &= ~CLOEXEC_BIT;
	for (i = 0; i < t->nd; i++)
		if (same_desc(&t->d[i], &d))
			break;
	h.desc = i;
	if (i < t->nd) {
		t->d[i].i.holders++;
		free((void *)(uintptr_t)d.i.path);
		t->nw = watches; /* known from the first holder */
	} else {
		mored = realloc(t->d, (t->nd + 1) * sizeof(*mored));
		if (!mored) {
			free((void *)(uintptr_t)d.i.path);
			return -ENOMEM;
		}
		t->d = mored;
		d.i.desc = t->nd;
		t->d[t->nd++] = d;
	}
	moreh = realloc(t->h, (t->nh + 1) * sizeof(*moreh));
	if (!moreh)
		return -ENOMEM;
	t->h = moreh;
	t->h[t->nh++] = h;
	return 0;
}

static bool inside_tree(const pid_t *pids, unsigned n, pid_t pid)
{
	for (unsigned i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* A process outside that has this pipe open, or 0. */
static pid_t outside_holder(const struct ps_stat *all, unsigned nall,
			    const pid_t *pids, unsigned n, const char *name)
{
	for (unsigned i = 0; i < nall; i++) {
		SCOPED(free) int *fds = NULL;
		unsigned nfds;

		if (inside_tree(pids, n, all[i].pid) ||
		    all[i].pid == getpid() || ps_fds(all[i].pid, &fds, &nfds))
			continue;
		for (unsigned k = 0; k < nfds; k++) {
			char what[32], path[64];

			snprintf(what, sizeof(what), "fd/%d", fds[k]);
			if (ps_link(all[i].pid, what, path, sizeof(path)) == 0 &&
			    !strcmp(path, name))
				return all[i].pid;
		}
	}
	return 0;
}

static int note_pipe(struct desc_table *t, uint64_t ino)
{
	uint64_t *more;

	for (unsigned i = 0; i < t->nd; i++)
		if (t->d[i].i.kind == ENG_FD_PIPE && t->d[i].i.ino == ino) {
			t->d[i].i.kind = ENG_FD_PIPE_IN;
			t->d[i].x[0] = t->npipes;
		}
	more = realloc(t->pipes, (t->npipes + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->pipes = more;
	t->pipes[t->npipes++] = ino;
	return 0;
}

static int find_inner_pipes(struct desc_table *t, const pid_t *pids, unsigned n)
{
	SCOPED(free) struct ps_stat *all = NULL;
	unsigned nall = 0;
	int r = 0;

	for (unsigned i = 0; i < t->nd && r == 0; i++) {
		const struct eng_fd_info *a = &t->d[i].i;
		bool other = false;

		if (a->kind != ENG_FD_PIPE || (a->flags & O_ACCMODE) != O_RDONLY)
			continue;
		for (unsigned k = 0; k < t->nd && !other; k++)
			other = t->d[k].i.kind == ENG_FD_PIPE &&
				t->d[k].i.ino == a->ino &&
				(t->d[k].i.flags & O_ACCMODE) != O_RDONLY;
		if (!other)
			continue;
		if (!all)
			r = ps_all(&all, &nall);
		if (r == 0 && !outside_holder(all, nall, pids, n, a->path))
			r = note_pipe(t, a->ino);
	}
	return r;
}

int descs_find(const pid_t *pids, unsigned n, struct desc_table **ret)
{
	struct desc_table *t = calloc(1, sizeof(*t));
	int r = 0;

	if (!t)
		return -ENOMEM;
	for (unsigned i = 0; i < n && r == 0; i++) {
		SCOPED(free) int *fds = NULL;
		unsigned nfds = 0;

		r = ps_fds(pids[i], &fds, &nfds);
		for (unsigned k = 0; k < nfds && r == 0; k++)
			r = add_fd(t, pids[i], fds[k]);
	}
	if (r == 0)
		r = find_inner_pipes(t, pids, n);
	if (r) {
		fds_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void fds_free(struct desc_table *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->nd; i++)
		free((void *)(uintptr_t)t->d[i].i.path);
	free(t->d);
	free(t->h);
	free(t->w);
	free(t->pipes);
	free(t);
}

/* Without a word from the caller. */
static bool engine_can(const struct eng_fd_info *i)
{
	switch (i->kind) {
	case ENG_FD_FILE:
	case ENG_FD_DIR:
	case ENG_FD_PATH:
		return !i->deleted && *i->path == '/';
	case ENG_FD_PIPE_IN:
	case ENG_FD_CHAR:
	case ENG_FD_EVENTFD:
	case ENG_FD_TIMERFD:
	case ENG_FD_SIGNALFD:
	case ENG_FD_EPOLL:
		return true;
	case ENG_FD_TTY:
		return !strcmp(i->path, "/dev/tty");
	default:
		return false;
	}
}

static bool caller_asked(const struct eng_fd_info *i)
{
	switch (i->kind) {
	case ENG_FD_FILE:
	case ENG_FD_DIR:
	case ENG_FD_PATH:
	case ENG_FD_PIPE:
	case ENG_FD_FIFO:
	case ENG_FD_TTY:
	case ENG_FD_SOCKET:
	case ENG_FD_OTHER:
		return true;
	default:
		return false;
	}
}

static int refuse_fd(const struct eng_fd_info *i, const char *detail,
		     struct eng_report *rep)
{
	enum eng_reason why = ENG_FD_KIND;

	if (i->deleted)
		why = ENG_DELETED;
	else if (i->kind == ENG_FD_PIPE || i->kind == ENG_FD_SOCKET ||
		 i->kind == ENG_FD_FIFO)
		why = ENG_FD_OUTSIDE;
	else if (strstr(i->path, "io_uring"))
		why = ENG_IO_URING;
	if (why == ENG_DELETED)
		return refuse(rep, why, i->pid, "%s", i->path);
	return refuse(rep, why, i->pid, "%d (%s)%s%s", i->fd, i->path,
		      *detail ? ": " : "", detail);
}

int descs_judge(struct desc_table *t, const struct eng_opts *o,
		struct eng_report *rep)
{
	int r = 0;

	for (unsigned k = 0; k < t->nd; k++) {
		struct desc *d = &t->d[k];
		char detail[100] = "";
		int say = 0;

		if (d->lock) {
			r = refuse(rep, ENG_LOCKS, d->i.pid, "descriptor %d, %s",
				   d->i.fd, d->i.path);
			continue;
		}
		if (o->fds && o->fds->fd_check && caller_asked(&d->i))
			say = o->fds->fd_check(o->fds->arg, &d->i, detail,
					       sizeof(detail));
		d->caller = say > 0;
		if (say < 0 || (say == 0 && !engine_can(&d->i)))
			r = refuse_fd(&d->i, detail, rep);
	}
	return r;
}
