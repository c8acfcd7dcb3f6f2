/* stream.c -- see stream.h. */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "cleanup.h"
#include "special.h"
#include "work.h"

#define TOKEN_MAGIC 0x53545231u /* "STR1" */
#define TOKEN_MAX   (FS_HANDLE_MAX + 32)
#define PIN_SECS    600
#define STREAMS_MAX 65536

struct token {
	uint64_t id;
	wire_blob fh;
};

/* Imported here: the node is kept until done. */
struct stream {
	struct list link;
	struct node *n;
	uint64_t id;
	struct mnt *m;
	struct timer end;
	char name[24];
};

/* A request under way. */
struct move {
	struct mnt *m;
	struct rpc_req *rq;
	struct node *n; /* referenced, or NULL */
	struct link_call call;
	uint64_t id;
	uint8_t fh[FS_HANDLE_MAX];
	size_t len;
};

static void move_end(struct move *v, int status, const char *sentence)
{
	rpc_reply_err(v->rq, status, sentence);
	if (v->n) {
		v->n->refs--;
		node_tidy(v->m, v->n);
	}
	free(v);
}

static struct move *move_new(struct mnt *m, struct rpc_req *rq)
{
	struct move *v = calloc(1, sizeof(*v));

	if (!v) {
		rpc_reply_err(rq, -ENOMEM, NULL);
		return NULL;
	}
	v->m = m;
	v->rq = rq;
	return v;
}

static int token_read(wire_blob b, struct token *ret)
{
	struct wire_reader r = wire_reader(b.p, b.len);

	if (wire_get_u32(&r) != TOKEN_MAGIC)
		return -EBADMSG;
	ret->id = wire_get_u64(&r);
	ret->fh = wire_get_blob(&r);
	return wire_read_end(&r) || ret->fh.len > FS_HANDLE_MAX ? -EBADMSG : 0;
}

/* ---- export ---- */

struct closing {
	struct work work;
	int fd;
};

static void close_run(struct work *w)
{
	close(container_of(w, struct closing, work)->fd);
}

static void close_done(struct work *w)
{
	free(container_of(w, struct closing, work));
}

/*
 * Every close of a file under our own mount asks us to flush it and waits for
 * the answer: only a thread may do that.
 */
static int close_elsewhere(struct mnt *m, int *fd)
{
	struct closing *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->work = (struct work){ .run = close_run, .done = close_done };
	c->fd = take_fd(fd);
	pool_add(m->pool, &c->work);
	return 0;
}

/* Asked without upcall: this process would have to answer it. */
static struct node *node_of_fd(struct mnt *m, int fd)
{
	struct statx sx;
	struct node *n;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &sx) ||
	    makedev(sx.stx_dev_major, sx.stx_dev_minor) != mnt_dev(m))
		return NULL;
	for (struct map_node *i = map_next(&m->nodes.by_id, NULL); i;
	     i = map_next(&m->nodes.by_id, i)) {
		n = container_of(i, struct node, by_id);
		if (n->st.st_ino == sx.stx_ino && n->nlookup && !n->special)
			return n;
	}
	return NULL;
}

static void on_pinned(void *arg, int status, const struct rpc_msg *msg)
{
	struct move *v = arg;
	uint8_t token[TOKEN_MAX], body[TOKEN_MAX + 16];
	struct wire_writer w = wire_writer(token, sizeof(token));
	struct msg_fs_stream_token t;
	struct rpc_out o = { .code = MSG_fs_stream_token, .body = body };

	(void)msg;
	if (status) {
		move_end(v, status, NULL);
		return;
	}
	wire_put_u32(&w, TOKEN_MAGIC);
	wire_put_u64(&w, v->id);
	wire_put_blob(&w, (wire_blob){ v->fh, v->len });
	t.token = (wire_blob){ token, w.len };
	status = msg_fs_stream_token_encode(&t, body, sizeof(body), &o.len);
	if (status) {
		move_end(v, status, NULL);
		return;
	}
	rpc_reply(v->rq, 0, &o);
	v->n->refs--;
	node_tidy(v->m, v->n);
	free(v);
}

