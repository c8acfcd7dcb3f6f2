/*
 * cmd_run.c -- `sprite run`: a command elsewhere, as if it ran here.
 *
 * Three endings, chosen by migd.  In the world this very process turns into
 * the home stub of what was started: it keeps its number, its parent waits
 * for it and signals it as for the command itself.  Outside the world it
 * stays and passes signals and the exit status by message.  And if the
 * command is to run here, it is executed here.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "migd_msg.h"
#include "run_state.h"

#define START_MS 60000

extern char **environ;

struct run {
	struct run_want want;
	char path[RUN_PATH_MAX];
	bool background, print_pid;
	int report; /* background: the pipe to the process that waits; else -1 */
	struct client *c;
	sigset_t before;
	int sig;
};

static const int passed_on[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
				 SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH };

static void tell_pid(const struct run *q, uint32_t pid)
{
	if (q->report >= 0)
		dprintf(q->report, "%u\n", pid);
	else if (q->print_pid)
		fprintf(stderr, "%u\n", pid);
}

static int cannot_exec(const char *what, int err)
{
	if (err == ENOENT)
		return fail(X_RUN_MISSING, "'%s' was not found", what);
	return fail(X_RUN_CANNOT, "%s: %s", what, strerror(err));
}

/* ---- the stub ------------------------------------------------------------------- */

static int become_stub(struct run *q, struct client_reply *re,
		       const struct msg_migd_run_started *m)
{
	char number[16];
	char *argv[] = { (char *)m->stub, number, (char *)m->rejoin, NULL };
	int fd = re->nfds == 1 ? re->fds[0] : -1;

	if (fd < 0 || fcntl(fd, F_SETFD, 0))
		return call_garbled("migd");
	snprintf(number, sizeof(number), "%d", fd);
	tell_pid(q, m->pid);
	execve(m->stub, argv, environ);
	return fail(X_RUN_FAILED, "%s: %s; the command was started but has no "
		    "place here, `sprite up` mends that", m->stub,
		    strerror(errno));
}

/* ---- waiting ---------------------------------------------------------------------- */

static int catch_signals(struct run *q)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
		sigaddset(&set, passed_on[i]);
	sigprocmask(SIG_BLOCK, &set, &q->before);
	q->sig = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return q->sig < 0 ? -errno : 0;
}

static void pass_signal(struct run *q, uint32_t pid)
{
	struct signalfd_siginfo si;
	struct msg_migd_run_signal m = { .pid = pid };
	struct client_reply re;
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_run_signal, .body = body };

	if (read(q->sig, &si, sizeof(si)) != sizeof(si))
		return;
	m.sig = si.ssi_signo;
	if (msg_migd_run_signal_encode(&m, body, sizeof(body), &o.len) == 0 &&
	    client_call(q->c, &o, CALL_MS, &re) == 0)
		client_reply_free(&re);
	if (m.sig == SIGTSTP)
		raise(SIGSTOP);
}

/* As the command ended, so do we. */
static int end_like(struct run *q, int status)
{
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	signal(WTERMSIG(status), SIG_DFL);
	sigprocmask(SIG_SETMASK, &q->before, NULL);
	raise(WTERMSIG(status));
	return X_RUN_SIGNAL + WTERMSIG(status);
}

/* 1: the end came; its status is in *ret_code. */
static int take_note(struct run *q, uint32_t pid, int *ret_code)
{
	struct msg_migd_run_ended m;
	struct client_reply re;
	int r = client_note(q->c, 1, &re);

	if (r == -ETIMEDOUT || r == -EINTR)
		return 0;
	if (r) {
		*ret_code = fail(X_RUN_FAILED, "sprite-migd ended; process %u "
				 "goes on, `sprite ps` shows it once migd is up "
				 "again", pid);
		return 1;
	}
	r = re.code == MSG_migd_run_ended ?
		    msg_migd_run_ended_decode(buf_data(&re.body),
					      buf_len(&re.body), &m) :
		    -ENOMSG;
	if (!r && m.pid == pid) {
		if (*m.why)
			fail(0, "%s", m.why);
		*ret_code = end_like(q, m.status);
	}
	client_reply_free(&re);
	return !r;
}

static int await_end(struct run *q, uint32_t pid)
{
	struct pollfd p[2] = { { .fd = client_fd(q->c), .events = POLLIN },
			       { .fd = q->sig, .events = POLLIN } };
	int code = X_RUN_FAILED;

	tell_pid(q, pid);
	if (q->report >= 0)
		close(q->report);
	q->report = -1;
	while (!take_note(q, pid, &code)) {
		if (poll(p, 2, -1) > 0 && p[1].revents)
			pass_signal(q, pid);
	}
	return code;
}

/* ---- starting ----------------------------------------------------------------------- */

static int execute_here(struct run *q)
{
	client_close(q->c);
	q->c = NULL;
	tell_pid(q, (uint32_t)getpid());
	execve(q->path, q->want.argv, environ);
	return cannot_exec(q->path, errno);
}

