/*
 * flush.c -- dirty data on its way to the server.
 *
 * A flush takes all that is dirty in a file at its beginning ("flushing") and
 * sends it extent by extent, a few at a time, in the order of offsets; reads
 * go on to see it.  What becomes dirty meanwhile belongs to the next flush.
 * The last message of a flush carries the time of the last write, by the
 * server's clock: so the file has the same time before and after.
 *
 * What the server refuses stays dirty and is tried again; the error is told
 * to whoever asked for the flush and to the next fsync or close.
 */
#include <errno.h>
#include <stdlib.h>

#include "journal.h"
#include "log.h"
#include "mnt.h"

struct waiter {
	struct list link;
	flush_fn *done;
	void *arg;
};

/* One message. */
struct shipment {
	struct mnt *m;
	struct node *n;
	struct link_call call;
	size_t len;
	uint64_t end;
};

static void flush_begin(struct mnt *m, struct node *n);

static void run_waiters(struct node *n, struct list *waiters, int status)
{
	while (!list_empty(waiters)) {
		struct waiter *w = list_first(waiters, struct waiter, link);

		list_del(&w->link);
		w->done(n, status, w->arg);
		free(w);
	}
}

static int keep_for_later(struct node *n)
{
	list_each(e, &n->flushing.extents, struct extent, link)
		e->sent = NULL;
	return dirty_put_under(&n->dirty, &n->flushing);
}

static void note_clean(struct mnt *m, const struct node *n)
{
	struct journal_entry e = { .kind = JOURNAL_CLEAN, .id = n->id };

	if (list_empty(&m->dirty))
		journal_reset(&m->keep);
	else
		journal_add(&m->keep, &e);
}

static void account(struct mnt *m, struct node *n)
{
	if (!dirty_empty(&n->dirty) || !dirty_empty(&n->flushing))
		return;
	list_del(&n->dirty_link);
	note_clean(m, n);
	/* Times and blocks are the server's again. */
	if (n->nlookup && n->lease > LEASE_NONE && !n->revoking)
		(void)mnt_inval_attr(m, n);
}

static void flush_end(struct mnt *m, struct node *n)
{
	struct list waiters = LIST_HEAD(waiters);
	int status = n->flush_status;

	n->refs++;
	if (status) {
		n->err = status;
		if (keep_for_later(n))
			log_error("out of memory: data written to file %lu is lost",
				  (unsigned long)n->st.st_ino);
	}
	if (!status && n->flush_again && !dirty_empty(&n->dirty)) {
		n->flush_again = false;
		n->refs--;
		flush_begin(m, n);
		return;
	}
	n->flush_again = false;
	account(m, n);
	while (!list_empty(&n->after_flush)) {
		struct list *l = n->after_flush.next;

		list_del(l);
		list_add_tail(&waiters, l);
	}
	run_waiters(n, &waiters, status);
	n->refs--;
	node_tidy(m, n);
}

static void on_written(void *arg, int status, const struct rpc_msg *msg);

static int ship(struct mnt *m, struct node *n, struct extent *e, bool last)
{
	struct shipment *s = calloc(1, sizeof(*s));
	struct msg_fs_write w = {
		.fh = node_fh(n),
		.off = e->off,
		.flags = last ? WR_MTIME : 0,
		.mtime = n->st.st_mtim.tv_sec,
		.mtime_ns = (uint32_t)n->st.st_mtim.tv_nsec,
		.want = LEASE_NONE,
	};
	uint8_t body[FS_HANDLE_MAX + 64];
	struct rpc_out o = { .code = MSG_fs_write,
			     .body = body,
			     .payload = e->data,
			     .payload_len = e->len };
	int r;

	if (!s)
		return -ENOMEM;
	s->m = m;
	s->n = n;
	s->len = e->len;
	s->end = e->off + e->len;
	e->sent = s;
	(void)msg_fs_write_encode(&w, body, sizeof(body), &o.len);
	n->in_flight++;
	m->stats.calls++;
	r = link_call(&m->link, &s->call, &o, on_written, s);
	if (r) {
		n->in_flight--;
		e->sent = NULL;
		free(s);
	}
	return r;
}

