/*
 * away.c -- see away.h.
 *
 * An end is told to the home stub, which dies the same way, when the stub is
 * there (a caller may still be turning into it) and what the process
 * wrote is through.
 */
#include "away.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "grants.h"
#include "guests.h"
#include "log.h"
#include "proc.h"
#include "sigq.h"
#include "streams.h"
#include "subs.h"
#include "world.h"

#define STUB_MS 15000
#define ENDS_KEPT 1024
#define ENDS_MS 120000

struct ends {
	unsigned next;
	struct ended_record rec[ENDS_KEPT];
};

struct away *away_find(struct migd *m, uint32_t pid)
{
	return map_entry(map_get(&m->away, pid), struct away, node);
}

unsigned away_count(const struct migd *m, uint32_t host)
{
	unsigned n = 0;

	for (struct map_node *i = map_next(&m->away, NULL); i;
	     i = map_next(&m->away, i)) {
		struct away *a = map_entry(i, struct away, node);

		n += a->state == AWAY_RUNNING && (!host || a->host == host);
	}
	return n;
}

static void on_stub_late(struct timer *t)
{
	struct away *a = t->data;

	if (a->stub && a->stub->hello)
		return;
	log_warn("process %u (%s): its caller did not become its stub; it is "
		 "ended", a->pid, a->command);
	away_signal(a, SIGKILL, NULL, 0, false);
	if (a->state == AWAY_ENDED)
		away_free(a);
}

struct away *away_new(struct migd *m, uint32_t pid, uint32_t host)
{
	struct away *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	*a = (struct away){ .m = m, .pid = pid, .host = host, .err_fd = -1 };
	a->stub_due = (struct timer){ .fire = on_stub_late, .data = a };
	if (map_put(&m->away, pid, &a->node)) {
		free(a);
		return NULL;
	}
	a->since_ms = env_now_ms(m->env);
	return a;
}

void away_free(struct away *a)
{
	if (!a)
		return;
	map_del(&a->m->away, &a->node);
	env_cancel(a->m->env, &a->stub_due);
	world_forget(a->m, KEEP_KEY(KEEP_AWAY, a->pid));
	stubc_free(a->stub);
	if (a->err_fd >= 0)
		close(a->err_fd);
	if (a->grant)
		grants_done(a->m, a->grant);
	free(a);
}

/* ---- the memory of ends -------------------------------------------------------- */

static void remember(struct away *a)
{
	struct migd *m = a->m;
	struct ended_record *r;

	if (!m->ends)
		m->ends = calloc(1, sizeof(*m->ends));
	if (!m->ends)
		return;
	r = &m->ends->rec[m->ends->next++ % ENDS_KEPT];
	*r = (struct ended_record){ .pid = a->pid, .host = a->host,
				    .uid = a->uid, .status = a->status,
				    .reason = a->reason,
				    .at_ms = env_now_ms(m->env) };
	memcpy(r->why, a->why, sizeof(r->why));
}

const struct ended_record *away_end_of(struct migd *m, uint32_t pid)
{
	uint64_t now = env_now_ms(m->env);

	for (unsigned i = 1; m->ends && i <= ENDS_KEPT; i++) {
		const struct ended_record *r =
			&m->ends->rec[(m->ends->next - i) % ENDS_KEPT];

		if (r->pid == pid && now - r->at_ms < ENDS_MS)
			return r;
	}
	return NULL;
}

/* ---- ends ------------------------------------------------------------------------- */

static void tell_waiter(struct away *a)
{
	struct msg_migd_run_ended e = { .pid = a->pid, .status = a->status,
					.reason = a->reason, .why = a->why };
	struct rpc_out o = { .code = MSG_migd_run_ended };
	struct body b;

	if (!a->waiter || BODY(migd_run_ended, &e, &b))
		return;
	o.body = b.b;
	o.len = b.len;
	rpc_conn_note(a->waiter, &o);
}

static void deliver(struct away *a)
{
	if (a->state != AWAY_ENDED || hstreams_busy(a->m, a->pid))
		return;
	if (!a->stub || (!a->stub->hello && !a->stub->gone)) {
		env_after(a->m->env, &a->stub_due, STUB_MS);
		return;
	}
	tell_waiter(a);
	subs_end(a->m, a->pid);
	stubc_end(a->stub, a->status);
	a->stub = NULL;
	away_free(a);
}

void away_flushed(struct migd *m, uint32_t pid)
{
	struct away *a = away_find(m, pid);

	if (a)
		deliver(a);
}

