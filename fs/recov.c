/*
 * recov.c -- losing and finding the server.
 *
 * A connection that comes back to the same server finds everything as it was;
 * the wire sends again what was not answered.  A server that has restarted
 * has forgotten us: what we hold is claimed anew before anything else is
 * sent, and what it does not give back we drop.
 *
 * A host that is cut off must stop believing its caches before the server
 * gives them to others (FENCE_MS and RECALL_MS there): it looks every
 * PROBE_MS whether the server is there, and DOUBT_MS after it lost it takes
 * the caches away from the kernel.  Programs then wait for the server.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "mnt.h"

#define PROBE_MS  5000
#define DOUBT_MS  4000
#define CALL_MS	  30000
#define BATCH_MAX 200

struct recov {
	struct mnt *m;
	struct rpc_peer *peer;
	struct timer probe, doubt;
	bool greeted; /* once in this life */
	uint64_t sent_ms;
	struct timespec asked;
	/* Claiming: the nodes in order of their ids. */
	uint64_t next_id;
	uint64_t batch[BATCH_MAX];
	unsigned nbatch;
	bool last_said;
};

static void hello(struct recov *v, bool reset);
static void claim(struct recov *v);
static void claim_more(struct recov *v);

static void probe(struct timer *t)
{
	struct recov *v = t->data;

	if (v->peer)
		rpc_peer_probe(v->peer);
	env_after(v->m->env, t, PROBE_MS);
}

static void doubt(struct timer *t)
{
	struct recov *v = t->data;

	log_warn("the file server is away: cached files are not believed until "
		 "it is back");
	recall_all(v->m, true);
}

/* Halfway between question and answer it was that late at the server. */
static void set_clock(struct recov *v, const struct msg_fs_welcome *w)
{
	struct timespec now;
	int64_t mid, span;

	clock_gettime(CLOCK_REALTIME, &now);
	span = (now.tv_sec - v->asked.tv_sec) * 1000000000 +
	       (now.tv_nsec - v->asked.tv_nsec);
	mid = v->asked.tv_sec * 1000000000 + v->asked.tv_nsec + span / 2;
	v->m->clock_ns = w->now * 1000000000 + (int64_t)w->now_ns - mid;
	/* Clocks that agree as well as can be measured are left alone. */
	if (v->m->clock_ns < span && v->m->clock_ns > -span)
		v->m->clock_ns = 0;
}

static void on_welcome(void *arg, int status, const struct rpc_msg *msg)
{
	struct recov *v = arg;
	struct msg_fs_welcome w;

	if (!status)
		status = REPLY_OF(msg, fs_welcome, &w);
	if (status)
		return; /* the next connection says hello again */
	set_clock(v, &w);
	if (w.fenced) {
		log_warn("the file server had given this host up: everything "
			 "cached is dropped");
		v->m->stats.fenced++;
		recall_all(v->m, false);
		hello(v, true);
		claim(v);
	}
}

static void hello(struct recov *v, bool reset)
{
	struct msg_fs_hello h = { .reset = reset };
	struct rpc_conn *c = v->peer ? rpc_peer_conn(v->peer) : NULL;
	uint8_t body[8];
	struct rpc_out o = { .code = MSG_fs_hello, .body = body };

	if (!c)
		return;
	clock_gettime(CLOCK_REALTIME, &v->asked);
	(void)msg_fs_hello_encode(&h, body, sizeof(body), &o.len);
	(void)rpc_conn_call(c, &o, CALL_MS, on_welcome, v, NULL);
}

/* ---- claiming ---- */

/* The server cannot vouch for it: then neither do we. */
static void not_given(struct mnt *m, struct node *n, uint8_t level)
{
	if (level == FS_LEVEL_GONE && !dirty_empty(&n->dirty)) {
		log_error("file %lu is gone at its server: data written to it is "
			  "lost", (unsigned long)n->st.st_ino);
		dirty_forget(m, n);
		n->err = -ESTALE;
	}
	n->lease = LEASE_NONE;
	n->no_caps = false;
	if (!n->nlookup)
		return;
	(void)mnt_inval_attr(m, n);
	if (n->cached)
		(void)notify_inode(m->notifier, n->id, 0, 0, NULL, NULL);
	n->cached = false;
}

static void on_claimed(void *arg, int status, const struct rpc_msg *msg)
{
	struct recov *v = arg;
	struct msg_fs_reclaimed r;
	struct mnt *m = v->m;
	const uint8_t *levels;

	if (!status)
		status = REPLY_OF(msg, fs_reclaimed, &r);
	if (!status && r.levels.len != v->nbatch)
		status = -EPROTO;
	if (status) {
		log_warn("the restarted file server did not take our claims: %s",
			 strerror(-status));
		recall_all(m, true);
		if (v->peer)
			rpc_peer_resume(v->peer);
		return;
	}
	levels = r.levels.p;
	for (unsigned i = 0; i < v->nbatch; i++) {
		struct node *n = node_by_id(&m->nodes, v->batch[i]);

		if (!n)
			continue;
		n->seq = r.seq;
		if (levels[i] == FS_LEVEL_GONE || levels[i] < n->lease)
			not_given(m, n, levels[i]);
	}
	claim_more(v);
}

