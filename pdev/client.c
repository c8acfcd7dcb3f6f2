/*
 * client.c -- the side of a pseudo-device that lives in its server's program:
 * sprite/pdev.h over the unix socket of fsd.
 *
 * The connection speaks the frames of net/ but has no loop and no timers: a
 * program with a loop of any kind gives us its turns (sprite_pdev_dispatch),
 * one without has sprite_pdev_run.  Deadlines, permissions and who may wait
 * for what are fsd's business; here is only what the callbacks need to know.
 */
#include "client_int.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fd.h"
#include "greet.h"
#include "pdev_msg.h"
#include "prog.h"
#include "rpc.h"
#include "session_msg.h"
#include "status.h"

#define RX	     (64u << 10)
#define TX_MAX	     (256u << 20)
#define READS_A_TURN 16
#define SERVE_ID     1u
#define SERVE_MS     8000u
#define TIMEOUT_MS   10000u
#define BODY	     (2u * PDEV_NAME_MAX + 256u)

/* ---- sending ---- */

static void break_off(struct sprite_pdev *d, int error)
{
	if (!d->broken)
		d->broken = error == -ECONNRESET ? -EPIPE : error;
}

void pdev_client_flush(struct sprite_pdev *d)
{
	while (!d->broken && buf_len(&d->tx)) {
		ssize_t n = send(d->fd, buf_data(&d->tx), buf_len(&d->tx),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			buf_consume(&d->tx, (size_t)n);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			break_off(d, -errno);
	}
}

void pdev_client_put(struct sprite_pdev *d, struct frame f, const void *body,
		     const void *payload)
{
	uint8_t head[FRAME_HEAD];
	int r;

	if (d->broken)
		return;
	frame_put(&f, head);
	r = buf_add(&d->tx, head, sizeof(head));
	if (!r && f.len)
		r = buf_add(&d->tx, body, f.len);
	if (!r && f.payload_len)
		r = buf_add(&d->tx, payload, f.payload_len);
	if (r)
		break_off(d, r);
}

/* ---- receiving ---- */

static void served(struct sprite_pdev *d, int status, const void *body,
		   size_t len)
{
	d->status = status;
	snprintf(d->sentence, sizeof(d->sentence), "%s",
		 status_sentence(status, body, len));
	if (status)
		break_off(d, status);
	if (d->ops.served)
		d->ops.served(d->arg, status, d->sentence);
}

static void on_frame(struct sprite_pdev *d, const struct frame_msg *f)
{
	switch (f->f.kind) {
	case FRAME_REQUEST:
		pdev_client_request(d, f);
		break;
	case FRAME_NOTE:
		pdev_client_note(d, f);
		break;
	case FRAME_REPLY:
		if (f->f.id == SERVE_ID && d->status > 0)
			served(d, f->f.status, f->body, f->f.len);
		break;
	case FRAME_BUSY:
		/* A cell in trouble; the program may try again. */
		if (d->status > 0)
			served(d, -EAGAIN, NULL, 0);
		break;
	case FRAME_PING:
		pdev_client_put(d,
				(struct frame){.kind = FRAME_PONG,
					       .flags = f->f.flags,
					       .id = f->f.id},
				NULL, NULL);
		break;
	case FRAME_SESSION:
		if (f->f.code == MSG_session_welcome && f->f.status)
			break_off(d, f->f.status);
		break;
	default:
		break;
	}
}

/* One read's worth.  0: nothing more is there. */
static int receive(struct sprite_pdev *d)
{
	ssize_t n = recv(d->fd, d->rx, RX, MSG_DONTWAIT);
	size_t at = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	if (n <= 0) {
		break_off(d, n ? -errno : -EPIPE);
		return 0;
	}
	while (at < (size_t)n && !d->broken) {
		struct frame_msg m;
		size_t used = 0;
		int r = frame_in_feed(&d->in, d->rx + at, (size_t)n - at, &used,
				      &m);

		at += used;
		if (r < 0)
			break_off(d, r);
		else if (r > 0)
			on_frame(d, &m);
	}
	return !d->broken;
}

int sprite_pdev_dispatch(struct sprite_pdev *d)
{
	pdev_client_flush(d);
	for (int i = 0; i < READS_A_TURN && !d->broken; i++)
		if (!receive(d))
			break;
	pdev_client_flush(d);
	if (d->broken) {
		pdev_client_end_streams(d);
		if (d->status > 0)
			served(d, d->broken, NULL, 0);
	}
	return d->broken;
}

/* ---- beginning and end ---- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int ask(struct sprite_pdev *d, const char *name,
	       const struct sprite_pdev_options *o)
{
	struct msg_pdev_serve m = {.name = name,
				   .mode = o->mode ? o->mode : 0666,
				   .timeout_ms = o->timeout_ms ? o->timeout_ms
							       : TIMEOUT_MS};
	uint8_t body[BODY], hello[GREET_MAX];
	size_t len;
	int r;

	if (!name || strlen(name) > PDEV_NAME_MAX || m.mode & ~0777u ||
	    m.timeout_ms < PDEV_TIMEOUT_MIN_MS ||
	    m.timeout_ms > PDEV_TIMEOUT_MAX_MS)
		return -EINVAL;
	r = msg_pdev_serve_encode(&m, body, sizeof(body), &len);
	if (r)
		return r;
	r = buf_add(&d->tx, hello,
		    greet_hello_frame(SVC_TOOL,
				      now_ms() << 22 ^ (uint64_t)getpid(),
				      hello));
	if (r)
		return r;
	pdev_client_put(d,
			(struct frame){.kind = FRAME_REQUEST,
				       .code = MSG_pdev_serve,
				       .id = SERVE_ID,
				       .len = (uint32_t)len},
			body, NULL);
	return d->broken;
}

static int connect_fsd(struct sprite_pdev *d, const char *path)
{
	char own[108];
	int r;

	if (!path) {
		r = run_path("fsd.sock", own, sizeof(own));
		if (r)
			return r;
		path = own;
	}
	r = unix_connect(path, SOCK_STREAM);
	if (r < 0)
		return r;
	d->fd = r;
	return fd_nonblock(d->fd, 1);
}

/* Dispatch until the answer is there. */
static int wait_served(struct sprite_pdev *d)
{
	uint64_t deadline = now_ms() + SERVE_MS;

	while (d->status > 0 && !d->broken) {
		struct pollfd p = {.fd = d->fd,
				   .events = sprite_pdev_events(d)};
		uint64_t now = now_ms();

		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)(deadline - now)) < 0 && errno != EINTR)
			return -errno;
		(void)sprite_pdev_dispatch(d);
	}
	return d->broken;
}

