/*
 * guests.c -- see guests.h.
 *
 * A guest's end is told home by a call that is repeated until home has it, and
 * the record is kept (also by the keeper) until then: a death is never lost.
 */
#include "guests.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "evict.h"
#include "log.h"
#include "move.h"
#include "peers.h"
#include "proc.h"
#include "report.h"
#include "sigq.h"
#include "streams.h"
#include "world.h"

#define UNSEEN_MS 1000

struct guest *guest_find(struct migd *m, uint32_t pid)
{
	return map_entry(map_get(&m->guests, pid), struct guest, node);
}

unsigned guests_count(const struct migd *m)
{
	unsigned n = 0;

	for (struct map_node *i = map_next(&m->guests, NULL); i;
	     i = map_next(&m->guests, i))
		n += map_entry(i, struct guest, node)->state != GUEST_ENDED;
	return n;
}

struct guest *guest_new(struct migd *m, uint32_t pid, uint32_t home)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	*g = (struct guest){ .m = m, .pid = pid, .home = home, .dir = -1 };
	list_init(&g->signals);
	if (map_put(&m->guests, pid, &g->node)) {
		free(g);
		return NULL;
	}
	g->since_ms = env_now_ms(m->env);
	report_changed(m);
	return g;
}

void guest_free(struct guest *g)
{
	if (!g)
		return;
	map_del(&g->m->guests, &g->node);
	mirror_leave(&g->place);
	world_forget(g->m, KEEP_KEY(KEEP_GUEST, g->pid));
	if (g->dir >= 0)
		close(g->dir);
	sigq_free(&g->signals);
	report_changed(g->m);
	free(g);
}

/* ---- in the keeper ------------------------------------------------------------- */

struct kept_guest {
	uint32_t pid, home, uid, gid, flags, moves, client, state, has_tty;
	uint32_t parent, group;
	uint32_t place[6];
	int32_t status;
	uint32_t reason;
	uint64_t job, utime_us, stime_us, maxrss_kb;
	char command[64], why[160];
};

void guest_keep(struct guest *g)
{
	struct kept_guest k = {
		.pid = g->pid, .home = g->home, .uid = g->uid, .gid = g->gid,
		.flags = g->flags, .moves = g->moves, .client = g->client,
		.state = g->state, .has_tty = g->has_tty,
		.parent = g->place.parent ? g->place.parent->pid : 0,
		.group = g->place.group ? g->place.group->pid : 0,
		.place = { g->at_home.pid, g->at_home.ppid, g->at_home.pgid,
			   g->at_home.sid, g->at_home.parent_pgid,
			   g->at_home.parent_sid },
		.status = g->status, .reason = g->reason, .job = g->job,
		.utime_us = g->utime_us, .stime_us = g->stime_us,
		.maxrss_kb = g->maxrss_kb,
	};

	memcpy(k.command, g->command, sizeof(k.command));
	memcpy(k.why, g->why, sizeof(k.why));
	world_keep(g->m, KEEP_KEY(KEEP_GUEST, g->pid), &k, sizeof(k), NULL, 0);
}

static struct mirror *hold(struct migd *m, uint32_t pid)
{
	struct mirror *r = pid ? mirror_find(m, pid) : NULL;

	if (r)
		mirror_hold(r);
	return r;
}

void guest_adopt(struct migd *m, const void *data, size_t len, int *fds,
		 size_t nfds)
{
	struct kept_guest k;
	struct guest *g;

	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	if (len != sizeof(k))
		return;
	memcpy(&k, data, sizeof(k));
	g = guest_new(m, k.pid, k.home);
	if (!g)
		return;
	g->uid = k.uid;
	g->gid = k.gid;
	g->flags = k.flags;
	g->moves = k.moves;
	g->client = k.client;
	g->state = k.state;
	g->has_tty = k.has_tty != 0;
	g->at_home = (struct msg_migd_place){ k.place[0], k.place[1], k.place[2],
					      k.place[3], k.place[4],
					      k.place[5] };
	g->status = k.status;
	g->reason = (uint8_t)k.reason;
	g->job = k.job;
	g->utime_us = k.utime_us;
	g->stime_us = k.stime_us;
	g->maxrss_kb = k.maxrss_kb;
	memcpy(g->command, k.command, sizeof(g->command) - 1);
	memcpy(g->why, k.why, sizeof(g->why) - 1);
	/* The mirrors may come later: their numbers for now. */
	g->adopt_parent = k.parent;
	g->adopt_group = k.group;
}

static void tell_home(struct guest *g);

static void on_unseen(struct timer *t)
{
	struct migd *m = t->data;
	struct map_node *next;

	for (struct map_node *n = map_next(&m->guests, NULL); n; n = next) {
		struct guest *g = map_entry(n, struct guest, node);

		next = map_next(&m->guests, n);
		if (g->dir < 0 && g->state == GUEST_RUNNING)
			guest_ended(g, SIGKILL, MIGD_END_FAILED,
				    "it ended unseen while migd was down");
	}
}

