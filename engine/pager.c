/*
 * pager.c -- demand paging, the target: userfaultfd.
 *
 * Two threads of the mover.  One reads the connection `push` and puts pages into
 * place; the other reads faults and events from userfaultfd, asks the
 * source for what is missing and waits for the answer.  An event (fork, remap,
 * remove, unmap) holds its process until it is read, so that thread
 * does nothing else.
 *
 * A *space* is the memory of one process that still has holes: at first the
 * moved processes, later also children they fork meanwhile, which inherit
 * the holes.  A *span* maps a stretch of it to the addresses the source knows.
 * Pages that arrive go to every space that still lacks them.
 *
 * If the source is lost, the processes are killed: closing userfaultfd would
 * turn the holes into zeros, and nobody would notice.
 */
#include "lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "new.h"

#define PAGE	   4096ull
#define SPACES_MAX 1024u

#ifndef UFFD_FEATURE_EVENT_UNMAP
#error "linux/userfaultfd.h is too old"
#endif

enum { MISSING, HERE, REMOVED };

struct span {
	uint64_t start, len; /* in the process */
	uint64_t origin;     /* at the source */
	uint8_t *state;	     /* per page */
};

struct space {
	uint32_t proc;
	int uffd;
	bool gone;
	struct span *s;
	unsigned n;
};

struct pager {
	struct eng_new *n;
	const struct eng_io *req, *push;
	pthread_mutex_t lock; /* spaces and their states */
	struct space *sp;
	unsigned nsp;
	int wake; /* eventfd: stop */
	pthread_t faults, pushes;
	bool running;
	int push_result, fault_result;
	uint64_t pages, answered, nfaults;
	uint8_t answer_room[LAZY_CHUNK * PAGE], push_room[LAZY_CHUNK * PAGE];
	struct waiting {
		unsigned space;
		uint64_t addr;
	} *queue; /* faults read and not yet served */
	unsigned nqueue;
};

/* ---- setting up ---- */

static int fetch_uffd(struct nproc *p)
{
	int32_t number;
	int pidfd, fd;
	int r = mem_read(&p->p,
			 p->args.area + offsetof(struct blob_args, uffd),
			 &number, sizeof(number));

	if (r)
		return r;
	pidfd = (int)syscall(SYS_pidfd_open, p->m.pid, 0);
	if (pidfd < 0)
		return -errno;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	r = fd < 0 ? -errno : 0;
	close(pidfd);
	p->uffd = fd;
	return r;
}

int pager_register(struct eng_new *n, struct nproc *p)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_EVENT_FORK |
					      UFFD_FEATURE_EVENT_REMAP |
					      UFFD_FEATURE_EVENT_REMOVE |
					      UFFD_FEATURE_EVENT_UNMAP };
	int r;

	(void)n;
	if (!p->args.want_uffd)
		return -EBADMSG;
	r = fetch_uffd(p);
	if (r)
		return r;
	if (ioctl(p->uffd, UFFDIO_API, &api))
		return -errno;
	for (unsigned i = 0; i < p->nlazy; i++) {
		struct uffdio_register reg = {
			.range = { p->lazy[i].addr, p->lazy[i].len },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};

		if (ioctl(p->uffd, UFFDIO_REGISTER, &reg))
			return -errno;
	}
	return 0;
}

static int add_span(struct space *sp, uint64_t start, uint64_t len,
		    uint64_t origin, const uint8_t *state)
{
	struct span *more = realloc(sp->s, (sp->n + 1) * sizeof(*more));
	uint8_t *st = calloc(len / PAGE, 1);

	if (more)
		sp->s = more;
	if (!more || !st) {
		free(st);
		return -ENOMEM;
	}
	if (state)
		memcpy(st, state, len / PAGE);
	sp->s[sp->n++] = (struct span){ start, len, origin, st };
	return 0;
}

static struct space *add_space(struct pager *g, uint32_t proc, int uffd)
{
	struct space *more;

	if (g->nsp >= SPACES_MAX)
		return NULL;
	more = realloc(g->sp, (g->nsp + 1) * sizeof(*more));
	if (!more)
		return NULL;
	g->sp = more;
	g->sp[g->nsp] = (struct space){ .proc = proc, .uffd = uffd };
	return &g->sp[g->nsp++];
}

static int make_spaces(struct pager *g)
{
	for (unsigned i = 0; i < g->n->np; i++) {
		struct nproc *p = &g->n->p[i];
		struct space *sp;

		if (!p->nlazy)
			continue;
		sp = add_space(g, i, p->uffd);
		if (!sp)
			return -ENOMEM;
		p->uffd = -1;
		for (unsigned k = 0; k < p->nlazy; k++)
			if (add_span(sp, p->lazy[k].addr, p->lazy[k].len,
				     p->lazy[k].addr, NULL))
				return -ENOMEM;
	}
	return 0;
}

