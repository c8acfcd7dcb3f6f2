/* grants.c -- see grants.h. */
#include "grants.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hostdb_enum.h"
#include "hostdb_msg.h"
#include "log.h"

#define SLOTS_MAX 512
#define LEASES_MAX 4096

struct slot {
	uint64_t grant;
	uint32_t host;
	uint8_t priority;
};

struct lease {
	struct list link;
	struct migd *m;
	uint32_t client, uid, want;
	uint8_t priority;
	struct rpc_conn *conn; /* NULL: of one program, or closed */
	struct rpc_req *req;   /* migd_hosts_ask, to be answered */
	void (*cb)(void *, uint32_t, uint64_t, const char *);
	void *arg;
	bool asking, again, dead;
	unsigned n;
	struct slot slot[SLOTS_MAX];
};

struct grants {
	struct list leases;
	uint32_t next;
	unsigned count;
};

struct rpc_peer *hostdb_peer(struct migd *m)
{
	return roster_peer(m->roster, roster_hostdb(m->roster), SVC_HOSTDB);
}

static int call_hostdb(struct migd *m, uint16_t code, const struct body *b,
		       uint32_t deadline_ms, unsigned flags, rpc_done_fn *done,
		       void *arg)
{
	struct rpc_out o = { .code = code, .body = b->b, .len = b->len };
	struct rpc_peer *p = hostdb_peer(m);

	return p ? rpc_call(p, &o, deadline_ms, flags, done, arg, NULL) :
		   -EHOSTUNREACH;
}

int grants_open(struct migd *m)
{
	m->grants = calloc(1, sizeof(*m->grants));
	if (!m->grants)
		return -ENOMEM;
	list_init(&m->grants->leases);
	/* Never a number of an earlier migd's lease. */
	m->grants->next = (uint32_t)time(NULL) << 8;
	return 0;
}

static struct lease *lease_new(struct migd *m, uint32_t uid)
{
	struct lease *l = m->grants->count < LEASES_MAX ? calloc(1, sizeof(*l)) :
							  NULL;

	if (!l)
		return NULL;
	l->m = m;
	l->uid = uid;
	l->client = ++m->grants->next;
	list_add_tail(&m->grants->leases, &l->link);
	m->grants->count++;
	return l;
}

static void lease_free(struct lease *l)
{
	l->m->grants->count--;
	list_del(&l->link);
	free(l);
}

/* All it has goes back.  Freed when no call of its is under way. */
static void lease_end(struct lease *l)
{
	struct msg_hostdb_close c = { .client = l->client };
	struct body b;

	l->dead = true;
	l->conn = NULL;
	if (l->asking)
		return;
	if (BODY(hostdb_close, &c, &b) == 0)
		call_hostdb(l->m, MSG_hostdb_close, &b, 30000, RPC_IDEMPOTENT,
			    call_done_nothing, NULL);
	lease_free(l);
}

static void note(struct lease *l, uint16_t code, const struct body *b)
{
	struct rpc_out o = { .code = code, .body = b->b, .len = b->len };

	if (l->conn)
		rpc_conn_note(l->conn, &o);
}

static void say_granted(struct lease *l, const struct slot *s)
{
	struct msg_migd_host_granted g = { .grant = s->grant, .host = s->host,
					   .name = host_name(l->m, s->host),
					   .slots = 1 };
	struct body b;

	if (BODY(migd_host_granted, &g, &b) == 0)
		note(l, MSG_migd_host_granted, &b);
}

static void answer_ask(struct lease *l, int status, const char *why)
{
	struct msg_migd_hosts_given g;
	uint8_t raw[12000];
	struct wire_writer w = wire_writer(raw, sizeof(raw));
	struct body b;

	for (unsigned i = 0; i < l->n; i++) {
		struct msg_migd_grant x = { .grant = l->slot[i].grant,
					    .host = l->slot[i].host,
					    .name = host_name(l->m, l->slot[i].host),
					    .slots = 1 };

		if (w.left > 100)
			msg_migd_grant_put(&w, &x);
	}
	g.grants = (wire_blob){ raw, w.len };
	if (status)
		reply_say(l->req, status, "%s", why);
	else if (BODY(migd_hosts_given, &g, &b))
		rpc_reply(l->req, -EMSGSIZE, NULL);
	else
		reply_body(l->req, MSG_migd_hosts_given, &b);
	l->req = NULL;
}

static void ask(struct lease *l);

static void take_slots(struct lease *l, const struct rpc_msg *msg)
{
	struct msg_hostdb_granted g;
	struct wire_reader r;

	if (msg_hostdb_granted_decode(msg->body, msg->len, &g))
		return;
	r = wire_reader(g.slots.p, g.slots.len);
	while (r.left && !r.failed && l->n < SLOTS_MAX) {
		struct msg_hostdb_slot s = msg_hostdb_slot_get(&r);

		if (r.failed)
			return;
		l->slot[l->n++] = (struct slot){ s.grant, s.host, s.priority };
		if (!l->req)
			say_granted(l, &l->slot[l->n - 1]);
	}
}

