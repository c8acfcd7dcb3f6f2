/*
 * lend.c -- the clients of a table.h, what they hold, who waits.
 *
 * A grant ends in one place, end_grant, whatever the reason, so the counts of
 * host, client and snapshot cannot come apart.
 *
 * Waiting: who got less than it wanted, or lost a grant, is told once that
 * there may be hosts again and asks anew; who then still gets too few waits
 * again.  Who gives back does not wait.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table_priv.h"

static uint64_t client_key(uint32_t home, uint32_t id)
{
	return (uint64_t)home << 32 | id;
}

static struct client *client_get(const struct table *t, uint32_t home, uint32_t id)
{
	return map_entry(map_get(&t->clients, client_key(home, id)),
			 struct client, by_key);
}

static int client_make(struct table *t, const struct client_is *who,
		       struct host *home, struct client **ret)
{
	struct client *c = client_get(t, who->home, who->client);

	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c || map_put(&t->clients, client_key(who->home, who->client),
				  &c->by_key)) {
			free(c);
			return -ENOMEM;
		}
		c->home = who->home;
		c->id = who->client;
		list_init(&c->in_waiting);
		list_init(&c->grants);
		list_add_tail(&home->clients, &c->in_home);
	}
	c->uid = who->uid;
	snprintf(c->name, sizeof(c->name), "%s", who->name);
	*ret = c;
	return 0;
}

static void wait_for(struct table *t, struct client *c, enum hostdb_priority p)
{
	c->priority = p;
	if (!c->waits)
		list_add_tail(&t->waiting, &c->in_waiting);
	c->waits = true;
}

static void wait_no_more(struct client *c)
{
	list_del(&c->in_waiting);
	c->waits = false;
}

static void grant_past(struct table *t, const struct grant *g, enum past_kind kind,
		       enum hostdb_why why, uint64_t now)
{
	const struct client *c = g->client;
	struct past p = { .at_ms = now, .kind = (uint8_t)kind,
			  .why = (uint8_t)why, .priority = (uint8_t)g->priority,
			  .home = c->home, .uid = c->uid,
			  .held_ms = now - g->since_ms };

	memcpy(p.name, c->name, sizeof(p.name));
	host_past(t, g->host, &p);
}

static int make_grant(struct table *t, struct host *h, struct client *c,
		      const struct slot *s, uint64_t now)
{
	struct policy_host *p = &t->snap[h->snap];
	struct grant *g = calloc(1, sizeof(*g));

	if (!g || map_put(&t->grants, s->grant, &g->by_id)) {
		free(g);
		return -ENOMEM;
	}
	g->id = s->grant;
	g->since_ms = now;
	g->host = h;
	g->client = c;
	g->priority = s->priority;
	if (list_empty(&h->grants))
		p->since_ms = now;
	list_add_tail(&h->grants, &g->in_host);
	list_add_tail(&c->grants, &g->in_client);
	c->held[s->priority]++;
	p->lent[s->priority]++;
	grant_past(t, g, PAST_GRANTED, WHY_NONE, now);
	return 0;
}

static void end_grant(struct table *t, struct grant *g, enum past_kind kind,
		      enum hostdb_why why, uint64_t now)
{
	struct host *h = g->host;
	struct policy_host *p = &t->snap[h->snap];
	uint64_t idle_ms = h->r.idle_secs * 1000 + (now - h->report_ms);

	grant_past(t, g, kind, why, now);
	g->client->held[g->priority]--;
	p->lent[g->priority]--;
	list_del(&g->in_host);
	list_del(&g->in_client);
	map_del(&t->grants, &g->by_id);
	free(g);
	if (list_empty(&h->grants))
		p->since_ms = now > idle_ms ? now - idle_ms : 0;
}

/* The holder did not give it back: it is told, and waits for another. */
static void lose_grant(struct table *t, struct grant *g, enum hostdb_why why,
		       uint64_t now)
{
	struct client *c = g->client;
	uint64_t id = g->id;
	uint32_t host = g->host->id;

	wait_for(t, c, g->priority);
	/* Another host may be free already: the next tick looks. */
	if (c->deaf_until_ms < now)
		c->deaf_until_ms = now;
	end_grant(t, g, PAST_LOST, why, now);
	t->ears.lost(t->ears.arg, c->home, c->id, id, host, why);
}

void lend_revoke_all(struct table *t, struct host *h, enum hostdb_why why,
		     uint64_t now)
{
	list_each_safe (g, &h->grants, struct grant, in_host)
		lose_grant(t, g, why, now);
}

