/*
 * run.c -- see run.h.
 *
 * A caller inside the world keeps its PID and turns into the home stub after
 * the other host has said that the program runs.  For a caller outside a stub
 * is made in the world first, whose PID the program gets.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "away.h"
#include "carry.h"
#include "cleanup.h"
#include "engine.h"
#include "grants.h"
#include "guests.h"
#include "local.h"
#include "log.h"
#include "peers.h"
#include "proc.h"
#include "streams.h"
#include "world.h"

#define EXEC_MS 20000
#define EXEC_BODY (512u << 10)

struct run {
	struct migd *m;
	struct rpc_req *req;
	uint8_t *copy;
	size_t body_len, payload_len;
	struct msg_migd_run b;
	int fds[RPC_FDS_MAX];
	size_t nfds;
	struct proc_caller who;
	bool inside, local;
	uint32_t pid, host;
	uint64_t grant;
	struct msg_migd_place place;
	struct away *away;
	struct local *local_run;
	struct stubc *stub; /* outside: until it is the away's */
	uint8_t *out;	    /* the request under construction */
};

static void run_free(struct run *r)
{
	for (size_t i = 0; i < r->nfds; i++)
		if (r->fds[i] >= 0)
			close(r->fds[i]);
	stubc_end(r->stub, 127 << 8);
	if (r->grant && r->b.grant == 0)
		grants_done(r->m, r->grant);
	free(r->out);
	free(r->copy);
	free(r);
}

static void fail(struct run *r, int status, const char *why)
{
	reply_say(r->req, status, "%s", why);
	if (r->away) {
		r->away->grant = 0;
		away_free(r->away);
	}
	if (r->pid)
		carry_undo(r->m, r->pid);
	run_free(r);
}

/* Nothing is started: the caller executes it by itself. */
static void run_here(struct run *r)
{
	struct msg_migd_run_started s = {
		.how = MIGD_RUN_HERE, .pid = r->pid, .host = r->m->conf.host,
		.host_name = r->m->conf.name,
	};
	struct body b;

	if (BODY(migd_run_started, &s, &b))
		rpc_reply(r->req, -EMSGSIZE, NULL);
	else
		reply_body(r->req, MSG_migd_run_started, &b);
	run_free(r);
}

/* ---- it runs ---------------------------------------------------------------------- */

static void answer_started(struct run *r)
{
	struct migd *m = r->m;
	struct msg_migd_run_started s = {
		.how = r->inside ? MIGD_BECOME_STUB : MIGD_WAIT,
		.pid = r->pid, .host = r->host,
		.host_name = host_name(m, r->host),
		.stub = m->stub_exe, .rejoin = m->rejoin,
	};
	struct rpc_out o = { .code = MSG_migd_run_started };
	struct away *a = r->away;
	struct body b;
	int sv[2] = { -1, -1 };

	if (r->inside) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) ||
		    away_set_stub(a, sv[0])) {
			close_ptr(&sv[0]);
			close_ptr(&sv[1]);
			away_signal(a, SIGKILL, NULL, 0, false);
			fail(r, -ENFILE, "out of descriptors");
			return;
		}
		o.fds = &sv[1];
		o.nfds = 1;
	} else {
		a->waiter = rpc_req_conn(r->req);
	}
	if (BODY(migd_run_started, &s, &b) == 0) {
		o.body = b.b;
		o.len = b.len;
	}
	rpc_reply(r->req, 0, &o);
	close_ptr(&sv[1]);
	a->state = AWAY_RUNNING;
	peers_need(m, r->host);
	carry_attach(m, r->pid, r->host);
	away_keep(a);
	r->away = NULL;
	r->grant = 0;
	run_free(r);
	if (a->early)
		away_ended(a, a->status, a->reason, NULL);
}

static void on_exec(void *arg, int status, const struct rpc_msg *msg)
{
	struct run *r = arg;
	char why[700];

	if (status == 0) {
		r->away->grant = r->b.grant ? 0 : r->grant;
		answer_started(r);
		return;
	}
	if (status == -EHOSTUNREACH || status == -ETIMEDOUT ||
	    status == -ECONNRESET) {
		/* If it did begin over there, the census ends it. */
		snprintf(why, sizeof(why), "host %s does not answer; see "
			 "`sprite hosts`, or choose another host",
			 host_name(r->m, r->host));
		fail(r, -EHOSTUNREACH, why);
		return;
	}
	snprintf(why, sizeof(why), "%s", rpc_sentence(status, msg));
	fail(r, status, why);
}

