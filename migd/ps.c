/* ps.c -- see ps.h. */
#include "ps.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "buf.h"
#include "cleanup.h"
#include "guests.h"
#include "migration.h"
#include "proc.h"
#include "report.h"
#include "world.h"

#define PS_MS 3000
#define PS_BYTES (2u << 20)
#define COMMAND_MAX 200

/* ---- one host's processes ----------------------------------------------------------- */

static bool shown(struct migd *m, uint32_t pid)
{
	struct mirror *r = mirror_find(m, pid);

	return pid != 1 && !r;
}

/* Which guest a process belongs to, by its ancestors. */
static struct guest *guest_of(struct migd *m, uint32_t pid, uint32_t ppid)
{
	struct guest *g = guest_find(m, pid);
	struct proc_stat st;

	for (int depth = 0; !g && ppid > 1 && depth < 64; depth++) {
		g = guest_find(m, ppid);
		if (g || proc_stat(m, ppid, &st))
			break;
		ppid = st.ppid;
	}
	return g;
}

static void put_proc(struct migd *m, struct wire_writer *w,
		     const struct proc_stat *st)
{
	struct away *a = away_find(m, st->pid);
	struct guest *g = a ? NULL : guest_of(m, st->pid, st->ppid);
	char command[COMMAND_MAX];
	struct msg_migd_proc p = {
		.pid = st->pid, .ppid = st->ppid, .pgid = st->pgid,
		.uid = st->uid, .state = (uint8_t)st->state,
		.home = m->conf.host, .host = m->conf.host,
		.cpu_ms = st->cpu_ms, .age_ms = st->age_ms,
		.rss_kb = st->rss_kb, .command = command,
	};

	if (a) {
		p.kind = 2;
		p.host = a->host;
		p.moves = a->moves;
		p.uid = a->uid;
		snprintf(command, sizeof(command), "%s", a->command);
	} else {
		proc_command(m, st->pid, command, sizeof(command));
	}
	if (g) {
		p.kind = 1;
		p.home = g->home;
		p.moves = g->moves;
	}
	if (w->left > COMMAND_MAX + 100)
		msg_migd_proc_put(w, &p);
}

