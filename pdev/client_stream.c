/*
 * client_stream.c -- streams and requests of a program that serves a
 * pseudo-device: what fsd asks becomes a callback, its result an answer.
 *
 * A callback may answer its own request before it returns, so after a callback
 * a request is looked for by its number and never by its address.
 */
#include "client_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "pdev_msg.h"

static void note_ready(struct sprite_pdev_stream *s)
{
	struct msg_pdev_ready m = {.stream = s->id, .bits = s->bits};
	uint8_t body[32];
	size_t len;

	if (msg_pdev_ready_encode(&m, body, sizeof(body), &len) == 0)
		pdev_client_put(s->d,
				(struct frame){.kind = FRAME_NOTE,
					       .code = MSG_pdev_ready,
					       .len = (uint32_t)len},
				body, NULL);
}

static void note_later(struct sprite_pdev_request *q)
{
	struct msg_pdev_later m = {.req = q->id};
	uint8_t body[16];
	size_t len;

	if (msg_pdev_later_encode(&m, body, sizeof(body), &len) == 0)
		pdev_client_put(q->s->d,
				(struct frame){.kind = FRAME_NOTE,
					       .code = MSG_pdev_later,
					       .len = (uint32_t)len},
				body, NULL);
}

static void reply(struct sprite_pdev *d, uint64_t id, uint16_t code, int status,
		  const void *body, size_t len, const void *data, size_t n)
{
	pdev_client_put(d,
			(struct frame){.kind = FRAME_REPLY,
				       .flags = FRAME_CONN,
				       .code = code,
				       .status = status,
				       .id = id,
				       .len = (uint32_t)len,
				       .payload_len = (uint32_t)n},
			body, data);
}

/* ---- requests and streams ---- */

/* Ask the server what s is ready for, and tell it on if that is new. */
static void refresh(struct sprite_pdev_stream *s)
{
	uint32_t bits;

	if (!s->d->ops.poll)
		return;
	bits = s->d->ops.poll(s->d->arg, s);
	if (bits == s->bits)
		return;
	s->bits = bits;
	if (s->opened)
		note_ready(s);
}

static struct sprite_pdev_request *find_request(struct sprite_pdev_stream *s,
						uint64_t id)
{
	list_each(q, &s->requests, struct sprite_pdev_request,
		  link) if (q->id == id) return q;
	return NULL;
}

static void free_request(struct sprite_pdev_request *q)
{
	list_del(&q->link);
	free(q);
}

static void drop_stream(struct sprite_pdev_stream *s)
{
	map_del(&s->d->by_id, &s->node);
	list_del(&s->link);
	free(s);
}

/* Tell the server that nobody waits for q, and see to it that q ends. */
static void cancel(struct sprite_pdev_request *q)
{
	struct sprite_pdev_stream *s = q->s;
	uint64_t id = q->id;

	if (s->d->ops.cancel)
		s->d->ops.cancel(s->d->arg, s, q);
	q = find_request(s, id);
	if (q)
		(void)sprite_pdev_answer(q, -EINTR, NULL, 0);
}

static struct sprite_pdev_stream *find_stream(const struct sprite_pdev *d,
					      uint64_t id)
{
	return map_entry(map_get(&d->by_id, id), struct sprite_pdev_stream,
			 node);
}

static void close_stream(struct sprite_pdev_stream *s)
{
	struct sprite_pdev *d = s->d;
	struct sprite_pdev_request *q;
	uint64_t id = s->id;

	while ((q = list_first(&s->requests, struct sprite_pdev_request,
			       link))) {
		cancel(q);
		if (find_stream(d, id) != s)
			return; /* a refused open takes its stream along */
	}
	if (s->opened && d->ops.close)
		d->ops.close(d->arg, s);
	drop_stream(s);
}

int sprite_pdev_answer(struct sprite_pdev_request *q, long result,
		       const void *data, size_t len)
{
	struct sprite_pdev_stream *s = q->s;
	struct sprite_pdev *d = s->d;
	uint8_t body[32];
	size_t n = 0;
	int r = 0, status = result < 0 ? (int)result : 0;

	if (len > q->room ||
	    (q->code == MSG_pdev_read && result >= 0 && (size_t)result != len))
		return -EMSGSIZE;
	if (status == -EAGAIN && q->code == MSG_pdev_read)
		s->bits &= ~SPRITE_PDEV_IN;
	if (status == -EAGAIN && q->code == MSG_pdev_write)
		s->bits &= ~SPRITE_PDEV_OUT;
	if (!status)
		refresh(s);
	if (q->code == MSG_pdev_open && !status) {
		struct msg_pdev_opened m = {s->id, s->bits};

		r = msg_pdev_opened_encode(&m, body, sizeof(body), &n);
		s->opened = true;
		reply(d, q->frame, MSG_pdev_opened, r, body, n, NULL, 0);
	} else if (!status) {
		struct msg_pdev_done m = {.result = result};

		r = msg_pdev_done_encode(&m, body, sizeof(body), &n);
		reply(d, q->frame, MSG_pdev_done, r, body, n, data, len);
	} else {
		reply(d, q->frame, q->code, status, NULL, 0, NULL, 0);
	}
	r = q->code == MSG_pdev_open && status;
	free_request(q);
	if (r)
		drop_stream(s);
	pdev_client_flush(d);
	return 0;
}