static void on_granted(void *arg, int status, const struct rpc_msg *msg)
{
	struct lease *l = arg;
	char why[300];

	l->asking = false;
	if (status == 0 && msg)
		take_slots(l, msg);
	snprintf(why, sizeof(why), "%s", status == -EHOSTUNREACH ||
						 status == -ETIMEDOUT ?
		 "the host database does not answer; name a host with -h, or "
		 "try again later" : rpc_sentence(status, msg));
	if (l->req)
		answer_ask(l, status, why);
	if (l->dead) {
		lease_end(l);
		return;
	}
	if (l->cb) {
		void (*cb)(void *, uint32_t, uint64_t, const char *) = l->cb;

		l->cb = NULL;
		if (l->n) {
			cb(l->arg, l->slot[0].host, l->slot[0].grant, NULL);
			return;
		}
		cb(l->arg, 0, 0, status ? why : "no host is free now; see "
			"`sprite hosts`, or run it here with -l");
		lease_end(l);
		return;
	}
	if (l->again && l->n < l->want)
		ask(l);
}

static void ask(struct lease *l)
{
	struct msg_hostdb_request r = { .client = l->client, .uid = l->uid,
					.what = l->cb ? "run" : "make",
					.priority = l->priority,
					.n = l->want - l->n };
	struct body b;
	int s;

	if (l->asking) {
		l->again = true;
		return;
	}
	l->asking = true;
	l->again = false;
	s = BODY(hostdb_request, &r, &b);
	if (!s)
		s = call_hostdb(l->m, MSG_hostdb_request, &b, CALL_MS, 0,
				on_granted, l);
	if (s)
		on_granted(l, s, NULL);
}

/* ---- for the rest of migd -------------------------------------------------------- */

uint32_t grants_host(struct migd *m, uint32_t uid, uint64_t grant)
{
	list_each(l, &m->grants->leases, struct lease, link)
		for (unsigned i = 0; i < l->n; i++)
			if (l->slot[i].grant == grant && l->uid == uid)
				return l->slot[i].host;
	return 0;
}

uint32_t grants_other(struct migd *m, uint32_t uid, uint32_t not_host)
{
	list_each(l, &m->grants->leases, struct lease, link)
		for (unsigned i = 0; i < l->n && l->uid == uid; i++)
			if (l->slot[i].host != not_host)
				return l->slot[i].host;
	return 0;
}

void grants_one(struct migd *m, uint32_t uid,
		void (*cb)(void *, uint32_t, uint64_t, const char *), void *arg)
{
	struct lease *l = lease_new(m, uid);

	if (!l) {
		cb(arg, 0, 0, "too many programs ask for hosts at once");
		return;
	}
	l->cb = cb;
	l->arg = arg;
	l->want = 1;
	l->priority = PRIORITY_NORMAL;
	ask(l);
}

void grants_done(struct migd *m, uint64_t grant)
{
	list_each_safe(l, &m->grants->leases, struct lease, link)
		if (!l->conn && l->n == 1 && l->slot[0].grant == grant) {
			lease_end(l);
			return;
		}
}

/* ---- the database's notes ----------------------------------------------------------- */

static struct lease *by_client(struct migd *m, uint32_t client)
{
	list_each(l, &m->grants->leases, struct lease, link)
		if (l->client == client && !l->dead)
			return l;
	return NULL;
}

static const char *const why_lost[WHYS] = {
	[WHY_NONE] = "it was taken back",
	[WHY_INPUT] = "its owner came back",
	[WHY_LOAD] = "its load is too high",
	[WHY_POLICY] = "its owner wants no guests",
	[WHY_RECLAIMED] = "it was given to somebody who has fewer",
	[WHY_DOWN] = "it does not answer any more",
	[WHY_REBOOTED] = "it was started anew",
	[WHY_STARTING] = "it was started anew",
};

static void on_lost(struct migd *m, const struct msg_hostdb_lost *b)
{
	struct lease *l = by_client(m, b->client);
	struct msg_migd_host_lost n = {
		.grant = b->grant, .host = b->host,
		.name = host_name(m, b->host),
		.why = b->why < WHYS ? why_lost[b->why] : why_lost[0],
	};
	struct body out;

	if (!l)
		return;
	for (unsigned i = 0; i < l->n; i++) {
		if (l->slot[i].grant != b->grant)
			continue;
		l->slot[i] = l->slot[--l->n];
		if (BODY(migd_host_lost, &n, &out) == 0)
			note(l, MSG_migd_host_lost, &out);
		return;
	}
}

bool grants_note(struct migd *m, struct rpc_conn *c, const struct rpc_msg *msg)
{
	struct msg_hostdb_lost lost;
	struct msg_hostdb_news news;
	struct lease *l;

	if (!(rpc_conn_roles(c) & ROLE_HOSTDB))
		return false;
	switch (msg->code) {
	case MSG_hostdb_lost:
		if (msg_hostdb_lost_decode(msg->body, msg->len, &lost) == 0)
			on_lost(m, &lost);
		return true;
	case MSG_hostdb_news:
		if (msg_hostdb_news_decode(msg->body, msg->len, &news))
			return true;
		l = by_client(m, news.client);
		if (l && l->n < l->want)
			ask(l);
		return true;
	}
	return false;
}

