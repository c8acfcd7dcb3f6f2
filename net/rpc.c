/*
 * rpc.c -- see rpc.h: the rpc itself, its listeners, and what can be asked of
 * a connection.  conn.h says what the other files do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "conn.h"
#include "fd.h"
#include "log.h"

#define ACCEPTS 32  /* before others get a turn */
#define REST_MS 100 /* without descriptors, accepting only spins */

static const struct rpc_limits defaults = {
	.handshake_ms = 5000,
	.ping_ms = 10000,
	.dead_ms = 30000,
	.probe_ms = 2000,
	.backoff_min_ms = 50,
	.backoff_max_ms = 2000,
	.session_keep_ms = 600000,
	.backlog_max = 256u << 20,
	.ahead_max = 32u << 20,
	.reqs_max = 8192,
	.unproved_max = 128,
	.records_max = 16384,
	.record_bytes_max = 64u << 20,
};

struct listener {
	struct list link;
	struct rpc *r;
	bool tcp;
	int fd;
	struct ev_io w;
	struct timer rest;
};

static void reap(struct timer *t)
{
	struct rpc *r = t->data;

	rpc_enter(r);
	while (!list_empty(&r->closed))
		conn_reap(list_first(&r->closed, struct rpc_conn, link));
	rpc_leave(r);
}

struct rpc *rpc_new(struct env *env, const struct rpc_identity *id,
		    rpc_key_fn *key_of, void *key_arg,
		    const struct rpc_handler *h)
{
	struct rpc *r;

	if (sodium_init() < 0 || !env_ev_loop(env))
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->env = env;
	r->loop = env_ev_loop(env);
	r->id = *id;
	while (!r->id.epoch)
		r->id.epoch = env_random(env);
	r->key_of = key_of;
	r->key_arg = key_arg;
	if (h)
		r->h = *h;
	r->lim = defaults;
	r->reaper = (struct timer){.fire = reap, .data = r};
	list_init(&r->conns);
	list_init(&r->closed);
	list_init(&r->dirty);
	list_init(&r->peers);
	list_init(&r->listeners);
	list_init(&r->sessions);
	list_init(&r->reqs);
	return r;
}

static void listener_free(struct listener *l)
{
	ev_io_stop(l->r->loop, &l->w);
	env_cancel(l->r->env, &l->rest);
	list_del(&l->link);
	close(l->fd);
	free(l);
}

void rpc_free(struct rpc *r)
{
	if (!r)
		return;
	while (!list_empty(&r->listeners))
		listener_free(list_first(&r->listeners, struct listener, link));
	while (!list_empty(&r->peers))
		peer_destroy(list_first(&r->peers, struct rpc_peer, link));
	while (!list_empty(&r->conns) || !list_empty(&r->closed)) {
		while (!list_empty(&r->conns))
			conn_close(list_first(&r->conns, struct rpc_conn, link),
				   -ECANCELED);
		conn_reap(list_first(&r->closed, struct rpc_conn, link));
	}
	while (!list_empty(&r->reqs))
		req_orphan(list_first(&r->reqs, struct rpc_req, all));
	sessions_free(r);
	env_cancel(r->env, &r->reaper);
	sodium_memzero(&r->id, sizeof(r->id));
	free(r);
}

uint64_t rpc_epoch(const struct rpc *r)
{
	return r->id.epoch;
}

struct env *rpc_env(const struct rpc *r)
{
	return r->env;
}

struct rpc_limits *rpc_limits(struct rpc *r)
{
	return &r->lim;
}

void rpc_enter(struct rpc *r)
{
	r->depth++;
}

void rpc_leave(struct rpc *r)
{
	if (--r->depth)
		return;
	while (!list_empty(&r->dirty))
		conn_flush(list_first(&r->dirty, struct rpc_conn, dirty));
}

void rpc_admit_joiners(struct rpc *r, rpc_psk_fn *psk_of, void *arg)
{
	r->psk_of = psk_of;
	r->psk_arg = arg;
}

void rpc_accept_chan(struct rpc *r, rpc_chan_fn *fn, void *arg)
{
	r->on_chan = fn;
	r->chan_arg = arg;
}

void rpc_drop_host(struct rpc *r, uint32_t host)
{
	list_each_safe(c, &r->conns, struct rpc_conn, link)
	{
		if (c->sec && secure_host(c->sec) == host &&
		    host != r->id.host)
			conn_close(c, -EKEYREVOKED);
	}
}

