/*
 * rpc_once.c -- at most once: what was executed for whom, and with what
 * answer.
 *
 * A session is a daemon's life (host, service, epoch) as seen by the one it
 * calls; it outlives connections.  Each call that must not be executed twice
 * has a record in it from its arrival until the caller says that it has the
 * answer.  A new epoch of the same daemon ends the session before it; that
 * one's epoch is refused from then on, so a process that was believed dead
 * cannot come back with old requests.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"

#define SESSIONS_MAX 4096u

static struct session *find(struct rpc *r, uint32_t host, enum rpc_service s)
{
	list_each(it, &r->sessions, struct session, link)
	{
		if (it->host == host && it->service == s)
			return it;
	}
	return NULL;
}

void record_free(struct record *rec)
{
	struct session *s = rec->session;

	map_del(&s->records, &rec->node);
	list_del(&rec->link);
	s->bytes -= rec->bytes;
	if (rec->req)
		rec->req->rec = NULL;
	out_put(rec->reply);
	free(rec);
}

static void drop_records(struct session *s)
{
	while (!list_empty(&s->order))
		record_free(list_first(&s->order, struct record, link));
}

static void session_free(struct session *s)
{
	drop_records(s);
	map_fini(&s->records);
	list_del(&s->link);
	free(s);
}

void sessions_free(struct rpc *r)
{
	while (!list_empty(&r->sessions))
		session_free(list_first(&r->sessions, struct session, link));
}

/* Those of daemons that have been gone for long; at most one a connect. */
static void forget_old(struct rpc *r)
{
	uint64_t now = env_now_ms(r->env);

	list_each(s, &r->sessions, struct session, link)
	{
		if (!s->conn && now - s->gone_ms > r->lim.session_keep_ms) {
			session_free(s);
			return;
		}
	}
}

static bool was_before(const struct session *s, uint64_t epoch)
{
	unsigned n = sizeof(s->dead) / sizeof(*s->dead);

	for (unsigned i = 0; i < n && i < s->ndead; i++) {
		if (s->dead[i] == epoch)
			return true;
	}
	return false;
}

static void close_now(struct rpc_conn *c, int why)
{
	if (!c)
		return;
	conn_close(c, why);
	conn_reap(c);
}

static int new_session(struct rpc_conn *c)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->host = c->host;
	s->service = c->service;
	s->epoch = c->epoch;
	s->conn = c;
	list_init(&s->order);
	list_add_tail(&c->r->sessions, &s->link);
	c->session = s;
	return 0;
}

/*
 * c's other side has said who it is.  An older connection with it is over,
 * and its owner must know before it hears of the new one.
 */
int session_attach(struct rpc_conn *c)
{
	struct session *s;

	forget_old(c->r);
	s = find(c->r, c->host, c->service);
	if (!s)
		return new_session(c);
	if (was_before(s, c->epoch))
		return -ESTALE;
	if (s->epoch != c->epoch) {
		s->dead[s->ndead++ % (sizeof(s->dead) / sizeof(*s->dead))] =
			s->epoch;
		s->epoch = c->epoch;
		s->acked = 0;
		drop_records(s);
	}
	close_now(s->conn, -ECONNRESET);
	s->conn = c;
	c->session = s;
	return 0;
}

void session_detach(struct rpc_conn *c)
{
	struct session *s = c->session;

	c->session = NULL;
	if (!s || s->conn != c)
		return;
	s->conn = NULL;
	s->gone_ms = env_now_ms(c->r->env);
}

static void forget(struct record *rec)
{
	if (rec->req)
		rec->forget = true;
	else
		record_free(rec);
}

/* The order of arrival is nearly that of numbers; stragglers go later. */
void session_ack(struct session *s, uint64_t ack)
{
	if (ack <= s->acked)
		return;
	s->acked = ack;
	list_each_safe(rec, &s->order, struct record, link)
	{
		if (rec->id >= ack)
			break;
		forget(rec);
	}
}

void session_ack_one(struct session *s, uint64_t id)
{
	struct record *rec = session_find(s, id);

	if (rec)
		forget(rec);
}

bool session_full(const struct session *s, const struct rpc_limits *lim)
{
	return s->records.count >= lim->records_max ||
	       s->bytes >= lim->record_bytes_max;
}

struct record *session_find(struct session *s, uint64_t id)
{
	struct map_node *n = map_get(&s->records, id);

	return map_entry(n, struct record, node);
}

int session_add(struct session *s, struct rpc_req *q)
{
	struct record *rec = calloc(1, sizeof(*rec));
	int r;

	if (!rec)
		return -ENOMEM;
	r = map_put(&s->records, q->id, &rec->node);
	if (r) {
		free(rec);
		return r;
	}
	rec->session = s;
	rec->id = q->id;
	rec->req = q;
	rec->bytes = sizeof(*rec);
	s->bytes += rec->bytes;
	list_add_tail(&s->order, &rec->link);
	q->rec = rec;
	return 0;
}

void record_answer(struct record *rec, struct out *reply)
{
	rec->req->rec = NULL;
	rec->req = NULL;
	if (rec->forget || rec->id < rec->session->acked) {
		record_free(rec);
		return;
	}
	if (!reply)
		return;
	rec->reply = out_get(reply);
	rec->bytes += out_size(reply);
	rec->session->bytes += out_size(reply);
}
