/* test_frame.c -- cutting a stream into frames, however it arrives. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "frame.h"
#include "rpc.h"

static const struct {
	uint32_t len, payload;
} shapes[] = {{0, 0},	   {1, 0},     {0, 1},	 {7, 9},
	      {100, 1000}, {1000, 63}, {64, 64}, {5000, 70000}};

#define SHAPES (sizeof(shapes) / sizeof(*shapes))

static uint8_t byte_at(size_t shape, size_t i)
{
	return (uint8_t)(shape * 31 + i * 7 + (i >> 8));
}

static void put_all(struct buf *b)
{
	for (size_t s = 0; s < SHAPES; s++) {
		size_t n = shapes[s].len + shapes[s].payload;
		struct frame f = {.kind = FRAME_REQUEST,
				  .flags = FRAME_ONCE,
				  .code = (uint16_t)(100 + s),
				  .status = -ENOENT,
				  .id = 1000 + s,
				  .ack = 5,
				  .len = shapes[s].len,
				  .payload_len = shapes[s].payload};
		uint8_t head[FRAME_HEAD];

		frame_put(&f, head);
		buf_add(b, head, sizeof(head));
		for (size_t i = 0; i < n; i++) {
			uint8_t v = byte_at(s, i);

			buf_add(b, &v, 1);
		}
	}
}

static void check(const struct frame_msg *m, size_t s)
{
	cr_assert_lt(s, SHAPES);
	cr_assert_eq(m->f.code, 100 + s);
	cr_assert_eq(m->f.id, 1000 + s);
	cr_assert_eq(m->f.status, -ENOENT);
	cr_assert_eq(m->f.flags, FRAME_ONCE);
	cr_assert_eq(m->f.ack, 5);
	cr_assert_eq(m->f.len, shapes[s].len);
	cr_assert_eq(m->f.payload_len, shapes[s].payload);
	for (size_t i = 0; i < shapes[s].len; i++)
		cr_assert_eq(m->body[i], byte_at(s, i));
	for (size_t i = 0; i < shapes[s].payload; i++)
		cr_assert_eq(m->payload[i], byte_at(s, shapes[s].len + i));
}

/* Pieces of step bytes; direct: through frame_in_room where there is one. */
static void run(size_t step, bool direct)
{
	struct frame_in in = {0};
	struct buf b = {0};
	size_t got = 0, at = 0;

	put_all(&b);
	while (at < buf_len(&b)) {
		size_t n = buf_len(&b) - at, room, used;
		struct frame_msg m;
		uint8_t *to;
		int r;

		n = n < step ? n : step;
		to = direct ? frame_in_room(&in, &room) : NULL;
		if (to && room) {
			n = n < room ? n : room;
			memcpy(to, buf_data(&b) + at, n);
			r = frame_in_filled(&in, n, &m);
			used = n;
		} else {
			r = frame_in_feed(&in, buf_data(&b) + at, n, &used, &m);
		}
		cr_assert_geq(r, 0);
		cr_assert(r == 1 || used == n);
		at += used;
		if (r == 1)
			check(&m, got++);
	}
	cr_expect_eq(got, SHAPES);
	frame_in_fini(&in);
	buf_free(&b);
}

Test(frame, a_stream_is_cut_alike_however_it_arrives)
{
	static const size_t steps[] = {1, 2, 35, 36, 37, 100, 4096, 1 << 20};

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		run(steps[i], false);
		run(steps[i], true);
	}
}

static int feed_head(const struct frame *f, int at, uint8_t value)
{
	struct frame_in in = {0};
	uint8_t head[FRAME_HEAD];
	struct frame_msg m;
	size_t used;
	int r;

	frame_put(f, head);
	if (at >= 0)
		head[at] = value;
	r = frame_in_feed(&in, head, sizeof(head), &used, &m);
	frame_in_fini(&in);
	return r;
}

Test(frame, lengths_over_the_limit_are_refused)
{
	struct frame f = {.kind = FRAME_NOTE,
			  .len = RPC_BODY_MAX,
			  .payload_len = RPC_PAYLOAD_MAX};

	cr_expect_eq(feed_head(&f, -1, 0), 0);
	f.len++;
	cr_expect_eq(feed_head(&f, -1, 0), -EBADMSG);
	f.len--;
	f.payload_len++;
	cr_expect_eq(feed_head(&f, -1, 0), -EBADMSG);
	f.payload_len = UINT32_MAX;
	cr_expect_eq(feed_head(&f, -1, 0), -EBADMSG);
	f = (struct frame){.kind = FRAME_NOTE, .nfds = RPC_FDS_MAX + 1};
	cr_expect_eq(feed_head(&f, -1, 0), -EBADMSG);
}

Test(frame, unknown_kinds_flags_and_filler_are_refused)
{
	struct frame f = {.kind = FRAME_NOTE};

	cr_expect_eq(feed_head(&f, -1, 0), 1);
	cr_expect_eq(feed_head(&f, 0, 0), -EBADMSG);
	cr_expect_eq(feed_head(&f, 0, FRAME_KINDS), -EBADMSG);
	cr_expect_eq(feed_head(&f, 1, 8), -EBADMSG);
	cr_expect_eq(feed_head(&f, 3, 1), -EBADMSG);
	cr_expect_eq(feed_head(&f, 6, 1), -EBADMSG);
	cr_expect_eq(feed_head(&f, 7, 1), -EBADMSG);
}

Test(frame, patch_changes_flags_and_ack_only)
{
	struct frame f = {.kind = FRAME_REQUEST,
			  .id = 9,
			  .ack = 1,
			  .status = -EIO,
			  .len = 3};
	uint8_t head[FRAME_HEAD];
	struct frame g;

	frame_put(&f, head);
	frame_patch(head, FRAME_REPLAYED, 0x0102030405060708u);
	cr_assert_eq(frame_get(head, &g), 0);
	cr_expect_eq(g.flags, FRAME_REPLAYED);
	cr_expect_eq(g.ack, 0x0102030405060708u);
	cr_expect_eq(g.id, 9);
	cr_expect_eq(g.status, -EIO);
	cr_expect_eq(g.len, 3);
}
