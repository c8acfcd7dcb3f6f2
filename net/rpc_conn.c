/*
 * rpc_conn.c -- one connection: bytes in, the handshake, its end.
 *
 * Sealed bytes are read into rx and opened in place, or straight into the
 * payload that they belong to.  Frames are dispatched while the read is under
 * way; a callback may close any connection, this one included, so the state
 * is looked at again after each.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conn.h"
#include "log.h"
#include "status.h"

#define RX_SEALED ((SECURE_RECORD + SECURE_OVERHEAD) * 4u)
#define RX_PLAIN  (64u << 10)
#define READS	  4 /* before others get a turn */

static void on_readable(struct ev_loop *loop, struct ev_io *w, int revents);
static void on_writable(struct ev_loop *loop, struct ev_io *w, int revents);
static void on_timer(struct timer *t);

struct rpc_conn *conn_new(struct rpc *r, int fd, bool tcp, bool initiator)
{
	struct rpc_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->rx = malloc(tcp ? RX_SEALED : RX_PLAIN);
	if (!c->rx) {
		free(c);
		return NULL;
	}
	c->r = r;
	c->refs = 1;
	c->fd = fd;
	c->tcp = tcp;
	c->initiator = initiator;
	c->next_id = 1;
	c->timer = (struct timer){.fire = on_timer, .data = c};
	list_init(&c->dirty);
	list_init(&c->outq);
	list_init(&c->call_list);
	list_init(&c->reqs);
	ev_io_init(&c->rd, on_readable, fd, EV_READ);
	ev_io_init(&c->wr, on_writable, fd, EV_WRITE);
	c->rd.data = c->wr.data = c;
	list_add_tail(&r->conns, &c->link);
	/* Local processes are let in by the socket's mode. */
	if (!initiator && tcp) {
		c->unproved = true;
		r->unproved++;
	}
	c->rx_ms = env_now_ms(r->env);
	env_after(r->env, &c->timer, r->lim.handshake_ms);
	return c;
}

void conn_hold(struct rpc_conn *c)
{
	c->refs++;
}

void conn_drop(struct rpc_conn *c)
{
	if (--c->refs)
		return;
	secure_free(c->sec);
	frame_in_fini(&c->in);
	buf_free(&c->tx);
	map_fini(&c->calls);
	free(c->rx);
	free(c);
}

/* ---- the end ---- */

void conn_proved(struct rpc_conn *c)
{
	if (!c->unproved)
		return;
	c->unproved = false;
	c->r->unproved--;
}

/* Say who failed to prove himself; not for every one of a flood. */
static void log_refusal(struct rpc_conn *c, int why)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	const void *addr = &((struct sockaddr_in *)&sa)->sin_addr;
	uint64_t now = env_now_ms(c->r->env);
	char text[INET6_ADDRSTRLEN] = "?";

	if (!c->unproved || why == -ECANCELED || why == -ECONNRESET ||
	    now < c->r->quiet_until_ms)
		return;
	c->r->quiet_until_ms = now + 1000;
	if (getpeername(c->fd, (struct sockaddr *)&sa, &len) == 0) {
		if (sa.ss_family == AF_INET6)
			addr = &((struct sockaddr_in6 *)&sa)->sin6_addr;
		inet_ntop(sa.ss_family, addr, text, sizeof(text));
	}
	log_info("refused a session from %s (says it is host %u): %s", text,
		 c->sec ? secure_host(c->sec) : 0, status_text(why));
}

void conn_close(struct rpc_conn *c, int why)
{
	struct rpc *r = c->r;

	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	c->why = why;
	log_refusal(c, why);
	conn_proved(c);
	ev_io_stop(r->loop, &c->rd);
	ev_io_stop(r->loop, &c->wr);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	env_cancel(r->env, &c->timer);
	list_del(&c->dirty);
	list_del(&c->link);
	list_add_tail(&r->closed, &c->link);
	if (!r->reaper.impl)
		env_after(r->env, &r->reaper, 0);
}