void guests_adopted(struct migd *m)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->guests, NULL); n; n = next) {
		struct guest *g = map_entry(n, struct guest, node);

		next = map_next(&m->guests, n);
		g->place.parent = hold(m, g->adopt_parent);
		g->place.group = hold(m, g->adopt_group);
		if (g->state == GUEST_ENDED) {
			tell_home(g);
			continue;
		}
		if (g->state == GUEST_LEAVING)
			g->state = GUEST_RUNNING;
		g->dir = proc_open(m, g->pid);
	}
	/* The report of an end may still be in its mirror's socket. */
	m->unseen = (struct timer){ .fire = on_unseen, .data = m };
	env_after(m->env, &m->unseen, UNSEEN_MS);
}

/* ---- ends ------------------------------------------------------------------------- */

static void on_told(void *arg, int status, const struct rpc_msg *msg)
{
	struct guest *g = arg;

	(void)msg;
	if (status < 0 && status != -ESRCH && g->m->ending)
		return;
	guest_free(g);
}

static void tell_home(struct guest *g)
{
	struct msg_migd_exited e = {
		.pid = g->pid, .status = g->status, .reason = g->reason,
		.utime_us = g->utime_us, .stime_us = g->stime_us,
		.maxrss_kb = g->maxrss_kb, .why = g->why,
	};
	struct body b;

	if (BODY(migd_exited, &e, &b))
		return;
	call_host(g->m, g->home, MSG_migd_exited, &b, 0, RPC_IDEMPOTENT,
		  on_told, g);
}

void guest_ended(struct guest *g, int status, uint8_t reason, const char *why)
{
	if (g->state == GUEST_ENDED)
		return;
	g->state = GUEST_ENDED;
	g->status = status;
	g->reason = reason;
	snprintf(g->why, sizeof(g->why), "%s", why ? why : g->why);
	gstreams_flush(g->m, g->pid);
	tell_home(g);
	/* After the call, which is what the user waits for.  If we die in
	 * between, the next migd finds no process and says so. */
	guest_keep(g);
	report_changed(g->m);
	evict_progress(g->m);
}

static void ended(struct guest *g, int status, int64_t utime_us,
		  int64_t stime_us, int64_t maxrss_kb)
{
	uint8_t reason = WIFEXITED(status) ? MIGD_END_EXIT : MIGD_END_SIGNAL;

	g->utime_us = (uint64_t)utime_us;
	g->stime_us = (uint64_t)stime_us;
	g->maxrss_kb = (uint64_t)maxrss_kb;
	if (g->state == GUEST_STARTING || g->state == GUEST_LEAVING) {
		/* exec.c and migration.c go on from here. */
		g->early = true;
		g->status = status;
		return;
	}
	guest_ended(g, status, g->reason ? g->reason : reason, NULL);
}

void guests_child(struct migd *m, const struct stub_msg *msg)
{
	struct guest *g = guest_find(m, (uint32_t)msg->pid);
	struct msg_migd_stopped s = { .pid = (uint32_t)msg->pid,
				      .status = msg->status };
	struct body b;

	if (!g)
		return;
	switch (msg->u.child.code) {
	case CLD_STOPPED:
	case CLD_CONTINUED:
		if (g->state == GUEST_RUNNING &&
		    BODY(migd_stopped, &s, &b) == 0)
			call_host(m, g->home, MSG_migd_stopped, &b, CALL_MS, 0,
				  call_done_nothing, NULL);
		break;
	case CLD_TRAPPED:
		break;
	default:
		ended(g, msg->status, msg->u.child.utime_us,
		      msg->u.child.stime_us, msg->u.child.maxrss_kb);
	}
}

bool guests_orphan(struct migd *m, const struct keep_msg *end)
{
	struct guest *g = guest_find(m, (uint32_t)end->pid);

	if (!g)
		return false;
	ended(g, end->status, end->utime_us, end->stime_us, end->maxrss_kb);
	return true;
}

void guest_runs(struct guest *g)
{
	g->state = GUEST_RUNNING;
	if (g->early) {
		g->early = false;
		guest_ended(g, g->status,
			    WIFEXITED(g->status) ? MIGD_END_EXIT :
						   MIGD_END_SIGNAL, NULL);
		return;
	}
	peers_need(g->m, g->home);
	list_each(i, &g->signals, struct sigq_item, link)
		guest_signal(g, i->sig, i->info, i->len, i->group);
	sigq_free(&g->signals);
	guest_keep(g);
	evict_progress(g->m);
}

/* ---- signals ------------------------------------------------------------------------ */

/* The kernel lets nobody forge what only it says; what a process sent with
 * kill(2) is delivered as if queued, with its true sender. */
