#ifndef HOSTDB_HISTORY_H
#define HOSTDB_HISTORY_H
/*
 * history.h -- what happened to hosts, and sums, in SQLite.
 *
 * Nothing is decided from it and nobody waits for it: rows are queued and a
 * thread of its own writes them, many to a transaction.  A crash or a full
 * disk costs the last second's or the coming rows, never a grant.
 */
#include <stdint.h>

#include "table.h"

struct history;

enum history_sum {
	SUM_STARTS,
	SUM_REQUESTS,
	SUM_WANTED,
	SUM_GRANTED,
	SUM_NOTHING, /* requests that got no host at all */
	SUMS
};

/* err holds a sentence on failure. */
int history_open(const char *path, struct history **ret, char *err, size_t cap);
/* Writes what is queued.  NULL is fine. */
void history_close(struct history *h);
/* wall_ms: since the epoch. */
void history_add(struct history *h, uint32_t host, const struct past *p,
		 int64_t wall_ms);
void history_name(struct history *h, uint32_t host, const char *name);
void history_sum(struct history *h, enum history_sum s, uint64_t n);
/* The last n (at most PAST_KEPT) of a host, oldest first, from the disk;
 * at_ms of each is set as if wall_ms were now_ms. */
int history_recent(struct history *h, uint32_t host, int64_t wall_ms,
		   uint64_t now_ms, struct past *ret, unsigned *ret_n);
/* Wait until everything queued so far was written or given up. */
void history_flush(struct history *h);

#endif
