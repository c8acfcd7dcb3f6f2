/*
 * fuzz_frame.c -- a byte stream cut into frames, in one piece and in pieces
 * of a size that the input chooses: both must give the same frames.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t mix(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

static uint64_t hash_of(const struct frame_msg *m)
{
	uint64_t h = mix(m->f.id + m->f.code, m->body, m->f.len);

	if (m->f.len > RPC_BODY_MAX || m->f.payload_len > RPC_PAYLOAD_MAX ||
	    m->f.nfds > RPC_FDS_MAX || m->f.status > 0)
		abort();
	return mix(h, m->payload, m->f.payload_len);
}

/* A hash over the frames found; the end of the stream by error counts too. */
static uint64_t cut(const uint8_t *p, size_t n, size_t step, int direct)
{
	struct frame_in in = {0};
	uint64_t h = 1;

	while (n) {
		size_t part = n < step ? n : step, room = 0, used = part;
		uint8_t *to = direct ? frame_in_room(&in, &room) : NULL;
		struct frame_msg m;
		int r;

		if (to && room) {
			used = part < room ? part : room;
			memcpy(to, p, used);
			r = frame_in_filled(&in, used, &m);
		} else {
			used = 0;
			r = frame_in_feed(&in, p, part, &used, &m);
		}
		if (r < 0) {
			h = h * 31 + 7;
			break;
		}
		if (r > 0)
			h = h * 31 + hash_of(&m);
		else if (used != part && !to)
			abort();
		p += used;
		n -= used;
	}
	frame_in_fini(&in);
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t step;
	uint64_t h;

	if (size < 1)
		return 0;
	step = (size_t)data[0] + 1;
	data++;
	size--;
	h = cut(data, size, SIZE_MAX, 0);
	if (h != cut(data, size, step, 0) || h != cut(data, size, step, 1))
		abort();
	return 0;
}
