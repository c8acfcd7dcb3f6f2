/*
 * rpc_peer.c -- a service that we call: connecting to it when it is needed,
 * again with back-off when it went, and what happens to unanswered calls.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "conn.h"
#include "log.h"
#include "status.h"

enum { INNER, OWNER }; /* hooks */

static const char *const service_names[] = {
	[SVC_NAMED] = "named",	 [SVC_FSD] = "fsd",   [SVC_MIGD] = "migd",
	[SVC_HOSTDB] = "hostdb", [SVC_TOOL] = "tool",
};

void peer_hold(struct rpc_peer *p)
{
	p->refs++;
}

void peer_drop(struct rpc_peer *p)
{
	if (--p->refs)
		return;
	map_fini(&p->calls);
	free(p);
}

static void retry(struct timer *t)
{
	peer_connect(t->data);
}

/* Those that were told to wait are sent again. */
static void unbusy(struct timer *t)
{
	struct rpc_peer *p = t->data;

	list_each_safe(call, &p->order, struct rpc_call, link)
	{
		if (!call->busy || !p->up || p->held || p->stalled)
			continue;
		call->busy = false;
		call_send(call);
	}
}

static struct rpc_peer *peer_new(struct rpc *r, uint32_t host,
				 enum rpc_service s)
{
	struct rpc_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->r = r;
	p->refs = 1;
	p->host = host;
	p->service = s;
	p->next_id = 1;
	p->retry = (struct timer){.fire = retry, .data = p};
	p->busy = (struct timer){.fire = unbusy, .data = p};
	list_init(&p->order);
	list_add_tail(&r->peers, &p->link);
	return p;
}

struct rpc_peer *peer_find(struct rpc *r, uint32_t host, enum rpc_service s)
{
	list_each(p, &r->peers, struct rpc_peer, link)
	{
		if (p->host == host && p->service == s)
			return p;
	}
	return NULL;
}

struct rpc_peer *rpc_peer_get(struct rpc *r, uint32_t host, enum rpc_service s,
			      const char *addr, uint16_t port)
{
	struct rpc_peer *p = peer_find(r, host, s);

	if (p)
		return p;
	p = peer_new(r, host, s);
	if (p)
		rpc_peer_set_addr(p, addr, port);
	return p;
}

struct rpc_peer *rpc_peer_unix(struct rpc *r, enum rpc_service s,
			       const char *path)
{
	struct rpc_peer *p = peer_find(r, r->id.host, s);

	if (p || strlen(path) >= sizeof(p->path))
		return p;
	p = peer_new(r, r->id.host, s);
	if (p)
		snprintf(p->path, sizeof(p->path), "%s", path);
	return p;
}

void rpc_peer_set_addr(struct rpc_peer *p, const char *addr, uint16_t port)
{
	if (p->path[0] || (strcmp(p->addr, addr) == 0 && p->port == port))
		return;
	snprintf(p->addr, sizeof(p->addr), "%s", addr);
	p->port = port;
	if (p->conn) {
		conn_close(p->conn, -ECONNRESET);
	} else if (p->retry.impl) {
		env_cancel(p->r->env, &p->retry);
		peer_connect(p);
	}
}

/* ---- connecting ---- */