/* ---- clients end ---- */

static void client_end(struct table *t, struct client *c, uint64_t now)
{
	struct grant *g;
	uint32_t host;

	wait_no_more(c);
	while ((g = list_first(&c->grants, struct grant, in_client))) {
		host = g->host->id;
		end_grant(t, g, PAST_RETURNED, WHY_NONE, now);
		lend_news(t, host, now);
	}
	list_del(&c->in_home);
	map_del(&t->clients, &c->by_key);
	free(c);
}

void lend_drop_home(struct table *t, struct host *h, uint64_t now)
{
	struct client *c;

	while ((c = list_first(&h->clients, struct client, in_home)))
		client_end(t, c, now);
}

void lend_fini(struct table *t)
{
	for (size_t i = 0; i < t->nhosts; i++) {
		list_each_safe (g, &t->by_snap[i]->grants, struct grant, in_host)
			free(g);
		list_each_safe (c, &t->by_snap[i]->clients, struct client, in_home)
			free(c);
	}
	map_fini(&t->clients);
	map_fini(&t->grants);
}

/* ---- those who wait ---- */

void lend_news(struct table *t, uint32_t host, uint64_t now)
{
	const struct host *h = host_get(t, host);

	/* Waiters ask anew in their own time, so the list only gets shorter here. */
	list_each_safe (c, &t->waiting, struct client, in_waiting) {
		if (now < c->deaf_until_ms || c->home == host ||
		    !policy_room(&t->snap[h->snap], c->priority))
			continue;
		wait_no_more(c);
		t->ears.news(t->ears.arg, c->home, c->id);
	}
}

void lend_tick(struct table *t, uint64_t now)
{
	list_each_safe (c, &t->waiting, struct client, in_waiting) {
		const struct host *home = host_get(t, c->home);
		struct policy_ask a = { c->home, home->r.version, c->priority };
		uint32_t any;

		if (!c->deaf_until_ms || now < c->deaf_until_ms)
			continue;
		c->deaf_until_ms = 0;
		if (!policy_pick(t->snap, t->nhosts, &a, &any, 1))
			continue;
		wait_no_more(c);
		t->ears.news(t->ears.arg, c->home, c->id);
	}
}

/* ---- asking ---- */

static uint32_t take_free(struct table *t, struct client *c,
			  const struct policy_ask *a, uint32_t want, uint64_t now,
			  struct slot *ret)
{
	uint32_t pick[REQUEST_MAX], got = 0;
	size_t n;

	while (got < want &&
	       (n = policy_pick(t->snap, t->nhosts, a, pick, want - got))) {
		for (size_t i = 0; i < n; i++) {
			struct host *h = t->by_snap[pick[i]];
			struct slot s = { t->next_grant, h->id, a->priority };

			if (make_grant(t, h, c, &s, now))
				return got;
			t->next_grant++;
			ret[got++] = s;
		}
	}
	return got;
}

/* No client but g's has grants on its host. */
static bool alone(const struct grant *g)
{
	list_each (o, &g->host->grants, struct grant, in_host) {
		if (o->client != g->client)
			return false;
	}
	return true;
}

struct view {
	struct policy_grant *grants;
	struct grant **of;
	uint32_t *held;
	size_t n;
};

static void view_free(struct view *v)
{
	free(v->grants);
	free(v->of);
	free(v->held);
}

/* All grants as the policy looks at them; the asker is client 0. */
static int view_make(struct table *t, struct client *self,
		     enum hostdb_priority p, struct view *ret)
{
	struct view v = {
		.grants = calloc(t->grants.count + 1, sizeof(*v.grants)),
		.of = calloc(t->grants.count + 1, sizeof(struct grant *)),
		.held = calloc(t->clients.count + 1, sizeof(*v.held)),
	};
	uint32_t nclients = 0;

	if (!v.grants || !v.of || !v.held) {
		view_free(&v);
		return -ENOMEM;
	}
	self->mark = nclients;
	v.held[nclients++] = self->held[p];
	for (struct map_node *n = NULL; (n = map_next(&t->clients, n));) {
		struct client *c = container_of(n, struct client, by_key);

		if (c != self) {
			c->mark = nclients;
			v.held[nclients++] = c->held[p];
		}
		list_each (g, &c->grants, struct grant, in_client) {
			const struct policy_host *h = &t->snap[g->host->snap];

			v.of[v.n] = g;
			v.grants[v.n++] = (struct policy_grant){
				h->id, c->mark, h->version, g->priority,
				h->open && alone(g) };
		}
	}
	*ret = v;
	return 0;
}

