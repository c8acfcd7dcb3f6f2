/*
 * service.c -- see service.h.
 *
 * Watchers get the whole table at every change: it is small, changes are
 * rare, and a watcher that missed one can never be wrong for longer than to
 * the next.
 *
 * SQLite commits happen on the loop: a change of the cell is rare, and nobody
 * else could be served meanwhile anyway without seeing a half of it.
 */
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "list.h"
#include "log.h"
#include "named_msg.h"
#include "token.h"

#define TOKEN_SECS_MIN 10
#define TOKEN_SECS_MAX (30 * 86400)
#define BLOB_MAX (RPC_BODY_MAX / 2)

struct service {
	struct cell *cell;
	const struct hostconf *conf;
	const uint8_t *key;
	int64_t (*now_secs)(void);
	struct rpc *rpc;
	struct list watchers;
};

/* The data of a connection that watches. */
struct watcher {
	struct list in_service;
	struct rpc_conn *conn;
};

/* ---- the table as a message ---- */

static int put_hosts(const struct cell *c, struct wire_writer *w)
{
	const struct roster_host *h;

	for (unsigned i = 0; (h = cell_host_at(c, i)); i++)
		msg_roster_host_put(w, &(struct msg_roster_host){
			.id = h->id,
			.name = h->name,
			.addr = h->addr,
			.port_named = h->port[SVC_NAMED],
			.port_fsd = h->port[SVC_FSD],
			.port_migd = h->port[SVC_MIGD],
			.port_hostdb = h->port[SVC_HOSTDB],
			.key = { h->key, sizeof(h->key) },
			.pid_block = h->pid_block,
			.removed = h->removed,
		});
	return wire_write_end(w);
}

static int put_prefixes(const struct cell *c, struct wire_writer *w)
{
	const struct roster_prefix *p;

	for (unsigned i = 0; (p = cell_prefix_at(c, i)); i++)
		msg_roster_prefix_put(w, &(struct msg_roster_prefix){
			.prefix = p->prefix,
			.host = p->host,
			.domain = p->domain,
		});
	return wire_write_end(w);
}

static int put_blocks(const struct cell *c, struct wire_writer *w)
{
	const struct store_block *b;

	for (unsigned i = 0; (b = cell_block_at(c, i)); i++)
		msg_roster_block_put(w, &(struct msg_roster_block){
			.first = b->first, .host = b->host });
	return wire_write_end(w);
}

static int put_blob(const struct cell *c, uint8_t *mem,
		    int (*put)(const struct cell *c, struct wire_writer *w),
		    wire_blob *ret)
{
	struct wire_writer w = wire_writer(mem, BLOB_MAX);
	int r = put(c, &w);

	*ret = (wire_blob){ mem, w.len };
	return r;
}

/* The body, for the caller to free; as note or as answer. */
static int encode_table(const struct service *s, bool note, uint8_t **ret_body,
			struct rpc_out *ret)
{
	uint8_t *mem = malloc(3 * BLOB_MAX), *body = malloc(RPC_BODY_MAX);
	struct msg_named_table t = {
		.version = cell_self(s->cell)->version,
		.hostdb_host = cell_self(s->cell)->hostdb_host,
	};
	struct msg_named_watching a;
	int r = mem && body ? 0 : -ENOMEM;

	if (!r)
		r = put_blob(s->cell, mem, put_hosts, &t.hosts);
	if (!r)
		r = put_blob(s->cell, mem + BLOB_MAX, put_prefixes, &t.prefixes);
	if (!r)
		r = put_blob(s->cell, mem + 2 * BLOB_MAX, put_blocks, &t.blocks);
	if (r)
		goto out;
	a = (struct msg_named_watching){ t.version, t.hostdb_host, t.hosts,
					 t.prefixes, t.blocks };
	*ret = (struct rpc_out){
		.code = note ? MSG_named_table : MSG_named_watching, .body = body };
	r = note ? msg_named_table_encode(&t, body, RPC_BODY_MAX, &ret->len) :
		   msg_named_watching_encode(&a, body, RPC_BODY_MAX, &ret->len);
out:
	free(mem);
	if (r)
		free(body);
	else
		*ret_body = body;
	return r;
}

