/*
 * settle.c -- home's part of a migration: the one place where it is decided
 * and recorded on which host a process is.
 *
 * A move has a token.  home_commit records it once and for all; home_settle
 * says whether that happened, and if not, that it never will.
 */
#include "move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "grants.h"
#include "guests.h"
#include "local.h"
#include "log.h"
#include "proc.h"
#include "ps.h"
#include "sigq.h"
#include "streams.h"
#include "subs.h"
#include "world.h"

#define TOKENS 256

struct tokens {
	unsigned next_done, next_dead;
	uint64_t done[TOKENS], dead[TOKENS];
};

static bool known(const uint64_t *set, uint64_t token)
{
	for (unsigned i = 0; i < TOKENS; i++)
		if (set[i] == token)
			return true;
	return false;
}

static struct tokens *tokens(struct migd *m)
{
	if (!m->tokens)
		m->tokens = calloc(1, sizeof(*m->tokens));
	return m->tokens;
}

static void record(struct migd *m, uint64_t token)
{
	struct tokens *t = tokens(m);

	if (t)
		t->done[t->next_done++ % TOKENS] = token;
}

/* It was here, at home, and is now on target. */
static int commit_from_home(struct migd *m, uint32_t pid, uint32_t target,
			    uint64_t token)
{
	struct move *v = move_by_token(m, MOVE_LEAVE, token);
	struct away *a;

	if (v)
		v = leave_catch_up(v);

	if (!v || v->pid != pid || v->other != target || v->dead ||
	    v->state != MIG_SENT)
		return -ESTALE;
	a = away_new(m, pid, target);
	if (!a)
		return -ENOMEM;
	a->state = AWAY_RUNNING;
	a->moving = true;
	a->uid = v->uid;
	a->place = v->place;
	a->moves = 1;
	a->move_token = token;
	memcpy(a->command, v->command, sizeof(a->command));
	record(m, token);
	away_keep(a);
	for (unsigned i = 0; i < v->nstreams; i++) {
		struct hstream *h = hstream_find(m, v->stream[i]);

		if (h)
			hstream_attach(h, target, 0);
	}
	leave_committed(v);
	return 0;
}

static void tell_source(struct migd *m, uint32_t pid, uint32_t source,
			uint64_t token)
{
	struct msg_migd_moved t = { .pid = pid, .token = token };
	struct body b;

	if (BODY(migd_moved, &t, &b) == 0)
		call_host(m, source, MSG_migd_moved, &b, 0, RPC_IDEMPOTENT,
			  call_done_nothing, NULL);
}

/* It is home again: its stub is a process now. */
static void came_home(struct migd *m, struct away *a)
{
	struct move *v = move_by_pid(m, MOVE_ARRIVE, a->pid);

	if (v && a->stub)
		sigq_drain_stub(&v->signals, a->stub->ctl);
	if (a->waiter)
		local_new(m, a->pid, a->waiter);
	subs_end(m, a->pid);
	away_free(a);
}

int home_commit(struct migd *m, uint32_t pid, uint32_t source, uint32_t target,
		uint64_t token)
{
	struct tokens *t = tokens(m);
	struct away *a = away_find(m, pid);

	if (!t || known(t->dead, token))
		return -ESTALE;
	if (known(t->done, token))
		return 0;
	if (source == m->conf.host)
		return a ? -ESTALE : commit_from_home(m, pid, target, token);
	if (!a || a->host != source || a->state != AWAY_RUNNING)
		return -ESTALE;
	/* A killed stub means a killed process, wherever it is. */
	if (target != m->conf.host && a->stub && a->stub->gone)
		return -ESRCH;
	record(m, token);
	a->host = target;
	a->moves++;
	a->move_token = token;
	if (target == m->conf.host) {
		came_home(m, a);
	} else {
		hstreams_move(m, pid, source, target);
		away_keep(a);
	}
	tell_source(m, pid, source, token);
	return 0;
}

bool home_settle(struct migd *m, uint32_t pid, uint64_t token)
{
	struct tokens *t = tokens(m);
	struct away *a = away_find(m, pid);

	if (!t || known(t->done, token) || (a && a->move_token == token))
		return true;
	t->dead[t->next_dead++ % TOKENS] = token;
	return false;
}

void on_migd_commit(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_commit *b)
{
	int r = home_commit(m, b->pid, b->source, rpc_req_host(q), b->token);

	if (r)
		reply_say(q, r, "process %u ended, or its move was called off",
			  b->pid);
	else
		rpc_reply(q, 0, NULL);
}

void on_migd_settle(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_settle *b)
{
	struct msg_migd_settled s;
	struct move *v = move_by_token(m, MOVE_LEAVE, b->token);
	struct body body;

	if (rpc_req_host(q) != b->source && rpc_req_host(q) != b->target) {
		rpc_reply(q, -EPERM, NULL);
		return;
	}
	s.committed = home_settle(m, b->pid, b->token);
	if (BODY(migd_settled, &s, &body) == 0)
		reply_body(q, MSG_migd_settled, &body);
	if (v && !s.committed)
		leave_cancelled(v, "the target called it off");
}

