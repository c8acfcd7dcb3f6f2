/*
 * broker_client.c -- the streams to this host's programs and the hosts of those
 * who have them.
 *
 * A stream belongs to one life of its client's fsd: when another life of it
 * appears, or the host stays out of touch, its streams are closed for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "broker_int.h"
#include "sprite/pdev.h"

/* ---- visitors ---- */

void bvisitor_free(struct visitor *v)
{
	struct bstream *s;

	while ((s = list_first(&v->streams, struct bstream, in_visitor)))
		bstream_free(s);
	env_cancel(v->b->c.env, &v->gone);
	list_del(&v->link);
	free(v);
}

static void on_visitor_gone(struct timer *t)
{
	bvisitor_free(t->data);
}

static struct visitor *visitor_find(const struct broker *b, uint32_t host)
{
	list_each(v, &b->visitors, struct visitor,
		  link) if (v->host == host) return v;
	return NULL;
}

/* The visitor that speaks on c; an earlier life of it ends. */
static struct visitor *visitor_get(struct broker *b, struct rpc_conn *c)
{
	const struct pdev_port *port = b->c.port;
	struct visitor *v = visitor_find(b, port->host(c));

	if (v && v->epoch != port->epoch(c)) {
		bvisitor_free(v);
		v = NULL;
	}
	if (!v) {
		v = calloc(1, sizeof(*v));
		if (!v)
			return NULL;
		v->b = b;
		v->host = port->host(c);
		v->epoch = port->epoch(c);
		v->gone = (struct timer){.fire = on_visitor_gone, .data = v};
		list_init(&v->streams);
		list_add_tail(&b->visitors, &v->link);
	}
	v->conn = c;
	env_cancel(b->c.env, &v->gone);
	return v;
}

void broker_conn_open(struct broker *b, struct rpc_conn *c)
{
	struct visitor *v;

	if (b->c.port->service(c) != SVC_FSD ||
	    !visitor_find(b, b->c.port->host(c)))
		return;
	v = visitor_get(b, c);
	if (!v)
		return;
	/* Notes may have been lost with the connection before. */
	list_each(s, &v->streams, struct bstream,
		  in_visitor) if (s->s.state != PDEV_OPENING) bstream_tell(s);
}

/* ---- streams ---- */

void bstream_tell(struct bstream *s)
{
	struct msg_pdev_ready m = {.stream = s->id, .bits = s->s.bits};
	uint8_t body[32];
	size_t len;

	if (s->v->conn &&
	    msg_pdev_ready_encode(&m, body, sizeof(body), &len) == 0)
		(void)s->b->c.port->note(
			s->v->conn, &(struct rpc_out){.code = MSG_pdev_ready,
						      .body = body,
						      .len = len});
}

static void leave_device(struct bstream *s)
{
	if (!s->d)
		return;
	list_del(&s->in_device);
	s->d->nstreams--;
	s->d = NULL;
}

void bstream_cut(struct bstream *s)
{
	leave_device(s);
	if (s->s.state == PDEV_OPENING) {
		bstream_free(s); /* ends the open with an error */
		return;
	}
	pdev_stream_move(&s->s, PDEV_CUT);
	bops_end(s, -EIO);
	bstream_tell(s);
}

/* Tell the program that it is closed. */
static void tell_closed(struct bstream *s)
{
	struct msg_pdev_closed m = {.stream = s->id};
	uint8_t body[16];
	size_t len;

	if (s->d && s->d->conn &&
	    msg_pdev_closed_encode(&m, body, sizeof(body), &len) == 0)
		(void)s->b->c.port->note(
			s->d->conn, &(struct rpc_out){.code = MSG_pdev_closed,
						      .body = body,
						      .len = len});
}

void bstream_free(struct bstream *s)
{
	struct broker *b = s->b;

	bops_end(s, s->d ? -EINTR : -EIO);
	tell_closed(s);
	pdev_stream_move(&s->s, PDEV_CLOSED);
	leave_device(s);
	list_del(&s->in_visitor);
	map_del(&b->streams, &s->node);
	free(s);
}

