#ifndef HOSTDB_POLICY_H
#define HOSTDB_POLICY_H
/*
 * policy.h -- who gets which host, as pure functions over a snapshot.
 *
 * Never the asker's own host.  Wholly idle hosts first, the longest idle
 * foremost; then hosts that are lent in part, the least lent and longest so
 * foremost.  A host has `slots` slots in each priority class: grants of lower
 * classes do not count against it, those of its own and higher ones do, so a
 * host with a background job can still be lent for a compile.
 *
 * Fairness: when a request cannot be met, one slot at a time is taken from
 * the client with the most of that priority, as long as it has at least two
 * more than the asker.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hostdb_enum.h"

/* Kept small: ten thousand are looked through for each request. */
struct policy_host {
	uint32_t id;
	uint16_t slots;
	uint16_t lent[PRIORITIES]; /* grants by class */
	bool open;		   /* heard of, and allows guests */
	uint64_t version;	   /* migration version */
	uint64_t since_ms;	   /* idle since; once lent: lent since */
};

struct policy_ask {
	uint32_t host; /* the asker's */
	uint64_t version;
	enum hostdb_priority priority;
};

/* A host's condition as its migd tells it. */
struct policy_facts {
	bool up, allow;
	enum hostdb_why why;
};

enum hostdb_state policy_state(const struct policy_facts *f,
			       const struct policy_host *h);
/* Free slots for that class; 0 if the host is not open. */
unsigned policy_room(const struct policy_host *h, enum hostdb_priority p);
bool policy_may(const struct policy_host *h, const struct policy_ask *a);
/*
 * The best up to want hosts, as indexes in order, each once.  Called again
 * after these were lent it finds the next best, perhaps the same hosts.
 */
size_t policy_pick(const struct policy_host *hosts, size_t n,
		   const struct policy_ask *a, uint32_t *ret, size_t want);

/* A grant that exists, oldest first. */
struct policy_grant {
	uint32_t host;
	uint32_t client; /* index into held */
	uint64_t version;
	enum hostdb_priority priority;
	bool takable; /* the host is open, and no other client has guests there */
};

/*
 * The grant to take back for an asker who is client `self`; -1: none may be.
 * held counts each client's grants of the asked priority.
 */
long policy_reclaim(const struct policy_grant *grants, size_t n,
		    const uint32_t *held, uint32_t self,
		    const struct policy_ask *a);

#endif