static void tell_watchers(struct service *s)
{
	struct rpc_out out;
	uint8_t *body;
	int r = encode_table(s, true, &body, &out);

	if (r) {
		log_error("the table cannot be sent: %s", strerror(-r));
		return;
	}
	list_each (w, &s->watchers, struct watcher, in_service) {
		r = rpc_conn_note(w->conn, &out);
		if (r)
			log_warn("host %u was not told of a change: %s",
				 rpc_conn_host(w->conn), strerror(-r));
	}
	free(body);
}

/* ---- requests ---- */

static void on_named_join(struct service *s, struct rpc_req *q,
			  const struct msg_named_join *m)
{
	const struct store_cell *self = cell_self(s->cell);
	struct rpc_conn *conn = rpc_req_conn(q);
	struct cell_joiner j = { .name = m->name, .addr = m->addr };
	struct msg_named_joined a = {
		.cell = self->name,
		.named_host = s->conf->host,
		.named_key = { s->key, 32 },
		.pid_block_size = self->block_size,
	};
	uint64_t before = self->version;
	const struct roster_host *h;
	struct rpc_out out = { .code = MSG_named_joined };
	char why[WHY_MAX] = "";
	uint8_t body[256];
	int r;

	if (m->key.len != sizeof(j.key)) {
		rpc_reply_err(q, -EINVAL, "the joining host's key is not one");
		return;
	}
	j.token = conn ? rpc_conn_token(conn) : 0;
	memcpy(j.key, m->key.p, sizeof(j.key));
	r = cell_join(s->cell, &j, s->now_secs(), &h, why);
	if (r) {
		log_warn("a joiner was refused: %s", why);
		rpc_reply_err(q, r, why);
		return;
	}
	log_info("%s (%u) at %s is a member", h->name, h->id, h->addr);
	a.host = h->id;
	a.pid_block = h->pid_block;
	out.body = body;
	r = msg_named_joined_encode(&a, body, sizeof(body), &out.len);
	rpc_reply(q, r, r ? NULL : &out);
	if (self->version != before)
		tell_watchers(s);
}

static void on_named_token(struct service *s, struct rpc_req *q,
			   const struct msg_named_token *m)
{
	struct token t = { .port = s->conf->port[SVC_NAMED] };
	struct rpc_out out = { .code = MSG_named_token_made };
	char text[TOKEN_TEXT_MAX], why[WHY_MAX] = "";
	uint8_t body[TOKEN_TEXT_MAX + 16];
	int r;

	if (m->lifetime_secs < TOKEN_SECS_MIN || m->lifetime_secs > TOKEN_SECS_MAX) {
		rpc_reply_err(q, -EINVAL, "a token lives from 10 seconds to 30 days");
		return;
	}
	memcpy(t.addr, s->conf->addr, sizeof(t.addr));
	memcpy(t.host_key, s->key, sizeof(t.host_key));
	/* SQLite's integers are signed, and 0 means none. */
	do {
		randombytes_buf(&t.id, sizeof(t.id));
		t.id &= INT64_MAX;
	} while (!t.id);
	randombytes_buf(t.psk, sizeof(t.psk));
	r = token_format(&t, text, sizeof(text));
	if (r)
		snprintf(why, sizeof(why), "host.conf's addr= is not a numeric "
			 "address; correct it and restart sprite-named");
	else
		r = cell_token_add(s->cell, t.id, t.psk, m->lifetime_secs,
				   s->now_secs(), why);
	sodium_memzero(&t, sizeof(t));
	if (r) {
		rpc_reply_err(q, r, why);
		return;
	}
	out.body = body;
	r = msg_named_token_made_encode(
		&(struct msg_named_token_made){ .token = text }, body,
		sizeof(body), &out.len);
	rpc_reply(q, r, r ? NULL : &out);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(body, sizeof(body));
}

static int watch(struct service *s, struct rpc_conn *c)
{
	struct watcher *w = rpc_conn_data(c);

	if (w)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->conn = c;
	list_add_tail(&s->watchers, &w->in_service);
	rpc_conn_set_data(c, w);
	return 0;
}

static void on_named_watch(struct service *s, struct rpc_req *q,
			   const struct msg_named_watch *m)
{
	struct rpc_conn *conn = rpc_req_conn(q);
	struct rpc_out out;
	uint8_t *body = NULL;
	int r = conn ? watch(s, conn) : -ENOTCONN;

	(void)m;
	if (!r)
		r = encode_table(s, false, &body, &out);
	rpc_reply(q, r, r ? NULL : &out);
	free(body);
}