static int stream_new(struct device *d, struct visitor *v, struct bstream **ret)
{
	struct broker *b = d->b;
	struct bstream *s;

	if (d->nstreams >= STREAMS_MAX)
		return -EMFILE;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->b = b;
	s->d = d;
	s->v = v;
	s->id = b->next_stream++;
	s->s.bits = SPRITE_PDEV_IN | SPRITE_PDEV_OUT;
	list_init(&s->ops);
	if (map_put(&b->streams, s->id, &s->node)) {
		free(s);
		return -ENOMEM;
	}
	d->nstreams++;
	list_add_tail(&d->streams, &s->in_device);
	list_add_tail(&v->streams, &s->in_visitor);
	*ret = s;
	return 0;
}

/* ---- opening ---- */

static bool in_groups(const struct msg_pdev_open *m, uint32_t gid)
{
	struct wire_reader r = wire_reader(m->groups.p, m->groups.len);

	while (r.left >= 4)
		if (wire_get_u32(&r) == gid)
			return true;
	return m->gid == gid;
}

static bool permitted(const struct device *d, const struct msg_pdev_open *m)
{
	static const unsigned wants[] = {
		[O_RDONLY] = 4, [O_WRONLY] = 2, [O_RDWR] = 6, [O_ACCMODE] = 6};
	unsigned want = wants[m->flags & O_ACCMODE], have = d->mode;

	if (m->uid == 0)
		return true;
	if (m->uid == d->uid)
		have >>= 6;
	else if (in_groups(m, d->gid))
		have >>= 3;
	return (have & want) == want;
}

static int open_check(struct broker *b, struct rpc_req *q,
		      const struct msg_pdev_open *m, struct device **ret)
{
	struct device *d = broker_device_by_name(b, m->name);

	if (!b->c.port->req_conn(q))
		return -ENOTCONN;
	if (m->groups.len > PDEV_GROUPS_MAX * 4 || m->groups.len % 4)
		return -EBADMSG;
	if (!d || !d->served)
		return -ENXIO;
	if (!permitted(d, m))
		return -EACCES;
	*ret = d;
	return 0;
}

void broker_open(struct broker *b, struct rpc_req *q,
		 const struct msg_pdev_open *m)
{
	uint8_t body[2 * PDEV_NAME_MAX + 4 * PDEV_GROUPS_MAX + 256];
	struct rpc_out out = {.code = MSG_pdev_open, .body = body};
	struct msg_pdev_open to = *m;
	struct bstream *s = NULL;
	struct visitor *v;
	struct device *d;
	struct op *o;
	int r = open_check(b, q, m, &d);

	if (!r) {
		v = visitor_get(b, b->c.port->req_conn(q));
		r = v ? stream_new(d, v, &s) : -ENOMEM;
	}
	if (!r)
		r = bop_start(s, q, 0, 0, &o);
	if (r) {
		if (s)
			bstream_free(s);
		b->c.port->reply(q, r, NULL);
		return;
	}
	to.stream = s->id;
	/* A host cannot speak of users of another one. */
	to.host = b->c.port->req_host(q);
	to.host_name = b->c.host_name(b->c.arg, to.host);
	o->code = MSG_pdev_open;
	bop_send(o, msg_pdev_open_encode(&to, body, sizeof(body), &out.len),
		&out);
}

/* The program's answer; the op is gone already. */
void bop_opened(struct bstream *s, struct rpc_req *q, int status,
	       const struct rpc_msg *m)
{
	const struct pdev_port *port = s->b->c.port;
	struct msg_pdev_opened opened;
	uint8_t body[32];
	size_t len;

	if (!status && (!m || m->code != MSG_pdev_opened ||
			msg_pdev_opened_decode(m->body, m->len, &opened)))
		status = -EIO;
	if (status) {
		bstream_free(s);
		port->reply(q, status, NULL);
		return;
	}
	pdev_stream_move(&s->s, PDEV_OPEN);
	(void)pdev_stream_set(&s->s, opened.ready);
	opened.stream = s->id;
	opened.ready = s->s.bits;
	status = msg_pdev_opened_encode(&opened, body, sizeof(body), &len);
	port->reply(q, status,
		    &(struct rpc_out){.code = MSG_pdev_opened,
				      .body = body,
				      .len = status ? 0 : len});
}
