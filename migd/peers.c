/*
 * peers.c -- see peers.h.
 *
 * A host whose session broke is given LOST_MS to come back: its migd may have
 * been killed and started again, and then its processes live on.  After
 * that what it ran for us is taken as ended, and what it has here ends.  If
 * it was only unreachable, the census after its return ends what is
 * left over: never two of a process.
 */
#include "peers.h"

#include <stdlib.h>

#include "away.h"
#include "grants.h"
#include "guests.h"
#include "log.h"
#include "migration.h"
#include "report.h"
#include "streams.h"

#define LOST_MS 20000

struct watch {
	struct list link;
	struct migd *m;
	uint32_t host;
	bool hostdb, down;
	struct timer lost;
};

static bool concerned(struct migd *m, uint32_t host)
{
	if (away_count(m, host))
		return true;
	for (struct map_node *n = map_next(&m->guests, NULL); n;
	     n = map_next(&m->guests, n))
		if (map_entry(n, struct guest, node)->home == host)
			return true;
	return false;
}

static void on_lost(struct timer *t)
{
	struct watch *w = t->data;
	struct migd *m = w->m;

	if (!w->down || !concerned(m, w->host))
		return;
	log_warn("host %s is lost", host_name(m, w->host));
	migrations_lost(m, w->host);
	away_host_lost(m, w->host);
	guests_home_lost(m, w->host);
	gstreams_lost(m, w->host);
}

static void on_up(void *arg, struct rpc_peer *p, bool restarted)
{
	struct watch *w = arg;

	(void)p;
	w->down = false;
	env_cancel(w->m->env, &w->lost);
	if (w->hostdb) {
		report_now(w->m);
		if (restarted)
			grants_restate(w->m);
		return;
	}
	guests_census(w->m, w->host);
	if (restarted)
		away_census(w->m, w->host);
}

static void on_down(void *arg, struct rpc_peer *p)
{
	struct watch *w = arg;

	w->down = true;
	if (w->hostdb)
		return;
	if (concerned(w->m, w->host)) {
		rpc_peer_keep(p, true);
		env_after(w->m->env, &w->lost, LOST_MS);
	}
}

static struct watch *find(struct migd *m, uint32_t host, bool hostdb)
{
	list_each(w, &m->watches, struct watch, link)
		if (w->host == host && w->hostdb == hostdb)
			return w;
	return NULL;
}

static void watch(struct migd *m, uint32_t host, bool hostdb)
{
	struct rpc_peer *p = roster_peer(m->roster, host,
					 hostdb ? SVC_HOSTDB : SVC_MIGD);
	struct watch *w = find(m, host, hostdb);
	struct rpc_peer_hooks h = { .on_up = on_up, .on_down = on_down };

	if (!p || w)
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		return;
	*w = (struct watch){ .m = m, .host = host, .hostdb = hostdb };
	w->lost = (struct timer){ .fire = on_lost, .data = w };
	list_add_tail(&m->watches, &w->link);
	h.arg = w;
	rpc_peer_set_hooks(p, &h);
	/* The database calls us back. */
	if (hostdb)
		rpc_peer_keep(p, true);
}

void peers_changed(void *arg)
{
	struct migd *m = arg;
	const struct roster_host *h;

	if (!m->rpc || !m->report)
		return;
	for (unsigned i = 0; (h = roster_at(m->roster, i)); i++)
		if (!h->removed)
			watch(m, h->id, false);
	if (roster_hostdb(m->roster))
		watch(m, roster_hostdb(m->roster), true);
}

void peers_need(struct migd *m, uint32_t host)
{
	struct rpc_peer *p = roster_peer(m->roster, host, SVC_MIGD);

	if (p)
		rpc_peer_keep(p, true);
}

void peers_census(struct migd *m)
{
	const struct roster_host *h;

	for (unsigned i = 0; (h = roster_at(m->roster, i)); i++) {
		if (h->removed || h->id == m->conf.host ||
		    !concerned(m, h->id))
			continue;
		peers_need(m, h->id);
		away_census(m, h->id);
	}
}

void peers_free(struct migd *m)
{
	list_each_safe(w, &m->watches, struct watch, link) {
		env_cancel(m->env, &w->lost);
		free(w);
	}
	list_init(&m->watches);
}