/* ---- pages into place (lock held) ---- */

/* -EAGAIN: an event has to be read first. */
static int copy_page(struct space *sp, uint64_t addr, const void *from)
{
	struct uffdio_copy c = { .dst = addr,
				 .src = (uintptr_t)from,
				 .len = PAGE };
	struct uffdio_range w = { addr, PAGE };

	if (ioctl(sp->uffd, UFFDIO_COPY, &c) == 0)
		return 0;
	switch (errno) {
	case EEXIST:
		ioctl(sp->uffd, UFFDIO_WAKE, &w);
		return 0;
	case EAGAIN:
		return -EAGAIN;
	case ENOENT: /* unmapped, its event is on the way */
	case EINVAL:
		return 0;
	case ESRCH:
		sp->gone = true;
		return 0;
	}
	return -errno;
}

static int fill_space(struct space *sp, const struct lazy_msg *m,
		      const uint8_t *pages)
{
	for (unsigned k = 0; k < sp->n; k++) {
		struct span *s = &sp->s[k];

		for (uint32_t i = 0; i < m->n && !sp->gone; i++) {
			uint64_t at = m->addr + i * PAGE - s->origin;
			int r;

			if (m->addr + i * PAGE < s->origin || at >= s->len ||
			    s->state[at / PAGE] != MISSING)
				continue;
			r = copy_page(sp, s->start + at, pages + i * PAGE);
			if (r)
				return r;
			s->state[at / PAGE] = HERE;
		}
	}
	return 0;
}

/*
 * To every space that lacks them.  -EAGAIN while an event waits to be read:
 * until then the kernel lets nothing be copied into that space.
 */
static int try_fill(struct pager *g, const struct lazy_msg *m, const void *pages)
{
	int r = 0;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < g->nsp; i++)
		if (g->sp[i].proc == m->proc && !g->sp[i].gone) {
			int one = fill_space(&g->sp[i], m, pages);

			if (one && (r == 0 || r == -EAGAIN))
				r = one;
		}
	pthread_mutex_unlock(&g->lock);
	return r;
}

static void *run_pushes(void *arg)
{
	struct pager *g = arg;
	struct lazy_msg m;
	int r;

	for (;;) {
		r = lazy_receive(g->push, &m, g->push_room);
		if (r || m.kind == LAZY_LAST)
			break;
		if (m.kind != LAZY_PAGES) {
			r = -EBADMSG;
			break;
		}
		while ((r = try_fill(g, &m, g->push_room)) == -EAGAIN)
			sched_yield();
		if (r)
			break;
		g->pages += m.n;
	}
	g->push_result = r;
	return NULL;
}

/* ---- events (lock held) ---- */

static int on_fork(struct pager *g, unsigned parent, int uffd)
{
	struct space *sp = add_space(g, g->sp[parent].proc, uffd);
	int r = 0;

	if (!sp) {
		close(uffd);
		return -ENOMEM;
	}
	for (unsigned k = 0; k < g->sp[parent].n && r == 0; k++) {
		const struct span *s = &g->sp[parent].s[k];

		r = add_span(sp, s->start, s->len, s->origin, s->state);
	}
	return r;
}

static void mark(struct space *sp, uint64_t start, uint64_t end, uint8_t state)
{
	for (unsigned k = 0; k < sp->n; k++) {
		struct span *s = &sp->s[k];

		for (uint64_t i = 0; i < s->len / PAGE; i++)
			if (s->start + i * PAGE >= start &&
			    s->start + i * PAGE < end)
				s->state[i] = state;
	}
}

static int on_remap(struct space *sp, uint64_t from, uint64_t to, uint64_t len)
{
	unsigned n = sp->n;
	int r = 0;

	for (unsigned k = 0; k < n && r == 0; k++) {
		struct span s = sp->s[k];
		uint64_t lo = s.start > from ? s.start : from;
		uint64_t hi = s.start + s.len < from + len ? s.start + s.len
							   : from + len;

		if (lo >= hi)
			continue;
		r = add_span(sp, to + (lo - from), hi - lo,
			     s.origin + (lo - s.start),
			     s.state + (lo - s.start) / PAGE);
		memset(s.state + (lo - s.start) / PAGE, HERE,
		       (hi - lo) / PAGE);
	}
	return r;
}

/* ---- faults ---- */

