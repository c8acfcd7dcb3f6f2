#ifndef MIGD_LOAD_H
#define MIGD_LOAD_H
/*
 * load.h -- how busy this host is, and whether it may have guests.
 *
 * The measure is the length of the ready queue: tasks that run or could.  Its
 * averages over 1, 5 and 15 minutes decay by a fixed factor a sample, so they
 * assume one sample every 5 seconds of the host's own time.
 *
 * A machine is sampled whole.  A virtual host, which lives in a PID namespace
 * and a cgroup of its own, is only what is in that cgroup: the machine's load
 * average would blame it for its neighbours.
 *
 * Guests count: the thresholds leave room for one between letting in and
 * barring, and load_limits_for makes room for as many as the host lends slots.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hostconf.h"
#include "hostdb_enum.h"

struct load_avg {
	double v[3];
};

/* One sample of the queue's length. */
void load_avg_add(struct load_avg *a, double queue);
uint32_t load_centi(double v);

/* ---- may guests come? ---- */

struct load_limits {
	uint32_t idle_secs;
	double in[3], out[3]; /* at most, to begin; more than, to end */
};

/* The configured ones are meant for one processor and one slot. */
struct load_limits load_limits_for(const struct hostconf *c, unsigned cpus);

struct load_facts {
	bool refuses;	 /* by policy */
	bool touched;	 /* the console was used since boot */
	uint64_t idle_secs; /* since then */
	struct load_avg avg;
};

struct load_gate {
	bool allow;
	enum hostdb_why why; /* if not */
};

/* Before the first sample. */
#define LOAD_GATE_START { false, WHY_STARTING }

/* Look anew.  True if allow or why changed, which is to be reported at once. */
bool load_gate_step(struct load_gate *g, const struct load_facts *f,
		    const struct load_limits *l);

/* ---- sampling ---- */

struct load_sampler {
	bool whole;	     /* of the machine */
	char group[PATH_MAX]; /* else the folder of our cgroup */
	const char *tasks;   /* the file in it that lists threads */
	pid_t self;	     /* not counted: it runs because it looks */
};

/* Find out what to sample.  0 or -errno. */
int load_sampler_init(struct load_sampler *s);
/* Tasks that run or could, our own thread left out; or -errno. */
int load_sample(const struct load_sampler *s);
/* Processors this host may use: affinity and quota, at least 1. */
unsigned load_cpus(const struct load_sampler *s);

#endif
