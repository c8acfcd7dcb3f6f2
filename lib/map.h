#ifndef LIB_MAP_H
#define LIB_MAP_H
/*
 * map.h -- one hash map from a 64-bit key or a byte string to a pointer.
 *
 * Intrusive: an element embeds a struct map_node and is owned by the caller,
 * so inserting cannot fail once the map is made except for growing, which
 * then simply does not happen.  Strings as keys are borrowed from the element
 * for as long as it is in the map.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

struct map_node {
	struct map_node *next;
	uint64_t hash;
	const void *key; /* NULL for an integer key, which is the hash itself */
	size_t len;
};

struct map {
	struct map_node **slots;
	size_t nslots; /* a power of two, 0 before the first insertion */
	size_t count;
};

/* An all-zero struct map is an empty one.  Elements are not freed. */
void map_fini(struct map *m);

/* -ENOMEM only if the very first table cannot be had.  Keys must be new. */
int map_put(struct map *m, uint64_t key, struct map_node *n);
struct map_node *map_get(const struct map *m, uint64_t key);

int map_put_str(struct map *m, const void *key, size_t len, struct map_node *n);
struct map_node *map_get_str(const struct map *m, const void *key, size_t len);

/* n must be in m. */
void map_del(struct map *m, struct map_node *n);

/* Walk: map_next(m, NULL) is the first; n may be deleted after its successor was fetched. */
struct map_node *map_next(const struct map *m, const struct map_node *n);

#define map_entry(n, type, member) \
	((n) ? container_of((n), type, member) : NULL)

#endif