/* The line that the user sees when the process did not end by itself. */
static void say_why(struct away *a)
{
	char line[400];
	int n;

	if (a->err_fd < 0 || !*a->why || a->flags & MIGD_RUN_RERUN_OK)
		return;
	n = snprintf(line, sizeof(line), "sprite: process %u (%s): %s\n",
		     a->pid, a->command, a->why);
	if (write(a->err_fd, line, (size_t)n) < 0)
		log_debug("nobody reads why %u ended", a->pid);
}

void away_ended(struct away *a, int status, uint8_t reason, const char *why)
{
	if (a->state == AWAY_ENDED)
		return;
	a->state = AWAY_ENDED;
	a->status = status;
	a->reason = reason;
	snprintf(a->why, sizeof(a->why), "%s", why ? why : "");
	remember(a);
	if (reason != MIGD_END_EXIT && reason != MIGD_END_SIGNAL)
		say_why(a);
	deliver(a);
}

void on_migd_exited(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_exited *b)
{
	struct away *a = away_find(m, b->pid);

	if (!a || a->host != rpc_req_host(q)) {
		rpc_reply(q, -ESRCH, NULL);
		return;
	}
	if (a->state == AWAY_STARTING) {
		/* Its answer to us is still under way in run.c. */
		a->early = true;
		a->status = b->status;
		a->reason = b->reason;
		rpc_reply(q, 0, NULL);
		return;
	}
	away_ended(a, b->status, b->reason, b->why);
	a = away_find(m, b->pid);
	if (a)
		away_keep(a);
	rpc_reply(q, 0, NULL);
}

void on_migd_stopped(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_stopped *b)
{
	struct away *a = away_find(m, b->pid);
	struct stub_msg stop = { .type = STUB_STOP };

	if (!a || a->host != rpc_req_host(q) || !a->stub) {
		rpc_reply(q, -ESRCH, NULL);
		return;
	}
	if (WIFSTOPPED(b->status))
		stubc_send(a->stub, &stop, NULL, 0);
	else
		proc_signal(m, a->pid, SIGCONT);
	rpc_reply(q, 0, NULL);
}

void away_host_lost(struct migd *m, uint32_t host)
{
	struct map_node *next;
	char why[160];

	snprintf(why, sizeof(why), "killed because host %s was lost",
		 host_name(m, host));
	hstreams_lost(m, host);
	for (struct map_node *n = map_next(&m->away, NULL); n; n = next) {
		struct away *a = map_entry(n, struct away, node);

		next = map_next(&m->away, n);
		if (a->host != host || a->state != AWAY_RUNNING)
			continue;
		log_warn("process %u (%s): %s", a->pid, a->command, why);
		away_ended(a, SIGKILL, MIGD_END_HOST_LOST, why);
	}
}

/* ---- signals ------------------------------------------------------------------------ */

/* A signal under way, to be sent again if the process moved meanwhile. */
struct sent_signal {
	struct migd *m;
	uint32_t pid, host;
	int sig;
	bool group;
	size_t len;
	uint8_t info[128];
};

static void on_signalled(void *arg, int status, const struct rpc_msg *msg)
{
	struct sent_signal *s = arg;
	struct away *a = away_find(s->m, s->pid);
	struct list q;

	(void)msg;
	if (status == -ESRCH && a && a->host != s->host) {
		away_signal(a, s->sig, s->info, s->len, s->group);
	} else if (status == -ESRCH && !a && !away_end_of(s->m, s->pid)) {
		/* It came home. */
		list_init(&q);
		sigq_add(&q, s->sig, s->info, s->len, s->group);
		sigq_deliver(s->m, &q, s->pid);
	}
	free(s);
}

int away_signal(struct away *a, int sig, const void *info, size_t len,
		bool group)
{
	struct sent_signal *sent;
	struct msg_migd_signal s = { .pid = a->pid, .sig = (uint32_t)sig,
				     .group = group, .info = { info, len } };
	struct body b;

	if (a->state == AWAY_ENDED)
		return -ESRCH;
	if (BODY(migd_signal, &s, &b))
		return -EMSGSIZE;
	sent = calloc(1, sizeof(*sent));
	if (!sent || len > sizeof(sent->info)) {
		free(sent);
		return -ENOMEM;
	}
	*sent = (struct sent_signal){ .m = a->m, .pid = a->pid,
				      .host = a->host, .sig = sig,
				      .group = group, .len = len };
	if (len)
		memcpy(sent->info, info, len);
	call_host(a->m, a->host, MSG_migd_signal, &b, CALL_MS, 0, on_signalled,
		  sent);
	return 0;
}

