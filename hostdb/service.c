/*
 * service.c -- see service.h.
 *
 * Notes to a migd whose session is away are dropped: when it is back it says
 * what it holds, and is told then.
 */
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostdb_msg.h"
#include "log.h"
#include "map.h"
#include "reasons.h"
#include "status.h"

#define TICK_MS 1000
#define LIST_BYTES (RPC_BODY_MAX / 2)
/* More than one line of a list can need. */
#define LINE_BYTES 512
#define SLOT_BYTES 13

struct service {
	struct env *env;
	const struct hostconf *conf;
	struct roster *roster;
	struct history *history;
	int64_t (*wall_ms)(void);
	struct table *table;
	struct map migds; /* by host: struct migd */
	struct timer tick;
};

/* The data of a connection with a host's migd. */
struct migd {
	struct map_node by_host;
	uint32_t host;
	struct rpc_conn *conn; /* the newest; older ones are on their way out */
};

static uint64_t now_of(struct service *s)
{
	return env_now_ms(s->env);
}

/* ---- what the table tells ---- */

static void note(struct service *s, uint32_t host, uint16_t code,
		 const uint8_t *body, size_t len, int encoded)
{
	struct migd *m = map_entry(map_get(&s->migds, host), struct migd, by_host);
	struct rpc_out out = { .code = code, .body = body, .len = len };
	int r = encoded;

	if (!m || !m->conn)
		return;
	if (!r)
		r = rpc_conn_note(m->conn, &out);
	if (r)
		log_warn("host %u was not told: %s", host, status_text(r));
}

static void on_lost(void *arg, uint32_t home, uint32_t client, uint64_t grant,
		    uint32_t host, enum hostdb_why why)
{
	struct msg_hostdb_lost m = { client, grant, host, (uint8_t)why };
	uint8_t body[32];
	size_t len = 0;
	int r = msg_hostdb_lost_encode(&m, body, sizeof(body), &len);

	note(arg, home, MSG_hostdb_lost, body, len, r);
}

static void on_news(void *arg, uint32_t home, uint32_t client)
{
	struct msg_hostdb_news m = { client };
	uint8_t body[16];
	size_t len = 0;
	int r = msg_hostdb_news_encode(&m, body, sizeof(body), &len);

	note(arg, home, MSG_hostdb_news, body, len, r);
}

static void on_evict(void *arg, uint32_t host, uint32_t home, uint32_t client,
		     uint64_t grant)
{
	struct msg_hostdb_evict m = { home, client, grant };
	uint8_t body[32];
	size_t len = 0;
	int r = msg_hostdb_evict_encode(&m, body, sizeof(body), &len);

	note(arg, host, MSG_hostdb_evict, body, len, r);
}

static void on_past(void *arg, uint32_t host, const struct past *p)
{
	struct service *s = arg;

	history_add(s->history, host, p, s->wall_ms());
}

/* ---- reports ---- */

static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from);
}

static void on_hostdb_report(struct service *s, struct rpc_req *q,
			     const struct msg_hostdb_report *m)
{
	struct host_report r = {
		.allow = m->allow != 0,
		.why = m->why < WHYS ? (enum hostdb_why)m->why : WHY_NONE,
		.idle_secs = m->idle_secs,
		.up_secs = m->up_secs,
		.version = m->version,
		.load_centi = { m->load1_centi, m->load5_centi, m->load15_centi },
		.guests = m->guests,
		.slots = m->slots,
		.cpus = m->cpus,
		.mhz = m->mhz,
		.mem_kib = m->mem_kib,
		.mem_free_kib = m->mem_free_kib,
	};
	int e;

	/* A thousand years: sums with our own clock stay far from its ends. */
	if (r.idle_secs > 1ull << 35 || r.up_secs > 1ull << 35) {
		rpc_reply_err(q, -EINVAL, "the report's times are impossible");
		return;
	}
	copy_text(r.name, sizeof(r.name), m->name);
	copy_text(r.type, sizeof(r.type), m->type);
	e = table_report(s->table, rpc_req_host(q), &r, now_of(s));
	rpc_reply_err(q, e, e ? "the host is not in the roster" : NULL);
}