static void put_claim(struct recov *v, struct node *n, struct wire_writer *holds,
		      struct wire_writer *locks)
{
	struct msg_fs_held h = { .fh = node_fh(n),
				 .lease = (uint8_t)n->lease,
				 .open = n->nopen != 0 };

	if (!dirty_empty(&n->dirty) || !dirty_empty(&n->flushing))
		h.lease = LEASE_WRITE;
	msg_fs_held_put(holds, &h);
	locks_put(n, locks);
	v->batch[v->nbatch++] = n->id;
}

static void claim_more(struct recov *v)
{
	struct mnt *m = v->m;
	static const size_t cap = BATCH_MAX * (FS_HANDLE_MAX + 16);
	uint8_t *holds = malloc(cap), *locks = malloc(cap),
		*body = malloc(2 * cap + 64);
	struct wire_writer hw = wire_writer(holds, cap), lw = wire_writer(locks, cap);
	struct msg_fs_reclaim r = { 0 };
	struct rpc_out o = { .code = MSG_fs_reclaim, .body = body };
	struct rpc_conn *c = v->peer ? rpc_peer_conn(v->peer) : NULL;

	v->nbatch = 0;
	for (; !v->last_said && v->next_id < m->nodes.next_id && v->nbatch < BATCH_MAX; v->next_id++) {
		struct node *n = node_by_id(&m->nodes, v->next_id);

		if (n && !n->special && (n->seq || n->nopen ||
					 !dirty_empty(&n->dirty) ||
					 n->id == NODE_ROOT))
			put_claim(v, n, &hw, &lw);
	}
	if (v->last_said) {
		if (c)
			hello(v, false);
		if (v->peer)
			rpc_peer_resume(v->peer);
		if (m->taken_over)
			flush_all(m, NULL, NULL);
	} else if (c && holds && locks && body) {
		r.holds = (wire_blob){ holds, hw.len };
		r.locks = (wire_blob){ locks, lw.failed ? 0 : lw.len };
		r.last = v->last_said = v->next_id >= m->nodes.next_id;
		if (!msg_fs_reclaim_encode(&r, body, 2 * cap + 64, &o.len))
			(void)rpc_conn_call(c, &o, CALL_MS, on_claimed, v, NULL);
	}
	free(holds);
	free(locks);
	free(body);
}

static void claim(struct recov *v)
{
	v->next_id = NODE_ROOT;
	v->last_said = false;
	claim_more(v);
}

/* Which names we have cached a new server cannot know. */
static void forget_names(struct mnt *m)
{
	for (struct map_node *i = map_next(&m->nodes.by_id, NULL); i;
	     i = map_next(&m->nodes.by_id, i)) {
		struct node *n = container_of(i, struct node, by_id);

		names_drop_in(&m->nodes, n);
		n->name_seq = 0;
	}
	mnt_raise_epoch(m);
}

static void on_up(void *arg, struct rpc_peer *p, bool restarted)
{
	struct recov *v = arg;

	v->peer = p;
	env_cancel(v->m->env, &v->doubt);
	if (!restarted && v->greeted) {
		hello(v, false);
		return;
	}
	if (restarted) {
		log_info("the file server has restarted: claiming what this "
			 "host holds");
		forget_names(v->m);
	} else {
		hello(v, true);
		v->greeted = true;
	}
	claim(v);
}

static void on_down(void *arg, struct rpc_peer *p)
{
	struct recov *v = arg;

	(void)p;
	ops_interrupt(v->m);
	env_after(v->m->env, &v->doubt, DOUBT_MS);
}

int recov_new(struct mnt *m)
{
	struct recov *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->m = m;
	v->probe = (struct timer){ .fire = probe, .data = v };
	v->doubt = (struct timer){ .fire = doubt, .data = v };
	m->recov = v;
	env_after(m->env, &v->probe, PROBE_MS);
	return 0;
}

void recov_free(struct mnt *m)
{
	struct recov *v = m->recov;

	if (!v)
		return;
	env_cancel(m->env, &v->probe);
	env_cancel(m->env, &v->doubt);
	free(v);
	m->recov = NULL;
}

void recov_watch(struct mnt *m, struct rpc_peer *p)
{
	struct rpc_peer_hooks h = { .on_up = on_up,
				    .on_down = on_down,
				    .hold = true,
				    .arg = m->recov };

	m->recov->peer = p;
	rpc_peer_set_hooks(p, &h);
	if (rpc_peer_up(p))
		on_up(m->recov, p, false);
	rpc_peer_keep(p, true);
}
