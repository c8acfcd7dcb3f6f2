/*
 * fuzz_image.c -- the image reader and the decoders of all records.
 *
 * First the input as it is, which mostly tests the frame.  Then the input as a
 * list of bodies, each framed with right checksums, so that the decoders behind
 * the frame are reached.  Records that open files are left out of that, and
 * nothing is ever built.
 */
#include <errno.h>
#include <string.h>

#include "image.h"
#include "new.h"

struct bytes {
	const uint8_t *p;
	size_t left;
};

static int take(void *arg, void *to, size_t n)
{
	struct bytes *b = arg;

	if (n > b->left)
		return -EPIPE;
	memcpy(to, b->p, n);
	b->p += n;
	b->left -= n;
	return 0;
}

static int collect(void *arg, const void *p, size_t n)
{
	return buf_add(arg, p, n);
}

static int harmless(enum img_tag tag)
{
	switch (tag) {
	case IMG_FILE:
	case IMG_SHM:
	case IMG_DESC:
	case IMG_PIPE:
	case IMG_BUILD:
	case IMG_PAGES:
	case IMG_LAZY:
	case IMG_END:
		return 0;
	default:
		return 1;
	}
}

static void read_all(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct eng_io io = { .arg = &b, .read = take };
	struct img_reader r = { .io = &io };
	struct eng_report rep = { 0 };
	struct eng_new *n = eng_new_empty();
	struct img_rec rec;

	while (n && img_next(&r, &rec) == 0)
		if (harmless(rec.tag) && eng_new_take(n, &r, &rec, &rep))
			break;
	img_reader_fini(&r);
	eng_new_free(n);
}

/* tag, process, length (two bytes), body; again and again. */
static void frame(const uint8_t *p, size_t left, struct buf *out)
{
	struct eng_io io = { .arg = out, .write = collect };
	struct img_writer w = { .io = &io };
	uint64_t len;
	uint32_t crc;

	vdso_facts(&len, &crc);
	img_begin(&w);
	img_u32(&w, 2);
	img_u64(&w, len);
	img_u32(&w, crc);
	img_u64(&w, 0);
	img_u32(&w, 0);
	img_str(&w, "x");
	img_send(&w, IMG_START, 0);
	while (left > 4) {
		enum img_tag tag = (enum img_tag)(p[0] % 16 + 1);
		uint32_t proc = p[1] % 3;
		size_t n = (size_t)p[2] << 8 | p[3];
		void *to;

		p += 4;
		left -= 4;
		if (n > left)
			n = left;
		img_begin(&w);
		to = n ? img_raw(&w, n) : NULL;
		if (to)
			memcpy(to, p, n);
		if (tag != IMG_START && tag != IMG_END)
			img_send(&w, tag, proc);
		p += n;
		left -= n;
	}
	img_writer_fini(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = { 0 };

	read_all(data, size);
	frame(data, size, &out);
	read_all(buf_data(&out), buf_len(&out));
	buf_free(&out);
	return 0;
}