static int send_info(struct guest *g, int sig, const void *siginfo, size_t len)
{
	siginfo_t si;

	if (len != sizeof(si))
		return proc_fd_signal(g->dir, sig, NULL);
	memcpy(&si, siginfo, sizeof(si));
	if (si.si_signo != sig || si.si_code > 0)
		return proc_fd_signal(g->dir, sig, NULL);
	if (si.si_code == SI_USER || si.si_code == SI_TKILL)
		si.si_code = SI_QUEUE;
	return proc_fd_signal(g->dir, sig, &si);
}

/*
 * A terminal's stop signal is dropped by the kernel in a process group
 * without a shell above it in its session, and a guest is always in such a
 * one: its shell is at home.  What it does not handle itself stops it.
 */
static int stopping(struct migd *m, uint32_t pid, int sig)
{
	if ((sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU) &&
	    proc_defaults(m, pid, sig))
		return SIGSTOP;
	return sig;
}

int guest_signal(struct guest *g, int sig, const void *siginfo, size_t len,
		 bool group)
{
	struct proc_stat root, st;
	uint32_t *pids;
	size_t n;

	struct move *v = g->state == GUEST_LEAVING ?
				 move_by_pid(g->m, MOVE_LEAVE, g->pid) : NULL;

	if (g->state == GUEST_STARTING) {
		sigq_add(&g->signals, sig, siginfo, len, group);
		return 0;
	}
	/* Its image may be taken at any moment, without this one. */
	if (v && v->state >= MIG_MOVING) {
		sigq_add(&v->signals, sig, siginfo, len, group);
		return 0;
	}
	if (g->dir < 0 || g->state == GUEST_ENDED)
		return -ESRCH;
	if (group && proc_stat(g->m, g->pid, &root) == 0 &&
	    proc_tree(g->m, g->pid, &pids, &n) == 0) {
		for (size_t i = 1; i < n; i++)
			if (!guest_find(g->m, pids[i]) &&
			    proc_stat(g->m, pids[i], &st) == 0 &&
			    st.pgid == root.pgid)
				proc_signal(g->m, pids[i],
					    stopping(g->m, pids[i], sig));
		free(pids);
	}
	return send_info(g, stopping(g->m, g->pid, sig), siginfo, len);
}

void guest_kill(struct guest *g)
{
	uint32_t *pids;
	size_t n;

	if (proc_tree(g->m, g->pid, &pids, &n))
		return;
	for (size_t i = 0; i < n; i++)
		proc_signal(g->m, pids[i], SIGKILL);
	free(pids);
}

/* ---- home ------------------------------------------------------------------------------ */

void guests_home_lost(struct migd *m, uint32_t home)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->guests, NULL); n; n = next) {
		struct guest *g = map_entry(n, struct guest, node);

		next = map_next(&m->guests, n);
		if (g->home != home || g->state != GUEST_RUNNING)
			continue;
		log_warn("process %u (%s) ends: its home %s is gone", g->pid,
			 g->command, host_name(m, home));
		snprintf(g->why, sizeof(g->why), "its home was gone");
		guest_kill(g);
	}
}

struct census {
	struct migd *m;
	uint32_t home;
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
			struct guest *g = guest_find(c->m, wire_get_u32(&r));

			if (!g || g->home != c->home ||
			    g->state != GUEST_RUNNING)
				continue;
			log_warn("process %u (%s) ends: its home %s does not "
				 "know it any more", g->pid, g->command,
				 host_name(c->m, c->home));
			guest_kill(g);
		}
	}
	free(c);
}

void guests_census(struct migd *m, uint32_t home)
{
	static uint8_t pids[8192];
	struct wire_writer w = wire_writer(pids, sizeof(pids));
	struct msg_migd_census q = { 0 };
	struct census *c;
	struct body b;
	unsigned n = 0;

	for (struct map_node *i = map_next(&m->guests, NULL); i;
	     i = map_next(&m->guests, i)) {
		struct guest *g = map_entry(i, struct guest, node);

		if (g->home != home || g->state != GUEST_RUNNING ||
		    w.left < 4)
			continue;
		wire_put_u32(&w, g->pid);
		n++;
	}
	q.pids = (wire_blob){ pids, w.len };
	c = n ? malloc(sizeof(*c)) : NULL;
	if (!c || BODY(migd_census, &q, &b)) {
		free(c);
		return;
	}
	*c = (struct census){ m, home };
	call_host(m, home, MSG_migd_census, &b, CALL_MS, RPC_IDEMPOTENT,
		  on_census, c);
}

void guests_free_all(struct migd *m)
{
	struct map_node *n;

	while ((n = map_next(&m->guests, NULL))) {
		struct guest *g = map_entry(n, struct guest, node);

		map_del(&m->guests, n);
		if (g->dir >= 0)
			close(g->dir);
		free(g);
	}
	map_fini(&m->guests);
	env_cancel(m->env, &m->unseen);
}
