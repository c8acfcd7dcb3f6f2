/*
 * cmd_make.c -- `sprite make`: the user's own make, with its recipes on every
 * idle host.
 *
 * make is started unmodified.  Through MAKEFLAGS it finds a jobserver, whose
 * pipe is ours, and sprite-sh as its shell, which asks us about every recipe.
 * make stays in our process group: what the terminal sends reaches it as if
 * we were not there, and we end as it ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "fd.h"
#include "hostconf.h"
#include "make.h"
#include "make_args.h"
#include "prog.h"

#define TICK_MS 500
#define MAKEFILE_MAX (4u << 20)

uint64_t make_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int make_watch(struct make *m, struct watch *w, int fd,
	       void (*ready)(struct watch *w))
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = w };

	w->fd = fd;
	w->ready = ready;
	if (epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e)) {
		int r = -errno;

		close(fd);
		w->fd = -1;
		return r;
	}
	return 0;
}

void make_unwatch(struct make *m, struct watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(m->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	close(w->fd);
	w->fd = -1;
}

/* ---- signals --------------------------------------------------------------- */

static const int caught[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD,
			      SIGWINCH };

/*
 * A signal to the whole group has reached make as well, and a second one of
 * its kind would kill it while it cleans up.  It has had it if it is pending
 * there, or if make's handler, which make takes off when it runs, is gone.
 */
static bool make_has_had(pid_t pid, int sig)
{
	static const char *const fields[] = { "\nSigPnd:", "\nShdPnd:",
					      "\nSigCgt:" };
	struct buf b = { 0 };
	char path[64];
	bool had = false;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (fd_read_file(path, 65536, &b) == 0) {
		for (int i = 0; i < 3; i++) {
			const char *at = strstr((char *)buf_data(&b), fields[i]);
			unsigned long long set = at ?
				strtoull(at + strlen(fields[i]), NULL, 16) : 0;

			/* Caught is as it should be; pending is not. */
			had |= ((set >> (sig - 1)) & 1) == (i < 2);
		}
	}
	buf_free(&b);
	return had;
}

static void on_signals(struct watch *w)
{
	struct make *m = container_of(w, struct make, signals);
	struct signalfd_siginfo si;

	while (read(w->fd, &si, sizeof(si)) == sizeof(si)) {
		int sig = (int)si.ssi_signo;

		if (sig == SIGWINCH) {
			m->show.resized = true;
			continue;
		}
		if (sig == SIGCHLD) {
			if (waitpid(m->child, &m->status, WNOHANG) == m->child)
				m->ended = true;
			continue;
		}
		m->interrupted = true;
		/* The terminal's keys have reached make, too. */
		if (si.ssi_code <= 0 && !make_has_had(m->child, sig))
			kill(m->child, sig);
	}
}

static int catch_signals(struct make *m, sigset_t *ret_before)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(caught) / sizeof(*caught); i++) {
		struct sigaction was;

		/* What we were told to ignore (nohup), make ignores as well. */
		if (sigaction(caught[i], NULL, &was) == 0 &&
		    was.sa_handler != SIG_IGN)
			sigaddset(&set, caught[i]);
	}
	/* Ignored it would not tell us of make's end. */
	signal(SIGCHLD, SIG_DFL);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, ret_before))
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : make_watch(m, &m->signals, fd, on_signals);
}

/* ---- starting make --------------------------------------------------------- */

/* The shell that recipes are written for, which ours has to stand in for. */
static void find_shell(const struct make_args *a, char *buf, size_t cap)
{
	static const char *const names[] = { "GNUmakefile", "makefile",
					     "Makefile" };
	struct buf b = { 0 };
	char path[PATH_MAX];

	snprintf(buf, cap, "/bin/sh");
	if (a->shell) {
		snprintf(path, sizeof(path), "SHELL=%s\n", a->shell);
		(void)make_shell_in(path, buf, cap);
		return;
	}
	for (size_t i = 0; i < 3; i++) {
		const char *name = a->file ? a->file : names[i];
		bool in_dir = a->dir && *name != '/';

		if (snprintf(path, sizeof(path), "%s%s%s", in_dir ? a->dir : "",
			     in_dir ? "/" : "", name) >= (int)sizeof(path) ||
		    fd_read_file(path, MAKEFILE_MAX, &b))
			continue;
		(void)make_shell_in((char *)buf_data(&b), buf, cap);
		break;
	}
	buf_free(&b);
}

static int set_environment(const struct make *m, const struct make_args *a)
{
	char sh[PATH_MAX], real[PATH_MAX];
	struct buf flags = { 0 };
	int r = prog_path("sprite-sh", sh, sizeof(sh));

	if (r)
		return fail(X_FAILED, "sprite-sh is missing beside this program; "
			    "`make` builds it, `make install` installs it");
	find_shell(a, real, sizeof(real));
	r = make_flags(getenv("MAKEFLAGS"), m->tokens.r, m->tokens.w, sh, &flags);
	if (r || setenv("MAKEFLAGS", (char *)buf_data(&flags), 1) ||
	    setenv(MAKE_SOCK_ENV, m->sock_name, 1) ||
	    setenv(MAKE_SHELL_ENV, real, 1) || unsetenv("MAKELEVEL"))
		r = fail(X_FAILED, "out of memory");
	buf_free(&flags);
	return r;
}