static int sockaddr_of(const struct rpc_peer *p, struct sockaddr_storage *ret,
		       socklen_t *ret_len)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_un *un = (struct sockaddr_un *)ret;

	memset(ret, 0, sizeof(*ret));
	if (p->path[0]) {
		un->sun_family = AF_UNIX;
		memcpy(un->sun_path, p->path, strlen(p->path) + 1);
		*ret_len = sizeof(*un);
	} else if (inet_pton(AF_INET, p->addr, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(p->port);
		*ret_len = sizeof(*in4);
	} else if (inet_pton(AF_INET6, p->addr, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(p->port);
		*ret_len = sizeof(*in6);
	} else {
		return -EADDRNOTAVAIL;
	}
	return 0;
}

static int start_connect(struct rpc_peer *p, const struct sockaddr_storage *sa,
			 socklen_t len)
{
	int fd = socket(sa->ss_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct rpc_conn *c;
	int r = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sa, len))
		r = errno == EINPROGRESS ? 1 : -errno;
	c = r < 0 ? NULL : conn_new(p->r, fd, !p->path[0], true);
	if (!c) {
		close(fd);
		return r < 0 ? r : -ENOMEM;
	}
	p->conn = c;
	c->peer = p;
	if (r) {
		ev_io_start(p->r->loop, &c->wr);
		return 0;
	}
	r = conn_begin(c);
	if (r)
		conn_close(c, r);
	return 0;
}

static bool wanted(const struct rpc_peer *p)
{
	return !p->freed && (p->keep || !list_empty(&p->order));
}

static void later(struct rpc_peer *p)
{
	struct rpc_limits *lim = &p->r->lim;
	uint32_t ms;

	if (!wanted(p))
		return;
	p->backoff_ms = p->backoff_ms ? p->backoff_ms * 2 : lim->backoff_min_ms;
	if (p->backoff_ms > lim->backoff_max_ms)
		p->backoff_ms = lim->backoff_max_ms;
	/* Spread, so that a restarted server is not met by all at once. */
	ms = p->backoff_ms * 3 / 4 +
	     (uint32_t)(env_random(p->r->env) % (p->backoff_ms / 2 + 1));
	env_after(p->r->env, &p->retry, ms);
}

static void trouble(struct rpc_peer *p, int why)
{
	char text[sizeof(p->trouble)];

	snprintf(text, sizeof(text), "%s of host %u (%s): %s",
		 service_names[p->service], p->host,
		 p->path[0] ? p->path : p->addr, status_text(why));
	/* Once, not at every attempt. */
	if (strcmp(text, p->trouble) != 0)
		log_info("%s", text);
	memcpy(p->trouble, text, sizeof(text));
}

void peer_connect(struct rpc_peer *p)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int r;

	if (p->freed || p->conn || p->retry.impl)
		return;
	r = sockaddr_of(p, &sa, &len);
	if (!r)
		r = start_connect(p, &sa, len);
	if (r) {
		trouble(p, r);
		later(p);
	}
}

/* ---- up and down ---- */

static void fail_unrepeatable(struct rpc_peer *p)
{
	struct list ended = LIST_HEAD(ended);

	list_each_safe(call, &p->order, struct rpc_call, link)
	{
		if (call->out->started && !(call->flags & RPC_IDEMPOTENT)) {
			list_del(&call->link);
			list_add_tail(&ended, &call->link);
		}
	}
	while (!list_empty(&ended))
		call_end(list_first(&ended, struct rpc_call, link), -ECONNRESET,
			 NULL);
}

static void send_all(struct rpc_peer *p)
{
	list_each_safe(call, &p->order, struct rpc_call, link)
	{
		if (!p->up || p->held || p->stalled)
			return;
		if (call->sent_on != p->conn && !call->busy)
			call_send(call);
	}
}

void peer_drained(struct rpc_peer *p, size_t left)
{
	if (!p->stalled || left > p->r->lim.ahead_max / 2)
		return;
	p->stalled = false;
	/* Those told to wait have their own time, unless it passed meanwhile. */
	if (!p->busy.impl)
		unbusy(&p->busy);
	send_all(p);
}

static void tell_up(struct rpc_peer *p, bool restarted)
{
	for (int i = INNER; i <= OWNER; i++) {
		if (!p->freed && p->up && p->hooks[i].on_up)
			p->hooks[i].on_up(p->hooks[i].arg, p, restarted);
	}
}

static void forget_connection(struct rpc_peer *p)
{
	list_each(call, &p->order, struct rpc_call, link)
	{
		call->sent_on = NULL;
		call->busy = false;
	}
}