void conn_reap(struct rpc_conn *c)
{
	struct rpc *r = c->r;

	list_del(&c->link);
	conn_purge(c);
	for (size_t i = 0; i < c->nfds; i++)
		close(c->fds[i]);
	c->nfds = 0;
	while (!list_empty(&c->reqs)) {
		struct rpc_req *q = list_first(&c->reqs, struct rpc_req, link);

		list_del(&q->link);
		q->conn = NULL;
	}
	session_detach(c);
	while (!list_empty(&c->call_list))
		call_end(list_first(&c->call_list, struct rpc_call, link),
			 -ECONNRESET, NULL);
	if (c->peer)
		peer_lost(c->peer, c);
	if (c->told && r->h.on_close)
		r->h.on_close(r->h.arg, c);
	conn_drop(c);
}

/* ---- the beginning ---- */

static int key_of(void *arg, uint32_t host, uint8_t ret_key[32])
{
	struct rpc *r = arg;

	return r->key_of ? r->key_of(r->key_arg, host, ret_key) : -ENOENT;
}

static int psk_of(void *arg, uint64_t token, uint8_t ret_psk[32])
{
	struct rpc *r = arg;

	return r->psk_of(r->psk_arg, token, ret_psk);
}

static int start_secure(struct rpc_conn *c)
{
	struct rpc *r = c->r;
	struct secure_conf conf = {.host = r->id.host,
				   .service = (uint8_t)r->id.service,
				   .key_of = key_of,
				   .key_arg = r,
				   .psk_of = r->psk_of ? psk_of : NULL,
				   .psk_arg = r};
	int e = 0;

	memcpy(conf.secret, r->id.secret, 32);
	memcpy(conf.public_key, r->id.public_key, 32);
	if (c->initiator) {
		conf.to_host = c->peer->host;
		conf.to_service = (uint8_t)c->peer->service;
		e = key_of(r, c->peer->host, conf.to_key) ? -EKEYREJECTED : 0;
	}
	if (!e)
		e = secure_new(&conf, c->initiator, &c->sec);
	if (!e && c->initiator)
		e = secure_start(c->sec, &c->tx);
	explicit_bzero(&conf, sizeof(conf));
	return e;
}