static void on_signal(struct away *a, const struct stub_msg *msg)
{
	siginfo_t si;

	memcpy(&si, msg->u.siginfo, sizeof(si));
	if (msg->sig == SIGWINCH && si.si_code == SI_KERNEL) {
		hstreams_winch(a->m, a->pid);
		return;
	}
	away_signal(a, msg->sig, msg->u.siginfo, sizeof(msg->u.siginfo),
		    si.si_code == SI_KERNEL);
}

static void on_msg(struct stubc *s, const struct stub_msg *msg)
{
	struct away *a = s->data;

	if (msg->type == STUB_HELLO) {
		env_cancel(a->m->env, &a->stub_due);
		deliver(a);
	} else if (msg->type == STUB_SIGNAL) {
		on_signal(a, msg);
	}
}

static void on_gone(struct stubc *s)
{
	struct away *a = s->data;

	if (a->state == AWAY_ENDED) {
		tell_waiter(a);
		away_free(a);
		return;
	}
	/* Somebody killed the stub, and means the process. */
	log_info("process %u (%s): its stub was killed, so it is", a->pid,
		 a->command);
	away_signal(a, SIGKILL, NULL, 0, false);
	if (a->state != AWAY_RUNNING)
		return;
	a->status = SIGKILL;
	a->reason = MIGD_END_SIGNAL;
	remember(a);
}

static const struct stub_hooks hooks = { on_msg, on_gone };

int away_set_stub(struct away *a, int ctl)
{
	struct stubc *s = stubc_adopt(a->m, ctl, &hooks, a);

	if (!s)
		return -ENOMEM;
	stubc_free(a->stub);
	a->stub = s;
	s->pid = a->pid;
	return 0;
}

bool away_stub_came(struct migd *m, uint32_t pid, int fd)
{
	struct away *a = away_find(m, pid);

	if (!a || away_set_stub(a, fd))
		return false;
	away_keep(a);
	return true;
}

void away_conn_closed(struct migd *m, struct rpc_conn *c)
{
	for (struct map_node *n = map_next(&m->away, NULL); n;
	     n = map_next(&m->away, n)) {
		struct away *a = map_entry(n, struct away, node);

		if (a->waiter != c)
			continue;
		a->waiter = NULL;
		/* Whoever waited outside of the world is gone: as if its
		 * terminal had hung up. */
		away_signal(a, SIGHUP, NULL, 0, true);
	}
}

int home_signal(struct migd *m, uint32_t from, const struct msg_migd_signal *b)
{
	if (b->sig < 1 || b->sig > 64 || b->pid < 2)
		return -EINVAL;
	for (struct map_node *n = map_next(&m->away, NULL); n;
	     n = map_next(&m->away, n)) {
		struct away *a = map_entry(n, struct away, node);

		if (a->host == from && proc_owned(m, b->pid, a->uid))
			return proc_signal(m, b->pid, (int)b->sig);
	}
	return -EPERM;
}

/* ---- census ---------------------------------------------------------------------------- */

void on_migd_census(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_census *b)
{
	static uint8_t unknown[8192];
	struct wire_writer w = wire_writer(unknown, sizeof(unknown));
	struct wire_reader r = wire_reader(b->pids.p, b->pids.len);
	struct msg_migd_census_answer a;
	struct body out;

	while (r.left >= 4 && !r.failed) {
		uint32_t pid = wire_get_u32(&r);
		struct away *away = away_find(m, pid);
		struct guest *g = guest_find(m, pid);
		bool known = b->from_home ?
				     g && g->home == rpc_req_host(q) :
				     away && away->host == rpc_req_host(q);

		if (!known && w.left >= 4)
			wire_put_u32(&w, pid);
	}
	a.unknown = (wire_blob){ unknown, w.len };
	if (BODY(migd_census_answer, &a, &out))
		rpc_reply(q, -EMSGSIZE, NULL);
	else
		reply_body(q, MSG_migd_census_answer, &out);
}

struct census {
	struct migd *m;
	uint32_t host;
};

static void on_census(void *arg, int status, const struct rpc_msg *msg)
{
	struct census *c = arg;
	struct msg_migd_census_answer a;
	struct wire_reader r;

	if (status == 0 && msg &&
	    msg_migd_census_answer_decode(msg->body, msg->len, &a) == 0) {
		r = wire_reader(a.unknown.p, a.unknown.len);
		while (r.left >= 4 && !r.failed) {
			struct away *w = away_find(c->m, wire_get_u32(&r));
			char why[160];

			if (!w || w->host != c->host || w->moving ||
			    w->state != AWAY_RUNNING)
				continue;
			snprintf(why, sizeof(why),
				 "killed because host %s started anew",
				 host_name(c->m, c->host));
			away_ended(w, SIGKILL, MIGD_END_HOST_LOST, why);
		}
	}
	free(c);
}