static uint32_t list_here(struct migd *m, uint32_t uid, uint8_t *out,
			  size_t cap, size_t *ret_len)
{
	struct wire_writer w = wire_writer(out, cap);
	uint32_t *pids, count = 0;
	size_t n;

	*ret_len = 0;
	if (proc_all(m, &pids, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		struct proc_stat st;
		size_t before = w.len;

		if (!shown(m, pids[i]) || proc_stat(m, pids[i], &st) ||
		    strcmp(st.name, "sprite-mover") == 0)
			continue;
		if (uid != UINT32_MAX && st.uid != uid)
			continue;
		put_proc(m, &w, &st);
		count += w.len > before;
	}
	free(pids);
	*ret_len = w.len;
	return count;
}

void on_migd_ps_here(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_ps_here *b)
{
	struct msg_migd_procs p = { .silent = "" };
	uint8_t *out = malloc(PS_BYTES);
	struct rpc_out o = { .code = MSG_migd_procs, .payload = out };
	struct body body;

	if (!out) {
		rpc_reply(q, -ENOMEM, NULL);
		return;
	}
	p.count = list_here(m, b->uid, out, PS_BYTES, &o.payload_len);
	if (BODY(migd_procs, &p, &body) == 0) {
		o.body = body.b;
		o.len = body.len;
	}
	rpc_reply(q, 0, &o);
	free(out);
}

/* ---- the cell's ------------------------------------------------------------------------ */

struct listing {
	struct migd *m;
	struct rpc_req *req;
	unsigned waiting;
	uint32_t count;
	struct buf all;
	char silent[2048];
};

struct listing_call {
	struct listing *l;
	uint32_t host;
};

static void finish_listing(struct listing *l)
{
	struct msg_migd_procs p = { .count = l->count, .silent = l->silent };
	struct rpc_out o = { .code = MSG_migd_procs,
			     .payload = buf_data(&l->all),
			     .payload_len = buf_len(&l->all) };
	struct body b;

	if (--l->waiting)
		return;
	if (BODY(migd_procs, &p, &b) == 0) {
		o.body = b.b;
		o.len = b.len;
	}
	rpc_reply(l->req, 0, &o);
	buf_free(&l->all);
	free(l);
}

static void on_listed(void *arg, int status, const struct rpc_msg *msg)
{
	struct listing_call *c = arg;
	struct listing *l = c->l;
	struct msg_migd_procs p;
	size_t len = strlen(l->silent);

	if (status == 0 && msg &&
	    msg_migd_procs_decode(msg->body, msg->len, &p) == 0 &&
	    buf_add(&l->all, msg->payload, msg->payload_len) == 0)
		l->count += p.count;
	else
		snprintf(l->silent + len, sizeof(l->silent) - len, "%s%s",
			 len ? "," : "", host_name(l->m, c->host));
	free(c);
	finish_listing(l);
}

void on_migd_ps(struct migd *m, struct rpc_req *q, const struct msg_migd_ps *b)
{
	struct msg_migd_ps_here ask = { .uid = b->uid };
	struct listing *l = calloc(1, sizeof(*l));
	const struct roster_host *h;
	struct body body;
	uint8_t *own;
	size_t len;

	if (!l || BODY(migd_ps_here, &ask, &body)) {
		free(l);
		rpc_reply(q, -ENOMEM, NULL);
		return;
	}
	*l = (struct listing){ .m = m, .req = q, .waiting = 1 };
	l->all.max = RPC_PAYLOAD_MAX - 65536;
	for (unsigned i = 0; (h = roster_at(m->roster, i)); i++) {
		struct listing_call *c;

		if (h->removed || h->id == m->conf.host)
			continue;
		c = malloc(sizeof(*c));
		if (!c)
			continue;
		*c = (struct listing_call){ l, h->id };
		l->waiting++;
		call_host(m, h->id, MSG_migd_ps_here, &body, PS_MS,
			  RPC_IDEMPOTENT, on_listed, c);
	}
	own = malloc(PS_BYTES);
	if (own) {
		l->count += list_here(m, b->uid, own, PS_BYTES, &len);
		buf_add(&l->all, own, len);
		free(own);
	}
	finish_listing(l);
}

/* ---- forwarding --------------------------------------------------------------------------- */

void pass_answer(void *req, int status, const struct rpc_msg *msg)
{
	struct rpc_out o = { 0 };

	if (!msg) {
		reply_say(req, status == -ETIMEDOUT ? -EHOSTUNREACH : status,
			  "the host that knows does not answer; try again, or "
			  "see `sprite hosts`");
		return;
	}
	o = (struct rpc_out){ .code = msg->code, .body = msg->body,
			      .len = msg->len, .payload = msg->payload,
			      .payload_len = msg->payload_len };
	rpc_reply(req, status, &o);
}

/* ---- kill ----------------------------------------------------------------------------------- */

static void kill_here(struct migd *m, struct rpc_req *q, uint32_t uid,
		      uint32_t pid, uint32_t sig)
{
	struct proc_stat st;
	int s;

	if (pid < 2 || proc_stat(m, pid, &st)) {
		reply_say(q, -ESRCH, "there is no process %u; `sprite ps` "
			  "lists them", pid);
		return;
	}
	if (!proc_owned(m, pid, uid) && st.uid != uid) {
		reply_say(q, -EPERM, "process %u belongs to another user", pid);
		return;
	}
	if (sig > 64) {
		reply_say(q, -EINVAL, "there is no signal %u", sig);
		return;
	}
	s = proc_signal(m, pid, (int)sig);
	rpc_reply(q, s, NULL);
}

void on_migd_kill_here(struct migd *m, struct rpc_req *q,
		       const struct msg_migd_kill_here *b)
{
	kill_here(m, q, b->uid, (uint32_t)b->pid, b->sig);
}

void on_migd_kill(struct migd *m, struct rpc_req *q,
		  const struct msg_migd_kill *b)
{
	uint32_t uid = (uint32_t)rpc_conn_uid(rpc_req_conn(q));
	uint32_t pid = (uint32_t)b->pid, home = home_of(m, pid);
	struct msg_migd_kill_here k = { .uid = uid, .pid = b->pid,
					.sig = b->sig };
	struct proc_stat st;
	struct body body;

	/* A process born abroad may be here though its number is another
	 * host's; its home (by number) cannot know it. */
	if (home == m->conf.host || !home ||
	    (!mirror_find(m, pid) && proc_stat(m, pid, &st) == 0)) {
		kill_here(m, q, uid, pid, b->sig);
		return;
	}
	if (BODY(migd_kill_here, &k, &body) == 0)
		call_host(m, home, MSG_migd_kill_here, &body, CALL_MS, 0,
			  pass_answer, q);
}

/* ---- explanations ------------------------------------------------------------------------------ */

static void explain_end(struct migd *m, uint32_t pid, struct buf *out)
{
	const struct ended_record *e = away_end_of(m, pid);

	if (!e)
		return;
	buf_addf(out, "process %u ended on %s", pid, host_name(m, e->host));
	if (e->status & 0x7f)
		buf_addf(out, " by signal %d", e->status & 0x7f);
	else
		buf_addf(out, " with status %d", e->status >> 8 & 0xff);
	buf_addf(out, "%s%s\n", *e->why ? ": " : "", e->why);
}

static void reply_text(struct rpc_req *q, struct buf *t, const char *nothing)
{
	struct msg_migd_explained e;
	struct body b;

	if (!buf_len(t) || buf_add(t, "", 1)) {
		reply_say(q, -ESRCH, "%s", nothing);
		return;
	}
	e.text = (const char *)buf_data(t);
	if (BODY(migd_explained, &e, &b))
		rpc_reply(q, -EMSGSIZE, NULL);
	else
		reply_body(q, MSG_migd_explained, &b);
}

struct explanation {
	struct rpc_req *req;
	struct buf text;
};

static void on_checked(void *arg, int status, const char *why,
		       const struct msg_migd_move_record *rec)
{
	struct explanation *e = arg;

	(void)rec;
	if (status)
		buf_addf(&e->text, "it cannot move now: %s\n", why);
	else
		buf_addf(&e->text, "it can move\n");
	reply_text(e->req, &e->text, "out of memory");
	buf_free(&e->text);
	free(e);
}

/* A process whose body is here: what it is, then what the engine says. */
static void explain_body(struct migd *m, struct rpc_req *q, uint32_t pid,
			 const struct proc_stat *st)
{
	struct guest *g = guest_of(m, pid, st->ppid);
	struct explanation *e = calloc(1, sizeof(*e));
	char command[COMMAND_MAX];

	if (!e) {
		rpc_reply(q, -ENOMEM, NULL);
		return;
	}
	e->req = q;
	proc_command(m, pid, command, sizeof(command));
	buf_addf(&e->text, "process %u (%s): home %s, runs on %s", pid, command,
		 g ? host_name(m, g->home) : m->conf.name, m->conf.name);
	buf_addf(&e->text, ", moved %u times\n",
		 g ? g->moves : 0);
	if (g && g->flags & MIGD_RUN_STAY)
		buf_addf(&e->text, "it was started with --stay\n");
	migration_check(m, g ? g->pid : pid, on_checked, e);
}

void on_migd_explain_here(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_explain_here *b)
{
	SCOPED(buf_free) struct buf t = { .max = 12000 };
	struct away *a = away_find(m, b->pid);
	struct proc_stat st;

	if (!a && !mirror_find(m, b->pid) && proc_stat(m, b->pid, &st) == 0) {
		explain_body(m, q, b->pid, &st);
		return;
	}
	if (a)
		buf_addf(&t, "process %u (%s): home %s, runs on %s, moved %u "
			 "times\n", b->pid, a->command, m->conf.name,
			 host_name(m, a->host), a->moves);
	else
		explain_end(m, b->pid, &t);
	reply_text(q, &t, "there is no such process; `sprite ps` lists them");
}

void on_migd_explain(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_explain *b)
{
	struct msg_migd_explain_here e = { .pid = b->pid };
	struct away *a = away_find(m, b->pid);
	uint32_t home = home_of(m, b->pid);
	struct proc_stat st;
	struct body body;

	if (a && a->state == AWAY_RUNNING)
		home = a->host;
	else if (guest_find(m, b->pid) ||
		 (!mirror_find(m, b->pid) && proc_stat(m, b->pid, &st) == 0))
		home = m->conf.host;
	if (!home || home == m->conf.host) {
		struct msg_migd_explain_here here = { .pid = b->pid };

		on_migd_explain_here(m, q, &here);
		return;
	}
	if (BODY(migd_explain_here, &e, &body) == 0)
		call_host(m, home, MSG_migd_explain_here, &body, CALL_MS,
			  RPC_IDEMPOTENT, pass_answer, q);
}

void on_migd_why(struct migd *m, struct rpc_req *q, const struct msg_migd_why *b)
{
	const struct ended_record *e = away_end_of(m, b->pid);
	struct away *a = away_find(m, b->pid);
	struct msg_migd_because r = { .why = "" };
	struct body body;

	if (e) {
		r = (struct msg_migd_because){ e->reason, e->status, e->host,
					       e->why };
	} else if (a) {
		r.host = a->host;
	} else {
		reply_say(q, -ESRCH, "process %u did not run elsewhere, or "
			  "ended too long ago", b->pid);
		return;
	}
	if (BODY(migd_because, &r, &body))
		rpc_reply(q, -EMSGSIZE, NULL);
	else
		reply_body(q, MSG_migd_because, &body);
}

/* ---- status --------------------------------------------------------------------------------------- */

void on_migd_status_here(struct migd *m, struct rpc_req *q)
{
	SCOPED(buf_free) struct buf t = { .max = 12000 };
	struct msg_migd_status_text s;
	struct body b;

	migd_status_text(m, &t);
	if (buf_add(&t, "", 1)) {
		rpc_reply(q, -ENOMEM, NULL);
		return;
	}
	s.text = (const char *)buf_data(&t);
	if (BODY(migd_status_text, &s, &b))
		rpc_reply(q, -EMSGSIZE, NULL);
	else
		reply_body(q, MSG_migd_status_text, &b);
}

void on_migd_status(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_status *b)
{
	struct msg_migd_status_here s = { 0 };
	uint32_t host = *b->host ? host_by_name(m, b->host) : m->conf.host;
	struct body body;

	if (!host)
		reply_say(q, -ENOENT, "there is no host %.60s in this cell",
			  b->host);
	else if (host == m->conf.host)
		on_migd_status_here(m, q);
	else if (BODY(migd_status_here, &s, &body) == 0)
		call_host(m, host, MSG_migd_status_here, &body, CALL_MS,
			  RPC_IDEMPOTENT, pass_answer, q);
}
