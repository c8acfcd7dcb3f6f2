/* rpc_serve.c -- requests received, and answering them. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "status.h"

static void send_status(struct rpc_conn *c, const struct frame *f, uint8_t kind,
			int status)
{
	struct frame reply = {.kind = kind,
			      .flags = f->flags & FRAME_CONN,
			      .code = f->code,
			      .status = status,
			      .id = f->id};

	conn_send_new(c, &reply, NULL);
}

/* It was here before: give the answer again, or let it come to this connection.
 */
static void serve_again(struct rpc_conn *c, const struct frame *f,
			struct record *rec)
{
	struct rpc_req *q = rec->req;

	if (q) {
		if (q->conn) {
			list_del(&q->link);
			q->conn->nreqs--;
		}
		q->conn = c;
		c->nreqs++;
		list_add_tail(&c->reqs, &q->link);
	} else if (!rec->reply) {
		send_status(c, f, FRAME_REPLY, -ENOMEM);
	} else if (list_empty(&rec->reply->link)) {
		conn_send(c, rec->reply);
	}
}

static bool once(const struct rpc_conn *c, const struct frame *f)
{
	return c->session && f->flags & FRAME_ONCE && !(f->flags & FRAME_CONN);
}

static struct rpc_req *new_req(struct rpc_conn *c, const struct frame *f)
{
	struct rpc_req *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->r = c->r;
	q->id = f->id;
	q->flags = f->flags & FRAME_CONN;
	q->host = c->host;
	if (once(c, f) && session_add(c->session, q)) {
		free(q);
		return NULL;
	}
	q->conn = c;
	c->nreqs++;
	list_add_tail(&c->reqs, &q->link);
	list_add_tail(&c->r->reqs, &q->all);
	return q;
}

void serve_request(struct rpc_conn *c, const struct frame *f,
		   const struct rpc_msg *m)
{
	struct rpc *r = c->r;
	struct record *rec = NULL;
	struct rpc_req *q;

	if (once(c, f)) {
		session_ack(c->session, f->ack);
		rec = session_find(c->session, f->id);
		if (!rec && f->id < c->session->acked)
			return; /* the caller has given it up */
	}
	if (rec) {
		serve_again(c, f, rec);
		return;
	}
	if (c->nreqs >= r->lim.reqs_max ||
	    (once(c, f) && session_full(c->session, &r->lim))) {
		send_status(c, f, FRAME_BUSY, 0);
		return;
	}
	q = new_req(c, f);
	if (!q) {
		send_status(c, f, FRAME_BUSY, 0);
		return;
	}
	if (r->h.on_request)
		r->h.on_request(r->h.arg, q, m);
	else
		rpc_reply_err(q, -ENOSYS, NULL);
}

static void req_free(struct rpc_req *q)
{
	if (q->conn) {
		list_del(&q->link);
		q->conn->nreqs--;
	}
	if (q->r)
		list_del(&q->all);
	free(q);
}

/* The rpc ends before the answer: it will go nowhere. */
void req_orphan(struct rpc_req *q)
{
	list_del(&q->all);
	q->r = NULL;
	q->conn = NULL;
	q->rec = NULL;
}

struct rpc_conn *rpc_req_conn(const struct rpc_req *q)
{
	return q->conn && q->conn->state == CONN_OPEN ? q->conn : NULL;
}

uint32_t rpc_req_host(const struct rpc_req *q)
{
	return q->host;
}

void rpc_reply(struct rpc_req *q, int status, const struct rpc_out *from)
{
	struct frame f = {.kind = FRAME_REPLY,
			  .flags = q->flags,
			  .status = status,
			  .id = q->id};
	struct rpc_conn *c = q->conn;
	struct out *o = NULL;
	int r;

	assert(!from || !from->nfds || !c || !c->tcp);
	r = c || q->rec ? out_new(&f, from, &o) : -ENOTCONN;
	if (r && from && from->free_payload)
		from->free_payload(from->free_arg);
	/* Too long, or no memory: an answer must come nevertheless. */
	if (r && (c || q->rec)) {
		f.status = r;
		(void)out_new(&f, NULL, &o);
	}
	if (q->rec)
		record_answer(q->rec, o);
	req_free(q);
	if (c && o)
		conn_send(c, o);
	else if (c)
		conn_close(c, -ENOMEM);
	out_put(o);
}

void rpc_reply_err(struct rpc_req *q, int status, const char *sentence)
{
	struct rpc_out o = {.body = sentence,
			    .len = sentence ? strlen(sentence) + 1 : 0};

	rpc_reply(q, status, &o);
}

void rpc_reply_busy(struct rpc_req *q)
{
	struct frame f = {.flags = q->flags, .id = q->id};
	struct rpc_conn *c = q->conn;

	if (q->rec)
		record_free(q->rec);
	req_free(q);
	if (c)
		send_status(c, &f, FRAME_BUSY, 0);
}

const char *rpc_sentence(int status, const struct rpc_msg *m)
{
	return status_sentence(status, m ? m->body : NULL, m ? m->len : 0);
}