void away_census(struct migd *m, uint32_t host)
{
	static uint8_t pids[8192];
	struct wire_writer w = wire_writer(pids, sizeof(pids));
	struct msg_migd_census q = { .from_home = 1 };
	struct census *c;
	struct body b;

	for (struct map_node *n = map_next(&m->away, NULL); n;
	     n = map_next(&m->away, n)) {
		struct away *a = map_entry(n, struct away, node);

		if (a->host == host && a->state == AWAY_RUNNING &&
		    !a->moving && w.left >= 4)
			wire_put_u32(&w, a->pid);
	}
	q.pids = (wire_blob){ pids, w.len };
	c = w.len ? malloc(sizeof(*c)) : NULL;
	if (!c || BODY(migd_census, &q, &b)) {
		free(c);
		return;
	}
	*c = (struct census){ m, host };
	call_host(m, host, MSG_migd_census, &b, CALL_MS, RPC_IDEMPOTENT,
		  on_census, c);
}

/* ---- in the keeper ------------------------------------------------------------------------ */

struct kept_away {
	uint32_t pid, host, uid, flags, moves, state, has_stub, has_err;
	uint32_t place[6];
	int32_t status;
	uint32_t reason, hello;
	uint64_t move_token;
	char command[64], why[160];
};

void away_keep(struct away *a)
{
	struct kept_away k = {
		.pid = a->pid, .host = a->host, .uid = a->uid,
		.flags = a->flags, .moves = a->moves, .state = a->state,
		.has_stub = a->stub && !a->stub->gone,
		.has_err = a->err_fd >= 0,
		.hello = a->stub && a->stub->hello,
		.place = { a->place.pid, a->place.ppid, a->place.pgid,
			   a->place.sid, a->place.parent_pgid,
			   a->place.parent_sid },
		.status = a->status, .reason = a->reason,
		.move_token = a->move_token,
	};
	int fds[2];
	size_t n = 0;

	if (k.has_stub)
		fds[n++] = a->stub->ctl;
	if (k.has_err)
		fds[n++] = a->err_fd;
	memcpy(k.command, a->command, sizeof(k.command));
	memcpy(k.why, a->why, sizeof(k.why));
	world_keep(a->m, KEEP_KEY(KEEP_AWAY, a->pid), &k, sizeof(k), fds, n);
}

void away_adopt(struct migd *m, const void *data, size_t len, int *fds,
		size_t nfds)
{
	struct kept_away k;
	struct away *a = NULL;
	size_t at = 0;

	if (len == sizeof(k)) {
		memcpy(&k, data, sizeof(k));
		a = away_new(m, k.pid, k.host);
	}
	if (!a || nfds != (k.has_stub ? 1u : 0u) + (k.has_err ? 1u : 0u)) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return;
	}
	a->uid = k.uid;
	a->flags = k.flags;
	a->moves = k.moves;
	a->state = k.state;
	a->place = (struct msg_migd_place){ k.place[0], k.place[1], k.place[2],
					    k.place[3], k.place[4], k.place[5] };
	a->status = k.status;
	a->reason = (uint8_t)k.reason;
	a->move_token = k.move_token;
	memcpy(a->command, k.command, sizeof(a->command) - 1);
	memcpy(a->why, k.why, sizeof(a->why) - 1);
	if (k.has_stub && away_set_stub(a, fds[at]) == 0) {
		/* A HELLO may have been read by the migd before us. */
		a->stub->hello = k.hello || proc_pid_is_stub(m, a->pid);
		at++;
	}
	if (k.has_err)
		a->err_fd = fds[at];
}

void away_adopted(struct migd *m)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->away, NULL); n; n = next) {
		struct away *a = map_entry(n, struct away, node);

		next = map_next(&m->away, n);
		if (a->state == AWAY_STARTING) {
			/* Nobody waits for the answer any more. */
			away_signal(a, SIGKILL, NULL, 0, false);
			away_free(a);
		} else {
			deliver(a);
		}
	}
}

void away_free_all(struct migd *m)
{
	struct map_node *n;

	while ((n = map_next(&m->away, NULL))) {
		struct away *a = map_entry(n, struct away, node);

		map_del(&m->away, n);
		env_cancel(m->env, &a->stub_due);
		stubc_free(a->stub);
		if (a->err_fd >= 0)
			close(a->err_fd);
		free(a);
	}
	map_fini(&m->away);
	free(m->ends);
	m->ends = NULL;
}
