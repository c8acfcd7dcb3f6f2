/* holders.c -- see holders.h. */
#include "holders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"
#include "log.h"

/* ---- recalls ---- */

static void recall_free(struct recall *r)
{
	struct server *s = r->holder->server;

	list_del(&r->link);
	obj_put(s->x, r->obj);
	free(r->name);
	free(r);
}

/* What the answer means for the leases; then whoever waited is tried again. */
void server_recall_done(struct recall *r, int status)
{
	struct holder *h = r->holder;
	struct server *s = h->server;
	struct obj *o = r->obj;
	struct lease_hold *hold;

	if (r->name) {
		lease_name_acked(&o->lease, &h->lease, r->name);
	} else {
		hold = lease_hold_of(&o->lease, &h->lease);
		if (hold && status == -ENOENT && hold->seq < r->seq &&
		    hold->recall_seq == r->seq)
			lease_drop(hold);
		else if (hold)
			lease_acked(hold, r->seq);
	}
	o->refs++;
	recall_free(r);
	server_kick(s, o);
	obj_put(s->x, o);
}

static void fence(struct holder *h, const char *why);

static void on_recalled(void *arg, int status, const struct rpc_msg *m)
{
	struct recall *r = arg;
	struct holder *h = r->holder;

	(void)m;
	if (status == -ECONNRESET || status == -ECANCELED ||
	    status == -ENOTCONN) {
		r->sent = false; /* again when it is back, or fenced */
		return;
	}
	if (status == -ETIMEDOUT) {
		r->sent = false;
		fence(h, "did not answer a recall in time");
		return;
	}
	server_recall_done(r, status);
}

static int encode_recall(const struct recall *r, uint8_t *body, size_t cap,
			 struct rpc_out *o)
{
	wire_blob fh = { .p = r->obj->fh, .len = r->obj->len };
	struct msg_fs_recall_name n = { .dir = fh, .seq = r->seq };
	struct msg_fs_recall m = { .fh = fh,
				   .keep = (uint8_t)r->keep,
				   .seq = r->seq };

	o->body = body;
	if (!r->name) {
		o->code = MSG_fs_recall;
		return msg_fs_recall_encode(&m, body, cap, &o->len);
	}
	n.name = r->name;
	o->code = MSG_fs_recall_name;
	return msg_fs_recall_name_encode(&n, body, cap, &o->len);
}

static void recall_send(struct recall *r)
{
	struct holder *h = r->holder;
	uint8_t body[FS_HANDLE_MAX + FS_NAME_MAX + 64];
	struct rpc_out o = { 0 };

	if (h->local) {
		r->sent = true;
		h->server->recall_local(h->server->local_arg, r);
		return;
	}
	if (!h->conn || encode_recall(r, body, sizeof(body), &o))
		return;
	r->sent = rpc_conn_call(h->conn, &o, RECALL_MS, on_recalled, r,
				NULL) == 0;
}

static void recall_start(struct holder *h, struct obj *o, const char *name,
			 enum lease_level keep, uint64_t seq)
{
	struct recall *r = calloc(1, sizeof(*r));

	if (r && name)
		r->name = strdup(name);
	if (!r || (name && !r->name)) {
		/* It cannot be asked: it ends as if it were away. */
		free(r);
		h->locks_wanted = true;
		if (h->conn)
			rpc_conn_close(h->conn);
		return;
	}
	r->holder = h;
	r->obj = o;
	o->refs++;
	r->keep = keep;
	r->seq = seq;
	list_add_tail(&h->recalls, &r->link);
	recall_send(r);
}

static struct obj *obj_of(struct lease_obj *l)
{
	return container_of(l, struct obj, lease);
}

static void on_recall(void *arg, struct lease_hold *hold)
{
	struct server *s = arg;

	s->stats.recalls++;
	recall_start(container_of(hold->holder, struct holder, lease),
		     obj_of(hold->obj), NULL, hold->keep, hold->recall_seq);
}

static void on_recall_name(void *arg, struct lease_holder *w,
			   struct lease_name *n, uint64_t seq)
{
	struct server *s = arg;

	s->stats.name_recalls++;
	recall_start(container_of(w, struct holder, lease), obj_of(n->obj),
		     n->text, LEASE_NONE, seq);
}

static struct lease_holder *holder_at(void *arg, unsigned index)
{
	struct server *s = arg;

	return &s->holders[index]->lease;
}