/* ---- listening ---- */

static void rested(struct timer *t)
{
	struct listener *l = t->data;

	ev_io_start(l->r->loop, &l->w);
}

static void accept_one(struct listener *l, int fd)
{
	struct rpc *r = l->r;
	struct rpc_conn *c;
	int e;

	if (l->tcp && r->unproved >= r->lim.unproved_max) {
		close(fd);
		return;
	}
	c = conn_new(r, fd, l->tcp, false);
	if (!c) {
		close(fd);
		return;
	}
	e = conn_begin(c);
	if (e)
		conn_close(c, e);
}

static void on_acceptable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct listener *l = w->data;

	(void)revents;
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = accept4(l->fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			accept_one(l, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS) {
			log_warn("cannot accept a connection: %s",
				 strerror(errno));
			ev_io_stop(loop, w);
			env_after(l->r->env, &l->rest, REST_MS);
			return;
		}
	}
}

static int listener_add(struct rpc *r, int fd, bool tcp)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	l->r = r;
	l->tcp = tcp;
	l->fd = fd;
	l->rest = (struct timer){.fire = rested, .data = l};
	ev_io_init(&l->w, on_acceptable, fd, EV_READ);
	l->w.data = l;
	ev_io_start(r->loop, &l->w);
	list_add_tail(&r->listeners, &l->link);
	return 0;
}

static int tcp_listen(const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(sa->sa_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, r;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, sa, len) || listen(fd, 256)) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int rpc_listen_tcp(struct rpc *r, const char *addr, uint16_t port)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET,
				  .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(port)};
	int fd;

	if (!addr || inet_pton(AF_INET, addr, &in4.sin_addr) == 1)
		fd = tcp_listen((struct sockaddr *)&in4, sizeof(in4));
	else if (inet_pton(AF_INET6, addr, &in6.sin6_addr) == 1)
		fd = tcp_listen((struct sockaddr *)&in6, sizeof(in6));
	else
		return -EADDRNOTAVAIL;
	return fd < 0 ? fd : listener_add(r, fd, true);
}

int rpc_listen_unix(struct rpc *r, const char *path, mode_t mode)
{
	int fd = unix_listen(path, SOCK_STREAM, mode);

	return fd < 0 ? fd : listener_add(r, fd, false);
}

/* ---- what can be asked of a connection ---- */

uint32_t rpc_conn_host(const struct rpc_conn *c)
{
	return c->host;
}

enum rpc_service rpc_conn_service(const struct rpc_conn *c)
{
	return c->service;
}

uint32_t rpc_conn_roles(const struct rpc_conn *c)
{
	return c->roles;
}

uint64_t rpc_conn_epoch(const struct rpc_conn *c)
{
	return c->epoch;
}

uid_t rpc_conn_uid(const struct rpc_conn *c)
{
	return c->tcp ? (uid_t)-1 : c->cred.uid;
}

gid_t rpc_conn_gid(const struct rpc_conn *c)
{
	return c->tcp ? (gid_t)-1 : c->cred.gid;
}

pid_t rpc_conn_pid(const struct rpc_conn *c)
{
	return c->tcp ? 0 : c->cred.pid;
}

uint64_t rpc_conn_token(const struct rpc_conn *c)
{
	return c->token;
}

struct rpc_peer *rpc_conn_peer(const struct rpc_conn *c)
{
	return c->peer;
}

void rpc_conn_set_data(struct rpc_conn *c, void *data)
{
	c->data = data;
}

void *rpc_conn_data(const struct rpc_conn *c)
{
	return c->data;
}

void rpc_conn_close(struct rpc_conn *c)
{
	conn_flush(c);
	conn_close(c, -ECONNRESET);
}

size_t rpc_conn_backlog(const struct rpc_conn *c)
{
	return c->queued + buf_len(&c->tx);
}

int rpc_conn_local_addr(const struct rpc_conn *c, char *buf, size_t cap)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	const void *addr = &((struct sockaddr_in *)&sa)->sin_addr;

	if (!c->tcp || c->state == CONN_CLOSED)
		return -ENOTCONN;
	if (getsockname(c->fd, (struct sockaddr *)&sa, &len))
		return -errno;
	if (sa.ss_family == AF_INET6)
		addr = &((struct sockaddr_in6 *)&sa)->sin6_addr;
	return inet_ntop(sa.ss_family, addr, buf, (socklen_t)cap) ? 0 : -errno;
}
