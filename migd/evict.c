/*
 * evict.c -- see evict.h.
 *
 * The guests' control group is frozen first, so that all stand still at once
 * whatever their number; each then moves by itself (its mover takes it out of
 * the frozen group).  Where to is home's choice: another host it
 * was granted, else home.  What fails on the way to another host is sent
 * home.  What cannot go at all: if its maker can run it again it is killed and
 * says so; else it stays frozen and is tried again until it can.
 */
#include "evict.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "freezer.h"
#include "guests.h"
#include "log.h"
#include "migration.h"
#include "proc.h"
#include "report.h"

#define STILL_POLL_MS 1
#define STILL_MS 200
#define RETRY_MS 3000
#define HISTORY 64
#define WAITERS 16

struct past {
	char cause[64];
	uint32_t guests, left;
	uint64_t frozen_us, gone_us, at_ms;
};

struct evictor {
	struct migd *m;
	bool active, frozen, again;
	char cause[64];
	uint32_t home; /* 0: everybody's */
	uint64_t begin_us, frozen_us;
	unsigned guests, out; /* moves under way */
	char why[300];
	struct timer still, retry;
	struct rpc_req *waiters[WAITERS];
	unsigned nwaiters;
	struct past past[HISTORY];
	unsigned next;
};

struct leaving {
	struct migd *m;
	uint32_t pid, to;
	bool asked;
};

static void send_away(struct evictor *e);

bool evict_active(const struct migd *m)
{
	return m->evictor && m->evictor->active;
}

static bool concerns(const struct evictor *e, const struct guest *g)
{
	return (!e->home || g->home == e->home) &&
	       (g->state == GUEST_RUNNING || g->state == GUEST_LEAVING ||
		g->state == GUEST_STARTING);
}

static unsigned left_here(const struct evictor *e)
{
	unsigned n = 0;

	for (struct map_node *i = map_next(&e->m->guests, NULL); i;
	     i = map_next(&e->m->guests, i))
		n += concerns(e, map_entry(i, struct guest, node));
	return n;
}

/* ---- the end -------------------------------------------------------------------------- */

static void answer(struct evictor *e, unsigned left, uint64_t gone_us)
{
	struct msg_migd_evicted a = { .guests = e->guests, .left = left,
				      .frozen_us = e->frozen_us,
				      .gone_us = gone_us, .why = e->why };
	struct body b;

	for (unsigned i = 0; i < e->nwaiters; i++)
		if (BODY(migd_evicted, &a, &b) == 0)
			reply_body(e->waiters[i], MSG_migd_evicted, &b);
	e->nwaiters = 0;
}

static void thaw(struct evictor *e)
{
	if (e->frozen)
		freezer_freeze(e->m, false);
	e->frozen = false;
}

static void finish(struct evictor *e)
{
	unsigned left = left_here(e);
	uint64_t gone = clock_us() - e->begin_us;
	struct past *p = &e->past[e->next++ % HISTORY];

	log_info("%s: %u guests sent away, all stood still after %llu us, %s "
		 "after %llu us%s%s", e->cause, e->guests,
		 (unsigned long long)e->frozen_us, left ? "most gone" : "gone",
		 (unsigned long long)gone, left ? "; left, frozen: " : "",
		 left ? e->why : "");
	*p = (struct past){ .guests = e->guests, .left = left,
			    .frozen_us = e->frozen_us, .gone_us = gone,
			    .at_ms = env_now_ms(e->m->env) };
	memcpy(p->cause, e->cause, sizeof(p->cause));
	answer(e, left, gone);
	e->active = left > 0;
	if (left) {
		env_after(e->m->env, &e->retry, RETRY_MS);
		return;
	}
	thaw(e);
	report_now(e->m);
}

void evict_progress(struct migd *m)
{
	struct evictor *e = m->evictor;

	if (e && e->active && !e->out)
		send_away(e);
}

/* ---- one guest ----------------------------------------------------------------------------- */

static void kill_for_rerun(struct guest *g)
{
	g->reason = MIGD_END_EVICTED;
	g->dying = true;
	snprintf(g->why, sizeof(g->why), "killed because the owner of %s came "
		 "back and it could not move", g->m->conf.name);
	guest_kill(g);
}

static void move(struct leaving *l);

static void on_moved(void *arg, int status, const char *why,
		     const struct msg_migd_move_record *rec)
{
	struct leaving *l = arg;
	struct evictor *e = l->m->evictor;
	struct guest *g = guest_find(l->m, l->pid);
	struct proc_stat st;

	(void)rec;
	if (status && g && l->to != g->home) {
		l->to = g->home;
		move(l);
		return;
	}
	e->out--;
	if (status && g && g->state != GUEST_ENDED) {
		snprintf(e->why, sizeof(e->why), "process %u (%.40s): %.200s",
			 l->pid, g->command, why);
		if (proc_stat(l->m, l->pid, &st) || st.state == 'Z')
			g->dying = true;
		else
			g->stuck = true;
		if (g->stuck && g->flags & MIGD_RUN_RERUN_OK)
			kill_for_rerun(g);
	}
	free(l);
	/* evict_progress comes when the record is closed. */
	if (status)
		evict_progress(e->m);
}

static void move(struct leaving *l)
{
	migration_start(l->m, l->pid, l->to, MIGD_EVICTION, MIGD_AUTO, false,
			on_moved, l);
}