/* ---- the end of a life ---- */

static void drop_all_names(struct holder *h)
{
	struct server *s = h->server;
	struct lease_obj *o;

	for (struct obj *x = export_first(s->x), *next; x; x = next) {
		next = export_next(s->x, x);
		o = &x->lease;
		if (o->names.count) {
			lease_drop_names(o, &h->lease);
			obj_tidy(s->x, x);
		}
	}
}

static void drop_hold(struct server *s, struct lease_hold *hold)
{
	struct obj *o = obj_of(hold->obj);

	o->refs++;
	lease_drop(hold);
	obj_put(s->x, o);
}

/* A hold without a number is of its former life, and not claimed (yet). */
static void drop_unclaimed(struct holder *h)
{
	list_each_safe(hold, &h->lease.holds, struct lease_hold, of_holder) {
		if (!hold->seq)
			drop_hold(h->server, hold);
	}
}

/*
 * All it had is free, and whoever waited for it is tried again.  If it may be
 * back soon, objects without names are kept until it has said which ones it
 * still has open.
 */
static void drop_everything(struct holder *h, bool may_claim)
{
	struct server *s = h->server;

	h->life++; /* its requests that wait are void */
	list_each_safe(hold, &h->lease.holds, struct lease_hold, of_holder) {
		/* What it wrote and did not deliver may be delivered yet. */
		hold->recalled = false;
		hold->seq = 0;
	}
	if (!may_claim)
		drop_unclaimed(h);
	list_each_safe(r, &h->recalls, struct recall, link) {
		if (!r->sent)
			recall_free(r);
	}
	drop_all_names(h);
	locks_drop_holder(s, h);
	server_kick(s, NULL);
}

static void fence(struct holder *h, const char *why)
{
	if (h->local || h->fenced)
		return;
	h->server->stats.fences++;
	log_warn("host %u %s: its leases and locks end here", h->host, why);
	h->fenced = true;
	drop_everything(h, false);
	if (h->conn)
		rpc_conn_close(h->conn);
}

void holders_tick(struct server *s)
{
	uint64_t now = env_now_ms(s->env);

	for (unsigned i = 0; i < LEASE_HOLDERS_MAX; i++) {
		struct holder *h = s->holders[i];

		if (!h || h->local || h->conn || h->fenced ||
		    now - h->away_since_ms < FENCE_MS)
			continue;
		if (!list_empty(&h->recalls) || h->locks_wanted)
			fence(h, "is away and others wait for it");
		else if (now - h->away_since_ms > LOST_MS &&
			 !list_empty(&h->lease.holds))
			fence(h, "does not come back");
	}
}

/* ---- who they are ---- */

static void remember(struct server *s)
{
	SCOPED(buf_free) struct buf b = { 0 };

	if (!*s->clients_path)
		return;
	for (unsigned i = 0; i < LEASE_HOLDERS_MAX; i++) {
		if (s->holders[i] && !s->holders[i]->local)
			(void)buf_addf(&b, "%u\n", s->holders[i]->host);
	}
	if (fd_write_file(s->clients_path, buf_data(&b), buf_len(&b), 0600))
		log_warn("cannot write %s: after a restart of this daemon "
			 "other hosts may have to open files anew",
			 s->clients_path);
}

static struct holder *holder_new(struct server *s, uint32_t host)
{
	struct holder *h;
	unsigned i = 0;

	while (i < LEASE_HOLDERS_MAX && s->holders[i])
		i++;
	h = i < LEASE_HOLDERS_MAX ? calloc(1, sizeof(*h)) : NULL;
	if (!h)
		return NULL;
	h->lease.index = i;
	list_init(&h->lease.holds);
	list_init(&h->recalls);
	h->server = s;
	h->host = host;
	s->holders[i] = h;
	return h;
}

static struct holder *holder_find(struct server *s, uint32_t host)
{
	for (unsigned i = 0; i < LEASE_HOLDERS_MAX; i++) {
		if (s->holders[i] && s->holders[i]->host == host &&
		    !s->holders[i]->local)
			return s->holders[i];
	}
	return NULL;
}

struct holder *holder_of(struct server *s, struct rpc_conn *c)
{
	struct holder *h = rpc_conn_data(c);

