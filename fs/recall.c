/*
 * recall.c -- giving back what the server has lent: leases and names.
 *
 * Order, for an object: mark it, so that from now on nothing new is promised
 * to the kernel; drop the kernel's pages; write back what is dirty; only then
 * answer.  While the kernel drops pages it may wait for a read that is with
 * us: such reads are answered at once, and if that put new pages there, the
 * dropping is done again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mnt.h"
#include "server.h"

#define TRIES_MAX 200
#define RETRY_MS  1
#define TELL_MS	  50
#define TELL_MAX  256

struct ack {
	struct list link;
	recall_ack_fn *ack;
	void *arg;
	uint64_t seq;
};

/* A step that runs later with a node, which it keeps alive. */
struct step {
	struct mnt *m;
	struct node *n;
	struct timer timer;
};

static void drop_pages(struct mnt *m, struct node *n);
static void write_back(struct mnt *m, struct node *n);

static void run_deferred(struct mnt *m, struct node *n)
{
	struct list todo = LIST_HEAD(todo);

	(void)m;
	while (!list_empty(&n->deferred)) {
		struct list *l = n->deferred.next;

		list_del(l);
		list_add_tail(&todo, l);
	}
	while (!list_empty(&todo)) {
		struct op *op = list_first(&todo, struct op, link);

		list_del(&op->link);
		op->again(op);
	}
}

/*
 * Not open, nothing dirty, no lease: the server need not keep the object for
 * us if its last name goes.  From then on an open asks the server first.
 */
static int let_go(struct mnt *m, struct node *n)
{
	if (n->lease > LEASE_NONE || n->nopen || n->id == NODE_ROOT ||
	    !dirty_empty(&n->dirty) || !dirty_empty(&n->flushing))
		return 0;
	/* Answers that came after the recall have renewed it (those to our own
	 * writing back, for one): then this is said apart. */
	if (n->seq > n->recall_seq) {
		forget_later(m, n);
		n->seq = 0;
		return 0;
	}
	n->seq = 0;
	return -ENOENT;
}

static void obeyed(struct mnt *m, struct node *n)
{
	int status;

	n->refs++;
	if (n->lease > n->keep)
		n->lease = n->keep;
	if (n->lease == LEASE_NONE)
		n->no_caps = false;
	n->revoking = false;
	status = let_go(m, n);
	while (!list_empty(&n->acks)) {
		struct ack *a = list_first(&n->acks, struct ack, link);

		list_del(&a->link);
		a->ack(a->arg, status);
		free(a);
	}
	run_deferred(m, n);
	n->refs--;
	node_tidy(m, n);
}

static void retry(struct timer *t)
{
	struct step *s = t->data;
	struct mnt *m = s->m;
	struct node *n = s->n;

	free(s);
	n->refs--;
	drop_pages(m, n);
}

/* The kernel has asked for the inode and not yet put it in its table: then
 * there is nothing to drop, and in a moment there may be. */
static void again_soon(struct mnt *m, struct node *n)
{
	struct step *s = n->inval_tries++ < TRIES_MAX ? calloc(1, sizeof(*s)) :
							NULL;

	if (!s || !n->nlookup) {
		free(s);
		mnt_raise_epoch(m);
		write_back(m, n);
		return;
	}
	s->m = m;
	s->n = n;
	n->refs++;
	s->timer = (struct timer){ .fire = retry, .data = s };
	env_after(m->env, &s->timer, RETRY_MS);
}

static void on_dropped(void *arg, int status)
{
	struct step *s = arg;
	struct mnt *m = s->m;
	struct node *n = s->n;

	free(s);
	n->refs--;
	n->invalidating = false;
	if (status == -ENOENT && n->nlookup) {
		again_soon(m, n);
		return;
	}
	if (n->fills && status != -ECANCELED) {
		drop_pages(m, n);
		return;
	}
	n->cached = false;
	write_back(m, n);
}

/* Does the kernel have something that must not survive? */
static bool has_pages(const struct node *n)
{
	if (!S_ISREG(n->st.st_mode))
		return false;
	/* Open for writing it may be mapped, and the mapping dirty. */
	return n->nwrite || (n->cached && n->keep == LEASE_NONE);
}