static int encode_exec(struct run *r, size_t *ret_len, char *why, size_t cap)
{
	uint8_t place[64], groups[1024];
	struct wire_writer pw = wire_writer(place, sizeof(place));
	struct wire_writer gw = wire_writer(groups, sizeof(groups));
	SCOPED(free) uint8_t *carried = malloc(EXEC_BODY / 2);
	struct wire_writer cw = wire_writer(carried, EXEC_BODY / 2);
	const struct carry_to to = { r->pid, r->host, r->inside };
	struct msg_migd_exec e = {
		.job = ++r->m->job_seq, .flags = r->b.flags,
		.path = r->b.path, .cwd = r->b.cwd, .umask = r->b.umask,
		.uid = r->who.uid[0], .gid = r->who.gid[0],
		.sigmask = r->b.sigmask, .sigign = r->b.sigign,
		.nice = r->b.nice, .limits = r->b.limits,
		.argc = r->b.argc, .envc = r->b.envc,
	};
	int s;

	r->out = malloc(EXEC_BODY);
	if (!carried || !r->out)
		return -ENOMEM;
	s = carry_plan(r->m, &to, r->b.fds, r->fds, r->nfds, &cw, why, cap);
	if (s)
		return s;
	msg_migd_place_put(&pw, &r->place);
	for (uint32_t i = 0; i < r->who.ngroups; i++)
		wire_put_u32(&gw, r->who.groups[i]);
	e.place = (wire_blob){ place, pw.len };
	e.groups = (wire_blob){ groups, gw.len };
	e.fds = (wire_blob){ carried, cw.len };
	return msg_migd_exec_encode(&e, r->out, EXEC_BODY, ret_len);
}

static void keep_stderr(struct run *r)
{
	struct wire_reader w = wire_reader(r->b.fds.p, r->b.fds.len);

	for (size_t i = 0; i < r->nfds; i++)
		if (msg_migd_fd_get(&w).fd == 2)
			r->away->err_fd = fcntl(r->fds[i], F_DUPFD_CLOEXEC, 3);
}

static void send_exec(struct run *r)
{
	struct rpc_out o = { .code = MSG_migd_exec,
			     .payload = r->copy + r->body_len,
			     .payload_len = r->payload_len };
	char why[400] = "";
	const char *argv0 = (const char *)o.payload, *base;
	int s;

	if (away_find(r->m, r->pid)) {
		fail(r, -EBUSY, "this process is away already");
		return;
	}
	s = encode_exec(r, &o.len, why, sizeof(why));
	r->away = s ? NULL : away_new(r->m, r->pid, r->host);
	if (s || !r->away) {
		fail(r, s ? s : -ENOMEM, *why ? why : rpc_sentence(s, NULL));
		return;
	}
	r->away->uid = r->who.uid[0];
	r->away->flags = r->b.flags;
	r->away->place = r->place;
	base = strrchr(argv0, '/');
	snprintf(r->away->command, sizeof(r->away->command), "%s",
		 base ? base + 1 : argv0);
	keep_stderr(r);
	if (r->stub) {
		/* Outside: the stub is there already. */
		int ctl = stubc_take(r->stub);

		stubc_free(r->stub);
		r->stub = NULL;
		if (away_set_stub(r->away, ctl)) {
			close(ctl);
			fail(r, -ENOMEM, "out of memory");
			return;
		}
		r->away->stub->hello = true;
	}
	o.body = r->out;
	call_host_out(r->m, r->host, &o, EXEC_MS, 0, on_exec, r);
}

/* ---- in this host's world, for a caller outside of it ------------------------------ */

static void on_local_msg(struct stubc *s, const struct stub_msg *msg)
{
	struct run *r = s->data;
	char why[PATH_MAX + 64];

	if (msg->type != STUB_ERR || msg->to != STUB_EXEC)
		return;
	s->err = msg->err;
	snprintf(why, sizeof(why), "%s: %s", r->b.path, strerror(-msg->err));
	local_free(r->local_run);
	fail(r, msg->err, why);
}

static void on_local_gone(struct stubc *s)
{
	struct run *r = s->data;
	struct msg_migd_run_started a = {
		.how = MIGD_WAIT, .pid = r->pid, .host = r->m->conf.host,
		.host_name = r->m->conf.name,
	};
	struct body b;

	if (s->err)
		return;
	stubc_free(r->stub);
	r->stub = NULL;
	if (BODY(migd_run_started, &a, &b) == 0)
		reply_body(r->req, MSG_migd_run_started, &b);
	local_started(r->local_run);
	run_free(r);
}

