/*
 * buf.c -- see buf.h.  The front is reclaimed when room runs out, and at once
 * when the buffer becomes empty, so a steady stream never grows it.
 */
#include "buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t *buf_room(struct buf *b, size_t n)
{
	size_t len = buf_len(b), cap;
	uint8_t *mem;

	if (b->max && (n > b->max || len > b->max - n))
		return NULL;
	if (b->mem && b->cap - b->end >= n)
		return b->mem + b->end;
	if (b->mem && b->cap - len >= n && b->start >= b->cap / 2) {
		memmove(b->mem, b->mem + b->start, len);
		b->start = 0;
		b->end = len;
		return b->mem + b->end;
	}
	cap = b->cap ? b->cap : 256;
	while (cap - len < n)
		cap *= 2;
	mem = malloc(cap);
	if (!mem)
		return NULL;
	if (len)
		memcpy(mem, b->mem + b->start, len);
	free(b->mem);
	b->mem = mem;
	b->start = 0;
	b->end = len;
	b->cap = cap;
	return mem + len;
}

void buf_filled(struct buf *b, size_t n)
{
	b->end += n;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	uint8_t *to = buf_room(b, n);

	if (!to)
		return b->max && buf_len(b) + n > b->max ? -ENOBUFS : -ENOMEM;
	if (n)
		memcpy(to, p, n);
	b->end += n;
	return 0;
}

int buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	uint8_t *to;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return -EINVAL;
	to = buf_room(b, (size_t)n + 1);
	if (!to)
		return -ENOMEM;
	vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
	b->end += (size_t)n;
	return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = buf_vaddf(b, fmt, ap);
	va_end(ap);
	return r;
}

void buf_consume(struct buf *b, size_t n)
{
	b->start += n;
	if (b->start == b->end)
		b->start = b->end = 0;
}

void buf_free(struct buf *b)
{
	free(b->mem);
	*b = (struct buf){ .max = b->max };
}
