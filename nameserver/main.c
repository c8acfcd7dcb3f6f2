/*
 * main.c -- sprite-named: open the cell, serve it until told to end.
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

#include "cell.h"
#include "db.h"
#include "fd.h"
#include "log.h"
#include "prog.h"
#include "service.h"

struct paths {
	char db[PATH_MAX], lock[PATH_MAX], cache[PATH_MAX], run[PATH_MAX],
		sock[PATH_MAX];
};

static int64_t wall_secs(void)
{
	return (int64_t)time(NULL);
}

static int find_paths(struct paths *p)
{
	if (state_path("named.db", p->db, sizeof(p->db)) ||
	    state_path("named.lock", p->lock, sizeof(p->lock)) ||
	    state_path("roster.cache", p->cache, sizeof(p->cache)) ||
	    run_path("", p->run, sizeof(p->run)) ||
	    run_path("named.sock", p->sock, sizeof(p->sock)))
		return -ENAMETOOLONG;
	return 0;
}

/*
 * Every daemon leaves a roster.cache, and none does before the first start of
 * named: a cache without named.db is a cell whose tables were lost, and
 * beginning anew would silently throw out its members.
 */
static int not_lost(const struct paths *p, char *why)
{
	if (access(p->db, F_OK) == 0 || access(p->cache, F_OK) != 0)
		return 0;
	snprintf(why, WHY_MAX, "%.100s is gone; put back a copy of it, or remove "
		 "roster.cache beside it to begin with this host alone", p->db);
	return -ENOENT;
}

static int load(struct hostconf *conf, struct rpc_identity *id, char *why)
{
	int r = hostconf_load(conf, why, WHY_MAX);

	if (r == -ENOENT)
		snprintf(why, WHY_MAX, "this host is in no cell; `sprite init` "
			 "founds one");
	if (r)
		return r;
	if (conf->host != conf->named_host) {
		snprintf(why, WHY_MAX, "the name server of this cell runs on the "
			 "host at %s", conf->named_addr);
		return -EREMOTE;
	}
	r = hostconf_identity(conf, SVC_NAMED, id);
	if (r)
		snprintf(why, WHY_MAX, "cannot read host.key: %s", strerror(-r));
	return r;
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
	prog_ready();
	ev_run(loop, 0);
	ev_signal_stop(loop, &term);
	ev_signal_stop(loop, &intr);
}

static int serve(const struct hostconf *conf, const struct rpc_identity *id,
		 struct cell *cell, const struct paths *p, char *why)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct env *env = loop ? env_ev_new(loop) : NULL;
	struct service_conf sc = { cell, conf, id->public_key, wall_secs };
	struct service *s = NULL;
	int r = -ENOMEM;

	snprintf(why, WHY_MAX, "out of memory");
	if (env)
		r = service_new(env, id, &sc, &s);
	if (!r)
		r = service_listen(s, conf->port[SVC_NAMED], p->sock, why, WHY_MAX);
	if (!r) {
		log_info("serving the cell %s at %s port %u",
			 cell_self(cell)->name, conf->addr,
			 conf->port[SVC_NAMED]);
		run(loop);
		log_info("told to end");
	}
	service_free(s);
	if (env)
		env_ev_free(env);
	if (loop)
		ev_loop_destroy(loop);
	return r;
}

int main(int argc, char **argv)
{
	struct rpc_identity id = { 0 };
	struct cell *cell = NULL;
	struct hostconf conf;
	struct paths p;
	char why[WHY_MAX] = "the folder of the state has too long a name";
	int lock = -1, r;

	(void)argv;
	log_open("sprite-named");
	if (argc > 1) {
		fprintf(stderr, "usage: sprite-named\nServes the roster of the "
			"cell until SIGTERM; `sprite up` starts it.\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	r = sodium_init() < 0 ? -ENOSYS : find_paths(&p);
	if (!r)
		r = load(&conf, &id, why);
	if (!r)
		r = lock = db_lock(p.lock, "sprite-named", why, sizeof(why));
	if (r >= 0)
		r = not_lost(&p, why);
	if (!r)
		r = cell_open(p.db, &conf, id.public_key, why, &cell);
	if (!r)
		r = mkdir_p(p.run, 0755);
	if (!r)
		r = serve(&conf, &id, cell, &p, why);
	if (r < 0)
		log_error("%s", *why ? why : strerror(-r));
	cell_close(cell);
	sodium_memzero(&id, sizeof(id));
	if (lock >= 0)
		close(lock);
	return r < 0 ? 1 : 0;
}
