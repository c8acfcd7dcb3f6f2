/*
 * serve_lock.c -- locks asked for by clients, and pins of streams that move.
 *
 * A request that waits for a lock is kept unanswered in the lock's queue; it
 * is answered when granted, cancelled, or when its host is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "server.h"

static struct lock lock_of(const struct holder *h, const struct msg_fs_lock *m)
{
	return (struct lock){ .owner = { h, m->owner },
			      .pid = m->pid,
			      .type = m->type,
			      .flock = m->flock != 0,
			      .start = m->flock ? 0 : m->start,
			      .end = m->flock ? UINT64_MAX : m->end };
}

struct waiter {
	struct lock_wait wait;
	struct sreq *q;
	struct obj *o; /* referenced for as long as it waits */
};

static void on_granted(struct lock_wait *lw, int status)
{
	struct waiter *w = container_of(lw, struct waiter, wait);
	struct sreq *q = w->q;

	q->lock = NULL;
	free(w);
	sreq_answer(q, status, NULL);
}

/* Locks of hosts that went away end by a fence, if somebody wants them. */
static void want_locks_of(const struct lock *k)
{
	struct holder *h = (struct holder *)(uintptr_t)k->owner.client;

	h->locks_wanted = true;
}

static int wait_for(struct sreq *q, struct obj *o, const struct lock *want)
{
	struct waiter *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOLCK;
	w->q = q;
	w->o = o;
	w->wait.want = *want;
	w->wait.granted = on_granted;
	r = locks_wait(o->locks, &w->wait);
	if (r) {
		free(w);
		return r;
	}
	q->lock = &w->wait;
	sreq_busy(q);
	return 0;
}

int serve_fs_lock(struct sreq *q, const struct msg_fs_lock *m)
{
	struct lock want = lock_of(q->h, m);
	const struct lock *other;
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r)
		return r;
	if (m->type != F_RDLCK && m->type != F_WRLCK && m->type != F_UNLCK)
		return -EINVAL;
	if (want.start > want.end)
		return -EINVAL;
	if (!o->locks) {
		if (m->type == F_UNLCK)
			return sreq_answer(q, 0, NULL);
		o->locks = locks_new();
		if (!o->locks)
			return -ENOLCK;
	}
	r = locks_set(o->locks, &want);
	if (r != -EAGAIN)
		return r ? r : sreq_answer(q, 0, NULL);
	other = locks_conflict(o->locks, &want);
	if (other)
		want_locks_of(other);
	return m->wait ? wait_for(q, o, &want) : -EAGAIN;
}

int serve_fs_lock_test(struct sreq *q, const struct msg_fs_lock_test *m)
{
	struct lock want = { .owner = { q->h, m->owner },
			     .type = m->type,
			     .start = m->start,
			     .end = m->end };
	const struct lock *k = NULL;
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r)
		return r;
	if (o->locks)
		k = locks_conflict(o->locks, &want);
	if (!k)
		return ANSWER(q, fs_lock_found, .type = F_UNLCK);
	return ANSWER(q, fs_lock_found, .type = (uint8_t)k->type, .pid = k->pid,
		      .start = k->start, .end = k->end);
}

int serve_fs_lock_cancel(struct sreq *q, const struct msg_fs_lock_cancel *m)
{
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r || !o->locks)
		return r ? r : sreq_answer(q, 0, NULL);
	list_each_safe(lw, &o->locks->waiting, struct lock_wait, link) {
		if (lw->want.owner.client != q->h ||
		    lw->want.owner.number != m->owner ||
		    lw->want.flock != (m->flock != 0))
			continue;
		locks_cancel(lw);
		on_granted(lw, -EINTR);
		break;
	}
	return sreq_answer(q, 0, NULL);
}

void locks_restore(struct holder *h, struct obj *o, const struct msg_fs_held_lock *m)
{
	struct lock k = { .owner = { h, m->owner },
			  .pid = m->pid,
			  .type = m->type,
			  .flock = m->flock != 0,
			  .start = m->start,
			  .end = m->end };

	if (!o->locks)
		o->locks = locks_new();
	if (o->locks && (k.type == F_RDLCK || k.type == F_WRLCK) &&
	    k.start <= k.end)
		(void)locks_set(o->locks, &k);
}

void locks_drop_holder(struct server *s, struct holder *h)
{
	for (struct obj *o = export_first(s->x), *next; o; o = next) {
		next = export_next(s->x, o);
		if (!o->locks)
			continue;
		o->refs++;
		locks_drop_client(o->locks, h);
		obj_put(s->x, o);
	}
	h->locks_wanted = false;
}

/* ---- pins ---- */

struct pin {
	struct list link;
	struct obj *o;
	uint64_t id, ends_ms;
};

#define PINS_MAX 65536

static void pin_drop(struct server *s, struct pin *p)
{
	list_del(&p->link);
	p->o->pins--;
	obj_tidy(s->x, p->o);
	s->npins--;
	free(p);
}

int serve_fs_pin(struct sreq *q, const struct msg_fs_pin *m)
{
	struct server *s = q->s;
	struct pin *p;
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r)
		return r;
	p = s->npins < PINS_MAX ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return -ENOMEM;
	p->o = o;
	p->id = m->id;
	p->ends_ms = env_now_ms(s->env) + (uint64_t)m->secs * 1000;
	o->pins++;
	s->npins++;
	list_add_tail(&s->pins, &p->link);
	return sreq_answer(q, 0, NULL);
}

int serve_fs_unpin(struct sreq *q, const struct msg_fs_unpin *m)
{
	struct obj *o;
	int r = sreq_obj(q, m->fh, &o);

	if (r)
		return r;
	list_each_safe(p, &q->s->pins, struct pin, link) {
		if (p->o == o && p->id == m->id)
			pin_drop(q->s, p);
	}
	return sreq_answer(q, 0, NULL);
}

void pins_tick(struct server *s)
{
	uint64_t now = env_now_ms(s->env);

	list_each_safe(p, &s->pins, struct pin, link) {
		if (p->ends_ms <= now)
			pin_drop(s, p);
	}
}

void pins_fini(struct server *s)
{
	list_each_safe(p, &s->pins, struct pin, link)
		pin_drop(s, p);
}