/* ---- asking and giving back ---- */

static int encode_slots(const struct slot *slots, uint32_t n, uint8_t *mem,
			size_t cap, wire_blob *ret)
{
	struct wire_writer w = wire_writer(mem, cap);

	for (uint32_t i = 0; i < n; i++)
		msg_hostdb_slot_put(&w, &(struct msg_hostdb_slot){
			slots[i].grant, slots[i].host,
			(uint8_t)slots[i].priority });
	*ret = (wire_blob){ mem, w.len };
	return wire_write_end(&w);
}

static void reply_slots(struct service *s, struct rpc_req *q, uint32_t client,
			const struct slot *slots, uint32_t n)
{
	uint8_t mem[REQUEST_MAX * SLOT_BYTES], body[sizeof(mem) + 8];
	struct rpc_out out = { .code = MSG_hostdb_granted, .body = body };
	struct msg_hostdb_granted m;
	uint64_t grant;
	int r = encode_slots(slots, n, mem, sizeof(mem), &m.slots);

	if (!r)
		r = msg_hostdb_granted_encode(&m, body, sizeof(body), &out.len);
	if (!r) {
		rpc_reply(q, 0, &out);
		return;
	}
	/* Who was not told must not hold them. */
	for (uint32_t i = 0; i < n; i++) {
		grant = slots[i].grant;
		table_return(s->table, rpc_req_host(q), client, &grant, 1,
			     now_of(s));
	}
	rpc_reply(q, r, NULL);
}

static void on_hostdb_request(struct service *s, struct rpc_req *q,
			      const struct msg_hostdb_request *m)
{
	struct client_is who = { rpc_req_host(q), m->client, m->uid, m->what };
	struct slot slots[REQUEST_MAX];
	uint32_t n = 0;
	int r = table_request(s->table, &who, (enum hostdb_priority)m->priority,
			      m->n, now_of(s), slots, &n);

	if (r) {
		rpc_reply_err(q, r, r == -ENOTCONN ?
			      "this host has not reported to the host database; "
			      "try again in a moment" : NULL);
		return;
	}
	history_sum(s->history, SUM_REQUESTS, 1);
	history_sum(s->history, SUM_WANTED, m->n);
	history_sum(s->history, SUM_GRANTED, n);
	if (!n)
		history_sum(s->history, SUM_NOTHING, 1);
	reply_slots(s, q, m->client, slots, n);
}

static void on_hostdb_return(struct service *s, struct rpc_req *q,
			     const struct msg_hostdb_return *m)
{
	struct wire_reader r = wire_reader(m->grants.p, m->grants.len);
	uint64_t grant;

	if (!m->grants.len)
		table_return(s->table, rpc_req_host(q), m->client, NULL, 0,
			     now_of(s));
	while (r.left && !r.failed) {
		grant = wire_get_u64(&r);
		if (!r.failed)
			table_return(s->table, rpc_req_host(q), m->client, &grant,
				     1, now_of(s));
	}
	rpc_reply_err(q, wire_read_end(&r), NULL);
}

static void on_hostdb_close(struct service *s, struct rpc_req *q,
			    const struct msg_hostdb_close *m)
{
	table_close(s->table, rpc_req_host(q), m->client, now_of(s));
	rpc_reply(q, 0, NULL);
}

static void on_hostdb_restate(struct service *s, struct rpc_req *q,
			      const struct msg_hostdb_restate *m)
{
	struct client_is who = { rpc_req_host(q), m->client, m->uid, m->what };
	struct wire_reader r = wire_reader(m->slots.p, m->slots.len);
	int e = 0;

	while (!e && r.left) {
		struct msg_hostdb_slot w = msg_hostdb_slot_get(&r);
		struct slot one = { w.grant, w.host,
				    (enum hostdb_priority)w.priority };

		e = r.failed ? -EBADMSG :
			       table_restate(s->table, &who, &one, 1, now_of(s));
	}
	rpc_reply_err(q, e, NULL);
}

/* ---- looking ---- */