/* After a callback: it may have answered already, or want to do so later. */
static void outcome(struct sprite_pdev_stream *s, uint64_t id, long result,
		    const void *data, size_t len)
{
	struct sprite_pdev_request *q = find_request(s, id);

	if (!q)
		return;
	if (result == SPRITE_PDEV_LATER) {
		q->held = true;
		note_later(q);
		return;
	}
	if (result < 0)
		len = 0;
	/* A server that returns more than there is room for has no excuse. */
	if (sprite_pdev_answer(q, result, data, len))
		(void)sprite_pdev_answer(q, -EIO, NULL, 0);
}

static struct sprite_pdev_request *
new_request(struct sprite_pdev_stream *s, const struct frame *f, uint64_t id)
{
	struct sprite_pdev_request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->s = s;
	q->frame = f->id;
	q->id = id;
	q->code = f->code;
	list_add_tail(&s->requests, &q->link);
	return q;
}

/* ---- what fsd asks: 0, or the status of the refusal ---- */

static int new_stream(struct sprite_pdev *d, const struct msg_pdev_open *m,
		      struct sprite_pdev_stream **ret)
{
	struct sprite_pdev_stream *s;

	if (find_stream(d, m->stream))
		return -EPROTO;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (map_put(&d->by_id, m->stream, &s->node)) {
		free(s);
		return -ENOMEM;
	}
	s->d = d;
	s->id = m->stream;
	s->bits = SPRITE_PDEV_IN | SPRITE_PDEV_OUT;
	list_init(&s->requests);
	list_add_tail(&d->streams, &s->link);
	snprintf(s->host_name, sizeof(s->host_name), "%s", m->host_name);
	s->client = (struct sprite_pdev_client){.host = m->host,
						.host_name = s->host_name,
						.pid = m->pid,
						.uid = m->uid,
						.gid = m->gid,
						.flags = (int)m->flags};
	*ret = s;
	return 0;
}

static int on_open(struct sprite_pdev *d, const struct frame_msg *f)
{
	struct sprite_pdev_stream *s;
	struct sprite_pdev_request *q;
	struct msg_pdev_open m;
	int r = msg_pdev_open_decode(f->body, f->f.len, &m);

	if (!r)
		r = new_stream(d, &m, &s);
	if (r)
		return r;
	q = new_request(s, &f->f, 0);
	if (!q) {
		drop_stream(s);
		return -ENOMEM;
	}
	q->pid = m.pid;
	q->flags = m.flags;
	if (d->ops.open)
		r = d->ops.open(d->arg, s, q);
	/* If it answered no by itself, the stream is gone. */
	if (find_stream(d, m.stream) == s)
		outcome(s, 0, r > 0 ? 0 : r, NULL, 0);
	return 0;
}

static int on_read(struct sprite_pdev *d, const struct frame_msg *f)
{
	SCOPED(free) uint8_t *room = NULL;
	struct sprite_pdev_stream *s;
	struct sprite_pdev_request *q;
	struct msg_pdev_read m;
	ssize_t n;
	int r = msg_pdev_read_decode(f->body, f->f.len, &m);

	if (r)
		return r;
	s = find_stream(d, m.stream);
	if (!s || !d->ops.read)
		return s ? -EINVAL : -EBADF;
	if (m.size > PDEV_IO_MAX)
		return -EMSGSIZE;
	room = malloc(m.size ? m.size : 1);
	q = room ? new_request(s, &f->f, m.req) : NULL;
	if (!q)
		return -ENOMEM;
	q->pid = m.pid;
	q->flags = m.flags;
	q->room = m.size;
	n = d->ops.read(d->arg, s, q, room, m.size);
	outcome(s, m.req, n, room, n > 0 ? (size_t)n : 0);
	return 0;
}