void peer_opened(struct rpc_peer *p, struct rpc_conn *c)
{
	bool restarted = p->epoch && p->epoch != c->epoch;

	peer_hold(p);
	p->epoch = c->epoch;
	p->up = true;
	p->backoff_ms = 0;
	p->busy_ms = 0;
	p->nacks = 0;
	p->trouble[0] = 0;
	p->held = restarted && p->hooks[OWNER].hold;
	if (restarted && !p->held)
		fail_unrepeatable(p);
	if (!restarted)
		send_all(p);
	tell_up(p, restarted);
	send_all(p);
	peer_drop(p);
}

void peer_lost(struct rpc_peer *p, struct rpc_conn *c)
{
	bool was_up = p->up;

	if (p->conn != c)
		return;
	peer_hold(p);
	p->conn = NULL;
	p->up = false;
	p->held = false;
	p->stalled = false;
	env_cancel(p->r->env, &p->busy);
	forget_connection(p);
	trouble(p, c->why);
	for (int i = INNER; was_up && i <= OWNER; i++) {
		if (!p->freed && p->hooks[i].on_down)
			p->hooks[i].on_down(p->hooks[i].arg, p);
	}
	if (!p->freed && !p->conn && !p->retry.impl)
		later(p);
	peer_drop(p);
}

void rpc_peer_set_hooks(struct rpc_peer *p, const struct rpc_peer_hooks *h)
{
	p->hooks[OWNER] = *h;
}

void peer_set_inner_hooks(struct rpc_peer *p, const struct rpc_peer_hooks *h)
{
	p->hooks[INNER] = *h;
}

void rpc_peer_resume(struct rpc_peer *p)
{
	if (!p->held)
		return;
	p->held = false;
	send_all(p);
}

bool peer_note(struct rpc_peer *p, const struct rpc_msg *m)
{
	for (int i = INNER; i <= OWNER; i++) {
		if (p->hooks[i].on_note &&
		    p->hooks[i].on_note(p->hooks[i].arg, p, m))
			return true;
	}
	return false;
}

void rpc_peer_keep(struct rpc_peer *p, bool on)
{
	p->keep = on;
	if (on)
		peer_connect(p);
}

void rpc_peer_probe(struct rpc_peer *p)
{
	struct frame ping = {.kind = FRAME_PING};
	struct rpc_conn *c = p->conn;

	if (!p->up || !c->tcp || c->suspect_ms)
		return;
	c->suspect_ms = env_now_ms(p->r->env);
	env_after(p->r->env, &c->timer, p->r->lim.probe_ms);
	conn_send_new(c, &ping, NULL);
}

void peer_destroy(struct rpc_peer *p)
{
	p->freed = true;
	p->up = false;
	list_del(&p->link);
	env_cancel(p->r->env, &p->retry);
	env_cancel(p->r->env, &p->busy);
	if (p->conn) {
		p->conn->peer = NULL;
		conn_close(p->conn, -ECANCELED);
		p->conn = NULL;
	}
	while (!list_empty(&p->order))
		call_end(list_first(&p->order, struct rpc_call, link),
			 -ECANCELED, NULL);
	peer_drop(p);
}

void rpc_peer_free(struct rpc_peer *p)
{
	if (p && !p->freed)
		peer_destroy(p);
}

bool rpc_peer_up(const struct rpc_peer *p)
{
	return p->up && p->conn->state == CONN_OPEN;
}

struct rpc_conn *rpc_peer_conn(const struct rpc_peer *p)
{
	return rpc_peer_up(p) ? p->conn : NULL;
}

uint32_t rpc_peer_host(const struct rpc_peer *p)
{
	return p->host;
}

enum rpc_service rpc_peer_service(const struct rpc_peer *p)
{
	return p->service;
}

const char *rpc_peer_trouble(const struct rpc_peer *p)
{
	return p->trouble;
}