static int begin(struct sprite_pdev *d, const char *name,
		 const struct sprite_pdev_options *o)
{
	int r;

	d->rx = malloc(RX);
	if (!d->rx)
		return -ENOMEM;
	d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->stop_fd < 0)
		return -errno;
	r = connect_fsd(d, o->socket);
	if (!r)
		r = ask(d, name, o);
	if (!r && !d->ops.served)
		r = wait_served(d);
	else if (!r)
		pdev_client_flush(d);
	return r;
}

int sprite_pdev_serve(const char *name, const struct sprite_pdev_ops *ops,
		      const struct sprite_pdev_options *options, void *arg,
		      struct sprite_pdev **ret)
{
	static const struct sprite_pdev_options defaults;
	const struct sprite_pdev_options *o = options ? options : &defaults;
	struct sprite_pdev *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->ops = *ops;
	d->arg = arg;
	d->fd = d->stop_fd = -1;
	d->status = 1;
	d->tx.max = TX_MAX;
	list_init(&d->streams);
	r = begin(d, name, o);
	if (r) {
		if (o->err && o->err_size)
			snprintf(o->err, o->err_size, "%s",
				 d->sentence[0] ? d->sentence : status_text(r));
		sprite_pdev_close(d);
		return r;
	}
	*ret = d;
	return 0;
}

void sprite_pdev_close(struct sprite_pdev *d)
{
	if (!d)
		return;
	break_off(d, -ECANCELED);
	pdev_client_end_streams(d);
	if (d->fd >= 0)
		close(d->fd);
	if (d->stop_fd >= 0)
		close(d->stop_fd);
	frame_in_fini(&d->in);
	buf_free(&d->tx);
	map_fini(&d->by_id);
	free(d->rx);
	free(d);
}

int sprite_pdev_fd(const struct sprite_pdev *d)
{
	return d->fd;
}

short sprite_pdev_events(const struct sprite_pdev *d)
{
	return (short)(buf_len(&d->tx) ? POLLIN | POLLOUT : POLLIN);
}

int sprite_pdev_run(struct sprite_pdev *d)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = d->fd, .events = sprite_pdev_events(d)},
			{.fd = d->stop_fd, .events = POLLIN}};
		uint64_t count;
		int r;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (read(d->stop_fd, &count, sizeof(count)) > 0)
			return 0;
		r = sprite_pdev_dispatch(d);
		if (r)
			return r;
	}
}

void sprite_pdev_stop(struct sprite_pdev *d)
{
	uint64_t one = 1;
	int saved = errno;

	if (write(d->stop_fd, &one, sizeof(one)) < 0)
		errno = saved; /* EAGAIN: it is set already */
	errno = saved;
}
