/*
 * map.c -- see map.h.  Chained, doubling at a load of one.
 *
 * Integer keys are mixed (the finaliser of a 64-bit generator), byte strings
 * hashed by FNV-1a with the process's own seed, so that a peer who chooses
 * names cannot choose collisions.
 */
#include "map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t hash_bytes(const void *key, size_t len)
{
	static uint64_t seed;
	const uint8_t *p = key;
	uint64_t h;

	if (!seed && getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = 1;
	h = 0xcbf29ce484222325u ^ seed;
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

static struct map_node **slot(const struct map *m, uint64_t hash)
{
	return &m->slots[mix(hash) & (m->nslots - 1)];
}

static int grow(struct map *m)
{
	size_t n = m->nslots ? m->nslots * 2 : 16;
	struct map bigger = { .nslots = n };

	bigger.slots = calloc(n, sizeof(*bigger.slots));
	if (!bigger.slots)
		return m->nslots ? 0 : -ENOMEM;
	for (size_t i = 0; i < m->nslots; i++) {
		struct map_node *e = m->slots[i];

		while (e) {
			struct map_node *next = e->next;
			struct map_node **s = slot(&bigger, e->hash);

			e->next = *s;
			*s = e;
			e = next;
		}
	}
	free(m->slots);
	m->slots = bigger.slots;
	m->nslots = n;
	return 0;
}

void map_fini(struct map *m)
{
	free(m->slots);
	*m = (struct map){ 0 };
}

static int insert(struct map *m, struct map_node *n)
{
	struct map_node **s;

	if (m->count >= m->nslots) {
		int r = grow(m);

		if (r)
			return r;
	}
	s = slot(m, n->hash);
	n->next = *s;
	*s = n;
	m->count++;
	return 0;
}

int map_put(struct map *m, uint64_t key, struct map_node *n)
{
	*n = (struct map_node){ .hash = key };
	return insert(m, n);
}

int map_put_str(struct map *m, const void *key, size_t len, struct map_node *n)
{
	*n = (struct map_node){ .hash = hash_bytes(key, len),
				.key = key,
				.len = len };
	return insert(m, n);
}

struct map_node *map_get(const struct map *m, uint64_t key)
{
	struct map_node *e = m->nslots ? *slot(m, key) : NULL;

	while (e && (e->hash != key || e->key))
		e = e->next;
	return e;
}

struct map_node *map_get_str(const struct map *m, const void *key, size_t len)
{
	uint64_t hash = hash_bytes(key, len);
	struct map_node *e = m->nslots ? *slot(m, hash) : NULL;

	while (e && (e->hash != hash || !e->key || e->len != len ||
		     memcmp(e->key, key, len)))
		e = e->next;
	return e;
}

void map_del(struct map *m, struct map_node *n)
{
	struct map_node **at = slot(m, n->hash);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	n->next = NULL;
	m->count--;
}

struct map_node *map_next(const struct map *m, const struct map_node *n)
{
	size_t i = 0;

	if (n) {
		if (n->next)
			return n->next;
		i = (size_t)(slot(m, n->hash) - m->slots) + 1;
	}
	for (; i < m->nslots; i++)
		if (m->slots[i])
			return m->slots[i];
	return NULL;
}
