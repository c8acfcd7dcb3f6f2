/*
 * main.c -- sprite-fsd: serve this host's tree, mount the namespace, until
 * told to end.
 *
 * Runs in the foreground.  SIGTERM: everything dirty is written back, then
 * the mount goes.  Exit status: 0 told to end, 1 it cannot run and the last
 * line of the log says why, 2 usage.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <limits.h>

#include <ev.h>
#include <sodium.h>

#include "fd.h"
#include "fsd.h"
#include "log.h"
#include "prog.h"

#define FLUSH_SECS 20.0

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)loop;
	(void)revents;
	log_info("told to end: writing back");
	fsd_stop(w->data);
}

static void on_too_long(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	log_error("the file server takes nothing: what is dirty is lost");
	ev_break(loop, EVBREAK_ALL);
}

static void arm_too_long(struct ev_loop *loop, ev_signal *w, int revents)
{
	static ev_timer late;

	on_signal(loop, w, revents);
	ev_timer_init(&late, on_too_long, FLUSH_SECS, 0);
	ev_timer_start(loop, &late);
}

static void raise_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int run(struct fsd *f, char *why, size_t cap)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	char dir[PATH_MAX];
	ev_signal term, intr;
	int r = loop ? 0 : -ENOMEM;

	if (!r)
		r = run_path("", dir, sizeof(dir));
	if (!r)
		r = mkdir_p(dir, 0755);
	if (!r)
		r = fsd_open(f, loop, why, cap);
	if (!r) {
		ev_signal_init(&term, arm_too_long, SIGTERM);
		ev_signal_init(&intr, arm_too_long, SIGINT);
		term.data = intr.data = f;
		ev_signal_start(loop, &term);
		ev_signal_start(loop, &intr);
		ev_run(loop, 0);
		ev_signal_stop(loop, &term);
		ev_signal_stop(loop, &intr);
	}
	fsd_close(f);
	if (loop)
		ev_loop_destroy(loop);
	return r;
}

int main(int argc, char **argv)
{
	static struct fsd f;
	char why[512] = "";
	int r;

	(void)argv;
	log_open("sprite-fsd");
	if (argc > 1) {
		fprintf(stderr, "usage: sprite-fsd\nMounts the namespace and serves "
			"this host's tree until SIGTERM; `sprite up` starts "
			"it.\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	raise_limits();
	if (getenv("SPRITE_DEBUG"))
		log_level = LOG_DEBUG;
	r = sodium_init() < 0 ? -ENOSYS : run(&f, why, sizeof(why));
	if (r)
		log_error("%s", *why ? why : strerror(-r));
	return r ? 1 : 0;
}
