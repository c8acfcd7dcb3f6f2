/*
 * lazy.c -- demand paging, the source: the frozen original serves its pages.
 *
 * One thread pushes everything in order, the caller's thread answers what is
 * asked for in between.  A byte per page says who sent it, so that each page
 * travels once; an answer about pages that are being pushed is empty,
 * because they arrive there.
 */
#include "lazy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "cleanup.h"
#include "tree.h"

#define PAGE 4096ull

int lazy_send(const struct eng_io *io, const struct lazy_msg *m,
	      const void *pages)
{
	uint8_t head[LAZY_HEAD];
	struct wire_writer w = wire_writer(head, sizeof(head));
	int r;

	wire_put_u32(&w, m->kind);
	wire_put_u32(&w, m->proc);
	wire_put_u32(&w, m->n);
	wire_put_u32(&w, pages ? img_crc(0, pages, m->n * PAGE) : 0);
	wire_put_u64(&w, m->addr);
	r = io->write(io->arg, head, sizeof(head));
	if (r == 0 && pages && m->n)
		r = io->write(io->arg, pages, m->n * PAGE);
	return r;
}

int lazy_receive(const struct eng_io *io, struct lazy_msg *ret, void *pages)
{
	uint8_t head[LAZY_HEAD];
	struct wire_reader b = wire_reader(head, sizeof(head));
	int r = io->read(io->arg, head, sizeof(head));

	if (r)
		return r;
	ret->kind = wire_get_u32(&b);
	ret->proc = wire_get_u32(&b);
	ret->n = wire_get_u32(&b);
	ret->crc = wire_get_u32(&b);
	ret->addr = wire_get_u64(&b);
	if (ret->n > LAZY_CHUNK || ret->addr % PAGE)
		return -EBADMSG;
	if (ret->kind != LAZY_PAGES || !ret->n)
		return 0;
	if (!pages)
		return -EBADMSG;
	r = io->read(io->arg, pages, ret->n * PAGE);
	if (r == 0 && img_crc(0, pages, ret->n * PAGE) != ret->crc)
		r = -EBADMSG;
	return r;
}

struct server {
	struct eng *e;
	const struct eng_io *push;
	uint8_t ***sent; /* per process, per run, per page */
	int stop;
	int result;
};

static int read_pages(const struct proc *p, uint64_t addr, void *to, uint32_t n)
{
	struct iovec local = { to, n * PAGE };
	struct iovec remote = { (void *)(uintptr_t)addr, n * PAGE };

	if (process_vm_readv(p->m.pid, &local, 1, &remote, 1, 0) ==
	    (ssize_t)(n * PAGE))
		return 0;
	return mem_read(p, addr, to, n * PAGE);
}

/* Claim up to max pages from page i on; how many in a row were free. */
static uint32_t claim(uint8_t *sent, uint64_t i, uint64_t pages, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && i + n < pages &&
	       !__atomic_exchange_n(&sent[i + n], 1, __ATOMIC_ACQ_REL))
		n++;
	return n;
}

static int push_run(struct server *s, struct proc *p, const struct lazy_run *r,
		    uint8_t *sent, void *room)
{
	uint64_t pages = r->len / PAGE, i = 0;
	int err = 0;

	while (i < pages && err == 0) {
		struct lazy_msg m = { .kind = LAZY_PAGES, .proc = p->index };

		if (__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE))
			return -EPIPE;
		m.n = claim(sent, i, pages, LAZY_CHUNK);
		if (!m.n) {
			i++;
			continue;
		}
		m.addr = r->addr + i * PAGE;
		err = read_pages(p, m.addr, room, m.n);
		if (err == 0)
			err = lazy_send(s->push, &m, room);
		i += m.n;
	}
	return err;
}

