/*
 * make_sched.c -- see make_sched.h.
 *
 * Other hosts come first: home already runs make and serves the files of the
 * build, and each millisecond it is late with that costs every other host the
 * same.  The exception is a recipe that is alone (the link at the end): at home
 * it is next to its files and nobody else waits.
 *
 * The queue is searched linearly: it holds at most a few recipes a slot.
 */
#include "make_sched.h"

#include <errno.h>
#include <string.h>

/* Begun recipes per slot, while costs are unknown and once they are known. */
#define DEPTH_UNKNOWN 2u
#define DEPTH_KNOWN   5u
#define DEPTH_MAX     1024u
/* Lost one after the other, until a host is left alone. */
#define FAILED_MAX 3u

void sched_init(struct sched *s, const char *home, unsigned slots,
		unsigned limit)
{
	memset(s, 0, sizeof(*s));
	list_init(&s->queue);
	s->limit = limit;
	s->nhosts = 1;
	s->host[SCHED_HOME].slots = slots;
	strncpy(s->host[SCHED_HOME].name, home,
		sizeof(s->host[SCHED_HOME].name) - 1);
}

static struct sched_host *find_host(struct sched *s, uint32_t id)
{
	for (unsigned i = 1; i < s->nhosts; i++) {
		if (s->host[i].id == id)
			return &s->host[i];
	}
	return NULL;
}

int sched_host_set(struct sched *s, uint32_t id, const char *name,
		   unsigned slots)
{
	struct sched_host *h = find_host(s, id);

	if (!h && !slots)
		return 0;
	if (!h && s->nhosts == SCHED_HOSTS_MAX)
		return -ENOSPC;
	if (!h) {
		h = &s->host[s->nhosts++];
		h->id = id;
	}
	strncpy(h->name, name, sizeof(h->name) - 1);
	h->gone = slots == 0;
	h->failed = 0;
	if (slots) /* else the report tells what it had */
		h->slots = slots;
	return 0;
}

unsigned sched_hosts(const struct sched *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nhosts; i++)
		n += !s->host[i].gone && s->host[i].slots > 0;
	return n;
}

unsigned sched_slots(const struct sched *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nhosts; i++)
		n += s->host[i].gone ? 0 : s->host[i].slots;
	return s->limit && n > s->limit ? s->limit : n;
}

unsigned sched_depth(const struct sched *s)
{
	unsigned slots = sched_slots(s);
	unsigned per_slot = s->known ? DEPTH_KNOWN : DEPTH_UNKNOWN;
	unsigned n = slots * per_slot;

	/* One at a time means: in make's own order. */
	if (s->limit == 1)
		return 1;
	return n > DEPTH_MAX ? DEPTH_MAX : n;
}

void sched_enqueue(struct sched *s, struct sched_job *j)
{
	j->seq = s->seq++;
	if (j->cost_ms) {
		s->known++;
		s->known_ms += j->cost_ms;
	} else {
		s->unknown++;
	}
	list_add_tail(&s->queue, &j->queue);
	s->waiting++;
}

void sched_cancel(struct sched *s, struct sched_job *j)
{
	list_del(&j->queue);
	s->waiting--;
}

static uint64_t expected_ms(const struct sched *s, const struct sched_job *j)
{
	if (j->cost_ms)
		return j->cost_ms;
	return s->known ? s->known_ms / s->known : 1;
}

/* The longest that may run elsewhere, or (at_home) the longest of all. */
static struct sched_job *longest(struct sched *s, bool at_home)
{
	struct sched_job *best = NULL;

	list_each(j, &s->queue, struct sched_job, queue) {
		if (j->stay && !at_home)
			continue;
		/* What can only run here goes before what could run anywhere. */
		if (!best || (j->stay && !best->stay) ||
		    (j->stay == best->stay &&
		     expected_ms(s, j) > expected_ms(s, best)))
			best = j;
	}
	return best;
}

/* The remote host with most free slots, or home's index if there is none. */
static unsigned free_host(const struct sched *s)
{
	unsigned best = SCHED_HOME, most = 0;

	for (unsigned i = 1; i < s->nhosts; i++) {
		const struct sched_host *h = &s->host[i];

		if (!h->gone && h->used < h->slots && h->slots - h->used > most) {
			most = h->slots - h->used;
			best = i;
		}
	}
	return best;
}

static struct sched_job *start_on(struct sched *s, struct sched_job *j,
				  unsigned host)
{
	list_del(&j->queue);
	s->waiting--;
	s->running++;
	s->host[host].used++;
	j->host = host;
	return j;
}

struct sched_job *sched_start(struct sched *s)
{
	const struct sched_host *home = &s->host[SCHED_HOME];
	bool home_free = home->used < home->slots;
	unsigned remote = free_host(s);
	struct sched_job *j;

	if (!s->waiting || (s->limit && s->running >= s->limit))
		return NULL;
	if (home_free && s->running == 0 && s->waiting == 1)
		return start_on(s, longest(s, true), SCHED_HOME);
	if (remote != SCHED_HOME) {
		j = longest(s, false);
		if (j)
			return start_on(s, j, remote);
	}
	if (home_free) {
		j = longest(s, true);
		if (j)
			return start_on(s, j, SCHED_HOME);
	}
	return NULL;
}

void sched_end(struct sched *s, struct sched_job *j, uint64_t ms, bool lost)
{
	struct sched_host *h = &s->host[j->host];

	s->running--;
	h->used--;
	h->busy_ms += ms;
	if (lost) {
		h->lost++;
		h->failed++;
		h->gone |= h->failed >= FAILED_MAX && j->host != SCHED_HOME;
	} else {
		h->jobs++;
		h->failed = 0;
	}
}
