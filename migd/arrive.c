/*
 * arrive.c -- a migration at its target: accept or refuse, make the place,
 * let the mover build the process, get home's word, let it run.
 *
 * Before the commit every failure undoes all of it and tells the source.
 * After the commit the process is ours: if it is lost then, it is reported as
 * ended, once.
 */
#include "move.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "away.h"
#include "chan.h"
#include "cleanup.h"
#include "evict.h"
#include "guests.h"
#include "local.h"
#include "log.h"
#include "proc.h"
#include "report.h"
#include "sigq.h"
#include "streams.h"
#include "subs.h"
#include "world.h"

static void commit(struct move *v);

static bool at_home(const struct move *v)
{
	return v->home == v->m->conf.host;
}

/* ---- failure ------------------------------------------------------------------------- */

static void tell_source(struct move *v)
{
	struct msg_migd_cancel c = { .token = v->token, .why = v->why };
	struct body b;

	if (BODY(migd_cancel, &c, &b) == 0)
		call_host(v->m, v->other, MSG_migd_cancel, &b, CALL_MS,
			  RPC_IDEMPOTENT, call_done_nothing, NULL);
}

/* Our process at home is a stub again, or will be in a moment. */
static void home_stub_back(struct move *v)
{
	struct away *a = away_find(v->m, v->pid);

	for (unsigned i = 0; i < v->nstreams; i++) {
		struct hstream *h = hstream_find(v->m, v->stream[i]);

		gstream_free(gstream_find(v->m, v->stream[i]));
		if (h)
			hstream_pause(h, false);
	}
	if (!a)
		return;
	a->moving = false;
	if (!a->stub || a->stub->ctl < 0)
		return;
	stubc_resume(a->stub);
}

static void give_up(struct move *v, int status)
{
	if (v->offer) {
		reply_say(v->offer, status, "%s", v->why);
		v->offer = NULL;
	} else {
		tell_source(v);
	}
	mover_kill(v->mover);
	if (at_home(v)) {
		home_stub_back(v);
	} else {
		gstreams_of_free(v->m, v->pid);
		stubc_end(v->stub, 0);
		v->stub = NULL;
		guest_free(v->g);
	}
	move_free(v);
}

/* After the commit: nobody else has it. */
static void lost(struct move *v)
{
	log_error("process %u was lost after its commit: %s", v->pid, v->why);
	if (v->g)
		guest_ended(v->g, SIGKILL, MIGD_END_FAILED, v->why);
	else
		proc_signal(v->m, v->pid, SIGKILL);
	move_free(v);
}

static void on_timer(struct timer *t)
{
	struct move *v = t->data;

	if (v->committed)
		return;
	if (v->ready) {
		/* The commit is being asked for; only its answer ends this. */
		env_after(v->m->env, t, PREPARE_MS);
		return;
	}
	snprintf(v->why, sizeof(v->why), "the source did not come in time");
	give_up(v, -ETIMEDOUT);
}

/* ---- what the mover needs ----------------------------------------------------------------- */

static int open_stream(struct move *v, const struct mover_msg *msg, int *ret_fd)
{
	struct stream_blob b;
	struct hstream *h;
	struct gstream *g;
	int r;

	if (msg->blob_len != sizeof(b) || v->nstreams == MOVE_STREAMS)
		return -EBADMSG;
	memcpy(&b, msg->blob, sizeof(b));
	if (b.tty_len > sizeof(b.tty))
		return -EBADMSG;
	/* Opened twice (a terminal): once more the same. */
	for (unsigned i = 0; i < v->nstreams; i++)
		if (v->stream[i] == b.id && v->stream_fd[i] >= 0) {
			*ret_fd = fcntl(v->stream_fd[i], F_DUPFD_CLOEXEC, 3);
			return *ret_fd < 0 ? -errno : 0;
		}
	h = at_home(v) ? hstream_find(v->m, b.id) : NULL;
	if (h)
		hstream_pause(h, true);
	if (h && (b.flags & STREAM_TTY || (!b.pending && !hstream_pending(h)))) {
		*ret_fd = hstream_take(h);
		r = *ret_fd < 0 ? *ret_fd : 0;
	} else {
		r = gstream_new(v->m, b.id, v->home, v->pid, b.flags & 7,
				b.tty, b.tty_len, ret_fd, &g);
	}
	if (r)
		return r;
	v->stream[v->nstreams] = b.id;
	v->stream_fd[v->nstreams++] = fcntl(*ret_fd, F_DUPFD_CLOEXEC, 3);
	return 0;
}

