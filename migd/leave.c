/*
 * leave.c -- a migration at its source; the states are in migration.h.
 *
 * From SENT on only home's word moves it on: by migd_moved (or by home_commit
 * when we are home), or by the answer to migd_settle, which is asked when
 * nothing is heard, when the target gives up, and when the mover dies.
 */
#include "move.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "away.h"
#include "buf.h"
#include "cleanup.h"
#include "evict.h"
#include "freezer.h"
#include "guests.h"
#include "log.h"
#include "proc.h"
#include "report.h"
#include "sigq.h"
#include "streams.h"
#include "world.h"

#define LAZY_KB (16u << 10)
#define SETTLE_MS 4000
#define WAIT_MS 10000
#define WAIT_POLL_MS 10

static void settle(struct move *v);

void leave_state(struct move *v, enum mig_state next)
{
	assert(mig_may(v->state, next));
	log_debug("move of %u: %s to %s", v->pid, mig_state_name(v->state),
		  mig_state_name(next));
	v->state = next;
}

/* ---- the end of it -------------------------------------------------------------------- */

static void tell_asker(struct move *v, int status)
{
	move_done_fn *done = v->done;

	v->done = NULL;
	if (done)
		done(v->arg, status, v->why, &v->rec);
}

static void tell_target(struct move *v)
{
	struct msg_migd_cancel c = { .token = v->token, .why = v->why };
	struct body b;

	if (v->token && BODY(migd_cancel, &c, &b) == 0)
		call_host(v->m, v->other, MSG_migd_cancel, &b, CALL_MS,
			  RPC_IDEMPOTENT, call_done_nothing, NULL);
}

static void streams_back(struct move *v)
{
	for (unsigned i = 0; i < v->nstreams; i++) {
		if (v->home == v->m->conf.host) {
			hstream_free(hstream_find(v->m, v->stream[i]));
		} else {
			struct gstream *g = gstream_find(v->m, v->stream[i]);

			if (g)
				gstream_return(g);
		}
	}
}

/* It stays. */
static void fail(struct move *v, int status)
{
	struct guest *g = guest_find(v->m, v->pid);

	leave_state(v, v->state == MIG_SENT || v->state == MIG_MOVING ?
			       MIG_THAWED : MIG_REFUSED);
	streams_back(v);
	tell_target(v);
	world_forget(v->m, KEEP_KEY(KEEP_MOVE, v->pid));
	move_record(v, status);
	if (g && g->state == GUEST_LEAVING) {
		g->state = GUEST_RUNNING;
		list_each(i, &v->signals, struct sigq_item, link)
			guest_signal(g, i->sig, i->info, i->len, i->group);
		if (g->early)
			guest_runs(g);
	}
	tell_asker(v, status);
	evict_progress(v->m);
	move_free(v);
}

/* The mover has nothing left to do and the process runs over there. */
static void finish(struct move *v)
{
	struct guest *g = guest_find(v->m, v->pid);
	struct away *a = away_find(v->m, v->pid);

	if (!v->mover_gone || !v->running || (v->lazy && !v->arrived))
		return;
	leave_state(v, MIG_DONE);
	world_forget(v->m, KEEP_KEY(KEEP_MOVE, v->pid));
	move_record(v, 0);
	sigq_forward(v->m, &v->signals, v->other, v->pid);
	if (v->home == v->m->conf.host && a)
		a->moving = false;
	else if (g)
		guest_free(g);
	tell_asker(v, 0);
	evict_progress(v->m);
	move_free(v);
}

/* ---- home's word ------------------------------------------------------------------------- */

/* The mover died after everything was sent: what it would have done. */
static void clean_up_originals(struct move *v)
{
	uint32_t *pids;
	size_t n;

	if (proc_tree(v->m, v->pid, &pids, &n) == 0) {
		for (size_t i = n; i > 0; i--)
			proc_signal(v->m, pids[i - 1], SIGKILL);
		free(pids);
	}
	freezer_tree_done(freezer_guests(v->m), v->pid, true);
	if (v->home == v->m->conf.host) {
		struct away *a = away_find(v->m, v->pid);

		log_warn("process %u lost its place at home and is ended",
			 v->pid);
		if (a)
			away_signal(a, SIGKILL, NULL, 0, false);
	}
}

