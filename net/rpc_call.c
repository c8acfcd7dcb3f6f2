/*
 * rpc_call.c -- calls made.
 *
 * A call of a peer keeps its frame until it ends, because it may have to be
 * sent again on the next connection.  Its number is never used twice, so an
 * answer that comes after the end of its call finds nobody and is dropped.
 */
#include <errno.h>
#include <stdlib.h>

#include "conn.h"
#include "session_msg.h"

#define ACK_BYTES (1u << 20)

uint64_t call_lowest(const struct rpc_peer *p)
{
	const struct rpc_call *first =
		list_first(&p->order, struct rpc_call, link);

	return first ? first->id : p->next_id;
}

/* Tell the server which records it may drop although older calls wait. */
static void send_acks(struct rpc_peer *p)
{
	uint8_t raw[PEER_ACKS * 8], body[sizeof(raw) + 16];
	struct wire_writer w = wire_writer(raw, sizeof(raw));
	struct msg_session_ack m = {.calls = {.p = raw}};
	uint64_t lowest = call_lowest(p);
	size_t len;

	for (unsigned i = 0; i < p->nacks; i++) {
		if (p->acks[i] > lowest)
			wire_put_u64(&w, p->acks[i]);
	}
	p->nacks = 0;
	p->ack_bytes = 0;
	m.calls.len = w.len;
	if (w.len && p->up &&
	    msg_session_ack_encode(&m, body, sizeof(body), &len) == 0)
		conn_greet(p->conn, MSG_session_ack, 0, body, len);
}

static void acknowledge(struct rpc_peer *p, uint64_t id, size_t bytes)
{
	if (id < call_lowest(p))
		return; /* the next request's ack says so */
	p->acks[p->nacks++] = id;
	p->ack_bytes += bytes;
	if (p->nacks == PEER_ACKS || p->ack_bytes > ACK_BYTES)
		send_acks(p);
}

static void unlink_call(struct rpc_call *call)
{
	struct map *m = call->peer ? &call->peer->calls : &call->conn->calls;

	map_del(m, &call->node);
	list_del(&call->link);
}

void call_end(struct rpc_call *call, int status, const struct rpc_msg *m)
{
	struct rpc *r = call->peer ? call->peer->r : call->conn->r;
	size_t bytes = m ? m->len + m->payload_len : 0;

	env_cancel(r->env, &call->deadline);
	unlink_call(call);
	if (call->peer && call->out->started && !(call->flags & RPC_IDEMPOTENT))
		acknowledge(call->peer, call->id, bytes);
	out_put(call->out);
	if (call->done)
		call->done(call->arg, status, m);
	free(call);
}

static void on_deadline(struct timer *t)
{
	struct rpc_call *call = t->data;
	bool tried = call->out->started || call->conn || call->peer->up;

	call_end(call, tried ? -ETIMEDOUT : -EHOSTUNREACH, NULL);
}

void call_send(struct rpc_call *call)
{
	struct rpc_peer *p = call->peer;
	uint8_t flags = 0;

	/* Still in the queue of this connection: it told us busy too early. */
	if (!list_empty(&call->out->link))
		return;
	if (rpc_conn_backlog(p->conn) > p->r->lim.ahead_max) {
		p->stalled = true;
		return;
	}
	if (!(call->flags & RPC_IDEMPOTENT))
		flags |= FRAME_ONCE;
	if (call->out->started)
		flags |= FRAME_REPLAYED;
	frame_patch(call->out->head, flags, call_lowest(p));
	call->sent_on = p->conn;
	conn_send(p->conn, call->out);
}

static int new_call(struct map *calls, struct list *order, uint64_t id,
		    uint8_t flags, const struct rpc_out *o,
		    struct rpc_call **ret)
{
	struct frame f = {.kind = FRAME_REQUEST, .flags = flags, .id = id};
	struct rpc_call *call = calloc(1, sizeof(*call));
	struct rpc_out keep = *o;
	int r;

	if (!call)
		return -ENOMEM;
	/* A call that is refused leaves the payload to the caller. */
	r = out_new(&f, &keep, &call->out);
	if (!r)
		r = map_put(calls, id, &call->node);
	if (r) {
		if (call->out)
			call->out->free_payload = NULL;
		out_put(call->out);
		free(call);
		return r;
	}
	call->id = id;
	call->deadline = (struct timer){.fire = on_deadline, .data = call};
	list_add_tail(order, &call->link);
	*ret = call;
	return 0;
}