/* No copy of a guest's descriptor may stay with us. */
static void forget_fds(struct move *v)
{
	for (unsigned i = 0; i < v->nstreams; i++) {
		close_ptr(&v->stream_fd[i]);
		v->stream_fd[i] = -1;
	}
}

static void widened(void *arg)
{
	struct move *v = move_deref(arg);
	struct mover_msg *msg = v ? calloc(1, sizeof(*msg)) : NULL;

	if (!msg)
		return;
	msg->op = MV_WIDEN;
	mover_tell(v->mover, msg, -1);
	free(msg);
}

static void ready(struct move *v)
{
	v->ready = true;
	forget_fds(v);
	commit(v);
}

static void tell_running(struct move *v, const struct eng_times *t,
			 bool arrived)
{
	struct msg_migd_running r = {
		.token = v->token, .arrived = arrived,
		.restore_us = t->restore_us, .resume_us = t->resume_us,
		.lazy_us = t->lazy_us, .lazy_pages = t->lazy_pages,
		.lazy_faults = t->lazy_faults,
	};
	struct body b;

	if (BODY(migd_running, &r, &b) == 0)
		call_host(v->m, v->other, MSG_migd_running, &b, 0,
			  RPC_IDEMPOTENT, call_done_nothing, NULL);
}

static void running(struct move *v, const struct mover_msg *msg)
{
	v->resumed = true;
	if (!v->g)
		sigq_deliver(v->m, &v->signals, v->pid);
	tell_running(v, &msg->u.times, false);
	if (v->g) {
		v->g->dir = proc_open(v->m, v->pid);
		v->g->moves = v->moves;
		guest_runs(v->g);
	}
}

static void done(struct move *v, const struct mover_msg *msg)
{
	if (!v->committed) {
		snprintf(v->why, sizeof(v->why), "%.60s: %.300s",
			 v->m->conf.name, msg->text);
		give_up(v, msg->err ? msg->err : -EIO);
		return;
	}
	if (msg->err) {
		snprintf(v->why, sizeof(v->why), "%s", msg->text);
		lost(v);
		return;
	}
	tell_running(v, &msg->u.times, true);
	v->finished = true;
}

static void on_msg(void *arg, const struct mover_msg *got, int *fd)
{
	struct move *v = arg;
	struct mover_msg *msg = (struct mover_msg *)(uintptr_t)got;
	int out = -1;

	(void)fd;
	switch (msg->op) {
	case MV_MEMBERS:
		if (at_home(v) && msg->n <= MOVER_PIDS)
			subs_members(v->m, v->pid, msg->u.pids, msg->n);
		mover_tell(v->mover, msg, -1);
		break;
	case MV_FD_OPEN:
		msg->err = open_stream(v, msg, &out);
		msg->blob_len = 0;
		mover_tell(v->mover, msg, out);
		close_ptr(&out);
		break;
	case MV_FIND_STUB:
		out = sub_lend(v->m, v->pid, msg->pid);
		msg->err = out < 0 ? out : 0;
		mover_tell(v->mover, msg, out);
		close_ptr(&out);
		break;
	case MV_SIGNAL:
		if (at_home(v))
			sigq_add(&v->signals, (int)msg->n, msg->blob,
				 msg->blob_len, false);
		break;
	case MV_WIDEN:
		world_when_wide(v->m, UINT32_MAX, widened, move_ref(v));
		break;
	case MV_READY:
		ready(v);
		break;
	case MV_RUNNING:
		running(v, msg);
		break;
	case MV_DONE:
		done(v, msg);
		break;
	}
}

