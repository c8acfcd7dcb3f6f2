/*
 * table.c -- the hosts of a table.h and their condition.
 *
 * The session with a host's migd is the first sign of life, its reports the
 * second.  A lost session closes the host for lending at once, but what is
 * lent there stays for a grace: a migd that was restarted finds its guests
 * again.  Clients belong to the migd that made them: when it comes back with
 * another epoch they are gone.
 *
 * Times of other hosts are never compared with ours: they send durations, and
 * what is kept is the moment on our clock that follows from them.
 */
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table_priv.h"

/* Two boots are one if they seem this near: reports are delayed, clocks drift. */
#define SAME_BOOT_MS 60000

int table_new(uint64_t down_ms, uint64_t first_grant,
	      const struct table_ears *ears, struct table **ret)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->down_ms = down_ms;
	t->next_grant = first_grant;
	t->ears = *ears;
	list_init(&t->waiting);
	*ret = t;
	return 0;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	lend_fini(t);
	for (size_t i = 0; i < t->nhosts; i++)
		free(t->by_snap[i]);
	map_fini(&t->hosts);
	free(t->snap);
	free(t->by_snap);
	free(t->sorted);
	free(t);
}

struct host *host_get(const struct table *t, uint32_t id)
{
	return map_entry(map_get(&t->hosts, id), struct host, by_id);
}

void host_past(struct table *t, struct host *h, const struct past *p)
{
	h->past[h->npast++ % PAST_KEPT] = *p;
	if (t->ears.past)
		t->ears.past(t->ears.arg, h->id, p);
}

static void happened(struct table *t, struct host *h, enum past_kind kind,
		     enum hostdb_why why, uint64_t now)
{
	host_past(t, h, &(struct past){ .at_ms = now, .kind = (uint8_t)kind,
					.why = (uint8_t)why });
}

void host_refresh(struct table *t, struct host *h)
{
	struct policy_host *p = &t->snap[h->snap];

	p->open = h->session && h->up && h->reported && h->r.allow;
	p->slots = (uint16_t)(h->r.slots < UINT16_MAX ? h->r.slots : UINT16_MAX);
	p->version = h->r.version;
}

/* ---- which hosts there are ---- */

static int grow(struct table *t)
{
	size_t cap = t->cap ? 2 * t->cap : 16;
	void *p;

	if (t->nhosts < t->cap)
		return 0;
	p = reallocarray(t->snap, cap, sizeof(*t->snap));
	if (!p)
		return -ENOMEM;
	t->snap = p;
	p = reallocarray(t->by_snap, cap, sizeof(struct host *));
	if (!p)
		return -ENOMEM;
	t->by_snap = p;
	p = reallocarray(t->sorted, cap, sizeof(struct host *));
	if (!p)
		return -ENOMEM;
	t->sorted = p;
	t->cap = cap;
	return 0;
}

