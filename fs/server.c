/* server.c -- see server.h: life of requests. */
#include "server.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "holders.h"
#include "log.h"

#define TICK_MS 1000

/* ---- the caller's rights ---- */

/*
 * The kernel checks permissions, sticky bits and ACLs, and gives new files
 * their owner, by the thread's file system ids.  setgroups is called raw: the
 * library's would change all threads.
 */
void cred_enter(uint32_t uid, uint32_t gid, wire_blob groups)
{
	gid_t list[FS_GROUPS_MAX];
	struct wire_reader r = wire_reader(groups.p, groups.len);
	size_t n = 0;

	if (uid == 0 && gid == 0)
		return;
	if (uid) {
		while (r.left >= 4 && n < FS_GROUPS_MAX)
			list[n++] = wire_get_u32(&r);
		syscall(SYS_setgroups, n, list);
	}
	setfsgid(gid);
	setfsuid(uid);
}

void cred_leave(void)
{
	if (setfsuid(0) != 0 || setfsgid(0) != 0) {
		setfsgid(0);
		syscall(SYS_setgroups, 0, NULL);
	}
}

/* ---- references and waits of a request ---- */

void sreq_keep(struct sreq *q, struct obj *o)
{
	if (q->nrefs == sizeof(q->refs) / sizeof(*q->refs)) {
		obj_put(q->s->x, o);
		return;
	}
	q->refs[q->nrefs++] = o;
}

int sreq_obj(struct sreq *q, wire_blob fh, struct obj **ret)
{
	int r = export_obj(q->s->x, fh.p, fh.len, ret);

	if (!r)
		sreq_keep(q, *ret);
	return r;
}

static void drop_refs(struct sreq *q)
{
	while (q->nrefs)
		obj_put(q->s->x, q->refs[--q->nrefs]);
}

static void wait_on(struct sreq *q, struct obj *o, const char *name, bool quiet)
{
	if (q->nwaits == sizeof(q->waits) / sizeof(*q->waits))
		return;
	q->waits[q->nwaits].obj = o;
	q->waits[q->nwaits].name = name ? strdup(name) : NULL;
	q->waits[q->nwaits].quiet = quiet;
	if (name && q->waits[q->nwaits].name)
		(void)lease_name_wait(&o->lease, name, 1);
	else if (!quiet)
		o->lease.waiting++;
	o->refs++;
	q->nwaits++;
}

/* Those that waited for the last change can go on. */
static void mark_quiet(struct server *s, const struct obj *o)
{
	list_each(q, &s->parked, struct sreq, link) {
		for (unsigned i = 0; i < q->nwaits; i++) {
			if (q->waits[i].quiet && q->waits[i].obj == o)
				q->ready = true;
		}
	}
}

static void drop_waits(struct sreq *q)
{
	while (q->nwaits) {
		struct obj *o = q->waits[--q->nwaits].obj;
		char *name = q->waits[q->nwaits].name;

		if (name)
			(void)lease_name_wait(&o->lease, name, -1);
		else if (!q->waits[q->nwaits].quiet && --o->lease.waiting == 0)
			mark_quiet(q->s, o);
		free(name);
		obj_put(q->s->x, o);
	}
}

bool sreq_need(struct sreq *q, struct obj *o, enum lease_level level)
{
	if (lease_need(&q->s->leases, &o->lease, &q->h->lease, level))
		return true;
	wait_on(q, o, NULL, false);
	return false;
}

bool sreq_need_name(struct sreq *q, struct obj *dir, const char *name)
{
	if (lease_need_name(&q->s->leases, &dir->lease, &q->h->lease, name))
		return true;
	wait_on(q, dir, name, false);
	return false;
}

bool sreq_settled(struct sreq *q, struct obj *o)
{
	const struct lease_hold *h = lease_hold_of(&o->lease, &q->h->lease);

	if (!o->lease.waiting || (h && (h->recalled || h->level > LEASE_NONE)))
		return true;
	wait_on(q, o, NULL, true);
	return false;
}

void sreq_touched(struct sreq *q, struct obj *o)
{
	(void)lease_need(&q->s->leases, &o->lease, &q->h->lease, LEASE_WRITE);
}

int sreq_give(struct sreq *q, struct obj *o, const struct stat *st,
	      enum lease_level want, struct given *ret)
{
	int r = lease_grant(&q->s->leases, &o->lease, &q->h->lease, want,
			    &ret->lease, &ret->seq);

	if (r)
		return r;
	ret->fh = (wire_blob){ .p = o->fh, .len = o->len };
	ret->attr = attr_put(st, ret->attr_room);
	return 0;
}

/* ---- life of a request ---- */

static void sreq_free(struct sreq *q)
{
	drop_waits(q);
	drop_refs(q);
	list_del(&q->link);
	free(q->copy);
	free(q);
}

int sreq_answer(struct sreq *q, int status, const struct rpc_out *o)
{
	static const struct rpc_out nothing;

	o = o ? o : &nothing;
	if (q->rpc) {
		rpc_reply(q->rpc, status, o);
	} else if (q->done) {
		struct rpc_msg m = { .code = o->code,
				     .body = o->body,
				     .len = o->len,
				     .payload = o->payload,
				     .payload_len = o->payload_len };

		q->done(q->arg, status, &m);
		if (o->free_payload)
			o->free_payload(o->free_arg);
	} else if (o->free_payload) {
		o->free_payload(o->free_arg);
	}
	sreq_free(q);
	return 0;
}

