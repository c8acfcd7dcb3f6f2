#ifndef FS_CACHE_H
#define FS_CACHE_H
/*
 * cache.h -- written bytes of one file that its server does not have yet.
 *
 * A list of extents by offset that never overlap; the newest bytes win.  Pure.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

#define EXTENT_MAX (1u << 20) /* what one message to the server carries */

struct extent {
	struct list link;
	uint64_t off;
	size_t len, cap;
	const void *sent; /* the flusher's: NULL, or what carries it to the server */
	uint8_t *data;
};

struct dirty {
	struct list extents;
	size_t bytes;
	unsigned count;
};

void dirty_init(struct dirty *d);
void dirty_clear(struct dirty *d);
static inline bool dirty_empty(const struct dirty *d)
{
	return d->count == 0;
}
/* -ENOMEM: nothing has changed. */
int dirty_write(struct dirty *d, uint64_t off, const void *p, size_t n);
/* Lay what there is of [off, off + n) over buf. */
void dirty_read(const struct dirty *d, uint64_t off, void *buf, size_t n);
/* Is every byte of [off, off + n) here (or, if `or` is given, there)? */
bool dirty_covers(const struct dirty *d, const struct dirty *or, uint64_t off,
		  size_t n);
/* Forget what is at and behind size. */
void dirty_truncate(struct dirty *d, uint64_t size);
/* All extents of `from` go to `to`, which must be empty. */
void dirty_move(struct dirty *to, struct dirty *from);
/* Put older bytes back under newer ones; takes what it needs of `old`, and
 * leaves it empty. */
int dirty_put_under(struct dirty *d, struct dirty *old);
void dirty_drop(struct dirty *d, struct extent *e);

#endif