static int on_write(struct sprite_pdev *d, const struct frame_msg *f)
{
	struct sprite_pdev_stream *s;
	struct sprite_pdev_request *q;
	struct msg_pdev_write m;
	int r = msg_pdev_write_decode(f->body, f->f.len, &m);

	if (r)
		return r;
	s = find_stream(d, m.stream);
	if (!s || !d->ops.write)
		return s ? -EINVAL : -EBADF;
	q = new_request(s, &f->f, m.req);
	if (!q)
		return -ENOMEM;
	q->pid = m.pid;
	q->flags = m.flags;
	outcome(s, m.req,
		d->ops.write(d->arg, s, q, f->payload, f->f.payload_len), NULL,
		0);
	return 0;
}

static int on_ioctl(struct sprite_pdev *d, const struct frame_msg *f)
{
	SCOPED(free) uint8_t *room = NULL;
	struct sprite_pdev_stream *s;
	struct sprite_pdev_request *q;
	struct msg_pdev_ioctl m;
	int r = msg_pdev_ioctl_decode(f->body, f->f.len, &m);

	if (r)
		return r;
	s = find_stream(d, m.stream);
	if (!s || !d->ops.ioctl)
		return s ? -ENOTTY : -EBADF;
	if (m.out_size > PDEV_IOCTL_MAX)
		return -EMSGSIZE;
	room = calloc(1, m.out_size ? m.out_size : 1);
	q = room ? new_request(s, &f->f, m.req) : NULL;
	if (!q)
		return -ENOMEM;
	q->pid = m.pid;
	q->flags = m.flags;
	q->arg = m.arg;
	q->room = m.out_size;
	r = d->ops.ioctl(d->arg, s, q, m.cmd, f->payload, f->f.payload_len,
			 room, m.out_size);
	outcome(s, m.req, r, room, m.out_size);
	return 0;
}

void pdev_client_request(struct sprite_pdev *d, const struct frame_msg *f)
{
	int r = -ENOSYS;

	switch (f->f.code) {
	case MSG_pdev_open:
		r = on_open(d, f);
		break;
	case MSG_pdev_read:
		r = on_read(d, f);
		break;
	case MSG_pdev_write:
		r = on_write(d, f);
		break;
	case MSG_pdev_ioctl:
		r = on_ioctl(d, f);
		break;
	}
	if (r)
		reply(d, f->f.id, f->f.code, r, NULL, 0, NULL, 0);
}

void pdev_client_note(struct sprite_pdev *d, const struct frame_msg *f)
{
	struct sprite_pdev_stream *s;
	struct sprite_pdev_request *q;
	struct msg_pdev_closed closed;
	struct msg_pdev_cancel no;

	if (f->f.code == MSG_pdev_closed &&
	    msg_pdev_closed_decode(f->body, f->f.len, &closed) == 0) {
		s = find_stream(d, closed.stream);
		if (s)
			close_stream(s);
	} else if (f->f.code == MSG_pdev_cancel &&
		   msg_pdev_cancel_decode(f->body, f->f.len, &no) == 0) {
		s = find_stream(d, no.stream);
		q = s ? find_request(s, no.req) : NULL;
		if (q)
			cancel(q);
	}
}

/* ---- for client.c and the program ---- */

void pdev_client_end_streams(struct sprite_pdev *d)
{
	struct sprite_pdev_stream *s;

	while ((s = list_first(&d->streams, struct sprite_pdev_stream, link)))
		close_stream(s);
}

const struct sprite_pdev_client *
sprite_pdev_stream_client(const struct sprite_pdev_stream *s)
{
	return &s->client;
}

void sprite_pdev_stream_set_data(struct sprite_pdev_stream *s, void *data)
{
	s->data = data;
}

void *sprite_pdev_stream_data(const struct sprite_pdev_stream *s)
{
	return s->data;
}

struct sprite_pdev_stream *
sprite_pdev_stream_next(const struct sprite_pdev *d,
			const struct sprite_pdev_stream *s)
{
	struct list *next = s ? s->link.next : d->streams.next;

	return next == &d->streams
		       ? NULL
		       : container_of(next, struct sprite_pdev_stream, link);
}

int sprite_pdev_ready(struct sprite_pdev_stream *s, unsigned int bits)
{
	s->bits = bits;
	if (s->opened) {
		note_ready(s);
		pdev_client_flush(s->d);
	}
	return s->d->broken;
}

pid_t sprite_pdev_request_pid(const struct sprite_pdev_request *q)
{
	return q->pid;
}

int sprite_pdev_request_flags(const struct sprite_pdev_request *q)
{
	return (int)q->flags;
}

uint64_t sprite_pdev_ioctl_arg(const struct sprite_pdev_request *q)
{
	return q->arg;
}
