/*
 * client.c -- see client.h.
 *
 * The stream is read without blocking and waited for with poll, so that a
 * call that ran out of time leaves it in a state from which the next one goes
 * on.  A sealed client (joining) reads the same frames through a chan.
 */
#include "client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "chan.h"
#include "cleanup.h"
#include "fd.h"
#include "frame.h"
#include "greet.h"
#include "list.h"
#include "secure.h"
#include "session_msg.h"
#include "status.h"
#include "token.h"

#define RX	   (64u << 10)
#define NOTES_MAX  1024u
#define CLIENT_FDS (2 * RPC_FDS_MAX)
#define FOR_EVER   UINT64_MAX

struct note {
	struct list link;
	struct client_reply r;
};

struct client {
	int fd;
	struct chan *ch; /* or NULL: fd is a unix socket */
	unsigned timeout_ms;
	int broken; /* negative errno, for good */
	uint64_t next_id;
	struct frame_in in;
	uint8_t rx[RX];
	size_t rx_start, rx_end;
	int fds[CLIENT_FDS];
	size_t nfds;
	struct list notes;
	unsigned nnotes;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t until(const struct client *c, unsigned timeout_ms)
{
	if (timeout_ms == UINT_MAX)
		return FOR_EVER;
	return now_ms() + (timeout_ms ? timeout_ms : c->timeout_ms);
}

static int wait_for(const struct client *c, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	int n;

	do {
		uint64_t now = now_ms();
		int ms = -1;

		if (deadline != FOR_EVER)
			ms = deadline > now ? (int)(deadline - now) : 0;
		n = poll(&p, 1, ms);
		if (n < 0 && errno == EINTR && deadline == FOR_EVER)
			return -EINTR;
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int break_off(struct client *c, int error)
{
	c->broken = error == -ECONNRESET ? -EPIPE : error;
	return c->broken;
}

/* ---- sending ---- */

static int send_all(struct client *c, const uint8_t *p, size_t n,
		    const int *fds, size_t nfds, uint64_t deadline)
{
	if (c->ch) {
		int r = chan_write(c->ch, p, n);

		return r ? r : chan_flush(c->ch);
	}
	while (n) {
		ssize_t put = fd_send(c->fd, p, n, fds, nfds);

		if (put == -EAGAIN) {
			int r = wait_for(c, POLLOUT, deadline);

			/* Half a frame must be followed by its rest. */
			if (r && r != -EINTR)
				return r;
			continue;
		}
		if (put < 0)
			return (int)put;
		nfds = 0;
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

static int make_frame(uint8_t kind, uint8_t flags, uint64_t id, int status,
		      const struct rpc_out *o, struct buf *ret)
{
	struct frame f = {.kind = kind,
			  .flags = flags,
			  .id = id,
			  .status = status,
			  .code = o->code,
			  .nfds = (uint8_t)o->nfds,
			  .len = (uint32_t)o->len,
			  .payload_len = (uint32_t)o->payload_len};
	uint8_t head[FRAME_HEAD];
	int r;

	if (o->len > RPC_BODY_MAX || o->payload_len > RPC_PAYLOAD_MAX ||
	    o->nfds > RPC_FDS_MAX)
		return -EMSGSIZE;
	frame_put(&f, head);
	r = buf_add(ret, head, sizeof(head));
	if (!r)
		r = buf_add(ret, o->body, o->len);
	if (!r)
		r = buf_add(ret, o->payload, o->payload_len);
	return r;
}

static int send_frame(struct client *c, const struct buf *b,
		      const struct rpc_out *o, uint64_t deadline)
{
	int r = send_all(c, buf_data(b), buf_len(b), o->fds, o->nfds, deadline);

	return r ? break_off(c, r) : 0;
}

static int answer(struct client *c, uint8_t kind, const struct frame *f)
{
	static const struct rpc_out nothing;
	SCOPED(buf_free) struct buf b = {0};
	int r = make_frame(kind, f->flags & FRAME_CONN, f->id,
			   kind == FRAME_REPLY ? -EOPNOTSUPP : 0, &nothing, &b);

	return r ? break_off(c, r)
		 : send_frame(c, &b, &nothing, now_ms() + c->timeout_ms);
}

/* ---- receiving ---- */

static int receive(struct client *c, uint64_t deadline)
{
	size_t room = CLIENT_FDS - c->nfds;
	ssize_t n;
	int r = 0;

	/* A chan may hold opened bytes that poll does not see. */
	if (!c->ch || !chan_pending(c->ch))
		r = wait_for(c, POLLIN, deadline);
	if (r)
		return r;
	if (c->ch) {
		n = chan_read_some(c->ch, c->rx, RX);
	} else {
		n = fd_recv(c->fd, c->rx, RX, 0, c->fds + c->nfds, &room);
		if (n >= 0)
			c->nfds += room;
	}
	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return break_off(c, n ? (int)n : -EPIPE);
	c->rx_start = 0;
	c->rx_end = (size_t)n;
	return 0;
}

static int next_frame(struct client *c, uint64_t deadline,
		      struct frame_msg *ret)
{
	while (!c->broken) {
		size_t used = 0;
		int r = 0;

		if (c->rx_start < c->rx_end)
			r = frame_in_feed(&c->in, c->rx + c->rx_start,
					  c->rx_end - c->rx_start, &used, ret);
		c->rx_start += used;
		if (r > 0 && ret->f.nfds > c->nfds)
			r = -EBADMSG;
		if (r < 0)
			return break_off(c, r);
		if (r > 0)
			return 0;
		if (c->rx_start < c->rx_end)
			continue;
		r = receive(c, deadline);
		if (r)
			return r;
	}
	return c->broken;
}

static void take_fds(struct client *c, size_t n, int *to)
{
	memcpy(to, c->fds, n * sizeof(int));
	c->nfds -= n;
	memmove(c->fds, c->fds + n, c->nfds * sizeof(int));
}

static void drop_fds(struct client *c, size_t n)
{
	int fds[RPC_FDS_MAX];

	take_fds(c, n, fds);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static int to_reply(struct client *c, const struct frame_msg *m,
		    struct client_reply *ret)
{
	struct client_reply r = {
		.status = m->f.status, .code = m->f.code, .nfds = m->f.nfds};
	int e;

	take_fds(c, m->f.nfds, r.fds);
	e = buf_add(&r.body, m->body, m->f.len);
	if (!e)
		e = buf_add(&r.payload, m->payload, m->f.payload_len);
	if (e) {
		client_reply_free(&r);
		return e;
	}
	*ret = r;
	return 0;
}

static void keep_note(struct client *c, const struct frame_msg *m)
{
	struct note *n = c->nnotes < NOTES_MAX ? calloc(1, sizeof(*n)) : NULL;

	if (!n || to_reply(c, m, &n->r)) {
		/* to_reply took the descriptors even when it failed. */
		if (!n)
			drop_fds(c, m->f.nfds);
		free(n);
		return;
	}
	list_add_tail(&c->notes, &n->link);
	c->nnotes++;
}

/* A frame that nobody waits for.  0, or what broke. */
static int aside(struct client *c, const struct frame_msg *m)
{
	int status;

	switch (m->f.kind) {
	case FRAME_NOTE:
		keep_note(c, m);
		return 0;
	case FRAME_REQUEST:
		drop_fds(c, m->f.nfds);
		return answer(c, FRAME_REPLY, &m->f);
	case FRAME_PING:
		drop_fds(c, m->f.nfds);
		return answer(c, FRAME_PONG, &m->f);
	case FRAME_SESSION:
		drop_fds(c, m->f.nfds);
		status = m->f.code == MSG_session_welcome ? m->f.status : 0;
		return status ? break_off(c, status) : 0;
	default: /* late answers, pongs */
		drop_fds(c, m->f.nfds);
		return 0;
	}
}

/* ---- calls ---- */

static int pause_ms(const struct client *c, uint64_t deadline, unsigned ms)
{
	if (deadline != FOR_EVER && now_ms() + ms > deadline)
		return -ETIMEDOUT;
	if (poll(NULL, 0, (int)ms) < 0 && deadline == FOR_EVER)
		return -EINTR;
	return c->broken;
}

/* 1: told to try again later. */
static int await(struct client *c, uint64_t id, uint64_t deadline,
		 struct client_reply *ret)
{
	for (;;) {
		struct frame_msg m;
		int r = next_frame(c, deadline, &m);

		if (r)
			return r;
		if (m.f.id == id && !(m.f.flags & FRAME_CONN)) {
			if (m.f.kind == FRAME_REPLY)
				return to_reply(c, &m, ret);
			if (m.f.kind == FRAME_BUSY)
				return 1;
		}
		r = aside(c, &m);
		if (r)
			return r;
	}
}

int client_call(struct client *c, const struct rpc_out *o, unsigned timeout_ms,
		struct client_reply *ret)
{
	uint64_t deadline = until(c, timeout_ms), id = c->next_id++;
	SCOPED(buf_free) struct buf b = {0};
	unsigned pause = 10;
	int r = make_frame(FRAME_REQUEST, 0, id, 0, o, &b);

	if (r)
		return r;
	if (c->broken)
		return c->broken;
	for (;;) {
		r = send_frame(c, &b, o, deadline);
		if (!r)
			r = await(c, id, deadline, ret);
		if (r <= 0)
			return r;
		r = pause_ms(c, deadline, pause);
		if (r)
			return r;
		pause = pause < 640 ? pause * 2 : pause;
	}
}

int client_note(struct client *c, unsigned timeout_ms, struct client_reply *ret)
{
	uint64_t deadline = until(c, timeout_ms);
	struct note *n;

	while (!(n = list_first(&c->notes, struct note, link))) {
		struct frame_msg m;
		int r = next_frame(c, deadline, &m);

		if (!r)
			r = aside(c, &m);
		if (r)
			return r;
	}
	list_del(&n->link);
	c->nnotes--;
	*ret = n->r;
	free(n);
	return 0;
}

/* ---- beginning and end ---- */

static struct client *client_new(unsigned timeout_ms)
{
	struct client *c;

	if (sodium_init() < 0)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->fd = -1;
	c->timeout_ms = timeout_ms;
	c->next_id = 1;
	list_init(&c->notes);
	return c;
}

static int greet(struct client *c)
{
	uint8_t frame[GREET_MAX];
	uint64_t epoch;
	size_t len;

	randombytes_buf(&epoch, sizeof(epoch));
	len = greet_hello_frame(SVC_TOOL, epoch, frame);
	return send_all(c, frame, len, NULL, 0, now_ms() + c->timeout_ms);
}

int client_open(const char *path, unsigned timeout_ms, struct client **ret)
{
	struct client *c = client_new(timeout_ms);
	int r;

	if (!c)
		return -ENOMEM;
	r = unix_connect(path, SOCK_STREAM);
	if (r >= 0) {
		c->fd = r;
		r = fd_nonblock(c->fd, 1);
	}
	if (!r)
		r = greet(c);
	if (r < 0) {
		client_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

int client_open_join(const struct token *t, unsigned timeout_ms,
		     struct client **ret)
{
	struct secure_conf conf = {.service = SVC_TOOL,
				   .to_service = SVC_NAMED,
				   .join = true,
				   .token = t->id};
	struct client *c = client_new(timeout_ms);
	int r;

	if (!c)
		return -ENOMEM;
	memcpy(conf.to_key, t->host_key, 32);
	memcpy(conf.psk, t->psk, 32);
	r = chan_open(&conf, t->addr, t->port, timeout_ms, &c->ch);
	sodium_memzero(&conf, sizeof(conf));
	if (!r) {
		c->fd = chan_fd(c->ch);
		r = greet(c);
	}
	if (r) {
		client_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

void client_close(struct client *c)
{
	struct client_reply r;

	if (!c)
		return;
	while (!list_empty(&c->notes)) {
		struct note *n = list_first(&c->notes, struct note, link);

		r = n->r;
		client_reply_free(&r);
		list_del(&n->link);
		free(n);
	}
	drop_fds(c, c->nfds < RPC_FDS_MAX ? c->nfds : RPC_FDS_MAX);
	drop_fds(c, c->nfds);
	frame_in_fini(&c->in);
	if (c->ch)
		chan_close(c->ch);
	else if (c->fd >= 0)
		close(c->fd);
	free(c);
}

int client_fd(const struct client *c)
{
	return c->fd;
}

void client_reply_free(struct client_reply *r)
{
	for (size_t i = 0; i < r->nfds; i++) {
		if (r->fds[i] >= 0)
			close(r->fds[i]);
	}
	buf_free(&r->body);
	buf_free(&r->payload);
	*r = (struct client_reply){0};
}

const char *client_sentence(const struct client_reply *r)
{
	return status_sentence(r->status, buf_data(&r->body),
			       buf_len(&r->body));
}
