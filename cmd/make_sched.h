#ifndef CMD_MAKE_SCHED_H
#define CMD_MAKE_SCHED_H
/*
 * make_sched.h -- which waiting recipe starts next, and on which host.
 *
 * Pure policy: no clock, no descriptors.  The owner of the recipes (make_jobs.c)
 * tells what came and what ended and asks what to start.
 *
 * Host 0 is home.  Recipes wait in one queue.  The one that takes longest by
 * experience starts first, because a long one that starts last keeps a build
 * waiting for one host; unknown ones count as average, equal ones go in the
 * order in which they came.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

#define SCHED_HOSTS_MAX 256
#define SCHED_HOME 0u /* index of home */

struct sched_host {
	uint32_t id; /* 0: home */
	char name[64];
	unsigned slots, used;
	bool gone; /* gets no more work; stays in the table for the report */
	unsigned jobs, lost; /* finished there; begun there and lost */
	unsigned failed;     /* lost since the last one finished */
	uint64_t busy_ms;
};

struct sched_job {
	struct list queue; /* the scheduler's */
	uint64_t seq;
	uint32_t cost_ms; /* by experience; 0: unknown */
	bool stay;	  /* at home only */
	unsigned host;	  /* index, once started */
};

struct sched {
	struct sched_host host[SCHED_HOSTS_MAX];
	unsigned nhosts;
	unsigned limit; /* recipes at once at most; 0: as many as there are slots */
	unsigned running;
	struct list queue;
	unsigned waiting;
	uint64_t seq;
	/* Of the recipes seen: what an unknown one is taken for. */
	uint64_t known_ms;
	unsigned known, unknown;
};

void sched_init(struct sched *s, const char *home, unsigned slots,
		unsigned limit);
/*
 * A host has this many slots from now on.  0: it gets nothing more; what runs
 * there ends with sched_end as usual.  -ENOSPC: too many hosts.
 */
int sched_host_set(struct sched *s, uint32_t id, const char *name,
		   unsigned slots);
/* Hosts with slots, home included. */
unsigned sched_hosts(const struct sched *s);
/* Recipes that can run at once. */
unsigned sched_slots(const struct sched *s);
/*
 * How many recipes make should have begun, running and waiting.  More than
 * slots: a slot that falls free has its successor waiting, and there is a
 * longest one to choose, for which the queue must be the deeper the more is
 * known.
 */
unsigned sched_depth(const struct sched *s);

void sched_enqueue(struct sched *s, struct sched_job *j);
/* It waits no more (its asker died). */
void sched_cancel(struct sched *s, struct sched_job *j);
/* The next to start, its host chosen and its slot taken; NULL: none can. */
struct sched_job *sched_start(struct sched *s);
/*
 * It ended; its slot is free.  ms: how long it had it.  lost: it has to run
 * again; a host that does nothing but lose them gets no more.
 */
void sched_end(struct sched *s, struct sched_job *j, uint64_t ms, bool lost);

#endif