static void drop_pages(struct mnt *m, struct node *n)
{
	struct step *s;

	if (!n->nlookup) {
		write_back(m, n);
		return;
	}
	if (!has_pages(n)) {
		if (n->keep == LEASE_NONE && mnt_inval_attr(m, n) == -ENOENT)
			again_soon(m, n);
		else
			write_back(m, n);
		return;
	}
	s = calloc(1, sizeof(*s));
	n->fills = 0;
	n->invalidating = true;
	if (s) {
		s->m = m;
		s->n = n;
		n->refs++;
		if (!notify_inode(m->notifier, n->id, 0, 0, on_dropped, s))
			return;
		n->refs--;
	}
	free(s);
	n->invalidating = false;
	again_soon(m, n);
}

static void on_flushed(struct node *n, int status, void *arg)
{
	struct mnt *m = arg;

	if (status) {
		log_error("data written to file %lu could not be given to its "
			  "server and is lost: %s",
			  (unsigned long)n->st.st_ino, strerror(-status));
		dirty_forget(m, n);
		n->err = status;
	}
	if (n->keep > LEASE_NONE && n->nlookup)
		(void)mnt_inval_attr(m, n);
	obeyed(m, n);
}

static void write_back(struct mnt *m, struct node *n)
{
	flush_node(m, n, on_flushed, m);
}

void recall_node(struct mnt *m, wire_blob fh, enum lease_level keep, uint64_t seq,
		 recall_ack_fn *ack, void *arg)
{
	struct node *n = node_by_fh(&m->nodes, fh.p, fh.len);
	struct ack *a;

	m->stats.recalls++;
	if (!n) {
		ack(arg, -ENOENT);
		return;
	}
	if (seq > n->recall_seq)
		n->recall_seq = seq;
	/* What an earlier life left dirty is under a lease that only the server
	 * still knows of. */
	if (n->lease <= keep && !n->revoking && dirty_empty(&n->dirty) &&
	    dirty_empty(&n->flushing)) {
		ack(arg, let_go(m, n));
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		ack(arg, -EAGAIN);
		return;
	}
	*a = (struct ack){ .ack = ack, .arg = arg, .seq = seq };
	list_add_tail(&n->acks, &a->link);
	if (n->revoking) {
		/* It is on its way down; it may have to go further. */
		if (keep < n->keep) {
			n->keep = keep;
			n->fills++;
		}
		return;
	}
	n->revoking = true;
	n->keep = keep;
	n->inval_tries = 0;
	drop_pages(m, n);
}

/* ---- names ---- */

struct name_ack {
	recall_ack_fn *ack;
	void *arg;
};

static void on_name_dropped(void *arg, int status)
{
	struct name_ack *a = arg;

	(void)status; /* -ENOENT: the kernel had dropped it already */
	a->ack(a->arg, 0);
	free(a);
}

/*
 * The kernel wants the directory to itself to drop a name.  If one of its
 * operations there is at the server now, that would take until the server
 * answers, which may be until *we* answer: then raise the epoch instead.
 */
void recall_name(struct mnt *m, wire_blob dir, const char *name, uint64_t seq,
		 recall_ack_fn *ack, void *arg)
{
	struct node *d = node_by_fh(&m->nodes, dir.p, dir.len);
	struct name *e = d ? name_get(&m->nodes, d, name) : NULL;
	struct name_ack *a;

	m->stats.name_recalls++;
	if (d && seq > d->name_seq)
		d->name_seq = seq;
	if (!e) {
		ack(arg, 0);
		return;
	}
	name_drop(&m->nodes, e);
	a = d->busy ? NULL : calloc(1, sizeof(*a));
	if (a) {
		*a = (struct name_ack){ ack, arg };
		if (!notify_entry(m->notifier, d->id, name, on_name_dropped, a))
			return;
		free(a);
	}
	mnt_raise_epoch(m);
	ack(arg, 0);
}

/* ---- from where recalls come ---- */

static void ack_rpc(void *arg, int status)
{
	rpc_reply_err(arg, status, NULL);
}

void recall_request(struct mnt *m, struct rpc_req *rq, const struct rpc_msg *msg)
{
	struct msg_fs_recall r;
	struct msg_fs_recall_name rn;
	int status;

	if (msg->code == MSG_fs_recall) {
		status = msg_fs_recall_decode(msg->body, msg->len, &r);
		if (!status && r.keep > LEASE_WRITE)
			status = -EBADMSG;
		if (!status)
			recall_node(m, r.fh, (enum lease_level)r.keep, r.seq,
				    ack_rpc, rq);
	} else {
		status = msg_fs_recall_name_decode(msg->body, msg->len, &rn);
		if (!status)
			recall_name(m, rn.dir, rn.name, rn.seq, ack_rpc, rq);
	}
	if (status)
		rpc_reply_err(rq, status, NULL);
}