static void pin(struct move *v, uint32_t secs)
{
	struct msg_fs_pin m = { .fh = { v->fh, v->len },
				.id = v->id,
				.secs = secs ? secs : PIN_SECS };
	uint8_t body[FS_HANDLE_MAX + 32];
	struct rpc_out o = { .code = MSG_fs_pin, .body = body };
	int r = msg_fs_pin_encode(&m, body, sizeof(body), &o.len);

	if (!r)
		r = link_call(&v->m->link, &v->call, &o, on_pinned, v);
	if (r)
		move_end(v, r, NULL);
}

static void on_export(struct mnt *m, struct rpc_req *rq,
		      const struct msg_fs_stream_export *e,
		      const struct rpc_msg *msg)
{
	struct node *n = msg->nfds == 1 ? node_of_fd(m, msg->fds[0]) : NULL;
	struct move *v;

	/* A descriptor that cannot be closed is better lost than waited for. */
	for (size_t i = 0; i < msg->nfds; i++) {
		if (close_elsewhere(m, &msg->fds[i]))
			(void)take_fd(&msg->fds[i]);
	}
	if (!n) {
		rpc_reply_err(rq, -EXDEV, "the descriptor is not of a file under "
					  "the namespace's mount");
		return;
	}
	v = move_new(m, rq);
	if (!v)
		return;
	v->n = n;
	n->refs++;
	randombytes_buf(&v->id, sizeof(v->id));
	v->len = n->len;
	memcpy(v->fh, n->fh, n->len);
	pin(v, e->secs);
}

/* ---- import ---- */

static void stream_free(struct stream *s)
{
	struct mnt *m = s->m;
	struct node *n = s->n;
	struct node *dir = node_special(&m->nodes, SP_STREAMS, ".stream");

	/* Or the kernel would keep the object for the sake of this name. */
	if (dir && dir->nlookup && m->notifier)
		(void)notify_entry(m->notifier, dir->id, s->name, NULL, NULL);
	env_cancel(m->env, &s->end);
	list_del(&s->link);
	free(s);
	n->refs--;
	node_tidy(m, n);
}

static void on_end(struct timer *t)
{
	stream_free(t->data);
}

static struct stream *find(struct mnt *m, uint64_t id)
{
	list_each(s, &m->streams, struct stream, link) {
		if (s->id == id)
			return s;
	}
	return NULL;
}

struct node *stream_node(struct mnt *m, const char *name)
{
	list_each(s, &m->streams, struct stream, link) {
		if (strcmp(s->name, name) == 0)
			return s->n;
	}
	return NULL;
}

static struct stream *stream_new(struct mnt *m, struct node *n, uint64_t id)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->m = m;
	s->n = n;
	n->refs++;
	s->id = id;
	snprintf(s->name, sizeof(s->name), "%016lx", (unsigned long)id);
	s->end = (struct timer){ .fire = on_end, .data = s };
	env_after(m->env, &s->end, PIN_SECS * 1000);
	list_add_tail(&m->streams, &s->link);
	return s;
}

