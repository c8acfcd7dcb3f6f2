/*
 * cache.c -- see cache.h.
 *
 * Programs write mostly forward, so the search begins at the end of the list,
 * and a write behind the end of an extent makes it longer.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 4096

void dirty_init(struct dirty *d)
{
	*d = (struct dirty){ 0 };
	list_init(&d->extents);
}

static uint64_t end_of(const struct extent *e)
{
	return e->off + e->len;
}

void dirty_drop(struct dirty *d, struct extent *e)
{
	list_del(&e->link);
	d->bytes -= e->len;
	d->count--;
	free(e->data);
	free(e);
}

void dirty_clear(struct dirty *d)
{
	list_each_safe(e, &d->extents, struct extent, link)
		dirty_drop(d, e);
}

/* The last extent that begins at or before off; NULL if none does. */
static struct extent *at_or_before(const struct dirty *d, uint64_t off)
{
	for (struct list *l = d->extents.prev; l != &d->extents; l = l->prev) {
		struct extent *e = container_of(l, struct extent, link);

		if (e->off <= off)
			return e;
	}
	return NULL;
}

static struct extent *next_of(const struct dirty *d, const struct extent *e)
{
	const struct list *l = e ? e->link.next : d->extents.next;

	return l == &d->extents ? NULL : container_of(l, struct extent, link);
}

static int reserve(struct extent *e, size_t n)
{
	size_t cap = e->cap ? e->cap : FIRST_CAP;
	uint8_t *p;

	if (n <= e->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	p = realloc(e->data, cap);
	if (!p)
		return -ENOMEM;
	e->data = p;
	e->cap = cap;
	return 0;
}

static struct extent *insert(struct dirty *d, struct extent *after, uint64_t off)
{
	struct extent *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	list_init(&e->link);
	e->off = off;
	list_add_head(after ? &after->link : &d->extents, &e->link);
	d->count++;
	return e;
}

/* How many bytes from off on belong to nobody, n at most. */
static size_t gap(const struct dirty *d, const struct extent *e, uint64_t off,
		  size_t n)
{
	const struct extent *next = next_of(d, e);

	return next && next->off - off < n ? (size_t)(next->off - off) : n;
}

/* As much as goes at once; *ret_n says how much that was. */
static int write_some(struct dirty *d, uint64_t off, const uint8_t *p, size_t n,
		      size_t *ret_n)
{
	struct extent *e = at_or_before(d, off);
	size_t at, len;

	if (e && off < end_of(e)) {
		at = (size_t)(off - e->off);
		len = e->len - at < n ? e->len - at : n;
		memcpy(e->data + at, p, len);
		*ret_n = len;
		return 0;
	}
	len = gap(d, e, off, n);
	if (!e || off > end_of(e) || e->len >= EXTENT_MAX || e->sent) {
		e = insert(d, e, off);
		if (!e)
			return -ENOMEM;
	}
	if (len > EXTENT_MAX - e->len)
		len = EXTENT_MAX - e->len;
	if (reserve(e, e->len + len)) {
		if (!e->len)
			dirty_drop(d, e);
		return -ENOMEM;
	}
	memcpy(e->data + e->len, p, len);
	e->len += len;
	d->bytes += len;
	*ret_n = len;
	return 0;
}

int dirty_write(struct dirty *d, uint64_t off, const void *p, size_t n)
{
	const uint8_t *from = p;

	while (n) {
		size_t done;
		int r = write_some(d, off, from, n, &done);

		if (r)
			return r;
		off += done;
		from += done;
		n -= done;
	}
	return 0;
}

void dirty_read(const struct dirty *d, uint64_t off, void *buf, size_t n)
{
	uint64_t end = off + n;

	for (struct list *l = d->extents.prev; l != &d->extents; l = l->prev) {
		struct extent *e = container_of(l, struct extent, link);
		uint64_t from = e->off > off ? e->off : off;
		uint64_t to = end_of(e) < end ? end_of(e) : end;

		if (from < to)
			memcpy((uint8_t *)buf + (from - off),
			       e->data + (from - e->off), (size_t)(to - from));
		if (e->off <= off)
			break;
	}
}

/* The end of the stretch without holes that begins at off. */
static uint64_t reach(const struct dirty *d, uint64_t off)
{
	const struct extent *e = at_or_before(d, off);

	while (e && e->off <= off && off < end_of(e)) {
		off = end_of(e);
		e = next_of(d, e);
	}
	return off;
}

bool dirty_covers(const struct dirty *d, const struct dirty *or, uint64_t off,
		  size_t n)
{
	uint64_t end = off + n, was;

	do {
		was = off;
		off = reach(d, off);
		if (or && off < end)
			off = reach(or, off);
	} while (off < end && off > was);
	return off >= end;
}

void dirty_truncate(struct dirty *d, uint64_t size)
{
	list_each_safe(e, &d->extents, struct extent, link) {
		if (e->off >= size) {
			dirty_drop(d, e);
		} else if (end_of(e) > size) {
			d->bytes -= (size_t)(end_of(e) - size);
			e->len = (size_t)(size - e->off);
		}
	}
}

void dirty_move(struct dirty *to, struct dirty *from)
{
	list_each_safe(e, &from->extents, struct extent, link) {
		list_del(&e->link);
		list_add_tail(&to->extents, &e->link);
	}
	to->bytes = from->bytes;
	to->count = from->count;
	from->bytes = 0;
	from->count = 0;
}

int dirty_put_under(struct dirty *d, struct dirty *old)
{
	int r = 0;

	/* Newer over older, then the result is the whole. */
	list_each(e, &d->extents, struct extent, link) {
		if (!r)
			r = dirty_write(old, e->off, e->data, e->len);
	}
	if (r)
		return r;
	dirty_clear(d);
	list_each(e, &old->extents, struct extent, link)
		e->sent = NULL;
	dirty_move(d, old);
	return 0;
}