struct move *leave_catch_up(struct move *v)
{
	struct migd *m = v->m;
	uint64_t token = v->token;

	while (v && v->state == MIG_MOVING && mover_take(v->mover))
		v = move_by_token(m, MOVE_LEAVE, token);
	return v;
}

void leave_committed(struct move *v)
{
	struct mover_msg *msg;

	if (v->state != MIG_SENT)
		return;
	leave_state(v, MIG_COMMITTED);
	env_cancel(v->m->env, &v->timer);
	for (unsigned i = 0; i < v->nstreams; i++)
		if (v->home != v->m->conf.host) {
			struct gstream *g = gstream_find(v->m, v->stream[i]);

			if (g)
				gstream_leave(g);
		}
	msg = calloc(1, sizeof(*msg));
	if (msg)
		msg->op = MV_COMMIT;
	if (!msg || mover_tell(v->mover, msg, -1)) {
		clean_up_originals(v);
		v->mover_gone = v->running = v->arrived = true;
		finish(v);
	}
	free(msg);
}

void leave_called_off(struct move *v, const char *why)
{
	struct mover_msg *msg = calloc(1, sizeof(*msg));

	if (!*v->why)
		snprintf(v->why, sizeof(v->why), "%s", why);
	v->dead = true;
	env_cancel(v->m->env, &v->timer);
	if (msg)
		msg->op = MV_ABORT;
	if (!msg || mover_tell(v->mover, msg, -1)) {
		/* No mover: thawed by us. */
		freezer_tree_done(freezer_guests(v->m), v->pid,
				  v->home != v->m->conf.host);
		fail(v, -ECANCELED);
	}
	free(msg);
}

static void on_settled(void *arg, int status, const struct rpc_msg *msg)
{
	struct move *v = move_deref(arg);
	struct msg_migd_settled s;

	if (!v)
		return;
	v->settling = false;
	if (v->state != MIG_SENT)
		return;
	if (status == 0 && msg &&
	    msg_migd_settled_decode(msg->body, msg->len, &s) == 0) {
		if (s.committed)
			leave_committed(v);
		else
			leave_called_off(v, "the other host did not answer");
		return;
	}
	/* Home alone can tell; it is asked until it answers. */
	env_after(v->m->env, &v->timer, SETTLE_MS);
}

static void settle(struct move *v)
{
	struct msg_migd_settle s = { .pid = v->pid,
				     .source = v->m->conf.host,
				     .target = v->other, .token = v->token };
	struct body b;

	if (v->home == v->m->conf.host) {
		if (home_settle(v->m, v->pid, v->token))
			leave_committed(v);
		else
			leave_called_off(v, "the other host did not answer");
		return;
	}
	if (v->settling || BODY(migd_settle, &s, &b))
		return;
	v->settling = true;
	call_host(v->m, v->home, MSG_migd_settle, &b, SETTLE_MS,
		  RPC_IDEMPOTENT, on_settled, move_ref(v));
}

