#ifndef LIB_BUF_H
#define LIB_BUF_H
/*
 * buf.h -- a growable byte buffer with a hard maximum.
 *
 * Bytes are appended at the end and consumed from the front.  All zero is an
 * empty buffer without a limit.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *mem;
	size_t start, end, cap;
	size_t max; /* 0: no limit */
};

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline uint8_t *buf_data(const struct buf *b)
{
	return b->mem ? b->mem + b->start : NULL;
}

/* Make room for n more bytes at the end and return it.  NULL: -ENOMEM or over max. */
uint8_t *buf_room(struct buf *b, size_t n);
/* n of the bytes in the room were filled. */
void buf_filled(struct buf *b, size_t n);
/* 0, -ENOMEM, or -ENOBUFS if it would pass max. */
int buf_add(struct buf *b, const void *p, size_t n);
int buf_addf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t n);
void buf_free(struct buf *b);

static inline void buf_free_ptr(struct buf *b)
{
	buf_free(b);
}

#endif