static int follow(struct run *q, struct client_reply *re)
{
	struct msg_migd_run_started m;

	if (msg_migd_run_started_decode(buf_data(&re->body), buf_len(&re->body),
					&m))
		return call_garbled("migd");
	switch (m.how) {
	case MIGD_BECOME_STUB:
		return become_stub(q, re, &m);
	case MIGD_RUN_HERE:
		return execute_here(q);
	case MIGD_WAIT:
		if (catch_signals(q))
			return fail(X_RUN_FAILED, "no signalfd: %s",
				    strerror(errno));
		return await_end(q, m.pid);
	default:
		return call_garbled("migd");
	}
}

static int make_request(struct run *q, struct run_request *ret)
{
	int r = run_find(q->want.argv[0], q->path);

	if (r)
		return cannot_exec(q->want.argv[0], -r);
	r = run_request_make(&q->want, q->path, ret);
	if (r == -EMFILE)
		return fail(X_RUN_FAILED, "more than %d descriptors are open; "
			    "close some", RPC_FDS_MAX);
	if (r == -E2BIG)
		return fail(X_RUN_FAILED, "arguments and environment are longer "
			    "than %u bytes", RPC_PAYLOAD_MAX);
	if (r)
		return fail(X_RUN_FAILED, "cannot say what to run: %s",
			    strerror(-r));
	return 0;
}

static int start(struct run *q)
{
	struct run_request rq;
	struct client_reply re = { 0 };
	int code = make_request(q, &rq);

	if (code)
		return code;
	code = call_open("migd", &q->c) ? X_RUN_FAILED : 0;
	if (!code && call_ask(q->c, q->want.argv[0], &rq.out, START_MS,
			      MSG_migd_run_started, &re))
		code = X_RUN_FAILED;
	run_request_free(&rq);
	if (!code) {
		code = follow(q, &re);
		client_reply_free(&re);
	}
	client_close(q->c);
	return code;
}

/* -b: a child does it all; we leave once it says the number. */
static int start_in_background(struct run *q)
{
	int p[2], null, status;
	char line[32];
	ssize_t n;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) || (pid = fork()) < 0)
		return fail(X_RUN_FAILED, "fork: %s", strerror(errno));
	if (pid == 0) {
		close(p[0]);
		q->report = p[1];
		null = open("/dev/null", O_RDONLY);
		if (setsid() < 0 || null < 0 || dup2(null, 0) < 0)
			_exit(fail(X_RUN_FAILED, "cannot leave the terminal"));
		if (null > 0)
			close(null);
		_exit(start(q));
	}
	close(p[1]);
	do
		n = read(p[0], line, sizeof(line) - 1);
	while (n < 0 && errno == EINTR);
	close(p[0]);
	if (n <= 0)
		return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
			       WEXITSTATUS(status) :
			       X_RUN_FAILED;
	line[n] = 0;
	fputs(line, stdout);
	return X_OK_DONE;
}

static int run(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "or-here", no_argument, NULL, 'l' },
		{ "here", no_argument, NULL, 'L' },
		{ "background", no_argument, NULL, 'b' },
		{ "pid", no_argument, NULL, 'p' },
		{ "stay", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	struct run q = { .want = { .host = "", .envp = environ }, .report = -1 };
	bool named = false;
	int c, code;

	while ((c = next_option(v, argc, argv, "+:h:lbp", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		if (c == 'h') {
			q.want.host = optarg;
			named = true;
		}
		q.want.flags |= c == 'l' ? MIGD_RUN_OR_HERE :
				c == 'L' ? MIGD_RUN_LOCAL :
				c == 's' ? MIGD_RUN_STAY :
					   0u;
		q.background |= c == 'b';
		q.print_pid |= c == 'p';
	}
	if (optind == argc)
		return usage(v, "it needs a command");
	if (named && !*q.want.host)
		return usage(v, "the host's name is empty");
	if (named && (q.want.flags & MIGD_RUN_LOCAL))
		return usage(v, "--here and a host contradict each other");
	q.want.argv = argv + optind;
	return q.background ? start_in_background(&q) : start(&q);
}

const struct verb verb_run = {
	"run", "work", "run a command on an idle host, as if it ran here",
	"usage: sprite run [-h HOST] [-l] [-b] [-p] [--here] [--stay] CMD [ARG...]\n\n"
	"Run CMD on a host whose owner is away, with our descriptors, environment,\n"
	"working directory, limits and terminal.  Signals reach it, it is seen here\n"
	"under one process number, and its exit status becomes ours.  If its host\n"
	"is needed by its owner, it moves on.\n\n"
	"  -h, --host HOST   on that host, idle or not\n"
	"  -l, --or-here     here, if no host is to be had\n"
	"      --here        here in any case, but in the world, so that it can move\n"
	"  -b, --background  print its number and return; it has no terminal\n"
	"  -p, --pid         tell its number on standard error\n"
	"      --stay        it shall never leave the host it starts on\n\n"
	"examples:\n"
	"  sprite run make -C /sprite/src\n"
	"  sprite run -h h3 hostname\n"
	"  sprite run -l -b ./simulate > /sprite/out\n\n"
	"exit status: that of CMD (ended by a signal: so do we); 125 Sprite failed,\n"
	"126 CMD cannot be executed, 127 CMD was not found\n",
	run
};
