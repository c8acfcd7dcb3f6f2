/*
 * front.c -- the streams that programs of this host have open; see front.h.
 *
 * A stream belongs to one life of the fsd that serves it.  Whether that life
 * goes on is looked at once a second while there are streams: a changed epoch,
 * or a host out of touch for DOWN_MS, cuts the stream.
 */
#include "front_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/fuse.h>

#include "sprite/pdev.h"

#define OPEN_FLAGS                                                             \
	(FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | FOPEN_STREAM | FOPEN_NOFLUSH |  \
	 FOPEN_PARALLEL_DIRECT_WRITES)
#define CLOSE_MS 60000u

static void on_watch(struct timer *t);

int front_new(const struct front_conf *c, struct front **ret)
{
	struct front *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->c = *c;
	list_init(&f->streams);
	f->next_req = 1;
	f->watch = (struct timer){.fire = on_watch, .data = f};
	*ret = f;
	return 0;
}

void front_free(struct front *f)
{
	if (!f)
		return;
	env_cancel(f->c.env, &f->watch);
	list_each_safe(s, &f->streams, struct fstream, link)
	{
		if (s->s.state == PDEV_OPENING)
			fstream_cut(s);
		else
			fstream_free(s);
	}
	free(f);
}

unsigned front_streams(const struct front *f)
{
	return f->nstreams;
}

static struct fstream *stream_of(const struct fuse_file_info *fi)
{
	return (struct fstream *)(uintptr_t)fi->fh;
}

/* ---- the life of a stream ---- */

static struct fstream *fstream_new(struct front *f, uint32_t host)
{
	struct fstream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->f = f;
	s->host = host;
	list_init(&s->reqs);
	list_add_tail(&f->streams, &s->link);
	if (f->nstreams++ == 0)
		env_after(f->c.env, &f->watch, WATCH_MS);
	return s;
}

static void wake(struct fstream *s)
{
	struct fuse_pollhandle *ph = s->ph;

	s->ph = NULL;
	if (ph)
		s->f->c.wake(s->f->c.arg, ph);
}

static void fail_all(struct fstream *s, int status)
{
	struct freq *q;

	while ((q = list_first(&s->reqs, struct freq, link)))
		freq_fail(q, status);
}

void fstream_free(struct fstream *s)
{
	struct front *f = s->f;

	fail_all(s, -EIO);
	if (s->ph)
		fuse_pollhandle_destroy(s->ph);
	pdev_stream_move(&s->s, PDEV_CLOSED);
	list_del(&s->link);
	f->nstreams--;
	free(s);
}

void fstream_cut(struct fstream *s)
{
	if (s->s.state == PDEV_OPENING) {
		struct freq *q = list_first(&s->reqs, struct freq, link);

		/* Its end is the stream's. */
		if (q)
			freq_fail(q, -EHOSTUNREACH);
		return;
	}
	if (s->s.state != PDEV_OPEN)
		return;
	pdev_stream_move(&s->s, PDEV_CUT);
	fail_all(s, -EIO);
	wake(s);
}

/* Is the fsd that has s still alive, as far as we know? */
static bool out_of_touch(struct fstream *s, uint64_t now)
{
	struct rpc_peer *p = s->f->c.peer(s->f->c.arg, s->host);
	struct rpc_conn *c = p ? rpc_peer_conn(p) : NULL;

	if (!p)
		return true;
	if (c) {
		s->down_since_ms = 0;
		return s->s.state == PDEV_OPEN && rpc_conn_epoch(c) != s->epoch;
	}
	if (!s->down_since_ms)
		s->down_since_ms = now;
	return now - s->down_since_ms >= DOWN_MS;
}

static void on_watch(struct timer *t)
{
	struct front *f = t->data;
	uint64_t now = env_now_ms(f->c.env);

	list_each_safe(s, &f->streams, struct fstream,
		       link) if (s->s.state <= PDEV_OPEN &&
				 out_of_touch(s, now)) fstream_cut(s);
	if (f->nstreams)
		env_after(f->c.env, &f->watch, WATCH_MS);
}

/* ---- open, release ---- */

static void send_close(struct front *f, uint32_t host, uint64_t id)
{
	struct rpc_peer *p = f->c.peer(f->c.arg, host);
	struct msg_pdev_close m = {.stream = id};
	uint8_t body[16];
	struct rpc_out o = {.code = MSG_pdev_close, .body = body};

	/* If it does not arrive the broker closes it when we are silent. */
	if (p && msg_pdev_close_encode(&m, body, sizeof(body), &o.len) == 0)
		(void)rpc_call(p, &o, CLOSE_MS, RPC_IDEMPOTENT, NULL, NULL,
			       NULL);
}