int rpc_call(struct rpc_peer *p, const struct rpc_out *o, uint32_t deadline_ms,
	     unsigned flags, rpc_done_fn *done, void *arg,
	     struct rpc_call **ret_call)
{
	struct rpc_call *call;
	int r;

	if (p->freed)
		return -ECANCELED;
	if (o->nfds && !p->path[0])
		return -EINVAL;
	r = new_call(&p->calls, &p->order, p->next_id, 0, o, &call);
	if (r)
		return r;
	p->next_id++;
	call->peer = p;
	call->flags = flags;
	call->done = done;
	call->arg = arg;
	if (deadline_ms)
		env_after(p->r->env, &call->deadline, deadline_ms);
	if (ret_call)
		*ret_call = call;
	if (!p->up)
		peer_connect(p);
	else if (!p->held && !p->stalled)
		call_send(call);
	return 0;
}

int rpc_conn_call(struct rpc_conn *c, const struct rpc_out *o,
		  uint32_t deadline_ms, rpc_done_fn *done, void *arg,
		  struct rpc_call **ret_call)
{
	struct rpc_call *call;
	int r;

	if (c->state != CONN_OPEN)
		return -ENOTCONN;
	if (o->nfds && c->tcp)
		return -EINVAL;
	r = new_call(&c->calls, &c->call_list, c->next_id, FRAME_CONN, o,
		     &call);
	if (r)
		return r;
	c->next_id++;
	call->conn = c;
	call->done = done;
	call->arg = arg;
	if (deadline_ms)
		env_after(c->r->env, &call->deadline, deadline_ms);
	if (ret_call)
		*ret_call = call;
	conn_send(c, call->out);
	return 0;
}

void rpc_call_cancel(struct rpc_call *call)
{
	call_end(call, -ECANCELED, NULL);
}

static struct rpc_call *find_call(struct rpc_conn *c, const struct frame *f)
{
	struct map *m = f->flags & FRAME_CONN ? &c->calls
			: c->peer	      ? &c->peer->calls
					      : NULL;

	return m ? map_entry(map_get(m, f->id), struct rpc_call, node) : NULL;
}

void call_reply(struct rpc_conn *c, const struct frame *f,
		const struct rpc_msg *m)
{
	struct rpc_call *call = find_call(c, f);

	if (!call || (call->peer && call->sent_on != c))
		return;
	if (call->peer)
		call->peer->busy_ms = 0;
	call_end(call, f->status, m);
}

void call_busy(struct rpc_conn *c, const struct frame *f)
{
	struct rpc_call *call = find_call(c, f);
	struct rpc_peer *p;

	if (!call)
		return;
	p = call->peer;
	if (!p) {
		call_end(call, -EAGAIN, NULL);
		return;
	}
	call->busy = true;
	/* If that was the first time, the next one is the first again. */
	if (!(call->out->head[FRAME_FLAGS_AT] & FRAME_REPLAYED))
		call->out->started = false;
	if (p->busy.impl)
		return;
	p->busy_ms = p->busy_ms ? p->busy_ms * 2 : p->r->lim.backoff_min_ms / 4;
	if (p->busy_ms > p->r->lim.backoff_max_ms)
		p->busy_ms = p->r->lim.backoff_max_ms;
	env_after(p->r->env, &p->busy, p->busy_ms + 1);
}

static int send_note(struct rpc_conn *c, const struct rpc_out *from)
{
	struct frame f = {.kind = FRAME_NOTE};
	struct out *o;
	int r;

	if (from->nfds && c->tcp)
		return -EINVAL;
	r = out_new(&f, from, &o);
	if (r)
		return r;
	conn_send(c, o);
	out_put(o);
	return 0;
}

int rpc_conn_note(struct rpc_conn *c, const struct rpc_out *o)
{
	return c->state == CONN_OPEN ? send_note(c, o) : -ENOTCONN;
}

int rpc_peer_note(struct rpc_peer *p, const struct rpc_out *o)
{
	return p->up ? rpc_conn_note(p->conn, o) : -ENOTCONN;
}
