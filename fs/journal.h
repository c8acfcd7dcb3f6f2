#ifndef FS_JOURNAL_H
#define FS_JOURNAL_H
/*
 * journal.h -- delayed writes, noted where they outlive a killed fsd (keep.h):
 * write(2) has returned, so they must reach the server.
 *
 * A log in the kept memory, in order: bytes written, truncations, and "this
 * object is clean".  It begins anew whenever nothing is dirty at all; when it
 * grows long, everything is flushed, and when it is full, nothing is delayed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "keep.h"

enum journal_kind { JOURNAL_WRITE = 1, JOURNAL_TRUNCATE, JOURNAL_CLEAN };

struct journal_entry {
	enum journal_kind kind;
	uint64_t id;  /* of the node */
	uint64_t off; /* or the new size */
	struct timespec mtime;
	const void *data; /* of JOURNAL_WRITE */
	size_t len;
};

/* Is there room for a write of so many bytes?  True if nothing is kept. */
bool journal_room(const struct keep *k, size_t len);
/* Long enough that it is time to flush. */
bool journal_long(const struct keep *k);
/* Dropped if there is no room; only for JOURNAL_CLEAN that does not matter. */
void journal_add(struct keep *k, const struct journal_entry *e);
/* Nothing is dirty. */
void journal_reset(struct keep *k);
/* The entries in order: *at begins at 0; false: there are no more. */
bool journal_next(const struct keep *k, uint64_t *at, struct journal_entry *ret);

#endif