static void *push_all(void *arg)
{
	struct server *s = arg;
	struct lazy_msg last = { .kind = LAZY_LAST };
	void *room = malloc(LAZY_CHUNK * PAGE);
	int r = room ? 0 : -ENOMEM;

	for (unsigned i = 0; i < s->e->np && r == 0; i++)
		for (unsigned k = 0; k < s->e->p[i].nlazy && r == 0; k++)
			r = push_run(s, &s->e->p[i], &s->e->p[i].lazy[k],
				     s->sent[i][k], room);
	if (r == 0)
		r = lazy_send(s->push, &last, NULL);
	free(room);
	s->result = r;
	return NULL;
}

static int answer(struct server *s, const struct eng_io *req,
		  const struct lazy_msg *ask, void *room)
{
	struct lazy_msg m = { .kind = LAZY_PAGES,
			      .proc = ask->proc,
			      .addr = ask->addr };
	struct proc *p;
	int r = 0;

	if (ask->proc >= s->e->np)
		return -EBADMSG;
	p = &s->e->p[ask->proc];
	for (unsigned k = 0; k < p->nlazy; k++) {
		const struct lazy_run *run = &p->lazy[k];

		if (ask->addr < run->addr || ask->addr - run->addr >= run->len)
			continue;
		m.n = claim(s->sent[ask->proc][k],
			    (ask->addr - run->addr) / PAGE, run->len / PAGE,
			    ask->n < LAZY_BLOCK ? ask->n : LAZY_BLOCK);
		if (m.n)
			r = read_pages(p, m.addr, room, m.n);
	}
	return r ? r : lazy_send(req, &m, m.n ? room : NULL);
}

static int serve_requests(struct server *s, const struct eng_io *req)
{
	SCOPED(free) void *room = malloc(LAZY_BLOCK * PAGE);
	struct lazy_msg m;
	int r = room ? 0 : -ENOMEM;

	while (r == 0) {
		r = lazy_receive(req, &m, NULL);
		if (r == 0 && m.kind == LAZY_DONE)
			return 0;
		if (r == 0)
			r = m.kind == LAZY_ASK ? answer(s, req, &m, room)
					       : -EBADMSG;
	}
	return r;
}

static void free_marks(struct server *s)
{
	for (unsigned i = 0; s->sent && i < s->e->np; i++) {
		for (unsigned k = 0; s->sent[i] && k < s->e->p[i].nlazy; k++)
			free(s->sent[i][k]);
		free(s->sent[i]);
	}
	free(s->sent);
}

static int make_marks(struct server *s)
{
	s->sent = calloc(s->e->np, sizeof(*s->sent));
	if (!s->sent)
		return -ENOMEM;
	for (unsigned i = 0; i < s->e->np; i++) {
		struct proc *p = &s->e->p[i];

		s->sent[i] = calloc(p->nlazy + 1, sizeof(*s->sent[i]));
		if (!s->sent[i])
			return -ENOMEM;
		for (unsigned k = 0; k < p->nlazy; k++) {
			s->sent[i][k] = calloc(p->lazy[k].len / PAGE, 1);
			if (!s->sent[i][k])
				return -ENOMEM;
		}
	}
	return 0;
}

int eng_lazy_serve(struct eng *e, const struct eng_io *req,
		   const struct eng_io *push)
{
	struct server s = { .e = e, .push = push };
	uint64_t began = now_us();
	bool any = false;
	pthread_t t;
	int r;

	for (unsigned i = 0; i < e->np; i++)
		any |= e->p[i].nlazy > 0;
	if (!any)
		return 0;
	r = make_marks(&s);
	if (r == 0)
		r = -pthread_create(&t, NULL, push_all, &s);
	if (r == 0) {
		r = serve_requests(&s, req);
		__atomic_store_n(&s.stop, 1, __ATOMIC_RELEASE);
		pthread_join(t, NULL);
		if (r == 0)
			r = s.result;
	}
	free_marks(&s);
	e->times.lazy_us = now_us() - began;
	return r;
}