void on_migd_whereto(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_whereto *b)
{
	struct away *a = away_find(m, b->pid);
	struct msg_migd_goto g = { .host = m->conf.host };
	struct body body;

	if (a)
		g.host = grants_other(m, a->uid, a->host);
	if (!g.host)
		g.host = m->conf.host;
	if (BODY(migd_goto, &g, &body) == 0)
		reply_body(q, MSG_migd_goto, &body);
}

/* ---- commands ------------------------------------------------------------------------------- */

static void on_moved(void *arg, int status, const char *why,
		     const struct msg_migd_move_record *rec)
{
	struct msg_migd_migrated a;
	uint8_t raw[1024];
	struct wire_writer w = wire_writer(raw, sizeof(raw));
	struct body b;

	if (status) {
		reply_say(arg, status, "%s", why);
		return;
	}
	msg_migd_move_record_put(&w, rec);
	a.record = (wire_blob){ raw, w.len };
	if (BODY(migd_migrated, &a, &b) == 0)
		reply_body(arg, MSG_migd_migrated, &b);
}

struct choice {
	struct migd *m;
	struct rpc_req *req;
	uint32_t pid;
	uint8_t strategy, alone;
};

static void move_to(struct choice *c, uint32_t to)
{
	struct away *a = away_find(c->m, c->pid);
	struct msg_migd_move mv = { .pid = c->pid, .to = to,
				    .cause = MIGD_ASKED,
				    .strategy = c->strategy, .alone = c->alone };
	struct body b;

	if (a && a->host == to)
		reply_say(c->req, -EOPNOTSUPP, "it runs there already");
	else if (a && BODY(migd_move, &mv, &b) == 0)
		call_host(c->m, a->host, MSG_migd_move, &b, MOVE_MS, 0,
			  pass_answer, c->req);
	else
		migration_start(c->m, c->pid, to, MIGD_ASKED, c->strategy,
				c->alone != 0, on_moved, c->req);
}

static void on_best(void *arg, uint32_t host, uint64_t grant, const char *why)
{
	struct choice *c = arg;

	if (host)
		move_to(c, host);
	else
		reply_say(c->req, -EAGAIN, "%s", why);
	if (grant)
		grants_done(c->m, grant);
	free(c);
}

static void migrate(struct migd *m, struct rpc_req *q, uint32_t uid,
		    uint32_t pid, const char *host, uint8_t strategy,
		    uint8_t alone)
{
	struct choice now = { m, q, pid, strategy, alone }, *c;
	struct away *a = away_find(m, pid);
	struct proc_stat st;
	uint32_t to;

	if (!a && proc_stat(m, pid, &st)) {
		reply_say(q, -ESRCH, "there is no process %u; `sprite ps` lists "
			  "them", pid);
		return;
	}
	if (uid && (a ? a->uid != uid : !proc_owned(m, pid, uid))) {
		reply_say(q, -EPERM, "process %u belongs to another user", pid);
		return;
	}
	if (strategy > MIGD_LAZY) {
		reply_say(q, -EINVAL, "there is no such strategy");
		return;
	}
	if (strcmp(host, "best") == 0) {
		c = malloc(sizeof(*c));
		if (!c) {
			rpc_reply(q, -ENOMEM, NULL);
			return;
		}
		*c = now;
		grants_one(m, uid, on_best, c);
		return;
	}
	to = strcmp(host, "home") == 0 ? m->conf.host : host_by_name(m, host);
	if (!to)
		reply_say(q, -ENOENT, "there is no host %.60s in this cell; "
			  "`sprite hosts` lists them", host);
	else if (to == m->conf.host && !a)
		reply_say(q, -EOPNOTSUPP, "it is at home already");
	else
		move_to(&now, to);
}

void on_migd_migrate_here(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_migrate_here *b)
{
	migrate(m, q, b->uid, b->pid, b->host, b->strategy, b->alone);
}

void on_migd_migrate(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_migrate *b)
{
	uint32_t uid = (uint32_t)rpc_conn_uid(rpc_req_conn(q));
	struct guest *g = guest_find(m, b->pid);
	uint32_t home = g ? g->home : home_of(m, b->pid);
	struct msg_migd_migrate_here h = { .uid = uid, .pid = b->pid,
					   .host = b->host,
					   .strategy = b->strategy,
					   .alone = b->alone };
	struct proc_stat st;
	struct body body;

	if (!home || home == m->conf.host || away_find(m, b->pid) ||
	    (!g && !mirror_find(m, b->pid) && proc_stat(m, b->pid, &st) == 0)) {
		migrate(m, q, uid, b->pid, b->host, b->strategy, b->alone);
		return;
	}
	if (BODY(migd_migrate_here, &h, &body) == 0)
		call_host(m, home, MSG_migd_migrate_here, &body, MOVE_MS + 5000,
			  0, pass_answer, q);
}

void on_migd_move(struct migd *m, struct rpc_req *q,
		  const struct msg_migd_move *b)
{
	struct guest *g = guest_find(m, b->pid);

	if (!g || g->home != rpc_req_host(q)) {
		reply_say(q, -ESRCH, "process %u is not on %s (any more)",
			  b->pid, m->conf.name);
		return;
	}
	migration_start(m, b->pid, b->to, b->cause, b->strategy, b->alone != 0,
			on_moved, q);
}