static void put_line(struct wire_writer *w, const struct host_line *l)
{
	const struct host_report *r = l->report;

	msg_hostdb_host_put(w, &(struct msg_hostdb_host){
		.id = l->id,
		.name = l->name,
		.type = r->type,
		.state = (uint8_t)l->state,
		.available = l->available,
		.why = (uint8_t)(r->allow ? WHY_NONE : r->why),
		.up_secs = l->up_secs,
		.load1_centi = r->load_centi[0],
		.load5_centi = r->load_centi[1],
		.load15_centi = r->load_centi[2],
		.idle_secs = l->idle_secs,
		.guests = r->guests,
		.lent = l->lent,
		.slots = r->slots,
		.cpus = r->cpus,
		.mhz = r->mhz,
		.mem_kib = r->mem_kib,
		.mem_free_kib = r->mem_free_kib,
		.same_version = l->same_version,
	});
}

static void on_hostdb_list(struct service *s, struct rpc_req *q,
			   const struct msg_hostdb_list *m)
{
	uint8_t *mem = malloc(LIST_BYTES), *body = malloc(LIST_BYTES + 64);
	struct wire_writer w = wire_writer(mem, LIST_BYTES);
	struct msg_hostdb_hosts a = { .next = m->from };
	struct rpc_out out = { .code = MSG_hostdb_hosts, .body = body };
	struct host_line l;
	int r = mem && body ? 0 : -ENOMEM;

	while (!r && w.left > LINE_BYTES) {
		if (table_line(s->table, a.next, rpc_req_host(q), now_of(s), &l)) {
			a.next = 0;
			break;
		}
		put_line(&w, &l);
		a.next = l.id + 1;
	}
	a.hosts = (wire_blob){ mem, w.len };
	if (!r)
		r = wire_write_end(&w);
	if (!r)
		r = msg_hostdb_hosts_encode(&a, body, LIST_BYTES + 64, &out.len);
	rpc_reply(q, r, r ? NULL : &out);
	free(mem);
	free(body);
}

static const char *name_of(void *arg, uint32_t host)
{
	const struct service *s = arg;
	const struct roster_host *h = roster_host(s->roster, host);

	return h ? h->name : "a former host";
}

static int explain(struct service *s, uint32_t host, uint32_t asker,
		   struct buf *text)
{
	struct host_line l;
	struct reasons w = { .line = &l, .asker = asker, .name_of = name_of,
			     .idle_secs = s->conf->idle_secs, .arg = s };
	uint64_t now = now_of(s);
	const struct past *p;
	int r = table_line(s->table, host, asker, now, &l);

	if (!r)
		r = reasons_now(&w, text);
	for (unsigned i = 0; !r && (p = table_past(s->table, host, i)); i++)
		r = reasons_past(&w, p, now - p->at_ms, text);
	return r ? r : buf_add(text, "", 1);
}

static void on_hostdb_explain(struct service *s, struct rpc_req *q,
			      const struct msg_hostdb_explain *m)
{
	struct buf text = { 0 };
	uint8_t body[8192];
	struct rpc_out out = { .code = MSG_hostdb_reasons, .body = body };
	uint32_t host;
	int r = table_find(s->table, m->host, &host);

	if (r) {
		rpc_reply_err(q, r, "the cell has no host of that name; `sprite "
			      "hosts` lists them");
		return;
	}
	r = explain(s, host, rpc_req_host(q), &text);
	if (!r)
		r = msg_hostdb_reasons_encode(&(struct msg_hostdb_reasons){
			(const char *)buf_data(&text) }, body, sizeof(body),
			&out.len);
	rpc_reply(q, r, r ? NULL : &out);
	buf_free(&text);
}

/* ---- connections ---- */

