/*
 * rpc_out.c -- frames on their way out.
 *
 * A frame is written as soon as it is made, unless a dispatch is going on:
 * then all that the dispatch makes for one connection leaves together at its
 * end.  On a unix socket frames are written from where they lie.  On TCP
 * small pieces are gathered into one record and sealed in place; a large
 * payload is sealed straight from its owner's memory, so that the cipher's
 * pass is the only copy.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conn.h"
#include "fd.h"

#define TX_AHEAD    (256u << 10) /* sealed before each write */
#define TURN_BYTES  (4u << 20)	 /* written before others get a turn */
#define DIRECT	    (16u << 10)	 /* a payload this long is sealed in place */
#define FLUSH_BYTES (64u << 10)	 /* not to wait for the end of a dispatch */
#define IOVS	    64

static int dup_fds(struct out *o, const struct rpc_out *from)
{
	for (size_t i = 0; i < from->nfds; i++) {
		int fd = fcntl(from->fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		o->fds[o->nfds++] = fd;
	}
	return 0;
}

/*
 * One allocation: the struct, descriptors, head, body, and the payload if it
 * is copied.
 */
int out_new(const struct frame *f, const struct rpc_out *from, struct out **ret)
{
	static const struct rpc_out nothing;
	struct frame frame = *f;
	size_t size, copied;
	struct out *o;
	int r;

	from = from ? from : &nothing;
	if (from->len > RPC_BODY_MAX || from->payload_len > RPC_PAYLOAD_MAX ||
	    from->nfds > RPC_FDS_MAX)
		return -EMSGSIZE;
	frame.len = (uint32_t)from->len;
	frame.payload_len = (uint32_t)from->payload_len;
	frame.nfds = (uint8_t)from->nfds;
	if (from->code)
		frame.code = from->code;
	copied = from->free_payload ? 0 : from->payload_len;
	size = sizeof(*o) + from->nfds * sizeof(int) + FRAME_HEAD + from->len +
	       copied;
	o = malloc(size);
	if (!o)
		return -ENOMEM;
	*o = (struct out){.refs = 1,
			  .head_len = FRAME_HEAD + from->len,
			  .payload_len = from->payload_len};
	list_init(&o->link);
	o->fds = (int *)(void *)(o + 1);
	o->head = (uint8_t *)(o->fds + from->nfds);
	r = dup_fds(o, from);
	if (r) {
		out_put(o);
		return r;
	}
	frame_put(&frame, o->head);
	if (from->len)
		memcpy(o->head + FRAME_HEAD, from->body, from->len);
	o->payload = o->head + o->head_len;
	if (copied)
		memcpy(o->head + o->head_len, from->payload, copied);
	if (from->free_payload) {
		o->payload = from->payload;
		o->free_payload = from->free_payload;
		o->free_arg = from->free_arg;
	}
	*ret = o;
	return 0;
}

void out_put(struct out *o)
{
	if (!o || --o->refs)
		return;
	for (size_t i = 0; i < o->nfds; i++)
		close(o->fds[i]);
	if (o->free_payload)
		o->free_payload(o->free_arg);
	free(o);
}

static void finish_first(struct rpc_conn *c)
{
	struct out *o = list_first(&c->outq, struct out, link);

	list_del(&o->link);
	c->queued -= out_size(o);
	out_put(o);
}

void conn_purge(struct rpc_conn *c)
{
	while (!list_empty(&c->outq))
		finish_first(c);
}

/* The bytes of o from off on that lie together. */
static const uint8_t *piece(const struct out *o, size_t off, size_t *ret_n)
{
	if (off < o->head_len) {
		*ret_n = o->head_len - off;
		return o->head + off;
	}
	*ret_n = out_size(o) - off;
	return o->payload + (off - o->head_len);
}

/* ---- unix ---- */

static int gather(const struct rpc_conn *c, struct iovec *iov)
{
	int n = 0;

	list_each(o, &c->outq, struct out, link)
	{
		size_t off = o->off;

		/* Descriptors travel with the first byte of what is sent. */
		if (n && o->nfds)
			break;
		while (off < out_size(o) && n < IOVS) {
			size_t len;
			const uint8_t *p = piece(o, off, &len);

			iov[n].iov_base = (void *)(uintptr_t)p;
			iov[n++].iov_len = len;
			off += len;
		}
		if (n == IOVS)
			break;
	}
	return n;
}

static ssize_t send_gathered(int fd, struct iovec *iov, int n,
			     const struct out *first)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * RPC_FDS_MAX)];
		struct cmsghdr align;
	} ctl;
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	ssize_t put;

	if (first->nfds && first->off == 0) {
		size_t len = sizeof(int) * first->nfds;
		struct cmsghdr *h;

		memset(&ctl, 0, sizeof(ctl));
		m.msg_control = &ctl;
		m.msg_controllen = CMSG_SPACE(len);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(len);
		memcpy(CMSG_DATA(h), first->fds, len);
	}
	do
		put = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