/* The next extents; the end of the flush when there are none. */
static void flush_go_on(struct mnt *m, struct node *n)
{
	n->refs++;
	list_each_safe(e, &n->flushing.extents, struct extent, link) {
		bool last = e->link.next == &n->flushing.extents;

		if (e->sent)
			continue;
		/* The time goes with the last one to arrive. */
		if (n->flush_status || n->in_flight >= FLIGHT_MAX ||
		    (last && n->in_flight))
			break;
		n->flush_status = ship(m, n, e, last);
	}
	n->refs--;
	if (!n->in_flight && (n->flush_status || dirty_empty(&n->flushing)))
		flush_end(m, n);
}

static void on_written(void *arg, int status, const struct rpc_msg *msg)
{
	struct shipment *s = arg;
	struct msg_fs_written w;
	struct node *n = s->n;
	struct mnt *m = s->m;
	struct stat st;

	n->in_flight--;
	if (!status)
		status = REPLY_OF(msg, fs_written, &w);
	if (!status)
		status = attr_get(w.attr, &st);
	if (!status) {
		m->stats.flushed_bytes += s->len;
		m->tight = w.tight;
		/* Truncated or dropped meanwhile, the extent may be gone. */
		list_each_safe(e, &n->flushing.extents, struct extent, link) {
			if (e->sent == s) {
				m->dirty_bytes -= e->len;
				dirty_drop(&n->flushing, e);
				break;
			}
		}
		node_grant(n, &st, (enum lease_level)w.lease, w.seq);
		if (s->end > n->ssize)
			n->ssize = s->end;
	} else if (!n->flush_status) {
		n->flush_status = status;
	}
	free(s);
	flush_go_on(m, n);
}

static void flush_begin(struct mnt *m, struct node *n)
{
	n->flush_status = 0;
	dirty_move(&n->flushing, &n->dirty);
	flush_go_on(m, n);
}

void flush_node(struct mnt *m, struct node *n, flush_fn *done, void *arg)
{
	struct waiter *w;

	if (dirty_empty(&n->dirty) && dirty_empty(&n->flushing)) {
		if (done)
			done(n, 0, arg);
		return;
	}
	if (done) {
		w = calloc(1, sizeof(*w));
		if (!w) {
			done(n, -ENOMEM, arg);
			return;
		}
		w->done = done;
		w->arg = arg;
		list_add_tail(&n->after_flush, &w->link);
	}
	if (dirty_empty(&n->flushing))
		flush_begin(m, n);
	else if (!dirty_empty(&n->dirty))
		n->flush_again = true;
}

/* ---- all of it ---- */

struct all {
	unsigned left;
	int status;
	flush_fn *done;
	void *arg;
};

static void one_of_all(struct node *n, int status, void *arg)
{
	struct all *a = arg;

	if (status && !a->status)
		a->status = status;
	if (--a->left)
		return;
	if (a->done)
		a->done(n, a->status, a->arg);
	free(a);
}

void flush_all(struct mnt *m, flush_fn *done, void *arg)
{
	struct all *a = calloc(1, sizeof(*a));

	if (!a) {
		if (done)
			done(NULL, -ENOMEM, arg);
		return;
	}
	*a = (struct all){ .left = 1, .done = done, .arg = arg };
	list_each_safe(n, &m->dirty, struct node, dirty_link) {
		a->left++;
		flush_node(m, n, one_of_all, a);
	}
	one_of_all(NULL, 0, a);
}

/* ---- becoming dirty ---- */

static void relieve(struct mnt *m)
{
	list_each_safe(n, &m->dirty, struct node, dirty_link) {
		if (m->dirty_bytes < DIRTY_SOFT)
			return;
		if (dirty_empty(&n->flushing))
			flush_node(m, n, NULL, NULL);
	}
}