static void on_timer(struct timer *t)
{
	struct move *v = t->data;

	if (v->state == MIG_SENT) {
		settle(v);
		return;
	}
	snprintf(v->why, sizeof(v->why), "it took too long");
	if (v->check_only) {
		mover_kill(v->mover);
		return;
	}
	if (v->mover && v->state == MIG_MOVING) {
		/* It puts back by dying. */
		mover_kill(v->mover);
		return;
	}
	fail(v, -ETIMEDOUT);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static int check_fd(struct move *v, const struct mover_fd *f, char *text)
{
	struct gstream *g;

	if (v->home == v->m->conf.host) {
		if (f->kind == ENG_FD_SOCKET && !f->sock_stream) {
			snprintf(text, MOVER_TEXT, "socket %.100s", f->path);
			return -EOPNOTSUPP;
		}
		return f->deleted ? 0 : 1;
	}
	g = gstream_by_inode(v->m, f->dev, f->ino, f->rdev);
	if (g)
		return 1;
	snprintf(text, MOVER_TEXT, "%.200s", f->path);
	return -EOPNOTSUPP;
}

static int save_home(struct move *v, int fd, struct stream_blob *b)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	struct hstream *h = own < 0 ? NULL : hstream_new(v->m, own, v->pid);
	size_t len;

	if (!h) {
		close_ptr(&own);
		return -EOPNOTSUPP;
	}
	b->id = hstream_id(h);
	b->flags = hstream_flags(h);
	hstream_tty(h, b->tty, &len);
	b->tty_len = (uint32_t)len;
	return 0;
}

static int save_away(struct move *v, const struct mover_fd *f, int fd,
		     struct stream_blob *b)
{
	struct gstream *g = gstream_by_inode(v->m, f->dev, f->ino, f->rdev);
	bool pending = false;
	size_t len;

	if (!g)
		return -EOPNOTSUPP;
	b->id = gstream_id(g);
	b->flags = gstream_flags(g);
	gstream_tty(g, b->tty, &len);
	b->tty_len = (uint32_t)len;
	for (unsigned i = 0; i < v->nstreams; i++)
		if (v->stream[i] == b->id)
			return 0;
	gstream_drain(g, fd, &pending);
	b->pending = pending;
	return 0;
}

static void save_fd(struct move *v, struct mover_msg *msg, int fd)
{
	struct stream_blob b = { 0 };

	if (v->nstreams == MOVE_STREAMS || fd < 0)
		msg->err = -EMFILE;
	else if (v->home == v->m->conf.host)
		msg->err = save_home(v, fd, &b);
	else
		msg->err = save_away(v, &msg->u.fd, fd, &b);
	if (!msg->err)
		v->stream[v->nstreams++] = b.id;
	memcpy(msg->blob, &b, sizeof(b));
	msg->blob_len = sizeof(b);
}

/* ---- steps ------------------------------------------------------------------------------------- */

static void go(struct move *v)
{
	const struct roster_host *h = roster_host(v->m->roster, v->other);
	struct mover_msg *msg = calloc(1, sizeof(*msg));

	if (!h || !msg) {
		free(msg);
		snprintf(v->why, sizeof(v->why), "the host left the cell");
		fail(v, -EHOSTUNREACH);
		return;
	}
	leave_state(v, MIG_MOVING);
	msg->op = MV_GO;
	msg->u.go.token = v->token;
	msg->u.go.host = v->other;
	msg->u.go.port = h->port[SVC_MIGD];
	memcpy(msg->u.go.addr, h->addr, sizeof(msg->u.go.addr));
	memcpy(msg->u.go.key, h->key, 32);
	v->rec.prepare_us = clock_us() - v->start_us;
	if (mover_tell(v->mover, msg, -1)) {
		snprintf(v->why, sizeof(v->why), "its mover died");
		fail(v, -EIO);
	}
	free(msg);
}

static void on_offered(void *arg, int status, const struct rpc_msg *msg)
{
	struct move *v = move_deref(arg);
	struct msg_migd_accepted a;

	/* A token for a move that is over times out at the target. */
	if (!v)
		return;
	if (status == 0 && (!msg || msg_migd_accepted_decode(msg->body,
							     msg->len, &a)))
		status = -EBADMSG;
	if (v->dead && status == 0) {
		v->token = a.token;
		status = -ECANCELED;
	}
	if (status) {
		if (status == -EHOSTUNREACH || status == -ETIMEDOUT ||
		    status == -ECONNRESET)
			snprintf(v->why, sizeof(v->why), "host %s does not "
				 "answer", host_name(v->m, v->other));
		else
			snprintf(v->why, sizeof(v->why), "%s",
				 rpc_sentence(status, msg));
		fail(v, status);
		return;
	}
	v->token = a.token;
	leave_state(v, MIG_OFFERED);
	go(v);
}

