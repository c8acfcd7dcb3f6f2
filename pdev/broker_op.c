/*
 * broker_op.c -- what is under way between a client and a program.
 *
 * An op is a client's request handed on to the program as a call of ours.  It
 * ends once: by the program's answer, or by us (op_end), and then whatever the
 * program says later is dropped by the rpc that knows the call no more.
 */
#include <errno.h>
#include <stdlib.h>

#include "broker_int.h"
#include "sprite/pdev.h"

static void on_timer(struct timer *t);

int bop_start(struct bstream *s, struct rpc_req *q, uint64_t front, size_t room,
	     struct op **ret)
{
	struct op *o;

	if (s->nops >= OPS_MAX)
		return -EBUSY;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->id = s->b->next_op++;
	if (map_put(&s->b->ops, o->id, &o->node)) {
		free(o);
		return -ENOMEM;
	}
	o->s = s;
	o->req = q;
	o->front = front;
	o->room = room;
	o->timer = (struct timer){.fire = on_timer, .data = o};
	list_add_tail(&s->ops, &o->link);
	s->nops++;
	*ret = o;
	return 0;
}

static void op_free(struct op *o)
{
	env_cancel(o->s->b->c.env, &o->timer);
	map_del(&o->s->b->ops, &o->node);
	list_del(&o->link);
	o->s->nops--;
	free(o);
}

/* Errors of the way to the program are those of a program that is gone. */
static int status_of(const struct op *o, int status)
{
	if (o->ended)
		return o->ended;
	switch (status) {
	case -ECONNRESET:
	case -ENOTCONN:
	case -ECANCELED:
	case -EHOSTUNREACH:
		return -EIO;
	default:
		return status;
	}
}

/* After -EAGAIN a stream is not ready, whatever the program said before. */
static void not_ready(struct bstream *s, uint16_t code)
{
	uint32_t bit = code == MSG_pdev_read ? SPRITE_PDEV_IN : SPRITE_PDEV_OUT;

	if (s->s.state != PDEV_OPEN || !(s->s.bits & bit))
		return;
	(void)pdev_stream_set(&s->s, s->s.bits & ~bit);
	bstream_tell(s);
}

/* Is it an answer to what was asked, and no longer than was asked for? */
static int check(const struct op *o, const struct rpc_msg *m,
		 struct msg_pdev_done *ret)
{
	if (!m || m->code != MSG_pdev_done ||
	    msg_pdev_done_decode(m->body, m->len, ret) || ret->result < 0)
		return -EIO;
	switch (o->code) {
	case MSG_pdev_read:
		if (m->payload_len > o->room ||
		    (uint64_t)ret->result != m->payload_len)
			return -EIO;
		break;
	case MSG_pdev_write:
		if ((uint64_t)ret->result > o->room || m->payload_len)
			return -EIO;
		break;
	default:
		if (ret->result > INT32_MAX || m->payload_len > o->room)
			return -EIO;
	}
	return 0;
}

static void on_done(void *arg, int status, const struct rpc_msg *m)
{
	struct op *o = arg;
	struct bstream *s = o->s;
	const struct pdev_port *port = s->b->c.port;
	struct rpc_req *q = o->req;
	uint16_t code = o->code;
	struct msg_pdev_done done;

	status = status_of(o, status);
	if (code == MSG_pdev_open) {
		op_free(o);
		/* q is NULL: the stream is being freed. */
		if (q)
			bop_opened(s, q, status, m);
		return;
	}
	if (!status)
		status = check(o, m, &done);
	if (status == -EAGAIN &&
	    (code == MSG_pdev_read || code == MSG_pdev_write))
		not_ready(s, code);
	op_free(o);
	if (status)
		port->reply(q, status, NULL);
	else
		port->reply(q, 0,
			    &(struct rpc_out){.code = m->code,
					      .body = m->body,
					      .len = m->len,
					      .payload = m->payload,
					      .payload_len = m->payload_len});
}

/* End it now, by ourselves. */
static void op_end(struct op *o, int status)
{
	o->ended = status;
	if (o->call)
		o->s->b->c.port->cancel(o->call);
	else
		on_done(o, status, NULL);
}

void bops_end(struct bstream *s, int status)
{
	struct op *o;

	while ((o = list_first(&s->ops, struct op, link))) {
		if (o->code == MSG_pdev_open) {
			/* The stream goes with it: answer here, not there. */
			s->b->c.port->reply(o->req, status, NULL);
			o->req = NULL;
		}
		op_end(o, status);
	}
}

