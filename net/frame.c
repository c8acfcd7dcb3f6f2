/*
 * frame.c -- see frame.h.
 *
 * A frame that lies complete in the bytes given is handed out in place.  One
 * that does not is gathered in a buffer that stays for the next one, because
 * fresh pages cost more than the copy that they save.
 */
#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc.h"
#include "status.h"
#include "wire.h"

#define ALIGN  64u
#define KEEP   (64u << 10)
#define ACK_AT 20

void frame_put(const struct frame *f, uint8_t ret_head[FRAME_HEAD])
{
	struct wire_writer w = wire_writer(ret_head, FRAME_HEAD);

	wire_put_u8(&w, f->kind);
	wire_put_u8(&w, f->flags);
	wire_put_u8(&w, f->nfds);
	wire_put_u8(&w, 0);
	wire_put_u16(&w, f->code);
	wire_put_u16(&w, 0);
	wire_put_u32(&w, status_to_wire(f->status));
	wire_put_u64(&w, f->id);
	wire_put_u64(&w, f->ack);
	wire_put_u32(&w, f->len);
	wire_put_u32(&w, f->payload_len);
}

int frame_get(const uint8_t head[FRAME_HEAD], struct frame *ret)
{
	struct wire_reader r = wire_reader(head, FRAME_HEAD);
	struct frame f = {.kind = wire_get_u8(&r)};
	uint16_t zeros;

	f.flags = wire_get_u8(&r);
	f.nfds = wire_get_u8(&r);
	zeros = wire_get_u8(&r);
	f.code = wire_get_u16(&r);
	zeros |= wire_get_u16(&r);
	f.status = status_from_wire(wire_get_u32(&r));
	f.id = wire_get_u64(&r);
	f.ack = wire_get_u64(&r);
	f.len = wire_get_u32(&r);
	f.payload_len = wire_get_u32(&r);
	if (wire_read_end(&r) || zeros || f.kind == 0 ||
	    f.kind >= FRAME_KINDS || f.flags & ~FRAME_FLAGS ||
	    f.nfds > RPC_FDS_MAX || f.len > RPC_BODY_MAX ||
	    f.payload_len > RPC_PAYLOAD_MAX)
		return -EBADMSG;
	*ret = f;
	return 0;
}

void frame_patch(uint8_t head[FRAME_HEAD], uint8_t flags, uint64_t ack)
{
	struct wire_writer w = wire_writer(head + ACK_AT, 8);

	head[FRAME_FLAGS_AT] = flags;
	wire_put_u64(&w, ack);
}

/* Where the payload begins in mem. */
static size_t payload_at(const struct frame *f)
{
	return f->payload_len ? (f->len + ALIGN - 1) & ~(size_t)(ALIGN - 1)
			      : f->len;
}

static int reserve(struct frame_in *in)
{
	size_t need = payload_at(&in->f) + in->f.payload_len;
	void *mem;

	if (in->mem && need <= in->cap)
		return 0;
	need = need ? (need + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
	mem = aligned_alloc(ALIGN, need);
	if (!mem)
		return -ENOMEM;
	free(in->mem);
	in->mem = mem;
	in->cap = need;
	return 0;
}

/* The head is complete in in->head: what now? */
static int begin(struct frame_in *in)
{
	int r = frame_get(in->head, &in->f);

	in->have = 0;
	if (r)
		return r;
	r = reserve(in);
	in->in_body = r == 0;
	in->got = 0;
	return r;
}

static int finish(struct frame_in *in, struct frame_msg *ret)
{
	in->in_body = false;
	ret->f = in->f;
	ret->body = in->mem;
	ret->payload = in->f.payload_len ? in->mem + payload_at(&in->f) : NULL;
	return 1;
}

uint8_t *frame_in_room(struct frame_in *in, size_t *ret_n)
{
	if (!in->in_body)
		return NULL;
	if (in->got < in->f.len) {
		*ret_n = in->f.len - in->got;
		return in->mem + in->got;
	}
	*ret_n = in->f.len + in->f.payload_len - in->got;
	return in->mem + payload_at(&in->f) + (in->got - in->f.len);
}

int frame_in_filled(struct frame_in *in, size_t n, struct frame_msg *ret)
{
	in->got += n;
	return in->got == (size_t)in->f.len + in->f.payload_len
		       ? finish(in, ret)
		       : 0;
}

/* The usual case: a whole small frame lies in p. */
static int in_place(const uint8_t *p, size_t n, size_t *ret_used,
		    struct frame_msg *ret)
{
	struct frame f;
	size_t whole;

	if (n < FRAME_HEAD)
		return 0;
	if (frame_get(p, &f))
		return -EBADMSG;
	whole = FRAME_HEAD + (size_t)f.len + f.payload_len;
	if (n < whole)
		return 0;
	ret->f = f;
	ret->body = p + FRAME_HEAD;
	ret->payload = f.payload_len ? p + FRAME_HEAD + f.len : NULL;
	*ret_used = whole;
	return 1;
}

int frame_in_feed(struct frame_in *in, const uint8_t *p, size_t n,
		  size_t *ret_used, struct frame_msg *ret)
{
	size_t used = 0;
	int r = 0;

	if (!in->in_body && in->have == 0) {
		r = in_place(p, n, ret_used, ret);
		if (r)
			return r;
	}
	while (r == 0) {
		size_t room, part;
		uint8_t *to;

		if (!in->in_body) {
			part = FRAME_HEAD - in->have;
			part = part < n - used ? part : n - used;
			if (part)
				memcpy(in->head + in->have, p + used, part);
			in->have += part;
			used += part;
			if (in->have < FRAME_HEAD)
				break;
			r = begin(in);
			if (r)
				break;
		}
		to = frame_in_room(in, &room);
		part = room < n - used ? room : n - used;
		if (part)
			memcpy(to, p + used, part);
		used += part;
		r = frame_in_filled(in, part, ret);
		if (used == n)
			break;
	}
	*ret_used = used;
	return r;
}

void frame_in_trim(struct frame_in *in)
{
	if (in->in_body || in->cap <= KEEP)
		return;
	free(in->mem);
	in->mem = NULL;
	in->cap = 0;
}

void frame_in_fini(struct frame_in *in)
{
	free(in->mem);
	*in = (struct frame_in){0};
}
