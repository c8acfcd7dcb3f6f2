#ifndef TESTS_CMD_FAKE_MIGD_H
#define TESTS_CMD_FAKE_MIGD_H
/*
 * fake_migd.h -- a migd that gives fixed answers, in a process of its own, and
 * a verb run against it with its output caught.
 */
#include <signal.h>

#include "cmd.h"

/* Starts it (SPRITE_RUN and SPRITE_STATE point to a fresh folder). */
void fake_begin(void);
void fake_end(void);

struct said {
	int code;      /* exit status; -N: ended by signal N */
	char out[8192]; /* both streams */
};

/* In a child: v->run with the words of line. */
struct said say(const struct verb *v, const char *line);

#endif