static void on_attrs(void *arg, int status, const struct rpc_msg *msg)
{
	struct move *v = arg;
	struct mnt *m = v->m;
	struct msg_fs_attrs a;
	struct msg_fs_stream_path p;
	char path[sizeof(m->conf->mount) + 64];
	uint8_t body[sizeof(path) + 16];
	struct rpc_out o = { .code = MSG_fs_stream_path, .body = body };
	struct stream *s;
	struct stat st;
	struct node *n = NULL;

	if (!status)
		status = REPLY_OF(msg, fs_attrs, &a);
	if (!status)
		status = attr_get(a.attr, &st);
	if (!status && !(n = node_get(&m->nodes, (wire_blob){ v->fh, v->len })))
		status = -ENOMEM;
	if (status) {
		move_end(v, status, NULL);
		return;
	}
	node_grant(n, &st, (enum lease_level)a.lease, a.seq);
	s = find(m, v->id);
	if (!s)
		s = stream_new(m, n, v->id);
	if (!s) {
		move_end(v, -ENOMEM, NULL);
		return;
	}
	snprintf(path, sizeof(path), "%s/.stream/%s", m->conf->mount, s->name);
	p.path = path;
	(void)msg_fs_stream_path_encode(&p, body, sizeof(body), &o.len);
	rpc_reply(v->rq, 0, &o);
	free(v);
}

static void on_import(struct mnt *m, struct rpc_req *rq,
		      const struct msg_fs_stream_import *e)
{
	struct msg_fs_getattr g = { .want = LEASE_READ };
	uint8_t body[FS_HANDLE_MAX + 16];
	struct rpc_out o = { .code = MSG_fs_getattr, .body = body };
	struct token t;
	struct move *v;
	int r = token_read(e->token, &t);

	if (r) {
		rpc_reply_err(rq, -EINVAL, "this is not a stream's token");
		return;
	}
	v = move_new(m, rq);
	if (!v)
		return;
	v->id = t.id;
	v->len = t.fh.len;
	memcpy(v->fh, t.fh.p, t.fh.len);
	g.fh = (wire_blob){ v->fh, v->len };
	r = msg_fs_getattr_encode(&g, body, sizeof(body), &o.len);
	if (!r)
		r = link_call(&m->link, &v->call, &o, on_attrs, v);
	if (r)
		move_end(v, r, NULL);
}

/* ---- done ---- */

static void on_unpinned(void *arg, int status, const struct rpc_msg *msg)
{
	(void)msg;
	/* An object that is gone is certainly not pinned. */
	move_end(arg, status == -ESTALE ? 0 : status, NULL);
}

static void on_stream_done(struct mnt *m, struct rpc_req *rq,
			   const struct msg_fs_stream_done *e)
{
	uint8_t body[FS_HANDLE_MAX + 32];
	struct rpc_out o = { .code = MSG_fs_unpin, .body = body };
	struct msg_fs_unpin u;
	struct stream *s;
	struct token t;
	struct move *v;
	int r = token_read(e->token, &t);

	if (r) {
		rpc_reply_err(rq, -EINVAL, "this is not a stream's token");
		return;
	}
	s = find(m, t.id);
	if (s)
		stream_free(s);
	v = move_new(m, rq);
	if (!v)
		return;
	u.fh = t.fh;
	u.id = t.id;
	r = msg_fs_unpin_encode(&u, body, sizeof(body), &o.len);
	if (!r)
		r = link_call(&m->link, &v->call, &o, on_unpinned, v);
	if (r)
		move_end(v, r, NULL);
}

void stream_request(struct mnt *m, struct rpc_req *rq, const struct rpc_msg *msg)
{
	struct msg_fs_stream_export e;
	struct msg_fs_stream_import i;
	struct msg_fs_stream_done d;
	int r;

	switch (msg->code) {
	case MSG_fs_stream_export:
		r = msg_fs_stream_export_decode(msg->body, msg->len, &e);
		if (!r)
			on_export(m, rq, &e, msg);
		break;
	case MSG_fs_stream_import:
		r = msg_fs_stream_import_decode(msg->body, msg->len, &i);
		if (!r)
			on_import(m, rq, &i);
		break;
	default:
		r = msg_fs_stream_done_decode(msg->body, msg->len, &d);
		if (!r)
			on_stream_done(m, rq, &d);
	}
	if (r)
		rpc_reply_err(rq, r, NULL);
}

void streams_free(struct mnt *m)
{
	list_each_safe(s, &m->streams, struct stream, link)
		stream_free(s);
}