	if (h)
		return h;
	h = holder_find(s, rpc_conn_host(c));
	if (!h) {
		h = holder_new(s, rpc_conn_host(c));
		if (!h)
			return NULL;
		h->epoch = rpc_conn_epoch(c);
		remember(s);
	}
	if (h->epoch != rpc_conn_epoch(c)) {
		h->epoch = rpc_conn_epoch(c);
		drop_everything(h, true);
		h->fenced = false;
	}
	h->conn = c;
	rpc_conn_set_data(c, h);
	list_each_safe(r, &h->recalls, struct recall, link) {
		if (!r->sent)
			recall_send(r);
	}
	return h;
}

void server_conn_open(struct server *s, struct rpc_conn *c)
{
	if (rpc_conn_service(c) == SVC_FSD && rpc_conn_host(c) != s->local->host)
		(void)holder_of(s, c);
}

void server_conn_close(struct server *s, struct rpc_conn *c)
{
	struct holder *h = rpc_conn_data(c);

	if (!h || h->conn != c)
		return;
	h->conn = NULL;
	h->away_since_ms = env_now_ms(s->env);
}

/* ---- after a restart ---- */

static void grace_over(struct server *s)
{
	if (!s->grace)
		return;
	s->grace = false;
	env_cancel(s->env, &s->grace_end);
	export_sweep(s->x);
	server_kick(s, NULL);
}

static void on_grace_end(struct timer *t)
{
	struct server *s = t->data;

	for (unsigned i = 0; i < s->nexpected; i++)
		log_warn("host %u has not come back in time: what it had open "
			 "is refused from now on", s->expected[i]);
	grace_over(s);
}

static void came_back(struct server *s, uint32_t host)
{
	for (unsigned i = 0; i < s->nexpected; i++) {
		if (s->expected[i] == host) {
			s->expected[i] = s->expected[--s->nexpected];
			break;
		}
	}
	if (!s->nexpected && s->started)
		grace_over(s);
}

static uint8_t reclaim_one(struct holder *h, const struct msg_fs_held *m)
{
	struct server *s = h->server;
	enum lease_level level;
	struct obj *o;
	uint64_t seq;

	if (export_obj(s->x, m->fh.p, m->fh.len, &o))
		return FS_LEVEL_GONE;
	if (lease_grant(&s->leases, &o->lease, &h->lease,
			m->lease <= LEASE_WRITE ? m->lease : LEASE_NONE, &level,
			&seq))
		level = LEASE_NONE;
	obj_put(s->x, o);
	return (uint8_t)level;
}

static void reclaim_locks(struct holder *h, wire_blob locks)
{
	struct wire_reader r = wire_reader(locks.p, locks.len);

	while (r.left && !r.failed) {
		struct msg_fs_held_lock m = msg_fs_held_lock_get(&r);
		struct obj *o;

		if (r.failed ||
		    export_obj(h->server->x, m.fh.p, m.fh.len, &o))
			continue;
		locks_restore(h, o, &m);
		obj_put(h->server->x, o);
	}
}

static void on_reclaim(struct holder *h, struct rpc_req *rq,
		       const struct msg_fs_reclaim *m)
{
	struct wire_reader r = wire_reader(m->holds.p, m->holds.len);
	SCOPED(buf_free) struct buf levels = { .max = 65536 };
	struct msg_fs_reclaimed a;
	uint8_t body[66000];
	struct rpc_out o = { .code = MSG_fs_reclaimed, .body = body };

	while (r.left && !r.failed) {
		struct msg_fs_held held = msg_fs_held_get(&r);
		uint8_t level;

		if (r.failed)
			break;
		level = reclaim_one(h, &held);
		if (buf_add(&levels, &level, 1))
			break;
	}
	reclaim_locks(h, m->locks);
	a.seq = h->server->leases.seq;
	a.levels = (wire_blob){ .p = buf_data(&levels), .len = buf_len(&levels) };
	if (msg_fs_reclaimed_encode(&a, body, sizeof(body), &o.len))
		rpc_reply_err(rq, -EMSGSIZE, NULL);
	else
		rpc_reply(rq, 0, &o);
	if (!m->last)
		return;
	drop_unclaimed(h);
	came_back(h->server, h->host);
}

