/*
 * wire.c -- see wire.h.
 *
 * take() and room() are the only two places that move a cursor, so they are
 * the only two places a bounds bug could live.
 */
#include "wire.h"

#include <errno.h>
#include <string.h>

static const uint8_t *take(struct wire_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->failed || n > r->left) {
		r->failed = true;
		return NULL;
	}
	if (n)
		r->p += n;
	r->left -= n;
	return p;
}

static uint8_t *room(struct wire_writer *w, size_t n)
{
	uint8_t *p = w->p;

	if (w->failed || n > w->left) {
		w->failed = true;
		return NULL;
	}
	if (n)
		w->p += n;
	w->left -= n;
	w->len += n;
	return p;
}

static uint64_t get_le(struct wire_reader *r, unsigned n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;

	if (!p)
		return 0;
	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static void put_le(struct wire_writer *w, uint64_t v, unsigned n)
{
	uint8_t *p = room(w, n);

	if (!p)
		return;
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

wire_u8 wire_get_u8(struct wire_reader *r)
{
	return (wire_u8)get_le(r, 1);
}

wire_u16 wire_get_u16(struct wire_reader *r)
{
	return (wire_u16)get_le(r, 2);
}

wire_u32 wire_get_u32(struct wire_reader *r)
{
	return (wire_u32)get_le(r, 4);
}

wire_u64 wire_get_u64(struct wire_reader *r)
{
	return get_le(r, 8);
}

wire_i32 wire_get_i32(struct wire_reader *r)
{
	return (wire_i32)(uint32_t)get_le(r, 4);
}

wire_i64 wire_get_i64(struct wire_reader *r)
{
	return (wire_i64)get_le(r, 8);
}

wire_str wire_get_str(struct wire_reader *r)
{
	uint32_t len = wire_get_u32(r);
	const uint8_t *p;

	if (len > WIRE_STR_MAX)
		r->failed = true;
	p = take(r, (size_t)len + 1);
	if (!p)
		return "";
	if (p[len] != 0 || memchr(p, 0, len)) {
		r->failed = true;
		return "";
	}
	return (const char *)p;
}

wire_blob wire_get_blob(struct wire_reader *r)
{
	uint32_t len = wire_get_u32(r);
	const uint8_t *p;

	if (len > WIRE_BLOB_MAX)
		r->failed = true;
	p = take(r, len);
	return p ? (wire_blob){ p, len } : (wire_blob){ NULL, 0 };
}

void wire_put_u8(struct wire_writer *w, wire_u8 v)
{
	put_le(w, v, 1);
}

void wire_put_u16(struct wire_writer *w, wire_u16 v)
{
	put_le(w, v, 2);
}

void wire_put_u32(struct wire_writer *w, wire_u32 v)
{
	put_le(w, v, 4);
}

void wire_put_u64(struct wire_writer *w, wire_u64 v)
{
	put_le(w, v, 8);
}

void wire_put_i32(struct wire_writer *w, wire_i32 v)
{
	put_le(w, (uint32_t)v, 4);
}

void wire_put_i64(struct wire_writer *w, wire_i64 v)
{
	put_le(w, (uint64_t)v, 8);
}

void wire_put_raw(struct wire_writer *w, const void *p, size_t len)
{
	uint8_t *to = room(w, len);

	if (to && len)
		memcpy(to, p, len);
}

void wire_put_str(struct wire_writer *w, wire_str v)
{
	size_t len = v ? strlen(v) : 0;

	if (len > WIRE_STR_MAX)
		w->failed = true;
	wire_put_u32(w, (uint32_t)len);
	wire_put_raw(w, v ? v : "", len + 1);
}

void wire_put_blob(struct wire_writer *w, wire_blob v)
{
	if (v.len > WIRE_BLOB_MAX)
		w->failed = true;
	wire_put_u32(w, (uint32_t)v.len);
	wire_put_raw(w, v.p, v.len);
}

int wire_read_end(const struct wire_reader *r)
{
	return r->failed || r->left ? -EBADMSG : 0;
}

int wire_write_end(const struct wire_writer *w)
{
	return w->failed ? -EMSGSIZE : 0;
}