static const struct stub_hooks local_hooks = { on_local_msg, on_local_gone };

static void run_local(struct run *r)
{
	struct rpc_msg strings = { .payload = r->copy + r->body_len,
				   .payload_len = r->payload_len };
	struct wire_reader w = wire_reader(r->b.fds.p, r->b.fds.len);
	struct stub_msg go = { .type = STUB_EXEC };
	int numbers[RPC_FDS_MAX], fds[RPC_FDS_MAX + 1], s;
	bool cloexec[RPC_FDS_MAX];
	char **argv = NULL, **envp = NULL;
	struct eng_exec x = {
		.path = r->b.path, .cwd = r->b.cwd, .set_ids = true,
		.ruid = r->who.uid[0], .euid = r->who.uid[0],
		.suid = r->who.uid[0], .rgid = r->who.gid[0],
		.egid = r->who.gid[0], .sgid = r->who.gid[0],
		.groups = r->who.groups, .ngroups = r->who.ngroups,
		.umask = r->b.umask, .set_nice = r->b.nice != 0,
		.nice = r->b.nice, .sigmask = r->b.sigmask,
		.sigign = r->b.sigign, .fds = numbers, .cloexec = cloexec,
		.nfds = (unsigned)r->nfds,
	};

	for (size_t i = 0; i < r->nfds; i++) {
		struct msg_migd_fd f = msg_migd_fd_get(&w);

		numbers[i] = f.fd;
		cloexec[i] = f.cloexec;
		fds[i + 1] = r->fds[i];
	}
	s = strings_split(&strings, r->b.argc, r->b.envc, &argv, &envp);
	x.argv = argv;
	x.envp = envp;
	if (!s)
		s = wire_read_end(&w);
	if (!s)
		s = limits_split(r->b.limits, &x);
	if (!s)
		s = eng_exec_image_build(&x, &fds[0]);
	free(argv);
	/* Before it can end. */
	r->local_run = s ? NULL : local_new(r->m, r->pid, rpc_req_conn(r->req));
	if (!r->local_run) {
		fail(r, s ? s : -ENOMEM, rpc_sentence(s ? s : -ENOMEM, NULL));
		return;
	}
	r->local_run->starting = true;
	r->stub->hooks = &local_hooks;
	stubc_send(r->stub, &go, fds, (unsigned)r->nfds + 1);
	close(fds[0]);
}

/* ---- where it belongs ---------------------------------------------------------------- */

static int place_inside(struct run *r)
{
	struct proc_stat me, parent = { 0 };

	if (proc_stat(r->m, r->pid, &me))
		return -ESRCH;
	if (me.ppid > 1 && proc_stat(r->m, me.ppid, &parent))
		me.ppid = 1;
	r->place = (struct msg_migd_place){
		.pid = r->pid, .ppid = me.ppid ? me.ppid : 1,
		.pgid = me.pgid, .sid = me.sid,
		.parent_pgid = parent.pgid, .parent_sid = parent.sid,
	};
	return 0;
}

static void on_stub_msg(struct stubc *s, const struct stub_msg *msg)
{
	struct run *r = s->data;

	if (msg->type != STUB_HELLO)
		return;
	r->pid = s->pid;
	r->place = (struct msg_migd_place){ .pid = r->pid, .ppid = 1,
					    .pgid = r->pid, .sid = r->pid };
	if (r->local)
		run_local(r);
	else
		send_exec(r);
}

static void on_stub_gone(struct stubc *s)
{
	struct run *r = s->data;

	stubc_free(r->stub);
	r->stub = NULL;
	fail(r, -EAGAIN, "no process can be made in the world of this host");
}

static const struct stub_hooks stub_hooks = { on_stub_msg, on_stub_gone };

static void make_stub(struct run *r)
{
	struct stub_msg ids = { .type = STUB_IDS,
				.u.ids = { r->who.uid[0], r->who.gid[0] } };
	int child;

	r->stub = stubc_new(r->m, &stub_hooks, r, &child);
	if (!r->stub || world_spawn(r->m, 0, KEEP_SPAWN_SETSID, true, child,
				    r->stub)) {
		if (r->stub)
			close(child);
		fail(r, -EAGAIN, "no process can be made in the world of this host");
		return;
	}
	close(child);
	stubc_send(r->stub, &ids, NULL, 0);
}