/* 1: more to write now; 0: done or the socket is full; negative errno. */
static int write_plain(struct rpc_conn *c)
{
	struct iovec iov[IOVS];
	struct out *o = list_first(&c->outq, struct out, link);
	ssize_t put;

	if (!o)
		return 0;
	put = send_gathered(c->fd, iov, gather(c, iov), o);
	if (put == -EAGAIN)
		return 0;
	if (put < 0)
		return (int)put;
	while (put > 0) {
		size_t left;

		o = list_first(&c->outq, struct out, link);
		left = out_size(o) - o->off;
		o->started = true;
		if ((size_t)put < left) {
			o->off += (size_t)put;
			break;
		}
		put -= (ssize_t)left;
		finish_first(c);
	}
	return 1;
}

/* ---- sealed ---- */

static void advance(struct rpc_conn *c, struct out *o, size_t n)
{
	o->off += n;
	o->started = true;
	if (o->off == out_size(o))
		finish_first(c);
}

/* One record from the front of the queue into tx. */
static int seal_one(struct rpc_conn *c)
{
	uint8_t *rec = buf_room(&c->tx, SECURE_RECORD + SECURE_OVERHEAD);
	struct out *o;
	size_t n = 0;

	if (!rec)
		return -ENOMEM;
	while (n < SECURE_RECORD &&
	       (o = list_first(&c->outq, struct out, link))) {
		size_t len;
		const uint8_t *p = piece(o, o->off, &len);

		if (len >= DIRECT && o->off >= o->head_len) {
			if (n)
				break;
			n = len < SECURE_RECORD ? len : SECURE_RECORD;
			secure_seal(c->sec, p, n, rec);
			buf_filled(&c->tx, n + SECURE_OVERHEAD);
			advance(c, o, n);
			return 0;
		}
		len = len < SECURE_RECORD - n ? len : SECURE_RECORD - n;
		memcpy(rec + SECURE_HEAD + n, p, len);
		n += len;
		advance(c, o, len);
	}
	secure_seal(c->sec, rec + SECURE_HEAD, n, rec);
	buf_filled(&c->tx, n + SECURE_OVERHEAD);
	return 0;
}

static int write_sealed(struct rpc_conn *c)
{
	ssize_t put;

	while (!list_empty(&c->outq) && c->state >= CONN_GREETING &&
	       buf_len(&c->tx) < TX_AHEAD) {
		int r = seal_one(c);

		if (r)
			return r;
	}
	if (!buf_len(&c->tx))
		return 0;
	do
		put = send(c->fd, buf_data(&c->tx), buf_len(&c->tx),
			   MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return errno == EAGAIN ? 0 : -errno;
	buf_consume(&c->tx, (size_t)put);
	return 1;
}

static bool can_write(const struct rpc_conn *c)
{
	return c->state > CONN_CONNECTING && c->state < CONN_CLOSED;
}

void conn_flush(struct rpc_conn *c)
{
	size_t before = rpc_conn_backlog(c), left = before;
	int r = 1;

	list_del(&c->dirty);
	if (!can_write(c))
		return;
	while (r > 0 && left && before - left < TURN_BYTES) {
		size_t was = left;

		r = c->tcp ? write_sealed(c) : write_plain(c);
		left = rpc_conn_backlog(c);
		/* Sealing adds a little to the backlog. */
		if (left > was)
			before += left - was;
	}
	if (r < 0) {
		conn_close(c, r);
		return;
	}
	if (left)
		ev_io_start(c->r->loop, &c->wr);
	else if (ev_is_active(&c->wr))
		ev_io_stop(c->r->loop, &c->wr);
	if (c->peer)
		peer_drained(c->peer, left);
}

void conn_send(struct rpc_conn *c, struct out *o)
{
	assert(list_empty(&o->link));
	if (c->state == CONN_CLOSED)
		return;
	if (rpc_conn_backlog(c) + out_size(o) > c->r->lim.backlog_max) {
		conn_close(c, -ENOBUFS);
		return;
	}
	o->off = 0;
	list_add_tail(&c->outq, &out_get(o)->link);
	c->queued += out_size(o);
	if (ev_is_active(&c->wr))
		return; /* the socket is full: on_writable goes on */
	if (c->r->depth == 0 || c->queued >= FLUSH_BYTES) {
		conn_flush(c);
	} else if (list_empty(&c->dirty)) {
		list_add_tail(&c->r->dirty, &c->dirty);
	}
}

/* A frame whose loss would leave the other side waiting: then end it all. */
void conn_send_new(struct rpc_conn *c, const struct frame *f,
		   const struct rpc_out *from)
{
	struct out *o;
	int r = out_new(f, from, &o);

	if (r) {
		conn_close(c, r);
		return;
	}
	conn_send(c, o);
	out_put(o);
}