/* Index of the first with an id of at least id. */
static size_t lower(const struct table *t, uint32_t id)
{
	size_t lo = 0, hi = t->nhosts, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (t->sorted[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool table_knows(const struct table *t, uint32_t host)
{
	return host_get(t, host) != NULL;
}

size_t table_count(const struct table *t)
{
	return t->nhosts;
}

int table_know(struct table *t, uint32_t host, const char *name, uint64_t now)
{
	struct host *h = host_get(t, host);
	size_t at;

	if (h) {
		snprintf(h->name, sizeof(h->name), "%s", name);
		return 0;
	}
	h = calloc(1, sizeof(*h));
	if (!h || grow(t) || map_put(&t->hosts, host, &h->by_id)) {
		free(h);
		return -ENOMEM;
	}
	h->id = host;
	h->gone_ms = now;
	list_init(&h->grants);
	list_init(&h->clients);
	snprintf(h->name, sizeof(h->name), "%s", name);
	at = lower(t, host);
	memmove(&t->sorted[at + 1], &t->sorted[at],
		(t->nhosts - at) * sizeof(*t->sorted));
	t->sorted[at] = h;
	h->snap = (uint32_t)t->nhosts;
	t->snap[h->snap] = (struct policy_host){ .id = host };
	t->by_snap[h->snap] = h;
	t->nhosts++;
	return 0;
}

void table_forget(struct table *t, uint32_t host, uint64_t now)
{
	struct host *h = host_get(t, host);
	size_t at;

	if (!h)
		return;
	lend_revoke_all(t, h, WHY_DOWN, now);
	lend_drop_home(t, h, now);
	at = lower(t, host);
	t->nhosts--;
	memmove(&t->sorted[at], &t->sorted[at + 1],
		(t->nhosts - at) * sizeof(*t->sorted));
	t->snap[h->snap] = t->snap[t->nhosts];
	t->by_snap[h->snap] = t->by_snap[t->nhosts];
	t->by_snap[h->snap]->snap = h->snap;
	map_del(&t->hosts, &h->by_id);
	free(h);
}

void table_remember(struct table *t, uint32_t host, const struct past *p)
{
	struct host *h = host_get(t, host);

	if (h)
		h->past[h->npast++ % PAST_KEPT] = *p;
}

/* ---- signs of life ---- */

static void goes_down(struct table *t, struct host *h, uint64_t now)
{
	bool was = h->up;

	h->up = h->reported = false;
	host_refresh(t, h);
	lend_revoke_all(t, h, WHY_DOWN, now);
	lend_drop_home(t, h, now);
	if (was)
		happened(t, h, PAST_DOWN, WHY_DOWN, now);
}

int table_session(struct table *t, uint32_t host, uint64_t epoch, uint64_t now)
{
	struct host *h = host_get(t, host);

	if (!h)
		return -ENOENT;
	if (h->epoch && h->epoch != epoch)
		lend_drop_home(t, h, now);
	h->epoch = epoch;
	h->session = true;
	h->report_ms = now; /* silence counts from here */
	return 0;
}

void table_session_lost(struct table *t, uint32_t host, uint64_t now)
{
	struct host *h = host_get(t, host);

	if (!h || !h->session)
		return;
	h->session = h->reported = false;
	h->gone_ms = now;
	host_refresh(t, h);
}

static void note_change(struct table *t, struct host *h,
			const struct host_report *r, uint64_t now)
{
	if (!h->up)
		happened(t, h, PAST_UP, WHY_NONE, now);
	if (h->up && r->allow == h->r.allow && (r->allow || r->why == h->r.why))
		return;
	happened(t, h, r->allow ? PAST_ALLOWS : PAST_BARS, r->why, now);
}

int table_report(struct table *t, uint32_t host, const struct host_report *r,
		 uint64_t now)
{
	struct host *h = host_get(t, host);
	/* May wrap below our clock's zero: only differences are used. */
	uint64_t boot = now - r->up_secs * 1000;
	bool opens;

	if (!h)
		return -ENOENT;
	if (h->up && (int64_t)(boot - h->boot_ms) > SAME_BOOT_MS)
		lend_revoke_all(t, h, WHY_REBOOTED, now);
	note_change(t, h, r, now);
	opens = r->allow && !t->snap[h->snap].open;
	h->r = *r;
	h->boot_ms = boot;
	h->report_ms = now;
	h->up = h->reported = true;
	host_refresh(t, h);
	/* Once lent, its place among the lent counts, not its idle time. */
	if (list_empty(&h->grants))
		t->snap[h->snap].since_ms =
			now > r->idle_secs * 1000 ? now - r->idle_secs * 1000 : 0;
	/* A busy host keeps the guests it has; an owner does not. */
	if (!r->allow && (r->why == WHY_INPUT || r->why == WHY_POLICY))
		lend_revoke_all(t, h, r->why, now);
	if (opens)
		lend_news(t, h->id, now);
	return 0;
}

void table_tick(struct table *t, uint64_t now)
{
	for (size_t i = 0; i < t->nhosts; i++) {
		struct host *h = t->by_snap[i];
		uint64_t since = h->session ? h->report_ms : h->gone_ms;
		uint64_t most = h->session ? t->down_ms : GRACE_MS;
		bool matters = h->up || !list_empty(&h->grants) ||
			       !list_empty(&h->clients);

		if (matters && now - since >= most)
			goes_down(t, h, now);
	}
	lend_tick(t, now);
}

/* ---- looking ---- */

static uint32_t lent(const struct policy_host *p)
{
	uint32_t n = 0;

	for (int i = 0; i < PRIORITIES; i++)
		n += p->lent[i];
	return n;
}

int table_line(const struct table *t, uint32_t from, uint32_t asker, uint64_t now,
	       struct host_line *ret)
{
	size_t at = lower(t, from);
	const struct host *h, *a = host_get(t, asker);
	const struct policy_host *p;
	struct policy_facts f;
	struct policy_ask ask = { .host = asker, .priority = PRIORITY_NORMAL };

	if (at == t->nhosts)
		return -ENOENT;
	h = t->sorted[at];
	p = &t->snap[h->snap];
	f = (struct policy_facts){ h->up && h->session, h->r.allow, h->r.why };
	ask.version = a ? a->r.version : p->version;
	*ret = (struct host_line){
		.id = h->id,
		.name = h->name,
		.report = &h->r,
		.state = policy_state(&f, p),
		.available = policy_may(p, &ask),
		.same_version = !a || !a->r.version || !p->version ||
				a->r.version == p->version,
		.idle_secs = h->reported ? h->r.idle_secs + (now - h->report_ms) / 1000 : 0,
		.lent = lent(p),
	};
	if (f.up)
		ret->up_secs = (now - h->boot_ms) / 1000;
	else if (h->r.up_secs || h->r.slots) /* it was up once */
		ret->up_secs = (now - h->report_ms) / 1000 + 1;
	return 0;
}

int table_find(const struct table *t, const char *name, uint32_t *ret_host)
{
	for (size_t i = 0; i < t->nhosts; i++) {
		if (!strcmp(t->by_snap[i]->name, name)) {
			*ret_host = t->by_snap[i]->id;
			return 0;
		}
	}
	return -ENOENT;
}

const struct past *table_past(const struct table *t, uint32_t host, unsigned i)
{
	const struct host *h = host_get(t, host);

	if (!h || i >= PAST_KEPT || i >= h->npast)
		return NULL;
	return &h->past[(h->npast - 1 - i) % PAST_KEPT];
}
