#ifndef HOSTDB_REASONS_H
#define HOSTDB_REASONS_H
/*
 * reasons.h -- why a host can be had or not, and what happened to it, in
 * sentences.
 */
#include "buf.h"
#include "table.h"

/* name_of gives a host's name by id; never NULL. */
struct reasons {
	const struct host_line *line;
	uint32_t asker;
	uint32_t idle_secs; /* that a host needs, for the sentences */
	const char *(*name_of)(void *arg, uint32_t host);
	void *arg;
};

/* One line on how it is now.  0 or -ENOMEM. */
int reasons_now(const struct reasons *w, struct buf *out);
/* One line on something that happened so long ago. */
int reasons_past(const struct reasons *w, const struct past *p, uint64_t ago_ms,
		 struct buf *out);

#endif