static void become_make(struct make *m, const struct make_args *a,
			const sigset_t *before)
{
	int e;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	fcntl(m->tokens.r, F_SETFD, 0);
	fcntl(m->tokens.w, F_SETFD, 0);
	sigprocmask(SIG_SETMASK, before, NULL);
	execvp("make", a->argv);
	e = errno;
	if (e == ENOENT)
		fail(0, "there is no make on this host; `apt install make`");
	else
		fail(0, "cannot execute make: %s", strerror(e));
	_exit(e == ENOENT ? X_RUN_MISSING : X_RUN_CANNOT);
}

static int start_make(struct make *m, const struct make_args *a,
		      const sigset_t *before)
{
	int code = set_environment(m, a);

	if (code)
		return code;
	m->begun_ms = make_now_ms();
	m->child = fork();
	if (m->child < 0)
		return fail(X_FAILED, "cannot start make: %s", strerror(errno));
	if (m->child == 0)
		become_make(m, a, before);
	return X_OK_DONE;
}

/* ---- the loop --------------------------------------------------------------- */

static void loop(struct make *m)
{
	struct epoll_event e;

	while (!m->ended) {
		/* One at a time: an event may remove what the next is about. */
		int n = epoll_wait(m->epoll, &e, 1, TICK_MS);

		if (n == 1) {
			struct watch *w = e.data.ptr;

			w->ready(w);
		}
		if (n <= 0) {
			m->tokens_lost += tokens_check(&m->tokens, make_alive(m),
						       make_now_ms());
			make_hosts_tick(m);
		}
		show_update(m);
	}
}

static int prepare(struct make *m, const struct make_args *a)
{
	struct hostconf conf;
	char err[256];
	int r;

	list_init(&m->jobs);
	m->listening.fd = m->signals.fd = m->hosts_fd.fd = -1;
	m->tokens.r = m->tokens.w = m->tokens.own = -1;
	r = hostconf_load(&conf, err, sizeof(err));
	if (r)
		m->trouble = "this host is in no cell";
	snprintf(m->mount, sizeof(m->mount), "%s", r ? "/sprite" : conf.mount);
	sched_init(&m->sched, r ? "home" : conf.name, make_local_slots(), a->limit);
	(void)costs_load(&m->costs, NULL, (uint32_t)(time(NULL) / 86400));
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (m->epoll < 0)
		return -errno;
	r = tokens_open(&m->tokens);
	return r ? r : make_listen(m);
}

static void finish(struct make *m, const struct make_args *a)
{
	int r;

	show_end(m);
	make_hosts_return(m);
	if (a->report && m->child > 0)
		show_report(m);
	r = costs_save(&m->costs, NULL);
	if (r && r != -ENOENT && a->report)
		fprintf(stderr, "sprite make: what was learned could not be "
			"kept: %s\n", strerror(-r));
	costs_free(&m->costs);
	make_unlisten(m);
	make_unwatch(m, &m->signals);
	tokens_close(&m->tokens);
	if (m->epoll >= 0)
		close(m->epoll);
}

/* As make ended, so do we: a shell must see what it would see of make. */
static int end_like(int status, const sigset_t *before)
{
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	sigprocmask(SIG_SETMASK, before, NULL);
	return X_RUN_SIGNAL + WTERMSIG(status);
}

static int run_make(const struct verb *v, int argc, char **argv)
{
	struct make *m = calloc(1, sizeof(*m));
	struct make_args args;
	const char *bad = NULL;
	sigset_t before;
	int r, code;

	r = m ? make_args_parse(argc, argv, &args, &bad) : -ENOMEM;
	if (r) {
		free(m);
		if (r == -EINVAL)
			return usage(v, "'%s' does not say how many recipes at "
				     "once", bad);
		return fail(X_FAILED, "out of memory");
	}
	if (args.help) {
		fputs(v->help, stdout);
		make_args_free(&args);
		free(m);
		return X_OK_DONE;
	}
	r = prepare(m, &args);
	if (!r)
		r = catch_signals(m, &before);
	if (r)
		code = fail(X_FAILED, "cannot prepare a build: %s", strerror(-r));
	else
		code = start_make(m, &args, &before);
	if (!code) {
		show_begin(m);
		make_pump(m);
		loop(m);
	}
	finish(m, &args);
	if (!code)
		code = end_like(m->status, &before);
	make_args_free(&args);
	free(m);
	return code;
}

const struct verb verb_make = {
	.name = "make",
	.group = "work",
	.summary = "run make with its recipes on every idle host",
	.help =
"usage: sprite make [-j[N]] [--report] [ARGUMENTS OF MAKE]\n"
"\n"
"Runs the make of this host, unmodified, on the makefile as it is.  Recipes go\n"
"to hosts whose owners are away, as many as the cell lends; this host takes its\n"
"share.  Small recipes, makes below this one and $(shell ...) stay here.  What\n"
"is built is what plain make builds, and a host that is lost, or taken back by\n"
"its owner, costs time but never the build.\n"
"\n"
"The source must lie in the cell's namespace (/sprite); elsewhere everything is\n"
"built on this host.  Recipes that took longest the last time start first.\n"
"\n"
"  -j[N]      at most N recipes at once; -j1: one by one, in make's order.\n"
"             Without N, or without -j: as many as there are hosts for.\n"
"  --report   at the end, on standard error: which host did how much\n"
"\n"
"All other arguments are make's.  Ends as make ends, with its exit status;\n"
"127 if there is no make.  Experience is kept in ~/.cache/sprite/costs.\n"
"\n"
"examples:\n"
"  cd /sprite/src/hello && sprite make -j\n"
"  sprite make --report -C /sprite/src/hello clean all\n",
	.run = run_make,
};