static int zero_page(struct space *sp, uint64_t addr)
{
	struct uffdio_zeropage z = { .range = { addr, PAGE } };
	struct uffdio_range w = { addr, PAGE };

	if (ioctl(sp->uffd, UFFDIO_ZEROPAGE, &z) == 0)
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	ioctl(sp->uffd, UFFDIO_WAKE, &w);
	return 0;
}

/* What to ask the source for; n = 0 if there is nothing to ask. */
static int look_up(struct pager *g, unsigned i, uint64_t addr,
		   struct lazy_msg *ask)
{
	struct space *sp = &g->sp[i];
	struct uffdio_range w = { addr, PAGE };

	*ask = (struct lazy_msg){ .kind = LAZY_ASK, .proc = sp->proc };
	for (unsigned k = sp->n; k-- > 0;) {
		struct span *s = &sp->s[k];
		uint64_t at = addr - s->start, page = at / PAGE;

		if (addr < s->start || at >= s->len ||
		    s->state[page] == HERE)
			continue;
		if (s->state[page] == REMOVED)
			return zero_page(sp, addr);
		ask->addr = s->origin + page * PAGE;
		while (ask->n < LAZY_BLOCK && page + ask->n < s->len / PAGE &&
		       s->state[page + ask->n] == MISSING)
			ask->n++;
		return 0;
	}
	ioctl(sp->uffd, UFFDIO_WAKE, &w);
	return 0;
}

static int read_events(struct pager *g, unsigned i);

static int queue_fault(struct pager *g, unsigned space, uint64_t addr)
{
	struct waiting *more =
		realloc(g->queue, (g->nqueue + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	g->queue = more;
	g->queue[g->nqueue++] = (struct waiting){ space, addr & ~(PAGE - 1) };
	return 0;
}

/* Pages are in hand; an event of any space may have to be read first. */
static int place(struct pager *g, const struct lazy_msg *m)
{
	int r;

	while ((r = try_fill(g, m, g->answer_room)) == -EAGAIN)
		for (unsigned i = 0; i < g->nsp; i++) {
			r = read_events(g, i);
			if (r)
				return r;
		}
	return r;
}

static int on_fault(struct pager *g, unsigned i, uint64_t addr)
{
	struct lazy_msg ask, m;
	int r;

	do {
		pthread_mutex_lock(&g->lock);
		r = look_up(g, i, addr, &ask);
		pthread_mutex_unlock(&g->lock);
	} while (r == -EAGAIN && read_events(g, i) == 0);
	if (r || !ask.n)
		return r;
	g->nfaults++;
	r = lazy_send(g->req, &ask, NULL);
	if (r == 0)
		r = lazy_receive(g->req, &m, g->answer_room);
	if (r)
		return r;
	if (m.kind != LAZY_PAGES || m.proc != ask.proc)
		return -EBADMSG;
	/* Empty: the page is on its way on the other connection. */
	if (!m.n)
		return 0;
	g->answered += m.n;
	return place(g, &m);
}

static int on_event(struct pager *g, unsigned i, const struct uffd_msg *m)
{
	struct space *sp = &g->sp[i];
	int r = 0;

	if (m->event == UFFD_EVENT_PAGEFAULT)
		return queue_fault(g, i, m->arg.pagefault.address);
	pthread_mutex_lock(&g->lock);
	switch (m->event) {
	case UFFD_EVENT_FORK:
		r = on_fork(g, i, (int)m->arg.fork.ufd);
		break;
	case UFFD_EVENT_REMAP:
		r = on_remap(sp, m->arg.remap.from, m->arg.remap.to,
			     m->arg.remap.len);
		break;
	case UFFD_EVENT_REMOVE:
		mark(sp, m->arg.remove.start, m->arg.remove.end, REMOVED);
		break;
	case UFFD_EVENT_UNMAP:
		mark(sp, m->arg.remove.start, m->arg.remove.end, HERE);
		break;
	}
	pthread_mutex_unlock(&g->lock);
	return r;
}

/* All that can be read from one space now. */
static int read_events(struct pager *g, unsigned i)
{
	struct uffd_msg m;

	for (;;) {
		ssize_t n = read(g->sp[i].uffd, &m, sizeof(m));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n != sizeof(m))
			return 0;
		r = on_event(g, i, &m);
		if (r)
			return r;
	}
}

static int serve_queue(struct pager *g)
{
	int r = 0;

	while (g->nqueue && r == 0) {
		struct waiting w = g->queue[0];

		g->nqueue--;
		memmove(g->queue, g->queue + 1, g->nqueue * sizeof(*g->queue));
		r = on_fault(g, w.space, w.addr);
	}
	return r;
}

/* One wait; 1 when told to stop. */
static int wait_and_serve(struct pager *g)
{
	struct pollfd *p = calloc(g->nsp + 1, sizeof(*p));
	unsigned n = g->nsp;
	int r = 0;

	if (!p)
		return -ENOMEM;
	p[n] = (struct pollfd){ .fd = g->wake, .events = POLLIN };
	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){ .fd = g->sp[i].gone ? -1
							    : g->sp[i].uffd,
					.events = POLLIN };
	if (poll(p, n + 1, -1) < 0 && errno != EINTR)
		r = -errno;
	for (unsigned i = 0; i < n && r == 0; i++) {
		if (p[i].revents & POLLIN)
			r = read_events(g, i);
		else if (p[i].revents)
			g->sp[i].gone = true;
	}
	if (r == 0)
		r = serve_queue(g);
	if (r == 0 && p[n].revents)
		r = 1;
	free(p);
	return r;
}