/* The end of a request that changes the table and answers nothing more. */
static void done(struct service *s, struct rpc_req *q, int r, const char *why,
		 uint64_t before)
{
	if (r)
		rpc_reply_err(q, r, why);
	else
		rpc_reply(q, 0, NULL);
	if (cell_self(s->cell)->version != before)
		tell_watchers(s);
}

static void on_named_prefix_set(struct service *s, struct rpc_req *q,
				const struct msg_named_prefix_set *m)
{
	uint64_t before = cell_self(s->cell)->version;
	char why[WHY_MAX] = "";
	int r = cell_prefix_set(s->cell, rpc_req_host(q), m->prefix, m->domain,
				why);

	done(s, q, r, why, before);
}

static void on_named_prefix_del(struct service *s, struct rpc_req *q,
				const struct msg_named_prefix_del *m)
{
	uint64_t before = cell_self(s->cell)->version;
	char why[WHY_MAX] = "";
	int r = cell_prefix_del(s->cell, rpc_req_host(q), m->prefix, why);

	done(s, q, r, why, before);
}

static void on_named_pid_block(struct service *s, struct rpc_req *q,
			       const struct msg_named_pid_block *m)
{
	uint64_t before = cell_self(s->cell)->version;
	struct msg_named_pid_block_given a;
	struct rpc_out out = { .code = MSG_named_pid_block_given };
	char why[WHY_MAX] = "";
	uint8_t body[16];
	int r = cell_block(s->cell, rpc_req_host(q), m->have, &a.first, why);

	if (r) {
		done(s, q, r, why, before);
		return;
	}
	out.body = body;
	r = msg_named_pid_block_given_encode(&a, body, sizeof(body), &out.len);
	rpc_reply(q, r, r ? NULL : &out);
	if (cell_self(s->cell)->version != before)
		tell_watchers(s);
}

static void on_named_remove(struct service *s, struct rpc_req *q,
			    const struct msg_named_remove *m)
{
	uint64_t before = cell_self(s->cell)->version;
	char why[WHY_MAX] = "";
	uint32_t host = 0;
	int r = cell_remove(s->cell, m->name, &host, why);

	done(s, q, r, why, before);
	if (!r) {
		log_info("%s (%u) was removed", m->name, host);
		rpc_drop_host(s->rpc, host);
	}
}

/* ---- the connections ---- */

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
#include "named.def"
	}
	rpc_reply_err(q, -ENOSYS, NULL);
}

static void on_close(void *arg, struct rpc_conn *c)
{
	struct watcher *w = rpc_conn_data(c);

	(void)arg;
	if (!w)
		return;
	list_del(&w->in_service);
	rpc_conn_set_data(c, NULL);
	free(w);
}

static int key_of(void *arg, uint32_t host, uint8_t ret_key[32])
{
	const struct service *s = arg;

	return cell_key(s->cell, host, ret_key);
}

static int psk_of(void *arg, uint64_t token, uint8_t ret_psk[32])
{
	const struct service *s = arg;

	return cell_token_psk(s->cell, token, ret_psk);
}

int service_new(struct env *env, const struct rpc_identity *id,
		const struct service_conf *sc, struct service **ret)
{
	struct service *s = calloc(1, sizeof(*s));
	struct rpc_handler h = { .on_request = on_request, .on_close = on_close,
				 .arg = s };

	if (!s)
		return -ENOMEM;
	s->cell = sc->cell;
	s->conf = sc->conf;
	s->key = sc->key;
	s->now_secs = sc->now_secs;
	list_init(&s->watchers);
	s->rpc = rpc_new(env, id, key_of, s, &h);
	if (!s->rpc) {
		service_free(s);
		return -ENOMEM;
	}
	rpc_admit_joiners(s->rpc, psk_of, s);
	*ret = s;
	return 0;
}

int service_listen(struct service *s, uint16_t port, const char *socket_path,
		   char *err, size_t cap)
{
	int r = rpc_listen_tcp(s->rpc, NULL, port);

	if (r) {
		snprintf(err, cap, "cannot listen on TCP port %u: %s", port,
			 strerror(-r));
		return r;
	}
	r = rpc_listen_unix(s->rpc, socket_path, 0666);
	if (r)
		snprintf(err, cap, "cannot listen on %s: %s", socket_path,
			 strerror(-r));
	return r;
}

struct rpc *service_rpc(struct service *s)
{
	return s->rpc;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	rpc_free(s->rpc);
	list_each_safe (w, &s->watchers, struct watcher, in_service) {
		list_del(&w->in_service);
		free(w);
	}
	free(s);
}
