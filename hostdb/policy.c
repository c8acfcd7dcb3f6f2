/*
 * policy.c -- see policy.h.
 *
 * One pass with a heap of the best so far: with few wanted of many, almost
 * every host costs one comparison.
 */
#include "policy.h"

static unsigned lent_in_all(const struct policy_host *h)
{
	unsigned n = 0;

	for (int p = 0; p < PRIORITIES; p++)
		n += h->lent[p];
	return n;
}

unsigned policy_room(const struct policy_host *h, enum hostdb_priority p)
{
	unsigned n = 0;

	for (int i = (int)p; i < PRIORITIES; i++)
		n += h->lent[i];
	return h->open && n < h->slots ? h->slots - n : 0;
}

bool policy_may(const struct policy_host *h, const struct policy_ask *a)
{
	return h->id != a->host && h->version == a->version &&
	       policy_room(h, a->priority) > 0;
}

enum hostdb_state policy_state(const struct policy_facts *f,
			       const struct policy_host *h)
{
	if (!f->up)
		return HOST_DOWN;
	if (!f->allow)
		return f->why == WHY_POLICY ? HOST_REFUSES : HOST_ACTIVE;
	if (!lent_in_all(h))
		return HOST_IDLE;
	return policy_room(h, PRIORITY_NORMAL) ? HOST_PART_USED : HOST_FULL;
}

/* a is to be lent before b. */
static bool before(const struct policy_host *a, const struct policy_host *b)
{
	unsigned la = lent_in_all(a), lb = lent_in_all(b);

	if (la != lb)
		return la < lb;
	if (a->since_ms != b->since_ms)
		return a->since_ms < b->since_ms;
	return a->id < b->id;
}

/* A heap whose top is the worst: v[0] may sink. */
static void sink(const struct policy_host *hosts, uint32_t *v, size_t n)
{
	size_t i = 0, c;
	uint32_t x = v[0];

	while ((c = 2 * i + 1) < n) {
		if (c + 1 < n && before(&hosts[v[c]], &hosts[v[c + 1]]))
			c++;
		if (!before(&hosts[x], &hosts[v[c]]))
			break;
		v[i] = v[c];
		i = c;
	}
	v[i] = x;
}

static void rise(const struct policy_host *hosts, uint32_t *v, size_t i)
{
	uint32_t x = v[i];

	while (i && before(&hosts[v[(i - 1) / 2]], &hosts[x])) {
		v[i] = v[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	v[i] = x;
}

size_t policy_pick(const struct policy_host *hosts, size_t n,
		   const struct policy_ask *a, uint32_t *ret, size_t want)
{
	size_t have = 0;

	for (size_t i = 0; want && i < n; i++) {
		if (!policy_may(&hosts[i], a))
			continue;
		if (have < want) {
			ret[have] = (uint32_t)i;
			rise(hosts, ret, have++);
		} else if (before(&hosts[i], &hosts[ret[0]])) {
			ret[0] = (uint32_t)i;
			sink(hosts, ret, have);
		}
	}
	/* Take the worst off the top until the best is in front. */
	for (size_t k = have; k-- > 1;) {
		uint32_t worst = ret[0];

		ret[0] = ret[k];
		sink(hosts, ret, k);
		ret[k] = worst;
	}
	return have;
}

long policy_reclaim(const struct policy_grant *grants, size_t n,
		    const uint32_t *held, uint32_t self,
		    const struct policy_ask *a)
{
	long best = -1;

	for (size_t i = 0; i < n; i++) {
		const struct policy_grant *g = &grants[i];

		if (g->client == self || !g->takable || g->host == a->host ||
		    g->priority != a->priority || g->version != a->version ||
		    held[g->client] < held[self] + 2)
			continue;
		/* Of equals the later one: the last that a client got goes first. */
		if (best < 0 || held[g->client] >= held[grants[best].client])
			best = (long)i;
	}
	return best;
}