static void on_host(void *arg, uint32_t host, uint64_t grant, const char *why)
{
	struct run *r = arg;

	r->host = host;
	r->grant = grant;
	if (!host && !(r->b.flags & MIGD_RUN_OR_HERE)) {
		fail(r, -EAGAIN, why);
		return;
	}
	r->local = !host || host == r->m->conf.host;
	if (r->local && r->inside)
		run_here(r);
	else if (r->inside)
		send_exec(r);
	else
		make_stub(r);
}

static void choose(struct run *r)
{
	struct migd *m = r->m;
	uint32_t host;
	char why[200];

	if (r->b.flags & MIGD_RUN_LOCAL) {
		on_host(r, m->conf.host, 0, NULL);
		return;
	}
	if (r->inside && home_of(m, r->pid) != m->conf.host) {
		/* A guest: its children are placed by its home, not by us. */
		run_here(r);
		return;
	}
	if (r->b.grant) {
		host = grants_host(m, r->who.uid[0], r->b.grant);
		if (!host) {
			fail(r, -ESTALE, "that host is not lent to you any "
					 "more; ask for another");
			return;
		}
		on_host(r, host, r->b.grant, NULL);
		return;
	}
	if (!*r->b.host) {
		grants_one(m, r->who.uid[0], on_host, r);
		return;
	}
	host = host_by_name(m, r->b.host);
	if (!host) {
		snprintf(why, sizeof(why), "there is no host %.60s in this "
			 "cell; `sprite hosts` lists them", r->b.host);
		fail(r, -ENOENT, why);
		return;
	}
	on_host(r, host, 0, NULL);
}

/* ---- requests ---------------------------------------------------------------------------- */

static int take_over(struct run *r, struct rpc_msg *msg)
{
	r->copy = malloc(msg->len + msg->payload_len + 1);
	if (!r->copy)
		return -ENOMEM;
	memcpy(r->copy, msg->body, msg->len);
	if (msg->payload_len)
		memcpy(r->copy + msg->len, msg->payload, msg->payload_len);
	r->body_len = msg->len;
	r->payload_len = msg->payload_len;
	for (size_t i = 0; i < msg->nfds && i < RPC_FDS_MAX; i++) {
		r->fds[r->nfds++] = msg->fds[i];
		msg->fds[i] = -1;
	}
	return msg_migd_run_decode(r->copy, msg->len, &r->b);
}

void on_migd_run(struct migd *m, struct rpc_req *q,
		 const struct msg_migd_run *b, struct rpc_msg *msg)
{
	struct rpc_conn *c = rpc_req_conn(q);
	struct run *r = calloc(1, sizeof(*r));
	int s = r && c ? 0 : -ENOMEM;

	(void)b;
	if (s) {
		free(r);
		rpc_reply(q, s, NULL);
		return;
	}
	r->m = m;
	r->req = q;
	s = take_over(r, msg);
	if (!s && (r->b.argc < 1 || !*r->b.path || r->b.path[0] != '/' ||
		   !r->payload_len || r->copy[r->body_len + r->payload_len - 1]))
		s = -EINVAL;
	if (!s)
		s = proc_caller(rpc_conn_pid(c), &r->who);
	if (!s) {
		s = proc_global_pid(m, rpc_conn_pid(c), &r->pid);
		r->inside = s == 0;
		if (s == -EXDEV)
			s = 0;
	}
	if (!s && r->inside)
		s = place_inside(r);
	if (s) {
		fail(r, s, rpc_sentence(s, NULL));
		return;
	}
	choose(r);
}

void on_migd_run_signal(struct migd *m, struct rpc_req *q,
			const struct msg_migd_run_signal *b)
{
	struct away *a = away_find(m, b->pid);

	struct local *l = local_find(m, b->pid);

	if (l && l->waiter == rpc_req_conn(q)) {
		rpc_reply(q, proc_signal(m, l->pid, (int)b->sig), NULL);
		return;
	}
	if (!a || a->waiter != rpc_req_conn(q)) {
		reply_say(q, -ESRCH, "process %u is not yours to signal here",
			  b->pid);
		return;
	}
	if (!a->stub || a->stub->gone)
		rpc_reply(q, -ESRCH, NULL);
	else
		rpc_reply(q, proc_signal(m, a->pid, (int)b->sig), NULL);
}