/* The program need not bother any more. */
static void tell_cancel(const struct op *o)
{
	struct msg_pdev_cancel m = {.stream = o->s->id, .req = o->id};
	uint8_t body[32];
	size_t len;

	if (o->s->d && o->s->d->conn &&
	    msg_pdev_cancel_encode(&m, body, sizeof(body), &len) == 0)
		(void)o->s->b->c.port->note(
			o->s->d->conn,
			&(struct rpc_out){.code = MSG_pdev_cancel,
					  .body = body,
					  .len = len});
}

static void on_timer(struct timer *t)
{
	struct op *o = t->data;
	bool cancelled = o->cancelled;

	if (!cancelled)
		tell_cancel(o);
	op_end(o, cancelled ? -EINTR : -ETIMEDOUT);
}

void bop_send(struct op *o, int encoded, const struct rpc_out *out)
{
	struct device *d = o->s->d;
	struct broker *b = o->s->b;
	int r = encoded;

	if (!r)
		r = b->c.port->call(d->conn, out, 0, on_done, o, &o->call);
	if (r)
		on_done(o, r, NULL);
	else
		env_after(b->c.env, &o->timer, d->timeout_ms);
}

/* ---- what clients ask ---- */

/* The stream, if it is one of the sender's.  It may be cut. */
static struct bstream *own_stream(struct broker *b, uint32_t host, uint64_t id)
{
	struct bstream *s =
		map_entry(map_get(&b->streams, id), struct bstream, node);

	return s && s->v->host == host ? s : NULL;
}

/* Begin an operation of stream id, or refuse it. */
static struct op *begin(struct broker *b, struct rpc_req *q, uint64_t id,
			uint64_t front, uint16_t code, size_t room, size_t max)
{
	struct bstream *s = own_stream(b, b->c.port->req_host(q), id);
	struct op *o = NULL;
	int r = s ? pdev_stream_may(&s->s) : -EBADF;

	if (!r && room > max)
		r = -EMSGSIZE;
	if (!r)
		r = bop_start(s, q, front, room, &o);
	if (r) {
		b->c.port->reply(q, r, NULL);
		return NULL;
	}
	o->code = code;
	return o;
}

void broker_read(struct broker *b, struct rpc_req *q,
		 const struct msg_pdev_read *m)
{
	struct msg_pdev_read to = *m;
	uint8_t body[64];
	struct rpc_out out = {.code = MSG_pdev_read, .body = body};
	struct op *o =
		begin(b, q, m->stream, m->req, out.code, m->size, PDEV_IO_MAX);

	if (!o)
		return;
	to.req = o->id;
	bop_send(o, msg_pdev_read_encode(&to, body, sizeof(body), &out.len),
		&out);
}

void broker_write(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_write *m, const struct rpc_msg *raw)
{
	struct msg_pdev_write to = *m;
	uint8_t body[64];
	struct rpc_out out = {.code = MSG_pdev_write,
			      .body = body,
			      .payload = raw->payload,
			      .payload_len = raw->payload_len};
	struct op *o = begin(b, q, m->stream, m->req, out.code,
			     raw->payload_len, PDEV_IO_MAX);

	if (!o)
		return;
	to.req = o->id;
	bop_send(o, msg_pdev_write_encode(&to, body, sizeof(body), &out.len),
		&out);
}

void broker_ioctl(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_ioctl *m, const struct rpc_msg *raw)
{
	struct msg_pdev_ioctl to = *m;
	uint8_t body[64];
	struct rpc_out out = {.code = MSG_pdev_ioctl,
			      .body = body,
			      .payload = raw->payload,
			      .payload_len = raw->payload_len};
	struct op *o;

	if (raw->payload_len > PDEV_IOCTL_MAX) {
		b->c.port->reply(q, -EMSGSIZE, NULL);
		return;
	}
	o = begin(b, q, m->stream, m->req, out.code, m->out_size,
		  PDEV_IOCTL_MAX);
	if (!o)
		return;
	to.req = o->id;
	bop_send(o, msg_pdev_ioctl_encode(&to, body, sizeof(body), &out.len),
		&out);
}

void broker_close(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_close *m)
{
	struct bstream *s = own_stream(b, b->c.port->req_host(q), m->stream);

	if (s && s->s.state != PDEV_OPENING)
		bstream_free(s);
	b->c.port->reply(q, 0, NULL);
}

void broker_cancel(struct broker *b, struct rpc_conn *c,
		   const struct msg_pdev_cancel *m)
{
	struct bstream *s = own_stream(b, b->c.port->host(c), m->stream);

	if (!s)
		return;
	list_each(o, &s->ops, struct op, link)
	{
		if (o->front != m->req || o->cancelled ||
		    o->code == MSG_pdev_open)
			continue;
		o->cancelled = true;
		tell_cancel(o);
		env_after(b->c.env, &o->timer, CANCEL_MS);
		return;
	}
}