static void offer(struct move *v)
{
	struct guest *g = guest_find(v->m, v->pid);
	uint8_t place[64];
	struct wire_writer w = wire_writer(place, sizeof(place));
	struct msg_migd_offer o = {
		.version = report_version(), .pid = v->pid, .home = v->home,
		.cause = (uint8_t)v->cause,
		.strategy = v->lazy ? MIGD_LAZY : MIGD_DIRECT, .uid = v->uid,
		.gid = g ? g->gid : v->uid, .flags = g ? g->flags : 0,
		.has_tty = v->has_tty, .command = v->command,
		.moves = (g ? g->moves : 0) + 1,
	};
	struct body b;

	msg_migd_place_put(&w, &v->place);
	o.place = (wire_blob){ place, w.len };
	leave_state(v, MIG_CHECKED);
	if (BODY(migd_offer, &o, &b) == 0)
		call_host(v->m, v->other, MSG_migd_offer, &b, PREPARE_MS, 0,
			  on_offered, move_ref(v));
}

static void on_sent(struct move *v, const struct mover_msg *msg)
{
	uint64_t kept[5] = { v->pid, v->other, v->home, v->token, v->lazy };

	v->rec.bytes = msg->u.times.bytes;
	v->rec.pages = msg->u.times.pages;
	v->rec.procs = msg->u.times.procs;
	v->rec.threads = msg->u.times.threads;
	leave_state(v, MIG_SENT);
	world_keep(v->m, KEEP_KEY(KEEP_MOVE, v->pid), kept, sizeof(kept), NULL,
		   0);
	env_after(v->m->env, &v->timer, SETTLE_MS);
	if (v->dead)
		settle(v);
}

static void on_done(struct move *v, const struct mover_msg *msg)
{
	if (!*v->why)
		snprintf(v->why, sizeof(v->why), "%s", msg->text);
	if (v->state == MIG_COMMITTED) {
		v->rec.lazy_us = msg->u.times.lazy_us;
		v->mover_gone = true;
		if (msg->err)
			log_warn("after the move of %u: %s", v->pid, msg->text);
		v->why[0] = 0;
		finish(v);
		return;
	}
	fail(v, msg->err ? msg->err : -ECANCELED);
}

static void on_msg(void *arg, const struct mover_msg *got, int *fd)
{
	struct move *v = arg;
	struct mover_msg *msg = (struct mover_msg *)(uintptr_t)got;

	switch (msg->op) {
	case MV_CHECKED:
		if (v->check_only) {
			snprintf(v->why, sizeof(v->why), "%s", msg->text);
			tell_asker(v, msg->err);
			move_free(v);
		} else if (msg->err) {
			snprintf(v->why, sizeof(v->why), "%s", msg->text);
			fail(v, msg->err);
		} else {
			offer(v);
		}
		break;
	case MV_FD_CHECK:
		msg->err = check_fd(v, &msg->u.fd, msg->text);
		mover_tell(v->mover, msg, -1);
		break;
	case MV_FD_SAVE:
		save_fd(v, msg, *fd);
		mover_tell(v->mover, msg, -1);
		break;
	case MV_FROZEN:
		v->frozen_us = clock_us();
		break;
	case MV_SENT:
		on_sent(v, msg);
		break;
	case MV_DONE:
		on_done(v, msg);
		break;
	}
}

static void on_gone(void *arg)
{
	struct move *v = arg;

	/* It said that it was done, and that the target is awaited. */
	if (v->mover_gone)
		return;
	v->mover_gone = true;
	if (v->check_only) {
		tell_asker(v, -EIO);
		move_free(v);
	} else if (v->state == MIG_COMMITTED) {
		clean_up_originals(v);
		v->running = v->arrived = true;
		finish(v);
	} else if (v->state == MIG_SENT) {
		settle(v);
	} else {
		if (!*v->why)
			snprintf(v->why, sizeof(v->why), "its mover died");
		freezer_tree_done(freezer_guests(v->m), v->pid,
				  v->home != v->m->conf.host);
		fail(v, -EIO);
	}
}

