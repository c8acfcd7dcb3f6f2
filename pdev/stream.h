#ifndef PDEV_STREAM_H
#define PDEV_STREAM_H
/*
 * stream.h -- the state of one open pseudo-device, as the broker (where the
 * program runs) and the front (where the client runs) both see it: where it is
 * in its life, and what it is ready for.
 */
#include <stdbool.h>
#include <stdint.h>

#define TO(s) (1u << PDEV_##s)
/*
 * A stream has a server exactly while it is OPEN.  CUT: the server is gone or
 * out of reach, for good; what was under way has ended with an error and the
 * client's descriptor is still there.  Nothing leaves CLOSED.
 */
#define PDEV_STREAM_STATES(STATE)                                              \
	STATE(OPENING, TO(OPEN) | TO(CLOSED))                                  \
	STATE(OPEN, TO(CUT) | TO(CLOSED))                                      \
	STATE(CUT, TO(CLOSED))                                                 \
	STATE(CLOSED, 0)

enum pdev_stream_state {
#define STATE(name, next) PDEV_##name,
	PDEV_STREAM_STATES(STATE)
#undef STATE
};

struct pdev_stream {
	enum pdev_stream_state state;
	uint32_t bits; /* SPRITE_PDEV_*; what it is ready for */
};

const char *pdev_stream_name(enum pdev_stream_state s);
/* Asserts that the table has this step. */
void pdev_stream_move(struct pdev_stream *s, enum pdev_stream_state next);
/* May an operation start?  0, -EIO (cut), -EBADF (not open). */
int pdev_stream_may(const struct pdev_stream *s);
/*
 * Be ready for bits and nothing else.  Returns those that are new: somebody
 * may wait for them.  A cut stream stays ready for everything.
 */
uint32_t pdev_stream_set(struct pdev_stream *s, uint32_t bits);
/* As poll(2) has it. */
short pdev_stream_poll(const struct pdev_stream *s);

#undef TO
#endif