static void on_gone(void *arg)
{
	struct move *v = arg;

	if (v->finished) {
		move_free(v);
		return;
	}
	snprintf(v->why, sizeof(v->why), "its mover on %s died",
		 v->m->conf.name);
	if (!v->committed && v->ready) {
		/* Home may commit any moment: it is told that we cannot. */
		v->committed = false;
		v->dead = true;
		return;
	}
	if (!v->committed) {
		give_up(v, -EIO);
		return;
	}
	/* Pages on demand may be missing for ever. */
	if (v->g)
		guest_kill(v->g);
	lost(v);
}

static const struct mover_hooks hooks = { on_msg, on_gone };

/* ---- the commit ------------------------------------------------------------------------------- */

static void let_go(struct move *v)
{
	struct mover_msg *msg = calloc(1, sizeof(*msg));

	v->committed = true;
	env_cancel(v->m->env, &v->timer);
	if (msg)
		msg->op = MV_GO;
	if (!msg || v->dead || mover_tell(v->mover, msg, -1)) {
		snprintf(v->why, sizeof(v->why), "its mover on %s died",
			 v->m->conf.name);
		lost(v);
	}
	free(msg);
}

static void on_settled(void *arg, int status, const struct rpc_msg *msg)
{
	struct move *v = move_deref(arg);
	struct msg_migd_settled s;

	if (!v)
		return;
	if (status || !msg ||
	    msg_migd_settled_decode(msg->body, msg->len, &s)) {
		/* Nobody else can tell; it waits, stopped. */
		commit(v);
		return;
	}
	if (s.committed) {
		let_go(v);
		return;
	}
	snprintf(v->why, sizeof(v->why), "home called it off");
	give_up(v, -ECANCELED);
}

static void ask_settle(struct move *v)
{
	struct msg_migd_settle s = { .pid = v->pid, .source = v->other,
				     .target = v->m->conf.host,
				     .token = v->token };
	struct body b;

	if (BODY(migd_settle, &s, &b) == 0)
		call_host(v->m, v->home, MSG_migd_settle, &b, CALL_MS,
			  RPC_IDEMPOTENT, on_settled, move_ref(v));
}

static void on_committed(void *arg, int status, const struct rpc_msg *msg)
{
	struct move *v = move_deref(arg);

	if (!v)
		return;
	if (status == 0) {
		let_go(v);
	} else if (!msg) {
		/* No answer: it may have been recorded. */
		ask_settle(v);
	} else {
		snprintf(v->why, sizeof(v->why), "home refused: %s",
			 rpc_sentence(status, msg));
		give_up(v, status);
	}
}

static void commit(struct move *v)
{
	struct msg_migd_commit c = { .pid = v->pid, .source = v->other,
				     .token = v->token };
	struct body b;
	int r;

	if (at_home(v)) {
		r = home_commit(v->m, v->pid, v->other, v->home, v->token);
		if (r) {
			snprintf(v->why, sizeof(v->why), "it ended meanwhile");
			give_up(v, r);
			return;
		}
		arrive_home_committed(v);
		let_go(v);
		return;
	}
	if (BODY(migd_commit, &c, &b) == 0)
		call_host(v->m, v->home, MSG_migd_commit, &b, CALL_MS,
			  RPC_IDEMPOTENT, on_committed, move_ref(v));
}

/* Descriptors that were given back need no relay; the others (bytes were on
 * their way) are relayed from here to here. */
void arrive_home_committed(struct move *v)
{
	for (unsigned i = 0; i < v->nstreams; i++) {
		struct hstream *h = hstream_find(v->m, v->stream[i]);

		if (!h)
			continue;
		if (gstream_find(v->m, v->stream[i]))
			hstream_attach(h, v->home, v->other);
		else
			hstream_free(h);
	}
}

/* ---- offers ------------------------------------------------------------------------------------- */

