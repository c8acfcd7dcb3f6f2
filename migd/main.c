/*
 * main.c -- sprite-migd: starts, moves, evicts processes; samples load and
 * console.
 *
 * SIGTERM ends the daemon and its world; SIGKILL leaves the world, which the
 * next daemon adopts.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "away.h"
#include "engine.h"
#include "evict.h"
#include "freezer.h"
#include "grants.h"
#include "guests.h"
#include "local.h"
#include "log.h"
#include "migd.h"
#include "migration.h"
#include "opener.h"
#include "peers.h"
#include "prog.h"
#include "proc.h"
#include "ps.h"
#include "report.h"
#include "requests.h"
#include "run.h"
#include "status_dev.h"
#include "streams.h"
#include "stubs.h"
#include "subs.h"
#include "world.h"

/* ---- what the world tells ----------------------------------------------------------- */

static void on_world_exit(struct migd *m, const struct keep_msg *end)
{
	if (!guests_orphan(m, end))
		local_ended(m, end);
	world_ack(m, end);
}

static void on_item(struct migd *m, uint64_t key, const void *data, size_t len,
		    int *fds, size_t nfds)
{
	switch (KEEP_KIND(key)) {
	case KEEP_GUEST:
		guest_adopt(m, data, len, fds, nfds);
		break;
	case KEEP_AWAY:
		away_adopt(m, data, len, fds, nfds);
		break;
	case KEEP_HSTREAM:
		hstream_adopt(m, data, len, fds, nfds);
		break;
	case KEEP_GSTREAM:
		gstream_adopt(m, data, len, fds, nfds);
		break;
	case KEEP_MIRROR:
		mirror_adopt(m, data, len, fds, nfds);
		break;
	case KEEP_SUB:
		sub_adopt(m, data, len, fds, nfds);
		break;
	case KEEP_MOVE:
		migration_adopt(m, data, len, fds, nfds);
		break;
	default:
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
	}
}

/* ---- begin and end --------------------------------------------------------------------- */

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct migd *m = w->data;

	(void)revents;
	m->ending = true;
	ev_break(loop, EVBREAK_ALL);
}

static void on_close(void *arg, struct rpc_conn *c)
{
	away_conn_closed(arg, c);
	local_conn_closed(arg, c);
	grants_conn_closed(arg, c);
}

static int say(const char *what, int r)
{
	if (r)
		log_error("%s: %s", what, strerror(-r));
	return r;
}

static int open_net(struct migd *m)
{
	struct rpc_handler h = { .on_request = requests_dispatch,
				 .on_note = requests_note,
				 .on_close = on_close, .arg = m };
	char err[512];
	int r = hostconf_load(&m->conf, err, sizeof(err));

	if (r) {
		log_error("%s", err);
		return r;
	}
	r = say("host.key", hostconf_identity(&m->conf, SVC_MIGD, &m->self));
	if (r)
		return r;
	m->roster = roster_new(&m->conf, peers_changed, m);
	m->rpc = m->roster ? rpc_new(m->env, &m->self, roster_key, m->roster, &h) :
			     NULL;
	if (!m->rpc)
		return say("roster", -ENOMEM);
	return say("roster", roster_start(m->roster, m->rpc));
}

static int open_world(struct migd *m)
{
	bool adopted = false;
	int r = prog_path("sprite-stub", m->stub_exe, sizeof(m->stub_exe));

	if (r)
		return say("sprite-stub", r);
	r = eng_kernel_open(&m->kernel);
	if (r)
		log_info("sleeps of moved processes may last longer: %s",
			 strerror(-r));
	r = freezer_open(m);
	if (r)
		log_warn("no freezer for guests (%s): they are stopped one by "
			 "one", strerror(-r));
	r = say("stub.sock", stubs_listen(m));
	if (!r)
		r = say("the world", world_open(m, on_item, on_world_exit,
						&adopted));
	if (r)
		return r;
	mirror_adopted(m);
	guests_adopted(m);
	away_adopted(m);
	hstreams_adopted(m);
	migrations_adopted(m);
	world_start(m);
	if (adopted)
		log_info("adopted the world of an earlier migd: %u guests, %u "
			 "away", guests_count(m), away_count(m, 0));
	return say("opener", opener_start(m));
}

static int serve(struct migd *m)
{
	char path[PATH_MAX];
	int r = run_path("migd.sock", path, sizeof(path));

	if (!r)
		r = say(path, rpc_listen_unix(m->rpc, path, 0666));
	if (!r)
		r = say("TCP port", rpc_listen_tcp(m->rpc, m->conf.addr,
						   m->conf.port[SVC_MIGD]));
	if (r)
		return r;
	rpc_accept_chan(m->rpc, migration_chan, m);
	peers_changed(m);
	peers_census(m);
	prog_ready();
	return 0;
}

static void shut(struct migd *m)
{
	if (m->ending)
		world_end(m);
	evict_close(m);
	migrations_close(m);
	status_dev_close(m->status_dev);
	report_close(m);
	grants_close(m);
	opener_stop(m);
	hstreams_free_all(m);
	gstreams_free_all(m);
	subs_free_all(m);
	away_free_all(m);
	free(m->tokens);
	guests_free_all(m);
	mirror_free_all(m);
	local_free_all(m);
	stubs_close(m);
	world_close(m);
	peers_free(m);
	if (m->roster)
		roster_free(m->roster);
	if (m->rpc)
		rpc_free(m->rpc);
	freezer_close(m);
	eng_kernel_close(m->kernel);
}

static void init(struct migd *m)
{
	struct rlimit rl;

	/* Guests get their limits from home; we can only lower ours. */
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	signal(SIGPIPE, SIG_IGN);
	m->loop = ev_default_loop(EVFLAG_AUTO);
	m->env = m->loop ? env_ev_new(m->loop) : NULL;
	list_init(&m->stubs);
	list_init(&m->moves);
	list_init(&m->moves_waiting);
	list_init(&m->watches);
}

int main(int argc, char **argv)
{
	struct migd *m;
	ev_signal term, intr;
	int r;

	if (argc == 4 && strcmp(argv[1], "--world-init") == 0)
		return world_init_main(argv[2], atoi(argv[3]));
	if (argc != 1) {
		fprintf(stderr, "usage: sprite-migd\n"
			"It takes no arguments; host.conf says everything.\n");
		return 2;
	}
	log_open("migd");
	m = calloc(1, sizeof(*m));
	if (!m)
		return 1;
	init(m);
	if (!m->env)
		return 1;
	ev_signal_init(&term, on_signal, SIGTERM);
	ev_signal_init(&intr, on_signal, SIGINT);
	term.data = intr.data = m;
	ev_signal_start(m->loop, &term);
	ev_signal_start(m->loop, &intr);
	r = open_net(m);
	if (!r) {
		/* Numbers of streams: never those of an earlier world. */
		m->stream_seq = ((uint64_t)m->conf.host << 44) |
				((uint64_t)time(NULL) & 0xffffff) << 20;
		r = migrations_open(m);
	}
	if (!r)
		r = evict_open(m);
	if (!r)
		r = grants_open(m);
	if (!r)
		r = open_world(m);
	if (!r)
		r = report_open(m);
	if (!r)
		r = status_dev_open(m, &m->status_dev);
	if (!r)
		r = serve(m);
	if (!r)
		ev_run(m->loop, 0);
	shut(m);
	env_ev_free(m->env);
	free(m);
	return r ? 1 : 0;
}
