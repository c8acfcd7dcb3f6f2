/* fake.c -- see fake.h. */
#include "fake.h"

#include <errno.h>
#include <string.h>

#include "status.h"

#define TIMERS 4096

struct rpc_call calls[CALLS];
unsigned ncalls;
struct sent_note notes[NOTES];
unsigned nnotes;

static uint64_t now = 1000;
static struct {
	struct timer *t;
	uint64_t at;
} timers[TIMERS];
static unsigned ntimers;

static uint64_t get_now(struct env *e)
{
	(void)e;
	return now;
}

static void cancel(struct env *e, struct timer *t)
{
	(void)e;
	t->impl = NULL;
	for (unsigned i = 0; i < ntimers; i++) {
		if (timers[i].t == t) {
			timers[i] = timers[--ntimers];
			return;
		}
	}
}

static void after(struct env *e, struct timer *t, uint64_t ms)
{
	cancel(e, t);
	timers[ntimers].t = t;
	timers[ntimers++].at = now + ms;
	t->impl = &timers;
}

static uint64_t dice(struct env *e)
{
	static uint64_t n = 88172645463325252u;

	(void)e;
	n ^= n << 13;
	n ^= n >> 7;
	return n ^= n << 17;
}

static const struct env_ops ops = { get_now, after, cancel, dice };
static struct env env = { &ops };
struct env *fake_env = &env;

unsigned fake_timers(void)
{
	return ntimers;
}

void fake_advance(uint64_t ms)
{
	uint64_t end = now + ms;

	for (;;) {
		unsigned first = ntimers;

		for (unsigned i = 0; i < ntimers; i++)
			if (timers[i].at <= end &&
			    (first == ntimers ||
			     timers[i].at < timers[first].at))
				first = i;
		if (first == ntimers)
			break;
		struct timer *t = timers[first].t;

		now = timers[first].at > now ? timers[first].at : now;
		cancel(&env, t);
		t->fire(t);
	}
	now = end;
}

void fake_reset(void)
{
	ncalls = nnotes = ntimers = 0;
	memset(calls, 0, sizeof(calls));
}

/* ---- the port ---- */

int fake_make_call(struct rpc_conn *c, const struct rpc_out *o, uint32_t ms,
		   rpc_done_fn *done, void *arg, struct rpc_call **ret)
{
	struct rpc_call *call = &calls[ncalls];

	(void)ms;
	if (c && !c->open)
		return -ENOTCONN;
	if (ncalls == CALLS || o->len > sizeof(call->body))
		return -ENOMEM;
	ncalls++;
	*call = (struct rpc_call){ .conn = c,
				   .done = done,
				   .arg = arg,
				   .code = o->code,
				   .len = o->len,
				   .payload_len = o->payload_len };
	memcpy(call->body, o->body, o->len);
	if (ret)
		*ret = call;
	return 0;
}

void fake_answer(struct rpc_call *c, int status, uint16_t code,
		 const void *body, size_t len, const void *payload,
		 size_t payload_len)
{
	struct rpc_msg m = { .code = code,
			     .body = body,
			     .len = len,
			     .payload = payload,
			     .payload_len = payload_len };

	if (c->ended)
		return;
	c->ended = true;
	c->done(c->arg, status, &m);
}

static void call_cancel(struct rpc_call *c)
{
	c->ended = true;
	c->done(c->arg, -ECANCELED, NULL);
}

static int note(struct rpc_conn *c, const struct rpc_out *o)
{
	if (!c->open)
		return -ENOTCONN;
	if (o->len > sizeof(notes->body))
		return -ENOMEM;
	if (nnotes == NOTES)
		memmove(notes, notes + 1, --nnotes * sizeof(*notes));
	notes[nnotes].conn = c;
	notes[nnotes].code = o->code;
	notes[nnotes].len = o->len;
	memcpy(notes[nnotes].body, o->body, o->len);
	nnotes++;
	return 0;
}

static void reply(struct rpc_req *q, int status, const struct rpc_out *o)
{
	q->answers++;
	q->status = status;
	if (!o)
		return;
	q->code = o->code;
	q->len = o->len < sizeof(q->body) ? o->len : sizeof(q->body);
	if (q->len)
		memcpy(q->body, o->body, q->len);
	q->payload_len = o->payload_len < sizeof(q->payload) ?
				 o->payload_len :
				 sizeof(q->payload);
	if (q->payload_len)
		memcpy(q->payload, o->payload, q->payload_len);
}

static void reply_err(struct rpc_req *q, int status, const char *sentence)
{
	q->answers++;
	q->status = status;
	strncpy(q->sentence, sentence ? sentence : "", sizeof(q->sentence) - 1);
}

static struct rpc_conn *req_conn(const struct rpc_req *q)
{
	return q->conn->open ? q->conn : NULL;
}

static uint32_t req_host(const struct rpc_req *q)
{
	return q->conn->host;
}

static uint32_t host(const struct rpc_conn *c)
{
	return c->host;
}

static uint64_t epoch(const struct rpc_conn *c)
{
	return c->epoch;
}

static enum rpc_service service(const struct rpc_conn *c)
{
	return c->service;
}

static uid_t uid(const struct rpc_conn *c)
{
	return c->uid;
}

static gid_t gid(const struct rpc_conn *c)
{
	return c->gid;
}

static pid_t pid(const struct rpc_conn *c)
{
	return c->pid;
}

static void close_conn(struct rpc_conn *c)
{
	c->open = false;
	c->closed_by_us = true;
}

const struct pdev_port fake_port = {
	.call = fake_make_call,
	.cancel = call_cancel,
	.note = note,
	.reply = reply,
	.reply_err = reply_err,
	.req_conn = req_conn,
	.req_host = req_host,
	.host = host,
	.epoch = epoch,
	.service = service,
	.uid = uid,
	.gid = gid,
	.pid = pid,
	.close = close_conn,
};

/* ---- looking at what was sent ---- */

struct rpc_call *fake_call(const struct rpc_conn *conn, uint16_t code)
{
	for (unsigned i = ncalls; i-- > 0;)
		if (calls[i].conn == conn && calls[i].code == code &&
		    !calls[i].ended)
			return &calls[i];
	return NULL;
}

unsigned fake_notes(const struct rpc_conn *conn, uint16_t code,
		    struct sent_note *ret)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nnotes; i++) {
		if (notes[i].conn == conn && notes[i].code == code) {
			n++;
			if (ret)
				*ret = notes[i];
		}
	}
	return n;
}