static void on_hello(struct holder *h, struct rpc_req *rq,
		     const struct msg_fs_hello *m)
{
	struct msg_fs_welcome w = { 0 };
	uint8_t body[64];
	struct rpc_out o = { .code = MSG_fs_welcome, .body = body };
	struct timespec now;

	/* A new life was seen by its epoch; requests may have come before this. */
	if (m->reset && h->fenced) {
		drop_everything(h, true);
		h->fenced = false;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	w.now = now.tv_sec;
	w.now_ns = (uint32_t)now.tv_nsec;
	w.fenced = h->fenced;
	(void)msg_fs_welcome_encode(&w, body, sizeof(body), &o.len);
	rpc_reply(rq, 0, &o);
}

void holder_request(struct holder *h, struct rpc_req *rq, const struct rpc_msg *m)
{
	struct msg_fs_reclaim rec;
	struct msg_fs_hello hello;
	int r;

	if (m->code == MSG_fs_hello) {
		r = msg_fs_hello_decode(m->body, m->len, &hello);
		if (!r)
			on_hello(h, rq, &hello);
	} else {
		r = msg_fs_reclaim_decode(m->body, m->len, &rec);
		if (!r && h->fenced)
			r = -ESTALE;
		if (!r)
			on_reclaim(h, rq, &rec);
	}
	if (r)
		rpc_reply_err(rq, r, NULL);
}

static void forget(struct holder *h, const struct rpc_msg *m)
{
	struct msg_fs_forget f;
	struct wire_reader r;
	struct obj *o;

	if (m->code != MSG_fs_forget ||
	    msg_fs_forget_decode(m->body, m->len, &f))
		return;
	r = wire_reader(f.objects.p, f.objects.len);
	while (r.left && !r.failed) {
		struct msg_fs_forgotten g = msg_fs_forgotten_get(&r);

		if (r.failed || export_obj(h->server->x, g.fh.p, g.fh.len, &o))
			continue;
		if (lease_forget(&o->lease, &h->lease, g.seq)) {
			lease_drop_names(&o->lease, &h->lease);
			server_kick(h->server, o);
		}
		obj_put(h->server->x, o);
	}
}

void server_note(struct server *s, struct rpc_conn *c, const struct rpc_msg *m)
{
	struct holder *h = holder_of(s, c);

	if (h)
		forget(h, m);
}

void server_local_note(struct server *s, const struct rpc_out *o)
{
	struct rpc_msg m = { .code = o->code, .body = o->body, .len = o->len };

	forget(s->local, &m);
}

static void expect_clients(struct server *s)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char *p, *save = NULL;

	if (!*s->clients_path || fd_read_file(s->clients_path, 65536, &b))
		return;
	for (p = strtok_r((char *)buf_data(&b), "\n", &save); p;
	     p = strtok_r(NULL, "\n", &save)) {
		unsigned long host = strtoul(p, NULL, 10);

		if (host && host <= UINT32_MAX &&
		    s->nexpected < LEASE_HOLDERS_MAX)
			s->expected[s->nexpected++] = (uint32_t)host;
	}
}

void server_local_holds(struct server *s, const void *fh, size_t len)
{
	struct msg_fs_held m = { .fh = { fh, len }, .lease = LEASE_NONE };

	(void)reclaim_one(s->local, &m);
}

void server_start(struct server *s)
{
	s->started = true;
	if (s->nexpected)
		env_after(s->env, &s->grace_end, GRACE_MS);
	else
		grace_over(s);
}

int holders_init(struct server *s, uint32_t self, const char *clients_path)
{
	s->leases = (struct lease_table){ .recall = on_recall,
					  .recall_name = on_recall_name,
					  .holder_at = holder_at,
					  .arg = s };
	s->grace_end = (struct timer){ .fire = on_grace_end, .data = s };
	if (strlen(clients_path) >= sizeof(s->clients_path))
		return -ENAMETOOLONG;
	memcpy(s->clients_path, clients_path, strlen(clients_path) + 1);
	s->local = holder_new(s, self);
	if (!s->local)
		return -ENOMEM;
	s->local->local = true;
	/* Above all numbers of an earlier life, which clients remember. */
	s->leases.seq = (uint64_t)time(NULL) << 24;
	s->grace = true;
	expect_clients(s);
	return 0;
}

void holders_fini(struct server *s)
{
	for (unsigned i = 0; i < LEASE_HOLDERS_MAX; i++) {
		struct holder *h = s->holders[i];

		if (!h)
			continue;
		list_each_safe(r, &h->recalls, struct recall, link)
			recall_free(r);
		if (h->conn)
			rpc_conn_set_data(h->conn, NULL);
		list_each_safe(hold, &h->lease.holds, struct lease_hold,
			       of_holder)
			lease_drop(hold);
		free(h);
	}
}