static void ack_local(void *arg, int status)
{
	server_recall_done(arg, status);
}

void recall_local(void *mnt, struct recall *r)
{
	wire_blob fh = { .p = r->obj->fh, .len = r->obj->len };

	if (r->name)
		recall_name(mnt, fh, r->name, r->seq, ack_local, r);
	else
		recall_node(mnt, fh, r->keep, r->seq, ack_local, r);
}

/* ---- everything at once ---- */

static void drop_kernel(void *arg, int status)
{
	(void)arg;
	(void)status;
}

void recall_all(struct mnt *m, bool keep_dirty)
{
	struct map_node *i, *next;

	for (i = map_next(&m->nodes.by_id, NULL); i; i = next) {
		struct node *n = container_of(i, struct node, by_id);

		next = map_next(&m->nodes.by_id, i);
		if (n->special)
			continue;
		names_drop_in(&m->nodes, n);
		n->lease = LEASE_NONE;
		n->no_caps = false;
		/* Shut out, we hold nothing; what is open is claimed anew. */
		if (!keep_dirty)
			n->seq = 0;
		if (!keep_dirty && !dirty_empty(&n->dirty)) {
			log_error("this host was shut out by its file server: "
				  "data written to file %lu is lost",
				  (unsigned long)n->st.st_ino);
			dirty_forget(m, n);
			n->err = -EIO;
		}
		if (n->nlookup && n->cached)
			(void)notify_inode(m->notifier, n->id, 0, 0, drop_kernel,
					   NULL);
		else if (n->nlookup)
			(void)mnt_inval_attr(m, n);
		n->cached = false;
	}
	mnt_raise_epoch(m);
}

/* ---- forgetting ---- */

struct forgotten {
	struct list link;
	uint8_t fh[FS_HANDLE_MAX];
	size_t len;
	uint64_t seq;
};

static void tell(struct mnt *m)
{
	size_t cap = m->nforgotten * (FS_HANDLE_MAX + 16);
	uint8_t *blob = malloc(cap + 1), *body = malloc(cap + 64);
	struct wire_writer w = wire_writer(blob, blob ? cap : 0);
	struct rpc_out o = { .code = MSG_fs_forget, .body = body };
	struct msg_fs_forget f;

	list_each_safe(g, &m->forgotten, struct forgotten, link) {
		struct msg_fs_forgotten e = { .fh = { g->fh, g->len },
					      .seq = g->seq };

		msg_fs_forgotten_put(&w, &e);
		list_del(&g->link);
		free(g);
	}
	m->nforgotten = 0;
	f.objects = (wire_blob){ blob, w.len };
	if (blob && body && !wire_write_end(&w) &&
	    !msg_fs_forget_encode(&f, body, cap + 64, &o.len))
		(void)link_note(&m->link, &o);
	free(blob);
	free(body);
}

static void on_tell(struct timer *t)
{
	tell(t->data);
}

/* What is not told, because memory or the server is away, costs the server a
 * recall that we answer with "not known". */
void forget_fh(struct mnt *m, wire_blob fh, uint64_t seq)
{
	struct forgotten *g = fh.len <= FS_HANDLE_MAX ? calloc(1, sizeof(*g)) : NULL;

	if (!g)
		return;
	memcpy(g->fh, fh.p, fh.len);
	g->len = fh.len;
	g->seq = seq;
	list_add_tail(&m->forgotten, &g->link);
	if (++m->nforgotten >= TELL_MAX)
		tell(m);
	else if (m->nforgotten == 1)
		env_after(m->env, &m->tell, TELL_MS);
}

void forget_later(struct mnt *m, const struct node *n)
{
	if (!n->special && n->seq)
		forget_fh(m, node_fh(n), n->seq);
}

void forget_init(struct mnt *m)
{
	list_init(&m->forgotten);
	m->tell = (struct timer){ .fire = on_tell, .data = m };
}

void forget_fini(struct mnt *m)
{
	env_cancel(m->env, &m->tell);
	list_each_safe(g, &m->forgotten, struct forgotten, link) {
		list_del(&g->link);
		free(g);
	}
	m->nforgotten = 0;
}