static void on_request(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	struct service *s = arg;
	struct rpc_conn *c = rpc_req_conn(q);
	uint32_t roles = c ? rpc_conn_roles(c) : 0;

	switch (m->code) {
#define STRUCT(name, ...)
#define FIELD(kind, name)
#define REPLY(code, name, ...)
#define NOTE(code, name, senders, ...)
#define REQUEST(code_, name, senders, ...)                                 \
	case code_: {                                                      \
		struct msg_##name b;                                       \
		if (!(roles & (senders)))                                  \
			rpc_reply_err(q, -EPERM, NULL);                    \
		else if (msg_##name##_decode(m->body, m->len, &b))         \
			rpc_reply_err(q, -EBADMSG, NULL);                  \
		else                                                       \
			on_##name(s, q, &b);                               \
		return;                                                    \
	}
#include "hostdb.def"
	}
	rpc_reply_err(q, -ENOSYS, NULL);
}

static void on_open(void *arg, struct rpc_conn *c)
{
	struct service *s = arg;
	uint32_t host = rpc_conn_host(c);
	struct migd *m;

	if (rpc_conn_service(c) != SVC_MIGD || !(rpc_conn_roles(c) & ROLE_MIGD))
		return;
	m = map_entry(map_get(&s->migds, host), struct migd, by_host);
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m || map_put(&s->migds, host, &m->by_host)) {
			free(m);
			rpc_conn_close(c);
			return;
		}
		m->host = host;
	}
	m->conn = c;
	rpc_conn_set_data(c, m);
	if (table_session(s->table, host, rpc_conn_epoch(c), now_of(s)))
		rpc_conn_close(c); /* removed, and not told yet */
}

static void on_close(void *arg, struct rpc_conn *c)
{
	struct service *s = arg;
	struct migd *m = rpc_conn_data(c);

	if (!m || m->conn != c)
		return;
	m->conn = NULL;
	table_session_lost(s->table, m->host, now_of(s));
}

struct rpc_handler service_handler(struct service *s)
{
	return (struct rpc_handler){ .on_request = on_request,
				     .on_open = on_open,
				     .on_close = on_close,
				     .arg = s };
}

/* ---- roster, timer ---- */

static void recall(struct service *s, uint32_t host)
{
	struct past p[PAST_KEPT];
	unsigned n = 0;
	int r = history_recent(s->history, host, s->wall_ms(), now_of(s), p, &n);

	if (r)
		log_warn("the history of host %u cannot be read: %s", host,
			 status_text(r));
	for (unsigned i = 0; i < n; i++)
		table_remember(s->table, host, &p[i]);
}

void service_roster(struct service *s)
{
	const struct roster_host *h;

	for (unsigned i = 0; (h = roster_at(s->roster, i)); i++) {
		bool known = table_knows(s->table, h->id);

		if (h->removed) {
			table_forget(s->table, h->id, now_of(s));
			continue;
		}
		if (table_know(s->table, h->id, h->name, now_of(s))) {
			log_error("out of memory");
			return;
		}
		if (!known) {
			history_name(s->history, h->id, h->name);
			recall(s, h->id);
		}
	}
}

static void on_tick(struct timer *t)
{
	struct service *s = t->data;

	table_tick(s->table, now_of(s));
	env_after(s->env, t, TICK_MS);
}

int service_new(struct env *env, const struct service_conf *sc,
		struct service **ret)
{
	struct service *s = calloc(1, sizeof(*s));
	struct table_ears ears = { on_lost, on_news, on_evict, on_past, s };
	int r;

	if (!s)
		return -ENOMEM;
	s->env = env;
	s->conf = sc->conf;
	s->roster = sc->roster;
	s->history = sc->history;
	s->wall_ms = sc->wall_ms;
	s->tick = (struct timer){ .fire = on_tick, .data = s };
	/* Grants of an earlier life have smaller numbers, by the clock. */
	r = table_new(sc->conf->down_ms, (uint64_t)sc->wall_ms() << 16, &ears,
		      &s->table);
	if (r) {
		free(s);
		return r;
	}
	history_sum(s->history, SUM_STARTS, 1);
	env_after(env, &s->tick, TICK_MS);
	service_roster(s);
	*ret = s;
	return 0;
}

void service_free(struct service *s)
{
	struct map_node *n;

	if (!s)
		return;
	env_cancel(s->env, &s->tick);
	table_free(s->table);
	while ((n = map_next(&s->migds, NULL))) {
		map_del(&s->migds, n);
		free(container_of(n, struct migd, by_host));
	}
	map_fini(&s->migds);
	free(s);
}
