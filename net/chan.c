/*
 * chan.c -- see chan.h.
 *
 * Bytes written gather in one record's room and are sealed in place; a piece
 * of a record's size or more is sealed straight from the caller's memory.
 * Several records go out with one write.  Reading opens a record straight
 * into the caller's memory when all of it is wanted.
 */
#include "chan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "fd.h"
#include "frame.h"
#include "greet.h"
#include "secure.h"

#define RECORDS	   4u
#define WHOLE	   (SECURE_RECORD + SECURE_OVERHEAD)
#define ROOM	   (RECORDS * WHOLE)
#define TIMEOUT_MS 30000u

struct chan {
	int fd;
	struct secure *sec;
	unsigned timeout_ms;
	int failed; /* for good: negative errno */
	uint8_t *rx;
	size_t rx_start, rx_end;
	size_t plain, plain_end; /* opened bytes in rx, not read yet */
	uint8_t *tx;
	size_t tx_len; /* sealed */
	size_t staged; /* plain, behind tx_len and room for a head */
};

static int wait_for(struct chan *c, short events)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	int n;

	do
		n = poll(&p, 1, (int)c->timeout_ms);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int fail(struct chan *c, int error)
{
	c->failed = error;
	return error;
}

static int send_bytes(struct chan *c, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t put = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put >= 0) {
			p += put;
			n -= (size_t)put;
		} else if (errno == EAGAIN) {
			int r = wait_for(c, POLLOUT);

			if (r)
				return fail(c, r);
		} else if (errno != EINTR) {
			return fail(c, errno == ECONNRESET ? -EPIPE : -errno);
		}
	}
	return 0;
}

/* Some bytes into rx. */
static int receive(struct chan *c)
{
	for (;;) {
		ssize_t n = recv(c->fd, c->rx + c->rx_end, ROOM - c->rx_end,
				 MSG_DONTWAIT);
		int r;

		if (n > 0) {
			c->rx_end += (size_t)n;
			return 0;
		}
		if (n == 0)
			return fail(c, -EPIPE);
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail(c, errno == ECONNRESET ? -EPIPE : -errno);
		r = wait_for(c, POLLIN);
		/* Only silence: the stream is whole and may be read later. */
		if (r)
			return r == -ETIMEDOUT ? r : fail(c, r);
	}
}

/* ---- writing ---- */

static int write_out(struct chan *c)
{
	size_t n = c->tx_len;

	c->tx_len = 0;
	return send_bytes(c, c->tx, n);
}

static void seal(struct chan *c, const uint8_t *p, size_t n)
{
	secure_seal(c->sec, p, n, c->tx + c->tx_len);
	c->tx_len += n + SECURE_OVERHEAD;
}

static uint8_t *stage(struct chan *c)
{
	return c->tx + c->tx_len + SECURE_HEAD;
}

/* Make room for one more record. */
static int make_room(struct chan *c)
{
	return c->tx_len > ROOM - WHOLE ? write_out(c) : 0;
}

static int seal_staged(struct chan *c)
{
	size_t n = c->staged;

	if (!n)
		return 0;
	c->staged = 0;
	seal(c, stage(c), n);
	return make_room(c);
}

int chan_write(struct chan *c, const void *from, size_t n)
{
	const uint8_t *p = from;
	int r = c->failed;

	while (n && !r) {
		size_t part = SECURE_RECORD - c->staged;

		if (c->staged == 0 && n >= SECURE_RECORD) {
			part = SECURE_RECORD;
			seal(c, p, part);
			r = make_room(c);
		} else {
			part = part < n ? part : n;
			memcpy(stage(c) + c->staged, p, part);
			c->staged += part;
			if (c->staged == SECURE_RECORD)
				r = seal_staged(c);
		}
		p += part;
		n -= part;
	}
	return r;
}

int chan_flush(struct chan *c)
{
	int r = c->failed ? c->failed : seal_staged(c);

	return r ? r : write_out(c);
}

/* ---- reading ---- */

static size_t take_opened(struct chan *c, uint8_t *to, size_t n)
{
	size_t have = c->plain_end - c->plain;

	n = n < have ? n : have;
	if (n)
		memcpy(to, c->rx + c->plain, n);
	c->plain += n;
	return n;
}

/* The length of the whole record at rx_start, 0 if it is not there yet. */
static long next_record(const struct chan *c)
{
	size_t have = c->rx_end - c->rx_start;
	long len = secure_record(c->rx + c->rx_start, have);

	return len > 0 && (size_t)len > have ? 0 : len;
}

/* Nothing is opened: get the next record, into to if it fits there whole. */
static ssize_t open_next(struct chan *c, uint8_t *to, size_t n)
{
	long len;
	size_t plain;
	uint8_t *rec;

	while ((len = next_record(c)) == 0) {
		int r;

		memmove(c->rx, c->rx + c->rx_start, c->rx_end - c->rx_start);
		c->rx_end -= c->rx_start;
		c->rx_start = 0;
		r = receive(c);
		if (r)
			return r;
	}
	if (len < 0)
		return fail(c, (int)len);
	rec = c->rx + c->rx_start;
	plain = (size_t)len - SECURE_OVERHEAD;
	if (secure_open(c->sec, rec, (size_t)len,
			plain <= n ? to : rec + SECURE_HEAD))
		return fail(c, -EBADMSG);
	c->plain = c->rx_start + SECURE_HEAD;
	c->plain_end = plain <= n ? c->plain : c->plain + plain;
	c->rx_start += (size_t)len;
	return plain <= n ? (ssize_t)plain : (ssize_t)take_opened(c, to, n);
}