/* Groups of the caller, u32 each; the number of bytes. */
static size_t put_groups(fuse_req_t req, uint8_t *room)
{
	gid_t groups[PDEV_GROUPS_MAX];
	int n = fuse_req_getgroups(req, PDEV_GROUPS_MAX, groups);
	struct wire_writer w = wire_writer(room, 4 * PDEV_GROUPS_MAX);

	for (int i = 0; i < n && i < (int)PDEV_GROUPS_MAX; i++)
		wire_put_u32(&w, groups[i]);
	return w.len;
}

void front_open(struct front *f, fuse_req_t req, const char *name,
		uint32_t host, const struct fuse_file_info *fi)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	uint8_t groups[4 * PDEV_GROUPS_MAX];
	uint8_t body[sizeof(groups) + 2 * PDEV_NAME_MAX + 256];
	struct rpc_out o = {.code = MSG_pdev_open, .body = body};
	struct msg_pdev_open m = {.name = name,
				  .host = f->c.host,
				  .uid = ctx->uid,
				  .gid = ctx->gid,
				  .flags = (uint32_t)fi->flags};
	struct fstream *s;
	struct freq *q;

	if (f->nstreams >= FRONT_STREAMS_MAX) {
		fuse_reply_err(req, ENFILE);
		return;
	}
	s = fstream_new(f, host);
	if (!s) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	q = freq_new(s, req, MSG_pdev_open, NULL, 0);
	if (!q) {
		fstream_free(s);
		return;
	}
	s->flags = m.flags;
	m.pid = q->pid;
	m.groups = (struct wire_blob){groups, put_groups(req, groups)};
	freq_call(q, msg_pdev_open_encode(&m, body, sizeof(body), &o.len), &o);
}

/* Give the kernel the stream.  False: it does not want it any more. */
static bool hand_over(struct fstream *s, fuse_req_t req)
{
	/* libfuse's own reply knows fewer flags than the kernel. */
	struct fuse_open_out out = {.fh = (uint64_t)(uintptr_t)s,
				    .open_flags = OPEN_FLAGS};

	return fuse_reply_buf(req, (const char *)&out, sizeof(out)) != -ENOENT;
}

void fstream_opened(struct freq *q, int status, const struct rpc_msg *m)
{
	struct fstream *s = q->s;
	struct front *f = s->f;
	struct rpc_peer *p = f->c.peer(f->c.arg, s->host);
	struct rpc_conn *c = p ? rpc_peer_conn(p) : NULL;
	struct msg_pdev_opened opened;
	fuse_req_t req = q->req;

	if (!status && (!m || m->code != MSG_pdev_opened ||
			msg_pdev_opened_decode(m->body, m->len, &opened)))
		status = -EIO;
	freq_free(q);
	if (status) {
		if (req)
			fuse_reply_err(req, -status);
		fstream_free(s);
		return;
	}
	pdev_stream_move(&s->s, PDEV_OPEN);
	(void)pdev_stream_set(&s->s, opened.ready);
	s->id = opened.stream;
	s->epoch = c ? rpc_conn_epoch(c) : 0;
	if (!req || !hand_over(s, req)) {
		send_close(f, s->host, s->id);
		fstream_free(s);
	}
}

void front_release(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct fstream *s = stream_of(fi);

	if (s->s.state == PDEV_OPEN)
		send_close(s->f, s->host, s->id);
	fstream_free(s);
	fuse_reply_err(req, 0);
}

/* ---- readiness ---- */

void front_poll(fuse_req_t req, const struct fuse_file_info *fi,
		struct fuse_pollhandle *ph)
{
	struct fstream *s = stream_of(fi);

	if (ph) {
		if (s->ph)
			fuse_pollhandle_destroy(s->ph);
		s->ph = ph;
	}
	fuse_reply_poll(req, (unsigned)pdev_stream_poll(&s->s));
}

void front_ready(struct front *f, uint32_t host, const struct msg_pdev_ready *m)
{
	list_each(s, &f->streams, struct fstream, link)
	{
		if (s->host != host || s->id != m->stream ||
		    s->s.state != PDEV_OPEN)
			continue;
		(void)pdev_stream_set(&s->s, m->bits);
		if (s->s.bits)
			wake(s);
		freqs_resume(s, s->s.bits);
		return;
	}
}
