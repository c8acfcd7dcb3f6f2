/*
 * main.c -- sprite-hostdb: lend the cell's idle hosts until told to end.
 *
 * Runs in the foreground.  Exit status: 0 told to end, 1 it cannot run and
 * the last line of the log says why, 2 usage.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>
#include <sodium.h>

#include "db.h"
#include "fd.h"
#include "log.h"
#include "prog.h"
#include "service.h"

#define WHY_MAX 256

struct paths {
	char db[PATH_MAX], lock[PATH_MAX], run[PATH_MAX], sock[PATH_MAX];
};

struct daemon {
	struct hostconf conf;
	struct rpc_identity id;
	struct paths p;
	int lock;
	struct history *history;
	struct ev_loop *loop;
	struct env *env;
	struct roster *roster;
	struct service *service;
	struct rpc *rpc;
};

static int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int find_paths(struct paths *p)
{
	if (state_path("hostdb.db", p->db, sizeof(p->db)) ||
	    state_path("hostdb.lock", p->lock, sizeof(p->lock)) ||
	    run_path("", p->run, sizeof(p->run)) ||
	    run_path("hostdb.sock", p->sock, sizeof(p->sock)))
		return -ENAMETOOLONG;
	return 0;
}

static int load(struct daemon *d, char *why)
{
	int r = hostconf_load(&d->conf, why, WHY_MAX);

	if (r == -ENOENT)
		snprintf(why, WHY_MAX, "this host is in no cell; `sprite init` "
			 "founds one, `sprite join TOKEN` enters one");
	if (r)
		return r;
	r = hostconf_identity(&d->conf, SVC_HOSTDB, &d->id);
	if (r)
		snprintf(why, WHY_MAX, "cannot read host.key: %s", strerror(-r));
	return r;
}

static void on_roster(void *arg)
{
	struct daemon *d = arg;

	if (d->service)
		service_roster(d->service);
}

static int listen_on(struct daemon *d, char *why)
{
	int r = rpc_listen_tcp(d->rpc, NULL, d->conf.port[SVC_HOSTDB]);

	if (r) {
		snprintf(why, WHY_MAX, "cannot listen on TCP port %u: %s",
			 d->conf.port[SVC_HOSTDB], strerror(-r));
		return r;
	}
	r = rpc_listen_unix(d->rpc, d->p.sock, 0666);
	if (r)
		snprintf(why, WHY_MAX, "cannot listen on its socket %.100s: %s",
			 d->p.sock, strerror(-r));
	return r;
}

static int build(struct daemon *d, char *why)
{
	struct service_conf sc = { .conf = &d->conf, .wall_ms = wall_ms };
	struct rpc_handler h;
	int r;

	snprintf(why, WHY_MAX, "out of memory");
	d->loop = ev_loop_new(EVFLAG_AUTO);
	d->env = d->loop ? env_ev_new(d->loop) : NULL;
	d->roster = d->env ? roster_new(&d->conf, on_roster, d) : NULL;
	if (!d->roster)
		return -ENOMEM;
	sc.roster = d->roster;
	sc.history = d->history;
	r = service_new(d->env, &sc, &d->service);
	if (r)
		return r;
	h = service_handler(d->service);
	d->rpc = rpc_new(d->env, &d->id, roster_key, d->roster, &h);
	if (!d->rpc)
		return -ENOMEM;
	r = roster_start(d->roster, d->rpc);
	return r ? r : listen_on(d, why);
}

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void run(struct ev_loop *loop)
{
	ev_signal term, intr;

	ev_signal_init(&term, on_signal, SIGTERM);
	ev_signal_init(&intr, on_signal, SIGINT);
	ev_signal_start(loop, &term);
	ev_signal_start(loop, &intr);
	log_info("serving");
	prog_ready();
	ev_run(loop, 0);
	log_info("told to end");
	ev_signal_stop(loop, &term);
	ev_signal_stop(loop, &intr);
}

static void take_down(struct daemon *d)
{
	rpc_free(d->rpc);
	roster_free(d->roster);
	service_free(d->service);
	if (d->env)
		env_ev_free(d->env);
	if (d->loop)
		ev_loop_destroy(d->loop);
	history_close(d->history);
	if (d->lock >= 0)
		close(d->lock);
	sodium_memzero(&d->id, sizeof(d->id));
}

int main(int argc, char **argv)
{
	struct daemon d = { .lock = -1 };
	char why[WHY_MAX] = "the folder of the state has too long a name";
	int r;

	(void)argv;
	log_open("sprite-hostdb");
	if (argc > 1) {
		fprintf(stderr, "usage: sprite-hostdb\nLends the cell's idle "
			"hosts until SIGTERM; `sprite up` starts it.\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	r = sodium_init() < 0 ? -ENOSYS : find_paths(&d.p);
	if (!r)
		r = load(&d, why);
	if (!r)
		r = d.lock = db_lock(d.p.lock, "sprite-hostdb", why, sizeof(why));
	if (r >= 0)
		r = history_open(d.p.db, &d.history, why, sizeof(why));
	if (!r)
		r = mkdir_p(d.p.run, 0755);
	if (!r)
		r = build(&d, why);
	if (!r)
		run(d.loop);
	else
		log_error("%s", *why ? why : strerror(-r));
	take_down(&d);
	return r ? 1 : 0;
}