static void accept_offer(struct move *v)
{
	struct msg_migd_accepted a = { .token = v->token };
	struct body b;

	if (BODY(migd_accepted, &a, &b) == 0)
		reply_body(v->offer, MSG_migd_accepted, &b);
	v->offer = NULL;
}

static void on_stub_msg(struct stubc *s, const struct stub_msg *msg)
{
	struct move *v = s->data;

	if (msg->type == STUB_HELLO && v->offer)
		accept_offer(v);
}

static void on_stub_gone(struct stubc *s)
{
	struct move *v = s->data;
	int err = s->err ? s->err : -EIO;

	snprintf(v->why, sizeof(v->why), "process id %u cannot be had on %s: %s",
		 v->pid, v->m->conf.name, strerror(-err));
	stubc_free(v->stub);
	v->stub = NULL;
	give_up(v, err);
}

static const struct stub_hooks stub_hooks = { on_stub_msg, on_stub_gone };

static void make_place(void *arg)
{
	struct move *v = move_deref(arg);
	struct guest *g;
	int r;

	if (!v)
		return;
	g = v->g;
	r = mirror_place(v->m, v->home, g->uid, g->gid, &g->at_home, g->has_tty,
			 &g->place);
	if (!r && g->place.parent)
		v->stub = stubc_spawn(v->m, g->place.parent->stub, v->pid,
				      g->place.setsid, g->place.pgid,
				      &stub_hooks, v);
	else if (!r)
		v->stub = stubc_spawn(v->m, NULL, v->pid, true, -1, &stub_hooks,
				      v);
	if (r || !v->stub) {
		snprintf(v->why, sizeof(v->why), "no place for it on %s: %s",
			 v->m->conf.name, strerror(r ? -r : EAGAIN));
		give_up(v, r ? r : -EAGAIN);
	}
}

static const char *refusal(struct migd *m, struct rpc_req *q,
			   const struct msg_migd_offer *b,
			   const struct msg_migd_place *at)
{
	bool home = b->home == m->conf.host;
	struct away *a = away_find(m, b->pid);

	if (b->version != report_version())
		return "has another kernel or processor, or another version of "
		       "Sprite";
	if (at->pid != b->pid || b->pid < 2)
		return "was asked for nonsense";
	if (home)
		return a && a->host == rpc_req_host(q) &&
				       a->state == AWAY_RUNNING && a->stub &&
				       a->stub->hello && !a->stub->gone ?
			       NULL : "has no stub of it";
	if (m->ending)
		return "is being stopped";
	if (evict_active(m) || report_owner_here(m, b->cause == MIGD_ASKED))
		return "is in use by its owner";
	if (strcmp(m->conf.import_policy, "none") == 0 ||
	    (strcmp(m->conf.import_policy, "root") == 0 && b->uid))
		return "takes no guests (import_policy in host.conf)";
	if (guest_find(m, b->pid) || a || move_by_pid(m, MOVE_ARRIVE, b->pid))
		return "has a process of that number already";
	return NULL;
}

static uint64_t make_token(struct migd *m)
{
	return (env_random(m->env) & ~(uint64_t)7) | 4;
}

static void arrive_home(struct move *v)
{
	struct away *a = away_find(v->m, v->pid);

	a->moving = true;
	accept_offer(v);
}