static void tcp_options(int fd, unsigned dead_ms)
{
	int on = 1;

	/* Either failing costs time, not correctness. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms,
			 sizeof(dead_ms));
}

int conn_begin(struct rpc_conn *c)
{
	int e = 0;

	if (c->tcp) {
		tcp_options(c->fd, c->r->lim.dead_ms);
		c->state = CONN_SHAKING;
		e = start_secure(c);
	} else {
		socklen_t len = sizeof(c->cred);

		c->state = CONN_GREETING;
		if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &len))
			e = -errno;
		else if (c->initiator)
			greet_hello(c);
	}
	if (e || c->state == CONN_CLOSED)
		return e;
	ev_io_start(c->r->loop, &c->rd);
	conn_flush(c);
	return 0;
}

/* Both sides have introduced themselves. */
void conn_opened(struct rpc_conn *c)
{
	struct rpc *r = c->r;

	c->state = CONN_OPEN;
	conn_proved(c);
	env_cancel(r->env, &c->timer);
	if (c->tcp)
		env_after(r->env, &c->timer, r->lim.ping_ms);
	if (c->peer) {
		peer_opened(c->peer, c);
		return;
	}
	c->told = true;
	if (r->h.on_open)
		r->h.on_open(r->h.arg, c);
}

/* ---- timers ---- */

static void on_timer(struct timer *t)
{
	struct rpc_conn *c = t->data;
	struct rpc *r = c->r;
	uint64_t now = env_now_ms(r->env), silent = now - c->rx_ms;
	struct frame ping = {.kind = FRAME_PING};

	if (c->state != CONN_OPEN) {
		conn_close(c, -ETIMEDOUT);
		return;
	}
	if (c->suspect_ms && c->rx_ms >= c->suspect_ms)
		c->suspect_ms = 0;
	if (silent >= r->lim.dead_ms ||
	    (c->suspect_ms && now - c->suspect_ms >= r->lim.probe_ms)) {
		conn_close(c, -ETIMEDOUT);
		return;
	}
	if (silent < r->lim.ping_ms) {
		env_after(r->env, t, r->lim.ping_ms - silent);
		return;
	}
	env_after(r->env, t,
		  r->lim.dead_ms - silent < r->lim.ping_ms
			  ? r->lim.dead_ms - silent
			  : r->lim.ping_ms);
	conn_send_new(c, &ping, NULL);
}

/* ---- bytes in ---- */

static void take_fds(struct rpc_conn *c, size_t n, int *to)
{
	memcpy(to, c->fds, n * sizeof(int));
	c->nfds -= n;
	memmove(c->fds, c->fds + n, c->nfds * sizeof(int));
}

static void note(struct rpc_conn *c, const struct rpc_msg *m)
{
	struct rpc *r = c->r;

	if (c->peer && peer_note(c->peer, m))
		return;
	if (r->h.on_note)
		r->h.on_note(r->h.arg, c, m);
}

static void dispatch_open(struct rpc_conn *c, const struct frame_msg *fm)
{
	struct frame pong = {.kind = FRAME_PONG};
	const struct frame *f = &fm->f;
	int fds[RPC_FDS_MAX];
	struct rpc_msg m = {.code = f->code,
			    .body = fm->body,
			    .len = f->len,
			    .payload = fm->payload,
			    .payload_len = f->payload_len,
			    .fds = fds,
			    .nfds = f->nfds,
			    .replayed = f->flags & FRAME_REPLAYED};

	take_fds(c, f->nfds, fds);
	switch (f->kind) {
	case FRAME_REQUEST:
		serve_request(c, f, &m);
		break;
	case FRAME_REPLY:
		call_reply(c, f, &m);
		break;
	case FRAME_NOTE:
		note(c, &m);
		break;
	case FRAME_BUSY:
		call_busy(c, f);
		break;
	case FRAME_PING:
		conn_send_new(c, &pong, NULL);
		break;
	case FRAME_SESSION:
		greet_msg(c, fm);
		break;
	default: /* FRAME_PONG: that it came is all it says */
		break;
	}
	for (size_t i = 0; i < m.nfds; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static void dispatch(struct rpc_conn *c, const struct frame_msg *fm)
{
	if (fm->f.nfds > c->nfds) {
		conn_close(c, -EBADMSG);
		return;
	}
	if (c->state == CONN_OPEN)
		dispatch_open(c, fm);
	else if (fm->f.kind == FRAME_SESSION && fm->f.nfds == 0)
		greet_msg(c, fm);
	else
		conn_close(c, -EPROTO);
}

/* Plain bytes of the stream.  c may be closed afterwards. */
static void take_plain(struct rpc_conn *c, const uint8_t *p, size_t n)
{
	while (n && c->state != CONN_CLOSED) {
		struct frame_msg fm;
		size_t used;
		int r = frame_in_feed(&c->in, p, n, &used, &fm);

		if (r < 0) {
			conn_close(c, r);
			return;
		}
		p += used;
		n -= used;
		if (r)
			dispatch(c, &fm);
	}
}

static void take_record(struct rpc_conn *c, uint8_t *rec, size_t len)
{
	size_t n = len - SECURE_OVERHEAD, room = 0;
	uint8_t *to = frame_in_room(&c->in, &room);
	struct frame_msg fm;

	if (!to || room < n) {
		if (secure_open(c->sec, rec, len, rec + SECURE_HEAD))
			conn_close(c, -EBADMSG);
		else
			take_plain(c, rec + SECURE_HEAD, n);
		return;
	}
	if (secure_open(c->sec, rec, len, to))
		conn_close(c, -EBADMSG);
	else if (frame_in_filled(&c->in, n, &fm))
		dispatch(c, &fm);
}

static void take_handshake(struct rpc_conn *c)
{
	size_t used;
	int r = secure_feed(c->sec, c->rx + c->rx_start,
			    c->rx_end - c->rx_start, &used, &c->tx);

	c->rx_start += used;
	if (r > 0) {
		c->state = CONN_GREETING;
		if (c->initiator)
			greet_hello(c);
	}
	conn_flush(c);
	if (r < 0)
		conn_close(c, r);
}

static void take_sealed(struct rpc_conn *c)
{
	if (c->state == CONN_SHAKING)
		take_handshake(c);
	while (c->state == CONN_GREETING || c->state == CONN_OPEN) {
		uint8_t *rec = c->rx + c->rx_start;
		size_t have = c->rx_end - c->rx_start;
		long len = secure_record(rec, have);

		if (len < 0) {
			conn_close(c, (int)len);
			return;
		}
		if (len == 0 || (size_t)len > have)
			break;
		c->rx_start += (size_t)len;
		take_record(c, rec, (size_t)len);
	}
	if (c->state == CONN_CLOSED)
		return;
	c->rx_end -= c->rx_start;
	memmove(c->rx, c->rx + c->rx_start, c->rx_end);
	c->rx_start = 0;
}

/* How many bytes came; 0: none now; negative: the end. */
static ssize_t read_sealed(struct rpc_conn *c, size_t *ret_asked)
{
	ssize_t n;

	*ret_asked = RX_SEALED - c->rx_end;
	do
		n = read(c->fd, c->rx + c->rx_end, *ret_asked);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -ECONNRESET : errno == EAGAIN ? 0 : -errno;
	c->rx_end += (size_t)n;
	c->rx_ms = env_now_ms(c->r->env);
	take_sealed(c);
	return n;
}

static ssize_t receive(int fd, struct iovec *iov, int *fds, size_t *nfds)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * RPC_FDS_MAX)];
		struct cmsghdr align;
	} ctl;
	struct msghdr m = {.msg_iov = iov,
			   .msg_iovlen = 2,
			   .msg_control = &ctl,
			   .msg_controllen = sizeof(ctl)};
	ssize_t n;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*nfds = 0;
	if (n <= 0)
		return n == 0 ? -ECONNRESET : errno == EAGAIN ? 0 : -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		*nfds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(h), *nfds * sizeof(int));
	}
	return n;
}

