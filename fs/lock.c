/*
 * lock.c -- see lock.h.
 *
 * Ranges of one owner never overlap: setting one first cuts the new range out
 * of whatever the owner has, which is all that upgrading, downgrading and
 * splitting is.  Dead-locks are looked for within one object; a cycle over
 * several objects ends by the waiters' being interrupted.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct locks *locks_new(void)
{
	struct locks *l = calloc(1, sizeof(*l));

	if (l) {
		list_init(&l->held);
		list_init(&l->waiting);
	}
	return l;
}

static void drop(struct locks *l, struct lock *k)
{
	list_del(&k->link);
	l->count--;
	free(k);
}

void locks_free(struct locks *l)
{
	if (!l)
		return;
	list_each_safe(k, &l->held, struct lock, link)
		drop(l, k);
	free(l);
}

bool locks_none(const struct locks *l)
{
	return !l || (list_empty(&l->held) && list_empty(&l->waiting));
}

static bool same(const struct lock_owner *a, const struct lock_owner *b)
{
	return a->client == b->client && a->number == b->number;
}

static bool overlap(const struct lock *a, const struct lock *b)
{
	return a->start <= b->end && b->start <= a->end;
}

static bool conflict(const struct lock *held, const struct lock *want)
{
	return held->flock == want->flock && overlap(held, want) &&
	       !same(&held->owner, &want->owner) &&
	       (held->type == F_WRLCK || want->type == F_WRLCK);
}

const struct lock *locks_conflict(const struct locks *l, const struct lock *want)
{
	list_each(k, &l->held, struct lock, link) {
		if (conflict(k, want))
			return k;
	}
	return NULL;
}

static struct lock *copy(struct locks *l, const struct lock *k, struct list *after)
{
	struct lock *n = malloc(sizeof(*n));

	if (!n)
		return NULL;
	*n = *k;
	list_init(&n->link);
	list_add_head(after, &n->link);
	l->count++;
	return n;
}

/* Take want's range out of what its owner has. */
static int cut(struct locks *l, const struct lock *want)
{
	list_each_safe(k, &l->held, struct lock, link) {
		struct lock tail = *k;

		if (k->flock != want->flock || !same(&k->owner, &want->owner) ||
		    !overlap(k, want))
			continue;
		if (k->start < want->start && k->end > want->end) {
			tail.start = want->end + 1;
			if (!copy(l, &tail, &k->link))
				return -ENOLCK;
		}
		if (k->start < want->start)
			k->end = want->start - 1;
		else if (k->end > want->end)
			k->start = want->end + 1;
		else
			drop(l, k);
	}
	return 0;
}

/* Whoever has come first is served first, as far as nothing is in the way. */
static void wake(struct locks *l)
{
	bool again = true;

	while (again) {
		again = false;
		list_each_safe(w, &l->waiting, struct lock_wait, link) {
			if (locks_conflict(l, &w->want))
				continue;
			list_del(&w->link);
			w->granted(w, locks_set(l, &w->want));
			again = true;
			break;
		}
	}
}

int locks_set(struct locks *l, const struct lock *want)
{
	int r = 0;

	if (want->type != F_UNLCK && locks_conflict(l, want))
		return -EAGAIN;
	if (l->count >= LOCKS_MAX && want->type != F_UNLCK)
		return -ENOLCK;
	r = cut(l, want);
	if (!r && want->type != F_UNLCK && !copy(l, want, &l->held))
		r = -ENOLCK;
	wake(l);
	return r;
}

/* Would `owner`, waiting for `want`, wait for somebody that waits for owner? */
static bool circle(const struct locks *l, const struct lock *want,
		   const struct lock_owner *owner, unsigned depth)
{
	if (depth > 16)
		return false;
	list_each(k, &l->held, struct lock, link) {
		if (!conflict(k, want))
			continue;
		list_each(w, &l->waiting, struct lock_wait, link) {
			const struct lock *blocker;

			if (w->want.flock || !same(&w->want.owner, &k->owner))
				continue;
			blocker = locks_conflict(l, &w->want);
			if (blocker && same(&blocker->owner, owner))
				return true;
			if (circle(l, &w->want, owner, depth + 1))
				return true;
		}
	}
	return false;
}

int locks_wait(struct locks *l, struct lock_wait *w)
{
	if (!w->want.flock && circle(l, &w->want, &w->want.owner, 0))
		return -EDEADLK;
	list_add_tail(&l->waiting, &w->link);
	return 0;
}

void locks_cancel(struct lock_wait *w)
{
	list_del(&w->link);
}

void locks_drop_client(struct locks *l, const void *client)
{
	bool any = false;

	list_each_safe(w, &l->waiting, struct lock_wait, link) {
		if (w->want.owner.client == client) {
			list_del(&w->link);
			w->granted(w, -ECANCELED);
		}
	}
	list_each_safe(k, &l->held, struct lock, link) {
		if (k->owner.client == client) {
			drop(l, k);
			any = true;
		}
	}
	if (any)
		wake(l);
}