static void *run_faults(void *arg)
{
	struct pager *g = arg;
	int r;

	do {
		r = wait_and_serve(g);
	} while (r == 0);
	g->fault_result = r == 1 ? 0 : r;
	return NULL;
}

/* ---- the caller's side ---- */

int eng_lazy_start(struct eng_new *n, const struct eng_io *req,
		   const struct eng_io *push)
{
	struct pager *g;
	int r;

	if (!n->lazy || n->pager || !n->ready)
		return -EINVAL;
	g = n->pager = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->n = n;
	g->req = req;
	g->push = push;
	pthread_mutex_init(&g->lock, NULL);
	g->wake = eventfd(0, EFD_CLOEXEC);
	if (g->wake < 0)
		return -errno;
	r = make_spaces(g);
	if (r)
		return r;
	r = -pthread_create(&g->faults, NULL, run_faults, g);
	if (r)
		return r;
	r = -pthread_create(&g->pushes, NULL, run_pushes, g);
	if (r) {
		eventfd_write(g->wake, 1);
		pthread_join(g->faults, NULL);
		return r;
	}
	g->running = true;
	return 0;
}

/* The moved processes and whatever they have started since. */
static void kill_all(struct eng_new *n)
{
	SCOPED(free) struct ps_stat *all = NULL;
	SCOPED(free) pid_t *doomed = NULL;
	unsigned nall = 0, nd = 0;

	if (ps_all(&all, &nall) == 0)
		doomed = calloc(nall + n->np, sizeof(*doomed));
	for (unsigned i = 0; i < n->np; i++) {
		kill(n->p[i].m.pid, SIGSTOP);
		if (doomed)
			doomed[nd++] = n->p[i].m.pid;
	}
	for (unsigned k = 0; k < nd; k++)
		for (unsigned i = 0; i < nall && nd < nall + n->np; i++)
			if (all[i].ppid == doomed[k])
				doomed[nd++] = all[i].pid;
	for (unsigned k = nd; k-- > 0;)
		kill(doomed[k], SIGKILL);
	for (unsigned i = 0; i < n->np && !doomed; i++)
		kill(n->p[i].m.pid, SIGKILL);
}

int eng_lazy_wait(struct eng_new *n)
{
	struct lazy_msg done = { .kind = LAZY_DONE };
	struct pager *g = n->pager;
	int r;

	if (!g || !g->running)
		return n->lazy ? -EINVAL : 0;
	pthread_join(g->pushes, NULL);
	eventfd_write(g->wake, 1);
	pthread_join(g->faults, NULL);
	g->running = false;
	r = g->push_result ? g->push_result : g->fault_result;
	if (r) {
		kill_all(n);
		r = -EIO;
	} else {
		r = lazy_send(g->req, &done, NULL);
		/* Everything is here; the source may think what it likes. */
		r = r == -EPIPE ? 0 : r;
	}
	n->times.lazy_us = now_us() - n->resumed_at_us;
	n->times.lazy_pages = g->pages + g->answered;
	n->times.lazy_faults = g->nfaults;
	return r;
}

void pager_free(struct eng_new *n)
{
	struct pager *g = n->pager;

	if (!g)
		return;
	if (g->running)
		eng_lazy_wait(n);
	for (unsigned i = 0; i < g->nsp; i++) {
		for (unsigned k = 0; k < g->sp[i].n; k++)
			free(g->sp[i].s[k].state);
		free(g->sp[i].s);
		close(g->sp[i].uffd);
	}
	free(g->sp);
	free(g->queue);
	if (g->wake >= 0)
		close(g->wake);
	pthread_mutex_destroy(&g->lock);
	free(g);
	n->pager = NULL;
}
