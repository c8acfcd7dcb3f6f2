#ifndef CMD_MAKE_COSTS_H
#define CMD_MAKE_COSTS_H
/*
 * make_costs.h -- how long each recipe took the last times.
 *
 * A small text file of the user's, one line a recipe: a hash of folder and
 * recipe line, milliseconds, and the day it was last met.  It only makes builds
 * faster: a missing or damaged file is an empty one, and losing a write of
 * two builds that end together costs nothing but experience.
 */
#include <stdint.h>

#include "map.h"

#define COSTS_MAX 16384 /* recipes remembered; the longest unused go first */

struct costs {
	struct map map;
	uint32_t today; /* days since the epoch */
	bool changed;
};

/* path NULL: $XDG_CACHE_HOME/sprite/costs, else ~/.cache/sprite/costs. */
int costs_load(struct costs *c, const char *path, uint32_t today);
/* 0: not known. */
uint32_t costs_get(struct costs *c, uint64_t key);
void costs_learn(struct costs *c, uint64_t key, uint32_t ms);
int costs_save(struct costs *c, const char *path);
void costs_free(struct costs *c);

#endif
