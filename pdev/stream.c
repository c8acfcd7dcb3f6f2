/* stream.c -- see stream.h. */
#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "sprite/pdev.h"

#define ALL_BITS                                                               \
	(SPRITE_PDEV_IN | SPRITE_PDEV_OUT | SPRITE_PDEV_PRI | SPRITE_PDEV_HUP)

#define TO(s) (1u << PDEV_##s)
static const struct {
	const char *name;
	unsigned next;
} states[] = {
#define STATE(name, next) [PDEV_##name] = {#name, next},
	PDEV_STREAM_STATES(STATE)
#undef STATE
};

const char *pdev_stream_name(enum pdev_stream_state s)
{
	return states[s].name;
}

void pdev_stream_move(struct pdev_stream *s, enum pdev_stream_state next)
{
	assert(states[s->state].next & (1u << next));
	s->state = next;
	/* Whoever waits for a server that is gone must come and see. */
	if (next == PDEV_CUT)
		s->bits = SPRITE_PDEV_IN | SPRITE_PDEV_OUT | SPRITE_PDEV_HUP;
}

int pdev_stream_may(const struct pdev_stream *s)
{
	switch (s->state) {
	case PDEV_OPEN:
		return 0;
	case PDEV_CUT:
		return -EIO;
	default:
		return -EBADF;
	}
}

uint32_t pdev_stream_set(struct pdev_stream *s, uint32_t bits)
{
	uint32_t new;

	if (s->state == PDEV_CUT)
		return 0;
	bits &= ALL_BITS;
	new = bits & ~s->bits;
	s->bits = bits;
	return new;
}

short pdev_stream_poll(const struct pdev_stream *s)
{
	int events = 0;

	if (s->bits & SPRITE_PDEV_IN)
		events |= POLLIN | POLLRDNORM;
	if (s->bits & SPRITE_PDEV_OUT)
		events |= POLLOUT | POLLWRNORM;
	if (s->bits & SPRITE_PDEV_PRI)
		events |= POLLPRI;
	if (s->bits & SPRITE_PDEV_HUP)
		events |= POLLHUP;
	if (s->state == PDEV_CUT)
		events |= POLLERR;
	return (short)events;
}