static const struct mover_hooks hooks = { on_msg, on_gone };

/* ---- beginning ---------------------------------------------------------------------------------- */

static bool move_on_its_way(struct migd *m, uint32_t pid)
{
	struct away *a = away_find(m, pid);
	struct guest *g = guest_find(m, pid);

	return (g && g->state == GUEST_STARTING) || move_by_pid(m, MOVE_LEAVE, pid) ||
	       move_by_pid(m, MOVE_ARRIVE, pid) || (a && a->moving);
}

static const char *cannot(struct migd *m, uint32_t pid, uint32_t to,
			  enum migd_cause cause, struct guest *g)
{
	struct proc_stat st;

	if (proc_stat(m, pid, &st) || pid < 2 || mirror_find(m, pid))
		return "there is no such process; `sprite ps` lists them";
	if (st.state == 'Z')
		return "it has ended already";
	if (move_on_its_way(m, pid))
		return "it is on its way already";
	if (proc_pid_is_stub(m, pid))
		return "its body is not here";
	if (to == m->conf.host)
		return "it runs there already";
	if (g && g->state != GUEST_RUNNING)
		return "it is just beginning or ending; try again";
	if (g && g->flags & MIGD_RUN_STAY && cause != MIGD_EVICTION)
		return "it was started with --stay";
	return NULL;
}

/* A process below a guest belongs to it. */
static bool below_guest(struct migd *m, uint32_t pid, uint32_t *ret_root)
{
	struct proc_stat st;

	for (int depth = 0; depth < 64 && proc_stat(m, pid, &st) == 0; depth++) {
		if (st.ppid <= 1)
			return false;
		if (guest_find(m, st.ppid)) {
			*ret_root = st.ppid;
			return true;
		}
		pid = st.ppid;
	}
	return false;
}

static uint64_t tree_kb(struct migd *m, uint32_t pid)
{
	struct proc_stat st;
	uint64_t kb = 0;
	uint32_t *pids;
	size_t n;

	if (proc_tree(m, pid, &pids, &n))
		return 0;
	for (size_t i = 0; i < n; i++)
		if (proc_stat(m, pids[i], &st) == 0)
			kb += st.rss_kb;
	free(pids);
	return kb;
}

static void describe(struct move *v, struct guest *g)
{
	struct proc_stat st, parent = { 0 };

	v->home = g ? g->home : v->m->conf.host;
	if (g) {
		v->place = g->at_home;
		v->uid = g->uid;
		v->has_tty = g->has_tty;
		memcpy(v->command, g->command, sizeof(v->command));
		return;
	}
	if (proc_stat(v->m, v->pid, &st))
		return;
	if (st.ppid > 1 && proc_stat(v->m, st.ppid, &parent))
		st.ppid = 1;
	v->place = (struct msg_migd_place){ v->pid, st.ppid ? st.ppid : 1,
					    st.pgid, st.sid, parent.pgid,
					    parent.sid };
	v->uid = st.uid;
	v->has_tty = st.tty_pgid > 0;
	snprintf(v->command, sizeof(v->command), "%s", st.name);
}

/* A move that waits for the end of the one before (its last pages). */
struct waiting {
	struct list link;
	struct timer timer;
	struct migd *m;
	uint32_t pid, to;
	enum migd_cause cause;
	enum migd_strategy strategy;
	bool alone;
	uint64_t until_us;
	move_done_fn *done;
	void *arg;
};