static bool keep_fds(struct rpc_conn *c, const int *fds, size_t n)
{
	if (n <= CONN_FDS - c->nfds) {
		memcpy(c->fds + c->nfds, fds, n * sizeof(int));
		c->nfds += n;
		return true;
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return false;
}

static ssize_t read_plain(struct rpc_conn *c, size_t *ret_asked)
{
	struct iovec iov[2] = {{0}, {.iov_base = c->rx, .iov_len = RX_PLAIN}};
	int fds[RPC_FDS_MAX];
	size_t nfds, direct;
	struct frame_msg fm;
	ssize_t n;

	iov[0].iov_base = frame_in_room(&c->in, &iov[0].iov_len);
	*ret_asked = iov[0].iov_len + iov[1].iov_len;
	n = receive(c->fd, iov, fds, &nfds);
	if (n <= 0)
		return n;
	if (!keep_fds(c, fds, nfds))
		return -EBADMSG;
	c->rx_ms = env_now_ms(c->r->env);
	direct = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
	if (direct && frame_in_filled(&c->in, direct, &fm))
		dispatch(c, &fm);
	take_plain(c, c->rx, (size_t)n - direct);
	return n;
}

static void on_readable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct rpc_conn *c = w->data;
	struct rpc *r = c->r;
	ssize_t n = 1;

	(void)loop;
	(void)revents;
	conn_hold(c);
	rpc_enter(r);
	for (int i = 0; i < READS && c->state != CONN_CLOSED; i++) {
		size_t asked;

		n = c->tcp ? read_sealed(c, &asked) : read_plain(c, &asked);
		if (n < 0 || (size_t)n < asked)
			break;
	}
	if (n < 0)
		conn_close(c, (int)n);
	rpc_leave(r);
	conn_drop(c);
}

static void connected(struct rpc_conn *c)
{
	socklen_t len = sizeof(int);
	int e = 0;

	ev_io_stop(c->r->loop, &c->wr);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len))
		e = errno;
	e = e ? -e : conn_begin(c);
	if (e)
		conn_close(c, e);
}

static void on_writable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct rpc_conn *c = w->data;

	(void)loop;
	(void)revents;
	if (c->state == CONN_CONNECTING)
		connected(c);
	else
		conn_flush(c);
}
