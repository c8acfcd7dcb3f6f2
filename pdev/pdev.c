/*
 * pdev.c -- the switchboard: hands messages to broker, registry and front,
 * and knows which host to ask for what.
 *
 * This host's own fsd is reached through its own socket like any other: one
 * way for all, and a client on the host of the program is no special case.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "list.h"
#include "name.h"
#include "pdev_hooks.h"
#include "prog.h"
#include "registry.h"

#define ASK_MS 5000u /* for what is asked about names */

struct pdev {
	struct pdev_conf c;
	struct broker *broker;
	struct registry *registry;
	struct front *front;
	struct rpc_peer *self;
	struct list asks;
};

/* ---- whom to ask ---- */

static struct rpc_peer *peer_of(void *arg, uint32_t host)
{
	struct pdev *p = arg;
	char path[108];

	if (host != p->c.host->host)
		return roster_peer(p->c.roster, host, SVC_FSD);
	if (!p->self && run_path("fsd.sock", path, sizeof(path)) == 0)
		p->self = rpc_peer_unix(p->c.rpc, SVC_FSD, path);
	return p->self;
}

static const char *host_name(void *arg, uint32_t host)
{
	struct pdev *p = arg;
	const struct roster_host *h = roster_host(p->c.roster, host);

	return h ? h->name : host == p->c.host->host ? p->c.host->name : "";
}

/* The fsd that knows about name. */
static struct rpc_peer *registry_of(struct pdev *p, const char *name)
{
	const struct roster_prefix *prefix;
	const struct roster_host *h;
	char host[64];

	pdev_name_registry(name, host);
	if (host[0]) {
		if (strcmp(host, p->c.host->name) == 0)
			return peer_of(p, p->c.host->host);
		h = roster_by_name(p->c.roster, host);
		return h && !h->removed ? peer_of(p, h->id) : NULL;
	}
	for (unsigned i = 0; (prefix = roster_prefix_at(p->c.roster, i)); i++)
		if (strcmp(prefix->prefix, "/") == 0)
			return peer_of(p, prefix->host);
	return NULL;
}

/* ---- the broker's names ---- */

static int claim(void *arg, const struct msg_pdev_claim *m, rpc_done_fn *done,
		 void *done_arg, struct rpc_call **ret)
{
	struct rpc_peer *peer = registry_of(arg, m->name);
	uint8_t body[2 * PDEV_NAME_MAX + 64];
	struct rpc_out o = {.code = MSG_pdev_claim, .body = body};
	int r = peer ? msg_pdev_claim_encode(m, body, sizeof(body), &o.len)
		     : -EHOSTUNREACH;

	if (r)
		return r;
	rpc_peer_keep(peer, true);
	return rpc_call(peer, &o, ASK_MS, RPC_IDEMPOTENT, done, done_arg, ret);
}

static void release(void *arg, const char *name)
{
	struct rpc_peer *peer = registry_of(arg, name);
	struct msg_pdev_release m = {.name = name};
	uint8_t body[2 * PDEV_NAME_MAX + 64];
	struct rpc_out o = {.code = MSG_pdev_release, .body = body};

	/* If it is lost the name is found by nobody until the next claim,
	 * which is ours or comes when our claims have run out. */
	if (peer &&
	    msg_pdev_release_encode(&m, body, sizeof(body), &o.len) == 0)
		(void)rpc_call(peer, &o, ASK_MS, 0, NULL, NULL, NULL);
}

static void wake(void *arg, struct fuse_pollhandle *ph)
{
	struct pdev *p = arg;

	p->c.wake(p->c.arg, ph);
}

/* ---- beginning and end ---- */