static void on_waited(struct timer *t)
{
	struct waiting *w = t->data;

	if (move_on_its_way(w->m, w->pid) && clock_us() < w->until_us) {
		env_after(w->m->env, t, WAIT_POLL_MS);
		return;
	}
	list_del(&w->link);
	migration_start(w->m, w->pid, w->to, w->cause, w->strategy, w->alone,
			w->done, w->arg);
	free(w);
}

static bool wait_for_last(struct migd *m, uint32_t pid, uint32_t to,
			  enum migd_cause cause, enum migd_strategy strategy,
			  bool alone, move_done_fn *done, void *arg)
{
	struct waiting *w;

	list_each(i, &m->moves_waiting, struct waiting, link)
		if (i->pid == pid)
			return false;
	w = calloc(1, sizeof(*w));
	if (!w)
		return false;
	*w = (struct waiting){ .timer = { .fire = on_waited }, .m = m,
			       .pid = pid, .to = to, .cause = cause,
			       .strategy = strategy, .alone = alone,
			       .until_us = clock_us() + WAIT_MS * 1000u,
			       .done = done, .arg = arg };
	w->timer.data = w;
	list_add_tail(&m->moves_waiting, &w->link);
	env_after(m->env, &w->timer, WAIT_POLL_MS);
	return true;
}

void leave_close(struct migd *m)
{
	list_each_safe(w, &m->moves_waiting, struct waiting, link) {
		env_cancel(m->env, &w->timer);
		free(w);
	}
	list_init(&m->moves_waiting);
}

void migration_start(struct migd *m, uint32_t pid, uint32_t to,
		     enum migd_cause cause, enum migd_strategy strategy,
		     bool alone, move_done_fn *done, void *arg)
{
	struct guest *g = guest_find(m, pid);
	const char *why = cannot(m, pid, to, cause, g);
	struct mover_job j = { .pid = pid, .ctl = -1, .alone = alone };
	uint32_t root = 0;
	char text[100];
	struct move *v;

	if (move_on_its_way(m, pid) &&
	    wait_for_last(m, pid, to, cause, strategy, alone, done, arg))
		return;
	if (!why && !g && below_guest(m, pid, &root)) {
		snprintf(text, sizeof(text), "it belongs to process %u; move "
			 "that one", root);
		why = text;
	}
	v = why ? NULL : move_new(m, MOVE_LEAVE, pid);
	if (!v) {
		struct msg_migd_move_record r = { .pid = pid, .why = "" };

		done(arg, why ? -EOPNOTSUPP : -ENOMEM,
		     why ? why : "out of memory", &r);
		return;
	}
	v->state = MIG_ASKED;
	v->other = to;
	v->cause = cause;
	v->alone = alone;
	v->done = done;
	v->arg = arg;
	v->timer = (struct timer){ .fire = on_timer, .data = v };
	v->rec.from = m->conf.host;
	v->rec.to = to;
	v->rec.pid = pid;
	v->rec.cause = (uint8_t)cause;
	describe(v, g);
	v->lazy = strategy == MIGD_LAZY ||
		  (strategy == MIGD_AUTO && tree_kb(m, pid) > LAZY_KB);
	v->rec.strategy = (uint8_t)(v->lazy ? MIGD_LAZY : MIGD_DIRECT);
	j.lazy = v->lazy;
	j.home = v->home == m->conf.host;
	if (g)
		g->state = GUEST_LEAVING;
	v->mover = mover_start(m, &j, &hooks, v);
	if (!v->mover) {
		snprintf(v->why, sizeof(v->why), "no mover could be made");
		fail(v, -EAGAIN);
		return;
	}
	env_after(m->env, &v->timer, MOVE_MS);
}

