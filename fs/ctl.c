/* ctl.c -- how the daemon is, told at fsd.sock; and flushing on demand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "cleanup.h"
#include "fsd.h"

static void count(struct buf *b, const char *name, uint64_t v)
{
	(void)buf_addf(b, "%s %lu\n", name, (unsigned long)v);
}

static void mount_counters(struct buf *b, const struct mnt *m)
{
	const struct mnt_stats *s = &m->stats;

	count(b, "requests", s->requests);
	count(b, "calls", s->calls);
	count(b, "lookups_local", s->lookups_local);
	count(b, "lookups_far", s->lookups_far);
	count(b, "getattr_local", s->getattr_local);
	count(b, "getattr_far", s->getattr_far);
	count(b, "reads_local", s->reads_local);
	count(b, "reads_far", s->reads_far);
	count(b, "writes_local", s->writes_local);
	count(b, "writes_far", s->writes_far);
	count(b, "flushed_bytes", s->flushed_bytes);
	count(b, "dropped_bytes", s->dropped_bytes);
	count(b, "recalls", s->recalls);
	count(b, "name_recalls", s->name_recalls);
	count(b, "epochs", s->epochs);
	count(b, "fenced", s->fenced);
	count(b, "dirty_bytes", m->dirty_bytes);
	count(b, "nodes", m->nodes.by_id.count);
	count(b, "names", m->nodes.names.count);
	count(b, "stuck", notifier_stuck(m->notifier));
}

static void server_counters(struct buf *b, const struct server *v)
{
	const struct server_stats *s = &v->stats;

	count(b, "server_requests", s->requests);
	count(b, "server_parked", s->parked);
	count(b, "server_recalls", s->recalls);
	count(b, "server_name_recalls", s->name_recalls);
	count(b, "server_fences", s->fences);
	count(b, "server_reads", s->reads);
	count(b, "server_writes", s->writes);
	count(b, "server_read_bytes", s->read_bytes);
	count(b, "server_write_bytes", s->write_bytes);
	count(b, "server_objects", export_count(v->x));
	count(b, "server_grace", v->grace);
}

static void on_stat(struct fsd *f, struct rpc_req *rq, bool zero)
{
	SCOPED(buf_free) struct buf b = { .max = 8192 };
	struct msg_fs_counters c;
	uint8_t body[8192 + 16];
	struct rpc_out o = { .code = MSG_fs_counters, .body = body };
	int r;

	mount_counters(&b, &f->mnt);
	if (f->server)
		server_counters(&b, f->server);
	r = buf_add(&b, "", 1);
	c.text = (const char *)buf_data(&b);
	if (!r)
		r = msg_fs_counters_encode(&c, body, sizeof(body), &o.len);
	if (r) {
		rpc_reply_err(rq, r, NULL);
		return;
	}
	rpc_reply(rq, 0, &o);
	if (!zero)
		return;
	f->mnt.stats = (struct mnt_stats){ 0 };
	if (f->server)
		f->server->stats = (struct server_stats){ 0 };
}

struct flush {
	struct rpc_req *rq; /* NULL: told that it takes too long */
	struct timer late;
	struct env *env;
};

static void on_flushed(struct node *n, int status, void *arg)
{
	struct flush *l = arg;

	(void)n;
	env_cancel(l->env, &l->late);
	if (l->rq)
		rpc_reply_err(l->rq, status, NULL);
	free(l);
}

static void on_late(struct timer *t)
{
	struct flush *l = t->data;

	rpc_reply_err(l->rq, -ETIMEDOUT, NULL);
	l->rq = NULL;
}

static void on_flush_all(struct fsd *f, struct rpc_req *rq, uint32_t within_ms)
{
	struct flush *l = calloc(1, sizeof(*l));

	if (!l) {
		rpc_reply_err(rq, -ENOMEM, NULL);
		return;
	}
	l->rq = rq;
	l->env = f->env;
	l->late = (struct timer){ .fire = on_late, .data = l };
	env_after(f->env, &l->late, within_ms);
	flush_all(&f->mnt, on_flushed, l);
}

void ctl_request(struct fsd *f, struct rpc_req *rq, const struct rpc_msg *m)
{
	struct msg_fs_flush_all flush;
	struct msg_fs_stat stat;
	int r;

	if (m->code == MSG_fs_stat) {
		r = msg_fs_stat_decode(m->body, m->len, &stat);
		if (!r)
			on_stat(f, rq, stat.zero != 0);
	} else {
		r = msg_fs_flush_all_decode(m->body, m->len, &flush);
		if (!r)
			on_flush_all(f, rq, flush.within_ms);
	}
	if (r)
		rpc_reply_err(rq, r, NULL);
}