int dirty_add(struct mnt *m, struct node *n, uint64_t off, const void *p,
	      size_t n_bytes)
{
	struct journal_entry e = { .kind = JOURNAL_WRITE, .id = n->id,
				   .off = off, .data = p, .len = n_bytes };
	size_t before = n->dirty.bytes;
	int r = dirty_write(&n->dirty, off, p, n_bytes);

	m->dirty_bytes += n->dirty.bytes - before;
	if (list_empty(&n->dirty_link)) {
		n->dirty_since_ms = env_now_ms(m->env);
		list_add_tail(&m->dirty, &n->dirty_link);
	}
	if (r)
		return r;
	mnt_now(m, &e.mtime);
	journal_add(&m->keep, &e);
	if (journal_long(&m->keep))
		flush_all(m, NULL, NULL);
	if (n->dirty.bytes > DIRTY_FILE || n->dirty.count > 256)
		flush_node(m, n, NULL, NULL);
	if (m->dirty_bytes > DIRTY_SOFT)
		relieve(m);
	return 0;
}

void dirty_cut(struct mnt *m, struct node *n, uint64_t size)
{
	struct journal_entry e = { .kind = JOURNAL_TRUNCATE, .id = n->id,
				   .off = size };
	size_t before = n->dirty.bytes + n->flushing.bytes;

	if (!before)
		return;
	dirty_truncate(&n->dirty, size);
	dirty_truncate(&n->flushing, size);
	m->dirty_bytes -= before - n->dirty.bytes - n->flushing.bytes;
	journal_add(&m->keep, &e);
}

static void replay_one(struct mnt *m, const struct journal_entry *e)
{
	struct node *n = node_by_id(&m->nodes, e->id);
	uint64_t end = e->off + e->len;

	if (!n || n->special)
		return;
	if (e->kind == JOURNAL_CLEAN) {
		dirty_clear(&n->dirty);
	} else if (e->kind == JOURNAL_TRUNCATE) {
		dirty_truncate(&n->dirty, e->off);
		n->st.st_size = (off_t)e->off;
	} else if (e->kind == JOURNAL_WRITE) {
		if (dirty_write(&n->dirty, e->off, e->data, e->len))
			log_error("out of memory: data written to file %lu is lost",
				  (unsigned long)n->id);
		n->st.st_mtim = e->mtime;
		if (end > (uint64_t)n->st.st_size)
			n->st.st_size = (off_t)end;
	}
}

void dirty_replay(struct mnt *m)
{
	struct journal_entry e;
	uint64_t at = 0;

	while (journal_next(&m->keep, &at, &e))
		replay_one(m, &e);
	for (struct map_node *i = map_next(&m->nodes.by_id, NULL); i;
	     i = map_next(&m->nodes.by_id, i)) {
		struct node *n = container_of(i, struct node, by_id);

		if (dirty_empty(&n->dirty))
			continue;
		m->dirty_bytes += n->dirty.bytes;
		n->dirty_since_ms = env_now_ms(m->env);
		list_add_tail(&m->dirty, &n->dirty_link);
	}
	if (m->dirty_bytes)
		log_info("%zu bytes written before are still to be given to "
			 "their server", m->dirty_bytes);
}

void dirty_forget(struct mnt *m, struct node *n)
{
	size_t bytes = n->dirty.bytes + n->flushing.bytes;

	if (!bytes && list_empty(&n->dirty_link))
		return;
	m->dirty_bytes -= bytes;
	m->stats.dropped_bytes += bytes;
	dirty_clear(&n->dirty);
	dirty_clear(&n->flushing);
	list_del(&n->dirty_link);
	note_clean(m, n);
}

/* Sprite's rhythm: look every five seconds, write what is old enough. */
static void scan(struct timer *t)
{
	struct mnt *m = t->data;
	uint64_t now = env_now_ms(m->env);

	list_each_safe(n, &m->dirty, struct node, dirty_link) {
		if (now - n->dirty_since_ms >= m->conf->writeback_ms ||
		    n->err)
			flush_node(m, n, NULL, NULL);
	}
	env_after(m->env, t, DIRTY_SCAN_MS);
}

void flush_start_timer(struct mnt *m)
{
	m->scan = (struct timer){ .fire = scan, .data = m };
	env_after(m->env, &m->scan, DIRTY_SCAN_MS);
}