void grants_restate(struct migd *m)
{
	list_each(l, &m->grants->leases, struct lease, link) {
		uint8_t raw[SLOTS_MAX * 16];
		struct wire_writer w = wire_writer(raw, sizeof(raw));
		struct msg_hostdb_restate r = { .client = l->client,
						.uid = l->uid,
						.what = l->conn ? "make" : "run" };
		struct body b;

		for (unsigned i = 0; i < l->n; i++) {
			struct msg_hostdb_slot s = { l->slot[i].grant,
						     l->slot[i].host,
						     l->slot[i].priority };

			msg_hostdb_slot_put(&w, &s);
		}
		r.slots = (wire_blob){ raw, w.len };
		if (l->n && BODY(hostdb_restate, &r, &b) == 0)
			call_hostdb(m, MSG_hostdb_restate, &b, CALL_MS,
				    RPC_IDEMPOTENT, call_done_nothing, NULL);
	}
}

/* ---- requests ------------------------------------------------------------------------- */

void grants_conn_closed(struct migd *m, struct rpc_conn *c)
{
	list_each_safe(l, &m->grants->leases, struct lease, link)
		if (l->conn == c)
			lease_end(l);
}

void on_migd_hosts_ask(struct migd *m, struct rpc_req *q,
		       const struct msg_migd_hosts_ask *b)
{
	struct rpc_conn *c = rpc_req_conn(q);
	struct lease *l = NULL;

	list_each(i, &m->grants->leases, struct lease, link)
		if (i->conn == c)
			l = i;
	if (!l)
		l = lease_new(m, (uint32_t)rpc_conn_uid(c));
	if (!l || l->req) {
		rpc_reply(q, l ? -EBUSY : -ENOMEM, NULL);
		return;
	}
	l->conn = c;
	l->want = b->n < SLOTS_MAX ? b->n : SLOTS_MAX;
	l->priority = b->priority < PRIORITIES ? b->priority : PRIORITY_NORMAL;
	l->req = q;
	if (l->n >= l->want)
		answer_ask(l, 0, NULL);
	else
		ask(l);
}

void on_migd_hosts_return(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_hosts_return *b)
{
	struct rpc_conn *c = rpc_req_conn(q);

	list_each(l, &m->grants->leases, struct lease, link) {
		for (unsigned i = 0; l->conn == c && i < l->n; i++) {
			uint8_t raw[8];
			struct wire_writer w = wire_writer(raw, sizeof(raw));
			struct msg_hostdb_return r = { .client = l->client };
			struct body out;

			if (l->slot[i].grant != b->grant)
				continue;
			wire_put_u64(&w, b->grant);
			r.grants = (wire_blob){ raw, w.len };
			l->slot[i] = l->slot[--l->n];
			if (l->want)
				l->want--;
			if (BODY(hostdb_return, &r, &out) == 0)
				call_hostdb(m, MSG_hostdb_return, &out, CALL_MS,
					    RPC_IDEMPOTENT, call_done_nothing,
					    NULL);
			rpc_reply(q, 0, NULL);
			return;
		}
	}
	reply_say(q, -ENOENT, "that host is not lent to you");
}

static void on_hostdb_answer(void *arg, int status, const struct rpc_msg *msg)
{
	struct rpc_req *q = arg;
	struct rpc_out o = { 0 };

	if (!msg) {
		reply_say(q, status == -ETIMEDOUT ? -EHOSTUNREACH : status,
			  "the host database does not answer; `sprite status` "
			  "shows which daemon is down");
		return;
	}
	o = (struct rpc_out){ .code = msg->code, .body = msg->body,
			      .len = msg->len, .payload = msg->payload,
			      .payload_len = msg->payload_len };
	rpc_reply(q, status, &o);
}

void on_migd_ask_hostdb(struct migd *m, struct rpc_req *q,
			const struct msg_migd_ask_hostdb *b)
{
	struct rpc_out o = { .code = b->code, .body = b->body.p,
			     .len = b->body.len };
	struct rpc_peer *p = hostdb_peer(m);
	int s;

	/* We speak for the user: only what any command may ask. */
	if (b->code != MSG_hostdb_list && b->code != MSG_hostdb_explain) {
		rpc_reply(q, -EPERM, NULL);
		return;
	}
	s = p ? rpc_call(p, &o, CALL_MS, RPC_IDEMPOTENT, on_hostdb_answer, q,
			 NULL) : -EHOSTUNREACH;
	if (s)
		on_hostdb_answer(q, s, NULL);
}

void grants_close(struct migd *m)
{
	if (!m->grants)
		return;
	list_each_safe(l, &m->grants->leases, struct lease, link)
		lease_free(l);
	free(m->grants);
	m->grants = NULL;
}