void on_migd_offer(struct migd *m, struct rpc_req *q,
		   const struct msg_migd_offer *b)
{
	struct wire_reader r = wire_reader(b->place.p, b->place.len);
	struct msg_migd_place at = msg_migd_place_get(&r);
	struct away *a = away_find(m, b->pid);
	const char *no = wire_read_end(&r) ? "was asked for nonsense" :
					     refusal(m, q, b, &at);
	struct move *v = no ? NULL : move_new(m, MOVE_ARRIVE, b->pid);
	uint32_t high = at.pid > at.ppid ? at.pid : at.ppid;

	if (!v && b->home == m->conf.host && a && a->host == rpc_req_host(q) &&
	    a->state == AWAY_RUNNING && (!a->stub || !a->stub->hello)) {
		/* It has only just left: its stub is still being made. */
		rpc_reply_busy(q);
		return;
	}
	if (!v && move_by_pid(m, MOVE_LEAVE, b->pid)) {
		/* It comes back before all it left here is cleared away. */
		rpc_reply_busy(q);
		return;
	}
	if (!v) {
		reply_say(q, no ? -EAGAIN : -ENOMEM, "host %s %s", m->conf.name,
			  no ? no : "is out of memory");
		return;
	}
	v->other = rpc_req_host(q);
	v->home = b->home;
	v->cause = b->cause;
	v->lazy = b->strategy == MIGD_LAZY;
	v->moves = b->moves;
	v->token = make_token(m);
	v->offer = q;
	v->timer = (struct timer){ .fire = on_timer, .data = v };
	env_after(m->env, &v->timer, MOVE_MS);
	if (at_home(v)) {
		arrive_home(v);
		return;
	}
	v->g = guest_new(m, b->pid, b->home);
	if (!v->g) {
		snprintf(v->why, sizeof(v->why), "out of memory");
		give_up(v, -ENOMEM);
		return;
	}
	v->g->at_home = at;
	v->g->uid = b->uid;
	v->g->gid = b->gid;
	v->g->from = v->other;
	v->g->flags = b->flags;
	v->g->has_tty = b->has_tty != 0;
	snprintf(v->g->command, sizeof(v->g->command), "%s", b->command);
	if (at.pgid > high)
		high = at.pgid;
	if (at.parent_sid > high)
		high = at.parent_sid;
	world_when_wide(m, high, make_place, move_ref(v));
}

/* ---- the source's channels -------------------------------------------------------------------------- */

static void start_mover(struct move *v)
{
	struct away *a = at_home(v) ? away_find(v->m, v->pid) : NULL;
	struct stubc *s = a ? a->stub : v->stub;
	struct mover_job j = { .target = true, .pid = v->pid,
			       .home = at_home(v), .lazy = v->lazy };

	if (!s || s->gone) {
		snprintf(v->why, sizeof(v->why), "its stub is gone");
		give_up(v, -ESRCH);
		return;
	}
	/* The mover alone listens to the stub now. */
	ev_io_stop(v->m->loop, &s->io);
	j.ctl = s->ctl;
	for (int i = 0; i < 3; i++)
		j.chan[i] = v->chan[i];
	v->mover = mover_start(v->m, &j, &hooks, v);
	for (int i = 0; i < 3; i++) {
		chan_close(v->chan[i]);
		v->chan[i] = NULL;
	}
	if (!v->mover) {
		snprintf(v->why, sizeof(v->why), "no mover could be made");
		give_up(v, -EAGAIN);
	}
}

void migration_chan(void *arg, uint32_t host, uint64_t token, struct chan *c)
{
	struct migd *m = arg;
	struct move *v = move_by_token(m, MOVE_ARRIVE, token & ~(uint64_t)3);
	unsigned i = (unsigned)(token & 3);

	if (!v || v->other != host || v->mover || i > 2 || v->chan[i] ||
	    (i && !v->lazy)) {
		log_warn("a channel from %s that nobody waits for",
			 host_name(m, host));
		chan_close(c);
		return;
	}
	v->chan[i] = c;
	if (v->chan[0] && (!v->lazy || (v->chan[1] && v->chan[2])))
		start_mover(v);
}

void on_migd_cancel(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_cancel *b)
{
	struct move *v = move_by_token(m, MOVE_ARRIVE, b->token);
	struct move *l = move_by_token(m, MOVE_LEAVE, b->token);

	rpc_reply(q, 0, NULL);
	if (v && v->other == rpc_req_host(q) && !v->ready) {
		snprintf(v->why, sizeof(v->why), "%s", b->why);
		give_up(v, -ECANCELED);
	} else if (l && l->other == rpc_req_host(q)) {
		leave_cancelled(l, b->why);
	}
}