static int sreq_copy(struct sreq *q)
{
	uint8_t *p;

	if (q->copy)
		return 0;
	p = malloc(q->m.len + q->m.payload_len + 1);
	if (!p)
		return -ENOMEM;
	if (q->m.len)
		memcpy(p, q->m.body, q->m.len);
	if (q->m.payload_len)
		memcpy(p + q->m.len, q->m.payload, q->m.payload_len);
	q->copy = p;
	q->m.body = p;
	q->m.payload = p + q->m.len;
	return 0;
}

void sreq_busy(struct sreq *q)
{
	q->busy = true;
}

static int dispatch(struct sreq *q)
{
	int r;

	switch (q->m.code) {
#define CASE(name)                                                        \
	case MSG_##name: {                                                \
		struct msg_##name m;                                      \
		r = msg_##name##_decode(q->m.body, q->m.len, &m);         \
		return r ? r : serve_##name(q, &m);                       \
	}
		SERVED(CASE)
#undef CASE
	}
	return -ENOSYS;
}

static bool open_for(const struct server *s, const struct sreq *q)
{
	(void)q;
	return !s->grace;
}

/* One try.  q is gone afterwards unless it is parked or busy. */
static void try(struct sreq *q)
{
	struct server *s = q->s;
	int r;

	q->ready = false;
	if (q->h->fenced || q->life != q->h->life) {
		sreq_answer(q, -ESTALE, NULL);
		return;
	}
	r = open_for(s, q) ? dispatch(q) : SERVE_PARK;
	if (r == 0)
		return; /* answered, or busy */
	if (r < 0 || sreq_copy(q)) {
		sreq_answer(q, r < 0 ? r : -ENOMEM, NULL);
		return;
	}
	s->stats.parked++;
	drop_refs(q);
	if (list_empty(&q->link))
		list_add_tail(&s->parked, &q->link);
}

/* Try whoever has become ready; recalls answered at once make more of them. */
static void run(struct server *s)
{
	bool again = true;

	if (s->running)
		return;
	s->running = true;
	while (again) {
		again = false;
		list_each_safe(q, &s->parked, struct sreq, link) {
			if (!q->ready || q->busy)
				continue;
			list_del(&q->link);
			drop_waits(q);
			try(q);
			again = true;
			break;
		}
	}
	s->running = false;
}

void sreq_again(struct sreq *q)
{
	struct server *s = q->s;

	q->busy = false;
	q->ready = true;
	drop_refs(q);
	if (list_empty(&q->link))
		list_add_tail(&s->parked, &q->link);
	run(s);
}

void server_kick(struct server *s, const struct obj *o)
{
	list_each(q, &s->parked, struct sreq, link) {
		for (unsigned i = 0; i < q->nwaits; i++) {
			if (!o || q->waits[i].obj == o)
				q->ready = true;
		}
		if (!o)
			q->ready = true;
	}
	run(s);
}

static void start(struct sreq *q)
{
	struct server *s = q->s;
	bool nested = s->running;

	s->stats.requests++;
	s->running = true;
	try(q);
	s->running = nested;
	if (!nested)
		run(s);
}

static struct sreq *sreq_new(struct server *s, struct holder *h,
			     const struct rpc_msg *m)
{
	struct sreq *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	list_init(&q->link);
	q->s = s;
	q->h = h;
	q->life = h->life;
	q->m = *m;
	return q;
}

void server_request(struct server *s, struct rpc_req *rq, const struct rpc_msg *m)
{
	struct rpc_conn *c = rpc_req_conn(rq);
	struct holder *h = c ? holder_of(s, c) : NULL;
	struct sreq *q;

	if (!h) {
		rpc_reply_err(rq, c ? -EUSERS : -ENOTCONN, NULL);
		return;
	}
	if (m->code == MSG_fs_hello || m->code == MSG_fs_reclaim) {
		holder_request(h, rq, m);
		return;
	}
	q = sreq_new(s, h, m);
	if (!q) {
		rpc_reply_busy(rq);
		return;
	}
	q->rpc = rq;
	start(q);
}

int server_local(struct server *s, const struct rpc_out *o, bool replayed,
		 rpc_done_fn *done, void *arg, struct sreq **ret)
{
	struct rpc_msg m = { .code = o->code,
			     .replayed = replayed,
			     .body = o->body,
			     .len = o->len,
			     .payload = o->payload,
			     .payload_len = o->payload_len };
	struct sreq *q = sreq_new(s, s->local, &m);

	if (!q)
		return -ENOMEM;
	q->done = done;
	q->arg = arg;
	if (ret)
		*ret = q;
	start(q);
	return 0;
}

void server_cancel(struct sreq *q)
{
	rpc_done_fn *done = q->done;
	void *arg = q->arg;

	q->done = NULL;
	if (q->lock) {
		locks_cancel(q->lock);
		free(q->lock); /* begins the waiter it is part of */
		q->busy = false;
	}
	if (!q->busy)
		sreq_free(q);
	done(arg, -ECANCELED, NULL);
}

/* ---- */

static void tick(struct timer *t)
{
	struct server *s = t->data;

	holders_tick(s);
	pins_tick(s);
	env_after(s->env, t, TICK_MS);
}

int server_new(struct env *env, struct export *x, struct pool *p,
	       uint32_t self, const char *clients_path, struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->env = env;
	s->x = x;
	s->pool = p;
	list_init(&s->parked);
	list_init(&s->pins);
	s->tick = (struct timer){ .fire = tick, .data = s };
	r = holders_init(s, self, clients_path);
	if (r) {
		server_free(s);
		return r;
	}
	env_after(env, &s->tick, TICK_MS);
	*ret = s;
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	env_cancel(s->env, &s->tick);
	env_cancel(s->env, &s->grace_end);
	list_each_safe(q, &s->parked, struct sreq, link)
		sreq_answer(q, -ECANCELED, NULL);
	pins_fini(s);
	holders_fini(s);
	free(s);
}