int pdev_new(const struct pdev_conf *c, struct pdev **ret)
{
	struct pdev *p = calloc(1, sizeof(*p));
	int r = -ENOMEM;

	if (!p)
		return r;
	p->c = *c;
	list_init(&p->asks);
	r = broker_new(&(struct broker_conf){.env = c->env,
					     .port = &pdev_port_rpc,
					     .host = c->host->host,
					     .name = c->host->name,
					     .mount = c->host->mount,
					     .claim = claim,
					     .release = release,
					     .host_name = host_name,
					     .arg = p},
		       &p->broker);
	if (!r)
		r = registry_new(c->env, &pdev_port_rpc, host_name, p,
				 &p->registry);
	if (!r)
		r = front_new(&(struct front_conf){.env = c->env,
						   .host = c->host->host,
						   .peer = peer_of,
						   .wake = wake,
						   .arg = p},
			      &p->front);
	if (r) {
		pdev_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

/* ---- asking about names ---- */

struct ask {
	struct list link;
	struct pdev *p;
	struct rpc_call *call;
	pdev_found_fn *found; /* of pdev_find, or of pdev_list: */
	pdev_each_fn *each;
	pdev_done_fn *done;
	void *arg;
	char name[PDEV_NAME_MAX + 1]; /* or directory */
	char after[PDEV_NAME_MAX + 1];
};

static void ask_end(struct ask *a, int status, const struct msg_pdev_found *f)
{
	if (status == -ECONNRESET || status == -ECANCELED)
		status = -EIO;
	list_del(&a->link);
	if (a->found)
		a->found(a->arg, status, status ? NULL : f);
	else
		a->done(a->arg, status);
	free(a);
}

static struct ask *ask_new(struct pdev *p, const char *name, void *arg)
{
	struct ask *a =
		strlen(name) <= PDEV_NAME_MAX ? calloc(1, sizeof(*a)) : NULL;

	if (!a)
		return NULL;
	a->p = p;
	a->arg = arg;
	strcpy(a->name, name);
	list_add_tail(&p->asks, &a->link);
	return a;
}

static void on_found(void *arg, int status, const struct rpc_msg *m)
{
	struct ask *a = arg;
	struct msg_pdev_found found;

	a->call = NULL;
	if (!status && (!m || m->code != MSG_pdev_found ||
			msg_pdev_found_decode(m->body, m->len, &found)))
		status = -EIO;
	ask_end(a, status, &found);
}

void pdev_find(struct pdev *p, const char *name, pdev_found_fn *done, void *arg)
{
	uint8_t body[2 * PDEV_NAME_MAX + 64];
	struct rpc_out o = {.code = MSG_pdev_find, .body = body};
	struct msg_pdev_find m = {.name = name};
	struct rpc_peer *peer = NULL;
	struct ask *a;
	int r = pdev_name_valid(name) ? 0 : -ENOENT;

	if (!r)
		peer = registry_of(p, name);
	if (!r && !peer)
		r = -ENOENT;
	a = r ? NULL : ask_new(p, name, arg);
	if (!a) {
		done(arg, r ? r : -ENOMEM, NULL);
		return;
	}
	a->found = done;
	r = msg_pdev_find_encode(&m, body, sizeof(body), &o.len);
	if (!r)
		r = rpc_call(peer, &o, ASK_MS, RPC_IDEMPOTENT, on_found, a,
			     &a->call);
	if (r)
		ask_end(a, r, NULL);
}

static void list_more(struct ask *a);

static void on_listed(void *arg, int status, const struct rpc_msg *m)
{
	struct ask *a = arg;
	struct msg_pdev_listed listed;
	struct wire_reader r;

	a->call = NULL;
	if (!status && (!m || m->code != MSG_pdev_listed ||
			msg_pdev_listed_decode(m->body, m->len, &listed)))
		status = -EIO;
	if (status) {
		ask_end(a, status, NULL);
		return;
	}
	r = wire_reader(listed.names.p, listed.names.len);
	while (r.left && !r.failed) {
		struct msg_pdev_name one = msg_pdev_name_get(&r);

		/* Their order is what makes a long list end. */
		if (r.failed || strlen(one.name) > PDEV_NAME_MAX ||
		    strchr(one.name, '/') || strcmp(one.name, a->after) <= 0) {
			ask_end(a, -EIO, NULL);
			return;
		}
		strcpy(a->after, one.name);
		a->each(a->arg, one.name, one.number);
	}
	if (listed.more && listed.names.len)
		list_more(a);
	else
		ask_end(a, 0, NULL);
}

static void list_more(struct ask *a)
{
	struct rpc_peer *peer = registry_of(a->p, a->name);
	struct msg_pdev_list m = {.dir = a->name, .after = a->after};
	uint8_t body[4 * PDEV_NAME_MAX + 64];
	struct rpc_out o = {.code = MSG_pdev_list, .body = body};
	int r = peer ? msg_pdev_list_encode(&m, body, sizeof(body), &o.len)
		     : -EHOSTUNREACH;

	if (!r)
		r = rpc_call(peer, &o, ASK_MS, RPC_IDEMPOTENT, on_listed, a,
			     &a->call);
	if (r)
		ask_end(a, r, NULL);
}

void pdev_list(struct pdev *p, const char *dir, pdev_each_fn *each,
	       pdev_done_fn *done, void *arg)
{
	struct ask *a;

	if (!pdev_name_dir_valid(dir)) {
		done(arg, -ENOENT);
		return;
	}
	a = ask_new(p, dir, arg);
	if (!a) {
		done(arg, -ENOMEM);
		return;
	}
	a->each = each;
	a->done = done;
	list_more(a);
}

void pdev_free(struct pdev *p)
{
	struct ask *a;

	if (!p)
		return;
	while ((a = list_first(&p->asks, struct ask, link)))
		rpc_call_cancel(a->call);
	front_free(p->front);
	broker_free(p->broker);
	registry_free(p->registry);
	free(p);
}

/* ---- opening by name ---- */

struct opening {
	struct pdev *p;
	fuse_req_t req;
	struct fuse_file_info fi;
	char name[PDEV_NAME_MAX + 1];
};

static void on_open_found(void *arg, int status,
			  const struct msg_pdev_found *found)
{
	struct opening *o = arg;

	/* The name is there (or was), its program is not. */
	if (status == -ENOENT)
		status = -ENXIO;
	if (status)
		fuse_reply_err(o->req, -status);
	else
		front_open(o->p->front, o->req, o->name, found->host, &o->fi);
	free(o);
}

void pdev_open(struct pdev *p, fuse_req_t req, const char *name,
	       const struct msg_pdev_found *found,
	       const struct fuse_file_info *fi)
{
	struct opening *o;

	if (found) {
		front_open(p->front, req, name, found->host, fi);
		return;
	}
	o = strlen(name) <= PDEV_NAME_MAX ? calloc(1, sizeof(*o)) : NULL;
	if (!o) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	o->p = p;
	o->req = req;
	o->fi = *fi;
	strcpy(o->name, name);
	pdev_find(p, name, on_open_found, o);
}

/* ---- messages ---- */

#define ON(name)                                                               \
	static void on_##name(struct pdev *p, struct rpc_req *q,               \
			      const struct msg_##name *m,                      \
			      const struct rpc_msg *raw)
ON(pdev_serve)
{
	(void)raw;
	broker_serve(p->broker, q, m);
}
ON(pdev_open)
{
	(void)raw;
	broker_open(p->broker, q, m);
}
ON(pdev_read)
{
	(void)raw;
	broker_read(p->broker, q, m);
}
ON(pdev_write)
{
	broker_write(p->broker, q, m, raw);
}
ON(pdev_ioctl)
{
	broker_ioctl(p->broker, q, m, raw);
}
ON(pdev_close)
{
	(void)raw;
	broker_close(p->broker, q, m);
}
ON(pdev_claim)
{
	(void)raw;
	registry_claim(p->registry, q, m);
}
ON(pdev_release)
{
	(void)raw;
	registry_release(p->registry, q, m);
}
ON(pdev_find)
{
	(void)raw;
	registry_find(p->registry, q, m);
}
ON(pdev_list)
{
	(void)raw;
	registry_list(p->registry, q, m);
}
#undef ON

void pdev_request(struct pdev *p, struct rpc_req *q, const struct rpc_msg *m)
{
	struct rpc_conn *c = rpc_req_conn(q);
	uint32_t roles = c ? rpc_conn_roles(c) : 0;
	int r = -ENOSYS;

	switch (m->code) {
#define FIELD(kind, name)
#define STRUCT(name, ...)
#define REPLY(code, name, ...)
#define NOTE(code, name, senders, ...)
#define REQUEST(code, name, senders, ...)                                      \
	case code: {                                                           \
		struct msg_##name b;                                           \
		r = roles & (senders)                                          \
			    ? msg_##name##_decode(m->body, m->len, &b)         \
			    : -EPERM;                                          \
		if (!r) {                                                      \
			on_##name(p, q, &b, m);                                \
			return;                                                \
		}                                                              \
		break;                                                         \
	}
#include "pdev.def"
	}
	rpc_reply(q, r, NULL);
}

void pdev_note(struct pdev *p, struct rpc_conn *c, const struct rpc_msg *m)
{
	uint32_t roles = rpc_conn_roles(c);
	struct msg_pdev_ready ready;
	struct msg_pdev_later later;
	struct msg_pdev_cancel no;

	switch (m->code) {
	case MSG_pdev_ready:
		if (msg_pdev_ready_decode(m->body, m->len, &ready))
			break;
		/* From a program, or from the broker of its host.  Over our
		 * own socket both come; each looks for what is its own. */
		if (roles & ROLE_TOOL)
			broker_ready(p->broker, c, &ready);
		if (rpc_conn_service(c) == SVC_FSD)
			front_ready(p->front, rpc_conn_host(c), &ready);
		break;
	case MSG_pdev_later:
		if (roles & ROLE_TOOL &&
		    msg_pdev_later_decode(m->body, m->len, &later) == 0)
			broker_later(p->broker, c, &later);
		break;
	case MSG_pdev_cancel:
		if (roles & ROLE_FSD &&
		    msg_pdev_cancel_decode(m->body, m->len, &no) == 0)
			broker_cancel(p->broker, c, &no);
		break;
	}
}

void pdev_conn_open(struct pdev *p, struct rpc_conn *c)
{
	if (!p)
		return;
	registry_conn_open(p->registry, c);
	broker_conn_open(p->broker, c);
}

void pdev_conn_close(struct pdev *p, struct rpc_conn *c)
{
	if (!p)
		return;
	registry_conn_close(p->registry, c);
	broker_conn_close(p->broker, c);
}

struct pdev_counts pdev_counts(const struct pdev *p)
{
	return (struct pdev_counts){.devices = broker_devices(p->broker),
				    .streams_served = broker_streams(p->broker),
				    .streams_open = front_streams(p->front)};
}