static void on_whereto(void *arg, int status, const struct rpc_msg *msg)
{
	struct leaving *l = arg;
	struct guest *g = guest_find(l->m, l->pid);
	struct msg_migd_goto to;

	if (!g) {
		l->m->evictor->out--;
		evict_progress(l->m);
		free(l);
		return;
	}
	l->to = g->home;
	if (status == 0 && msg &&
	    msg_migd_goto_decode(msg->body, msg->len, &to) == 0 &&
	    to.host != l->m->conf.host)
		l->to = to.host;
	move(l);
}

static void ask_home(struct evictor *e, struct guest *g)
{
	struct leaving *l = calloc(1, sizeof(*l));
	struct msg_migd_whereto w = { .pid = g->pid };
	struct body b;

	if (!l || BODY(migd_whereto, &w, &b)) {
		free(l);
		return;
	}
	*l = (struct leaving){ .m = e->m, .pid = g->pid };
	e->out++;
	call_host(e->m, g->home, MSG_migd_whereto, &b, 1000, RPC_IDEMPOTENT,
		  on_whereto, l);
}

/* ---- all of them ------------------------------------------------------------------------------ */

/* How many are still to be dealt with, how many of them are killed. */
static void count(const struct evictor *e, unsigned *ret_open,
		  unsigned *ret_killed, unsigned *ret_stuck)
{
	*ret_open = *ret_killed = *ret_stuck = 0;
	for (struct map_node *i = map_next(&e->m->guests, NULL); i;
	     i = map_next(&e->m->guests, i)) {
		struct guest *g = map_entry(i, struct guest, node);

		if (!concerns(e, g))
			continue;
		if (g->dying)
			++*ret_killed;
		else if (g->stuck)
			++*ret_stuck;
		else
			++*ret_open;
	}
}

/* Whoever is not on his way yet; it is over when nobody is. */
static void send_away(struct evictor *e)
{
	struct map_node *next;
	unsigned open, killed, stuck;

	for (struct map_node *n = map_next(&e->m->guests, NULL); n; n = next) {
		struct guest *g = map_entry(n, struct guest, node);

		next = map_next(&e->m->guests, n);
		if (concerns(e, g) && g->state == GUEST_RUNNING && !g->stuck &&
		    !g->dying)
			ask_home(e, g);
	}
	if (e->out)
		return;
	count(e, &open, &killed, &stuck);
	/* The killed die, and those who had just begun get on, only if they
	 * may run; what cannot go stays stopped as long as that. */
	if (killed || open) {
		thaw(e);
		return;
	}
	finish(e);
}

static void on_retry(struct timer *t)
{
	struct evictor *e = t->data;

	for (struct map_node *n = map_next(&e->m->guests, NULL); n;
	     n = map_next(&e->m->guests, n))
		map_entry(n, struct guest, node)->stuck = false;
	e->begin_us = clock_us();
	e->guests = left_here(e);
	if (e->guests)
		send_away(e);
	else
		finish(e);
}

static void on_still(struct timer *t)
{
	struct evictor *e = t->data;
	uint64_t us = clock_us() - e->begin_us;

	if (freezer_still(e->m) || us > STILL_MS * 1000u) {
		e->frozen_us = us;
		return;
	}
	env_after(e->m->env, t, STILL_POLL_MS);
}

void evict_start(struct migd *m, const char *cause, uint32_t home,
		 struct rpc_req *q)
{
	struct evictor *e = m->evictor;

	if (q && e->nwaiters < WAITERS)
		e->waiters[e->nwaiters++] = q;
	else if (q)
		rpc_reply(q, -EBUSY, NULL);
	if (e->active) {
		if (!home)
			e->home = 0;
		return;
	}
	e->begin_us = clock_us();
	e->frozen_us = 0;
	e->home = home;
	e->why[0] = 0;
	e->guests = left_here(e);
	snprintf(e->cause, sizeof(e->cause), "%s", cause);
	if (!e->guests) {
		answer(e, 0, 0);
		return;
	}
	e->active = true;
	if (!home && freezer_freeze(m, true) == 0) {
		e->frozen = true;
		on_still(&e->still);
	}
	for (struct map_node *n = map_next(&m->guests, NULL); n;
	     n = map_next(&m->guests, n))
		map_entry(n, struct guest, node)->stuck = false;
	report_now(m);
	send_away(e);
}

int evict_open(struct migd *m)
{
	struct evictor *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->m = m;
	e->still = (struct timer){ .fire = on_still, .data = e };
	e->retry = (struct timer){ .fire = on_retry, .data = e };
	m->evictor = e;
	return 0;
}

void evict_close(struct migd *m)
{
	struct evictor *e = m->evictor;

	if (!e)
		return;
	env_cancel(m->env, &e->still);
	env_cancel(m->env, &e->retry);
	if (e->frozen)
		freezer_freeze(m, false);
	free(e);
	m->evictor = NULL;
}

void on_migd_evictions_here(struct migd *m, struct rpc_req *q)
{
	struct evictor *e = m->evictor;
	uint8_t raw[12000];
	struct wire_writer w = wire_writer(raw, sizeof(raw));
	struct msg_migd_evictions_list l;
	struct body b;

	for (unsigned i = 1; i <= HISTORY && i <= e->next; i++) {
		const struct past *p = &e->past[(e->next - i) % HISTORY];
		struct msg_migd_eviction r = {
			.cause = p->cause, .guests = p->guests,
			.left = p->left, .frozen_us = p->frozen_us,
			.gone_us = p->gone_us,
			.ago_ms = env_now_ms(m->env) - p->at_ms,
		};

		msg_migd_eviction_put(&w, &r);
	}
	l.records = (wire_blob){ raw, w.len };
	if (BODY(migd_evictions_list, &l, &b) == 0)
		reply_body(q, MSG_migd_evictions_list, &b);
}
