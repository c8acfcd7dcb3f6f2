/* make_costs.c -- see make_costs.h. */
#include "make_costs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fd.h"

#define LINE_BYTES 48u /* a line is shorter */

struct cost {
	struct map_node node;
	uint64_t key;
	uint32_t ms;
	uint32_t day;
};

/* The user's file; its folder is made if make_folder. */
static int default_path(char *buf, size_t cap, bool make_folder)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (cache && *cache == '/')
		n = snprintf(buf, cap, "%s/sprite", cache);
	else if (home && *home == '/')
		n = snprintf(buf, cap, "%s/.cache/sprite", home);
	else
		return -ENOENT;
	if (n < 0 || (size_t)n + sizeof("/costs") > cap)
		return -ENAMETOOLONG;
	if (make_folder) {
		int r = mkdir_p(buf, 0700);

		if (r)
			return r;
	}
	strcpy(buf + n, "/costs");
	return 0;
}

static struct cost *cost_of(struct costs *c, uint64_t key)
{
	return map_entry(map_get(&c->map, key), struct cost, node);
}

static int put(struct costs *c, uint64_t key, uint32_t ms, uint32_t day)
{
	struct cost *e = cost_of(c, key);

	if (!e) {
		if (c->map.count >= COSTS_MAX)
			return -ENOSPC;
		e = calloc(1, sizeof(*e));
		if (!e)
			return -ENOMEM;
		e->key = key;
		if (map_put(&c->map, key, &e->node)) {
			free(e);
			return -ENOMEM;
		}
	}
	e->ms = ms;
	e->day = day;
	return 0;
}

int costs_load(struct costs *c, const char *path, uint32_t today)
{
	char own[PATH_MAX];
	struct buf b = { 0 };
	char *line, *rest;
	int r = 0;

	memset(c, 0, sizeof(*c));
	c->today = today;
	if (!path) {
		r = default_path(own, sizeof(own), false);
		path = own;
	}
	if (!r)
		r = fd_read_file(path, COSTS_MAX * LINE_BYTES, &b);
	if (r) {
		buf_free(&b);
		return r;
	}
	rest = (char *)buf_data(&b);
	while (rest && (line = strsep(&rest, "\n")) != NULL) {
		uint64_t key;
		uint32_t ms, day;

		if (sscanf(line, "%" SCNx64 " %" SCNu32 " %" SCNu32, &key, &ms,
			   &day) == 3 && ms)
			(void)put(c, key, ms, day);
	}
	buf_free(&b);
	return 0;
}

uint32_t costs_get(struct costs *c, uint64_t key)
{
	const struct cost *e = cost_of(c, key);

	return e ? e->ms : 0;
}

/* The least recently met of all, and not of today. */
static void forget_one(struct costs *c)
{
	struct cost *oldest = NULL;

	for (struct map_node *n = map_next(&c->map, NULL); n;
	     n = map_next(&c->map, n)) {
		struct cost *e = map_entry(n, struct cost, node);

		if (!oldest || e->day < oldest->day)
			oldest = e;
	}
	if (oldest && oldest->day < c->today) {
		map_del(&c->map, &oldest->node);
		free(oldest);
	}
}

void costs_learn(struct costs *c, uint64_t key, uint32_t ms)
{
	const struct cost *e = cost_of(c, key);
	uint64_t mean;

	if (!ms)
		ms = 1;
	/* The last time counts most: sources grow. */
	mean = e ? ((uint64_t)e->ms + 2 * (uint64_t)ms + 2) / 3 : ms;
	if (!e && c->map.count >= COSTS_MAX)
		forget_one(c);
	if (put(c, key, (uint32_t)mean, c->today) == 0)
		c->changed = true;
}

int costs_save(struct costs *c, const char *path)
{
	char own[PATH_MAX];
	struct buf b = { 0 };
	int r = 0;

	if (!c->changed)
		return 0;
	if (!path) {
		r = default_path(own, sizeof(own), true);
		path = own;
	}
	for (struct map_node *n = map_next(&c->map, NULL); n && !r;
	     n = map_next(&c->map, n)) {
		const struct cost *e = map_entry(n, struct cost, node);

		r = buf_addf(&b, "%016" PRIx64 " %" PRIu32 " %" PRIu32 "\n",
			     e->key, e->ms, e->day);
	}
	if (!r)
		r = fd_write_file(path, buf_data(&b), buf_len(&b), 0600);
	buf_free(&b);
	return r;
}

void costs_free(struct costs *c)
{
	struct map_node *n;

	while ((n = map_next(&c->map, NULL)) != NULL) {
		map_del(&c->map, n);
		free(map_entry(n, struct cost, node));
	}
	map_fini(&c->map);
}
