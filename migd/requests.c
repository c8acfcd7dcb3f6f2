/* requests.c -- see requests.h; roles and codecs come from migd.def. */
#include "requests.h"

#include <errno.h>

#include "away.h"
#include "evict.h"
#include "grants.h"
#include "guests.h"
#include "hostdb_msg.h"
#include "migration.h"
#include "move.h"
#include "ps.h"
#include "run.h"
#include "sigq.h"
#include "streams.h"

enum {
#define FIELD(kind, name)
#define STRUCT(name, ...)
#define REQUEST(code, name, senders, ...) SENDERS_##name = (int)(senders),
#define REPLY(code, name, ...)
#define NOTE(code, name, senders, ...)
#include "migd.def"
};

/* Evictions concern several files. */
static void on_migd_evict_here(struct migd *m, struct rpc_req *q,
			       const struct msg_migd_evict_here *b)
{
	if (b->uid)
		reply_say(q, -EPERM, "only root may send guests away");
	else
		evict_start(m, "asked for", 0, q);
}

static void on_migd_evict(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_evict *b)
{
	struct msg_migd_evict_here e = {
		.uid = (uint32_t)rpc_conn_uid(rpc_req_conn(q))
	};
	uint32_t host = *b->host ? host_by_name(m, b->host) : m->conf.host;
	struct body body;

	if (!host)
		reply_say(q, -ENOENT, "there is no host %.60s in this cell; "
			  "`sprite hosts` lists them", b->host);
	else if (host == m->conf.host || e.uid)
		on_migd_evict_here(m, q, &e);
	else if (BODY(migd_evict_here, &e, &body) == 0)
		call_host(m, host, MSG_migd_evict_here, &body, MOVE_MS, 0,
			  pass_answer, q);
}

static void on_migd_evictions(struct migd *m, struct rpc_req *q,
			      const struct msg_migd_evictions *b)
{
	struct msg_migd_evictions_here e = { 0 };
	uint32_t host = *b->host ? host_by_name(m, b->host) : m->conf.host;
	struct body body;

	if (!host)
		reply_say(q, -ENOENT, "there is no host %.60s in this cell",
			  b->host);
	else if (host == m->conf.host)
		on_migd_evictions_here(m, q);
	else if (BODY(migd_evictions_here, &e, &body) == 0)
		call_host(m, host, MSG_migd_evictions_here, &body, CALL_MS,
			  RPC_IDEMPOTENT, pass_answer, q);
}

static void on_migd_signal(struct migd *m, struct rpc_req *q,
			   const struct msg_migd_signal *b)
{
	struct guest *g = guest_find(m, b->pid);
	struct away *a = away_find(m, b->pid);
	struct move *v;
	int r;

	/* From the host it left: it came home with these still to take. */
	if (!g && !a && (v = move_by_pid(m, MOVE_ARRIVE, b->pid)) &&
	    v->other == rpc_req_host(q) && !v->resumed) {
		sigq_add(&v->signals, (int)b->sig, b->info.p, b->info.len,
			 b->group != 0);
		rpc_reply(q, 0, NULL);
		return;
	}
	if (g && (g->home == rpc_req_host(q) || guest_came_from(g, rpc_req_host(q)))) {
		r = guest_signal(g, (int)b->sig, b->info.p, b->info.len,
				 b->group != 0);
	} else if (a) {
		r = away_signal(a, (int)b->sig, b->info.p, b->info.len, false);
	} else if (home_of(m, b->pid) == m->conf.host) {
		r = home_signal(m, rpc_req_host(q), b);
	} else {
		r = -ESRCH;
	}
	rpc_reply(q, r, NULL);
}

/* name, arguments of its function after the body */
#define HANDLED(X)			\
	X(migd_run, (m, q, &b, &copy))	\
	X(migd_run_signal, (m, q, &b))	\
	X(migd_why, (m, q, &b))		\
	X(migd_hosts_ask, (m, q, &b))	\
	X(migd_hosts_return, (m, q, &b)) \
	X(migd_ask_hostdb, (m, q, &b))	\
	X(migd_ps, (m, q, &b))		\
	X(migd_kill, (m, q, &b))	\
	X(migd_migrate, (m, q, &b))	\
	X(migd_evict, (m, q, &b))	\
	X(migd_explain, (m, q, &b))	\
	X(migd_status, (m, q, &b))	\
	X(migd_moves, (m, q, &b))	\
	X(migd_evictions, (m, q, &b))	\
	X(migd_exec, (m, q, &b, msg))	\
	X(migd_exited, (m, q, &b))	\
	X(migd_stopped, (m, q, &b))	\
	X(migd_signal, (m, q, &b))	\
	X(migd_stream_data, (m, q, &b, msg)) \
	X(migd_stream_left, (m, q, &b, msg)) \
	X(migd_stream_tty, (m, q, &b))	\
	X(migd_offer, (m, q, &b))	\
	X(migd_commit, (m, q, &b))	\
	X(migd_settle, (m, q, &b))	\
	X(migd_moved, (m, q, &b))	\
	X(migd_cancel, (m, q, &b))	\
	X(migd_running, (m, q, &b))	\
	X(migd_whereto, (m, q, &b))	\
	X(migd_move, (m, q, &b))	\
	X(migd_census, (m, q, &b))	\
	X(migd_ps_here, (m, q, &b))	\
	X(migd_kill_here, (m, q, &b))	\
	X(migd_migrate_here, (m, q, &b)) \
	X(migd_evict_here, (m, q, &b))	\
	X(migd_explain_here, (m, q, &b)) \
	X(migd_status_here, (m, q))	\
	X(migd_evictions_here, (m, q))

void requests_dispatch(void *migd, struct rpc_req *q, const struct rpc_msg *msg)
{
	struct migd *m = migd;
	struct rpc_conn *c = rpc_req_conn(q);
	unsigned roles = c ? rpc_conn_roles(c) : 0;
	struct rpc_msg copy = *msg;

	switch (msg->code) {
#define X(name, args)                                                     \
	case MSG_##name: {                                                \
		struct msg_##name b;                                      \
                                                                          \
		if (!(roles & (unsigned)SENDERS_##name))                  \
			rpc_reply(q, -EPERM, NULL);                       \
		else if (msg_##name##_decode(msg->body, msg->len, &b))    \
			rpc_reply(q, -EBADMSG, NULL);                     \
		else                                                      \
			on_##name args;                                   \
		break;                                                    \
	}
		HANDLED(X)
#undef X
	default:
		rpc_reply(q, -ENOSYS, NULL);
	}
}

void requests_note(void *migd, struct rpc_conn *c, const struct rpc_msg *msg)
{
	struct msg_hostdb_evict e;
	struct migd *m = migd;

	if (msg->code == MSG_hostdb_evict && rpc_conn_roles(c) & ROLE_HOSTDB &&
	    msg_hostdb_evict_decode(msg->body, msg->len, &e) == 0) {
		evict_start(m, "the host was given to somebody else", e.home,
			    NULL);
		return;
	}
	grants_note(m, c, msg);
}