ssize_t chan_read_some(struct chan *c, void *p, size_t n)
{
	int r = chan_flush(c);
	size_t got;

	if (r)
		return r;
	got = take_opened(c, p, n);
	return got || !n ? (ssize_t)got : open_next(c, p, n);
}

int chan_read(struct chan *c, void *p, size_t n)
{
	uint8_t *to = p;
	int r = chan_flush(c);

	while (n && !r) {
		ssize_t got = (ssize_t)take_opened(c, to, n);

		if (!got)
			got = open_next(c, to, n);
		if (got < 0) {
			r = (int)got;
			break;
		}
		to += got;
		n -= (size_t)got;
	}
	/* Half a message was taken: what follows would be misread. */
	if (r == -ETIMEDOUT && to != p)
		fail(c, r);
	return r;
}

size_t chan_pending(const struct chan *c)
{
	long len = next_record(c);

	return c->plain_end - c->plain +
	       (len > 0 ? (size_t)len - SECURE_OVERHEAD : 0);
}

int chan_fd(const struct chan *c)
{
	return c->fd;
}

void chan_set_timeout(struct chan *c, unsigned timeout_ms)
{
	c->timeout_ms = timeout_ms;
}

/* ---- beginning and end ---- */

void chan_close(struct chan *c)
{
	if (!c)
		return;
	if (!c->failed && c->tx)
		(void)chan_flush(c);
	if (c->fd >= 0)
		close(c->fd);
	secure_free(c->sec);
	free(c->rx);
	free(c->tx);
	free(c);
}

static struct chan *chan_new(int fd, unsigned timeout_ms)
{
	struct chan *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->fd = fd;
	c->timeout_ms = timeout_ms;
	c->rx = malloc(ROOM);
	c->tx = malloc(ROOM);
	if (!c->rx || !c->tx) {
		c->fd = -1;
		c->failed = -ENOMEM;
		chan_close(c);
		return NULL;
	}
	return c;
}

int chan_adopt(int fd, struct secure *s, struct chan **ret)
{
	struct chan *c = chan_new(fd, TIMEOUT_MS);
	int r;

	if (!c)
		return -ENOMEM;
	r = fd_nonblock(fd, 0);
	if (r) {
		c->fd = -1;
		chan_close(c);
		return r;
	}
	c->sec = s;
	*ret = c;
	return 0;
}

static int tcp_connect(const char *addr, uint16_t port, unsigned timeout_ms,
		       int *ret_fd)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET,
				  .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(port)};
	bool v4 = inet_pton(AF_INET, addr, &in4.sin_addr) == 1;
	struct pollfd p = {.events = POLLOUT};
	socklen_t len = sizeof(int);
	int on = 1, e = 0, r;

	if (!v4 && inet_pton(AF_INET6, addr, &in6.sin6_addr) != 1)
		return -EADDRNOTAVAIL;
	p.fd = socket(v4 ? AF_INET : AF_INET6,
		      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p.fd < 0)
		return -errno;
	r = connect(p.fd, v4 ? (struct sockaddr *)&in4 : (void *)&in6,
		    v4 ? sizeof(in4) : sizeof(in6));
	e = r ? errno : 0;
	if (e == EINPROGRESS) {
		do
			r = poll(&p, 1, (int)timeout_ms);
		while (r < 0 && errno == EINTR);
		e = r == 0 ? ETIMEDOUT : 0;
		if (!e && getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &e, &len))
			e = errno;
	}
	if (!e && fd_nonblock(p.fd, 0))
		e = EIO;
	if (e) {
		close(p.fd);
		return -e;
	}
	(void)setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	*ret_fd = p.fd;
	return 0;
}

static int shake_hands(struct chan *c)
{
	struct buf out = {0};
	int r = secure_start(c->sec, &out);

	while (r == 0) {
		size_t used;

		r = send_bytes(c, buf_data(&out), buf_len(&out));
		buf_consume(&out, buf_len(&out));
		if (!r)
			r = receive(c);
		if (r)
			break;
		r = secure_feed(c->sec, c->rx + c->rx_start,
				c->rx_end - c->rx_start, &used, &out);
		c->rx_start += used;
	}
	buf_free(&out);
	return r < 0 ? r : 0;
}

int chan_open(const struct secure_conf *conf, const char *addr, uint16_t port,
	      unsigned timeout_ms, struct chan **ret)
{
	struct chan *c;
	int fd = -1, r;

	r = tcp_connect(addr, port, timeout_ms, &fd);
	if (r)
		return r;
	c = chan_new(fd, timeout_ms);
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	r = secure_new(conf, true, &c->sec);
	if (!r)
		r = shake_hands(c);
	if (r) {
		c->failed = r;
		chan_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

int chan_connect(const struct rpc_identity *self, uint32_t host,
		 enum rpc_service s, const uint8_t host_key[32],
		 const char *addr, uint16_t port, uint64_t token,
		 unsigned timeout_ms, struct chan **ret)
{
	struct secure_conf conf = {.host = self->host,
				   .service = (uint8_t)self->service,
				   .to_host = host,
				   .to_service = (uint8_t)s};
	uint8_t frame[GREET_MAX];
	struct chan *c = NULL;
	size_t len;
	int r;

	memcpy(conf.secret, self->secret, 32);
	memcpy(conf.public_key, self->public_key, 32);
	memcpy(conf.to_key, host_key, 32);
	r = chan_open(&conf, addr, port, timeout_ms, &c);
	sodium_memzero(&conf, sizeof(conf));
	if (r)
		return r;
	len = greet_chan_frame(token, frame);
	r = chan_write(c, frame, len);
	if (!r)
		r = chan_read(c, frame, GREET_WELCOME);
	if (!r)
		r = greet_welcome_status(frame);
	if (r) {
		chan_close(c);
		return r;
	}
	*ret = c;
	return 0;
}