/* One slot that another client has too many of, or NULL. */
static struct grant *find_surplus(struct table *t, struct client *self,
				  const struct policy_ask *a)
{
	struct grant *g = NULL;
	struct view v;
	long i;

	if (view_make(t, self, a->priority, &v))
		return NULL;
	i = policy_reclaim(v.grants, v.n, v.held, self->mark, a);
	if (i >= 0)
		g = v.of[i];
	view_free(&v);
	return g;
}

static uint32_t take_surplus(struct table *t, struct client *c,
			     const struct policy_ask *a, uint32_t want,
			     uint64_t now, struct slot *ret)
{
	uint32_t got = 0;
	struct grant *g;

	while (got < want && (g = find_surplus(t, c, a))) {
		struct host *h = g->host;
		struct client *loser = g->client;
		struct slot s = { t->next_grant, h->id, a->priority };
		uint64_t id = g->id;

		loser->deaf_until_ms = now + DEAF_MS;
		lose_grant(t, g, WHY_RECLAIMED, now);
		t->ears.evict(t->ears.arg, h->id, loser->home, loser->id, id);
		if (make_grant(t, h, c, &s, now))
			break;
		t->next_grant++;
		ret[got++] = s;
	}
	return got;
}

int table_request(struct table *t, const struct client_is *who,
		  enum hostdb_priority p, uint32_t want, uint64_t now,
		  struct slot *ret, uint32_t *ret_n)
{
	struct host *home = host_get(t, who->home);
	struct policy_ask a = { .host = who->home, .priority = p };
	struct client *c;
	uint32_t got;
	int r;

	if (!home || !home->reported)
		return -ENOTCONN;
	if ((unsigned)p >= PRIORITIES || !want || want > REQUEST_MAX)
		return -EINVAL;
	r = client_make(t, who, home, &c);
	if (r)
		return r;
	a.version = home->r.version;
	wait_no_more(c);
	got = take_free(t, c, &a, want, now, ret);
	if (got < want)
		got += take_surplus(t, c, &a, want - got, now, ret + got);
	if (got < want)
		wait_for(t, c, p);
	*ret_n = got;
	return 0;
}

static void give_back(struct table *t, struct grant *g, uint64_t now)
{
	uint32_t host = g->host->id;

	end_grant(t, g, PAST_RETURNED, WHY_NONE, now);
	lend_news(t, host, now);
}

void table_return(struct table *t, uint32_t home, uint32_t client,
		  const uint64_t *grants, size_t n, uint64_t now)
{
	struct client *c = client_get(t, home, client);
	struct grant *g;

	if (!c)
		return;
	wait_no_more(c);
	c->deaf_until_ms = 0;
	for (size_t i = 0; i < n; i++) {
		g = map_entry(map_get(&t->grants, grants[i]), struct grant, by_id);
		if (g && g->client == c)
			give_back(t, g, now);
	}
	while (!n && (g = list_first(&c->grants, struct grant, in_client)))
		give_back(t, g, now);
}

void table_close(struct table *t, uint32_t home, uint32_t client, uint64_t now)
{
	struct client *c = client_get(t, home, client);

	if (c)
		client_end(t, c, now);
}

int table_restate(struct table *t, const struct client_is *who,
		  const struct slot *slots, size_t n, uint64_t now)
{
	struct host *home = host_get(t, who->home);
	struct client *c;
	enum hostdb_why why;
	int r;

	if (!home)
		return -ENOENT;
	r = client_make(t, who, home, &c);
	for (size_t i = 0; !r && i < n; i++) {
		struct host *h = host_get(t, slots[i].host);
		struct grant *g = map_entry(map_get(&t->grants, slots[i].grant),
					    struct grant, by_id);

		if (g && g->client == c)
			continue; /* said before */
		/* A host that did not report yet gets the benefit of the doubt:
		 * it is down in a moment, or it reports and keeps its guests. */
		if (g || !h || (unsigned)slots[i].priority >= PRIORITIES ||
		    (h->reported && !policy_room(&t->snap[h->snap],
						 slots[i].priority))) {
			why = !h ? WHY_DOWN : h->r.allow ? WHY_RECLAIMED : h->r.why;
			t->ears.lost(t->ears.arg, c->home, c->id, slots[i].grant,
				     slots[i].host, why);
			continue;
		}
		r = make_grant(t, h, c, &slots[i], now);
		if (!r && slots[i].grant >= t->next_grant)
			t->next_grant = slots[i].grant + 1;
	}
	return r;
}