void migration_check(struct migd *m, uint32_t pid, move_done_fn *done,
		     void *arg)
{
	struct guest *g = guest_find(m, pid);
	const char *why = cannot(m, pid, 0, MIGD_ASKED, g);
	struct mover_job j = { .pid = pid, .ctl = -1 };
	struct msg_migd_move_record none = { .why = "" };
	struct move *v = why ? NULL : move_new(m, MOVE_LEAVE, pid);

	if (v) {
		v->check_only = true;
		v->done = done;
		v->arg = arg;
		v->timer = (struct timer){ .fire = on_timer, .data = v };
		describe(v, g);
		j.home = v->home == m->conf.host;
		v->mover = mover_start(m, &j, &hooks, v);
	}
	if (!v || !v->mover) {
		done(arg, -EOPNOTSUPP, why ? why : "no mover could be made",
		     &none);
		if (v)
			move_free(v);
		return;
	}
	env_after(m->env, &v->timer, CALL_MS);
}

/* ---- what the others say -------------------------------------------------------------------------- */

void on_migd_moved(struct migd *m, struct rpc_req *q,
		   const struct msg_migd_moved *b)
{
	struct move *v = move_by_token(m, MOVE_LEAVE, b->token);

	if (v && v->home == rpc_req_host(q))
		v = leave_catch_up(v);
	if (v && v->home == rpc_req_host(q))
		leave_committed(v);
	rpc_reply(q, 0, NULL);
}

void on_migd_running(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_running *b)
{
	struct move *v = move_by_token(m, MOVE_LEAVE, b->token);

	rpc_reply(q, 0, NULL);
	if (v && v->other == rpc_req_host(q))
		v = leave_catch_up(v);
	if (!v || v->other != rpc_req_host(q))
		return;
	/* It runs there only after the commit; home's own word may be slower. */
	if (v->state == MIG_SENT)
		leave_committed(v);
	v = move_by_token(m, MOVE_LEAVE, b->token);
	if (!v || v->state != MIG_COMMITTED)
		return;
	if (b->arrived) {
		v->rec.lazy_pages = b->lazy_pages;
		v->rec.lazy_faults = b->lazy_faults;
		v->rec.lazy_us = b->lazy_us;
	} else if (!v->running) {
		v->rec.freeze_us = clock_us() - v->frozen_us;
		v->rec.total_us = clock_us() - v->start_us;
		v->running = true;
		sigq_forward(v->m, &v->signals, v->other, v->pid);
		tell_asker(v, 0);
	}
	if (v->lazy && !b->arrived)
		return;
	v->arrived = true;
	finish(v);
}

/* From either side: the other one gives up. */
void leave_cancelled(struct move *v, const char *why)
{
	snprintf(v->why, sizeof(v->why), "%s", why);
	v->dead = true;
	if (v->state == MIG_SENT)
		settle(v);
	else if (v->state == MIG_MOVING)
		mover_kill(v->mover);
}

void migrations_lost(struct migd *m, uint32_t host)
{
	list_each_safe(v, &m->moves, struct move, link)
		if (v->role == MOVE_LEAVE && v->other == host &&
		    v->state <= MIG_SENT)
			leave_cancelled(v, "the other host was lost");
		else if (v->role == MOVE_LEAVE && v->other == host) {
			v->running = v->arrived = true;
			finish(v);
		}
}

/* ---- after a restart of migd ------------------------------------------------------------------------ */

void migration_adopt(struct migd *m, const void *data, size_t len, int *fds,
		     size_t nfds)
{
	uint64_t k[5];
	struct move *v;

	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	if (len != sizeof(k))
		return;
	memcpy(k, data, sizeof(k));
	v = move_new(m, MOVE_LEAVE, (uint32_t)k[0]);
	if (!v)
		return;
	v->other = (uint32_t)k[1];
	v->home = (uint32_t)k[2];
	v->token = k[3];
	v->lazy = k[4] != 0;
	v->state = MIG_SENT;
	v->dead = v->mover_gone = true;
	v->rec.from = m->conf.host;
	v->rec.to = v->other;
	v->timer = (struct timer){ .fire = on_timer, .data = v };
}

void migrations_adopted(struct migd *m)
{
	list_each(v, &m->moves, struct move, link)
		if (v->role == MOVE_LEAVE)
			env_after(m->env, &v->timer, 10);
}
