/*
 * image.c -- see image.h.
 *
 * The checksum is CRC-32C: the processor has an instruction for it, and what
 * it guards against is damage, not forgery (connections between hosts are
 * sealed, files belong to their owner).
 */
#include "image.h"

#include <errno.h>
#include <string.h>

#define IMG_MAGIC 0x47495053u /* "SPIG" */
#define HEAD_LEN  32u

static uint32_t crc_table(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	}
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
crc_hw(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t c = crc;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		c = __builtin_ia32_crc32di(c, v);
	}
	for (; n; n--)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
	return (uint32_t)c;
}
#endif

uint32_t img_crc(uint32_t crc, const void *p, size_t n)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_hw(~crc, p, n);
#endif
	return ~crc_table(~crc, p, n);
}

void img_begin(struct img_writer *w)
{
	buf_consume(&w->body, buf_len(&w->body));
	w->body.max = IMG_BODY_MAX;
}

void *img_raw(struct img_writer *w, size_t n)
{
	void *p = buf_room(&w->body, n);

	if (p)
		buf_filled(&w->body, n);
	else
		w->body.max = 1; /* sticky: nothing fits any more */
	return p;
}

static void put(struct img_writer *w, const void *p, size_t n)
{
	void *to = img_raw(w, n);

	if (to)
		memcpy(to, p, n);
}

void img_u32(struct img_writer *w, uint32_t v)
{
	uint8_t b[4];

	for (int i = 0; i < 4; i++)
		b[i] = (uint8_t)(v >> 8 * i);
	put(w, b, 4);
}

void img_i32(struct img_writer *w, int32_t v)
{
	img_u32(w, (uint32_t)v);
}

void img_u64(struct img_writer *w, uint64_t v)
{
	img_u32(w, (uint32_t)v);
	img_u32(w, (uint32_t)(v >> 32));
}

void img_blob(struct img_writer *w, const void *p, size_t n)
{
	img_u32(w, (uint32_t)n);
	if (n)
		put(w, p, n);
}

void img_str(struct img_writer *w, const char *s)
{
	size_t n = strlen(s);

	img_u32(w, (uint32_t)n);
	put(w, s, n + 1);
}

int img_send(struct img_writer *w, enum img_tag tag, uint32_t proc)
{
	uint8_t head[HEAD_LEN];
	struct wire_writer ww = wire_writer(head, sizeof(head));
	size_t n = buf_len(&w->body);
	int r;

	if (w->body.max == 1)
		return -ENOMEM;
	wire_put_u32(&ww, IMG_MAGIC);
	wire_put_u32(&ww, tag);
	wire_put_u32(&ww, IMG_VERSION);
	wire_put_u32(&ww, proc);
	wire_put_u32(&ww, (uint32_t)n);
	wire_put_u32(&ww, w->records);
	wire_put_u32(&ww, n ? img_crc(0, buf_data(&w->body), n) : 0);
	wire_put_u32(&ww, img_crc(0, head, HEAD_LEN - 4));
	r = w->io->write(w->io->arg, head, sizeof(head));
	if (r == 0 && n)
		r = w->io->write(w->io->arg, buf_data(&w->body), n);
	w->records++;
	w->bytes += sizeof(head) + n;
	return r;
}

void img_writer_fini(struct img_writer *w)
{
	buf_free(&w->body);
}

static bool known(uint32_t tag)
{
	switch (tag) {
#define T(num, name) case num:
		IMG_TAGS(T)
#undef T
		return true;
	}
	return false;
}

int img_next(struct img_reader *r, struct img_rec *ret)
{
	uint8_t head[HEAD_LEN], *body;
	struct wire_reader h = wire_reader(head, sizeof(head));
	uint32_t magic, tag, version, proc, len, seq, crc, hcrc;
	int err;

	if (r->ended)
		return -ENODATA;
	err = r->io->read(r->io->arg, head, sizeof(head));
	if (err)
		return err;
	magic = wire_get_u32(&h);
	tag = wire_get_u32(&h);
	version = wire_get_u32(&h);
	proc = wire_get_u32(&h);
	len = wire_get_u32(&h);
	seq = wire_get_u32(&h);
	crc = wire_get_u32(&h);
	hcrc = wire_get_u32(&h);
	if (magic != IMG_MAGIC || hcrc != img_crc(0, head, HEAD_LEN - 4) ||
	    version != IMG_VERSION || !known(tag) || len > IMG_BODY_MAX ||
	    seq != r->records || (seq == 0) != (tag == IMG_START))
		return -EBADMSG;
	buf_consume(&r->body, buf_len(&r->body));
	body = buf_room(&r->body, len ? len : 1);
	if (!body)
		return -ENOMEM;
	if (len)
		err = r->io->read(r->io->arg, body, len);
	if (err)
		return err;
	if (len && crc != img_crc(0, body, len))
		return -EBADMSG;
	buf_filled(&r->body, len);
	r->records++;
	r->bytes += HEAD_LEN + len;
	r->ended = tag == IMG_END;
	*ret = (struct img_rec){ .tag = (enum img_tag)tag,
				 .proc = proc,
				 .body = wire_reader(body, len) };
	return 0;
}

void img_reader_fini(struct img_reader *r)
{
	buf_free(&r->body);
}
