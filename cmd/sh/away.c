/*
 * away.c -- see away.h.
 *
 * The child says what went wrong through a pipe that an exec closes: a sentence
 * in it means that the recipe has to be run again.  Of a stub only the wait
 * status is left; if that is a signal, migd knows whether somebody sent it or
 * the host was lost.
 */
#include "away.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "make_line.h"
#include "migd_msg.h"
#include "prog.h"
#include "run_state.h"

#define OPEN_MS	 5000
#define START_MS 20000
#define WHY_MS	 10000

extern char **environ;

static const int relayed[] = { SIGINT,	SIGQUIT, SIGTERM, SIGHUP,
			       SIGUSR1, SIGUSR2, SIGCHLD };

static int reach_migd(struct client **ret)
{
	char path[PATH_MAX];
	int r = run_path("migd.sock", path, sizeof(path));

	return r ? r : client_open(path, OPEN_MS, ret);
}

/* ---- the child ------------------------------------------------------------- */

/* What belongs to `sprite make` and its make means nothing over there. */
static void clean_environment(void)
{
	static const char *const names[] = { "MAKEFLAGS", "MFLAGS" };

	for (size_t i = 0; i < 2; i++) {
		char *flags = getenv(names[i]);

		if (flags)
			line_strip_jobs(flags);
	}
	unsetenv(MAKE_SOCK_ENV);
	unsetenv(MAKE_SHELL_ENV);
}

/* Outside the world there is no stub to become: stay and pass on. */
static bool wait_for_end(struct client *c, uint32_t pid, const sigset_t *caught,
			 int *ret_status, char *why)
{
	struct pollfd p[2] = { { .fd = client_fd(c), .events = POLLIN },
			       { .events = POLLIN } };

	sigprocmask(SIG_BLOCK, caught, NULL);
	p[1].fd = signalfd(-1, caught, SFD_CLOEXEC | SFD_NONBLOCK);
	for (;;) {
		struct signalfd_siginfo si;
		struct msg_migd_run_ended m;
		struct client_reply n;
		int r = client_note(c, 1, &n);

		if (r == 0) {
			r = n.code == MSG_migd_run_ended ?
				    msg_migd_run_ended_decode(
					    buf_data(&n.body),
					    buf_len(&n.body), &m) :
				    -ENOMSG;
			if (r == 0 && m.pid == pid) {
				*ret_status = m.status;
				snprintf(why, MAKE_WHY_MAX, "%s", m.why);
			}
			client_reply_free(&n);
			if (r == 0 && m.pid == pid)
				return m.reason == MIGD_END_EXIT ||
				       m.reason == MIGD_END_SIGNAL;
			continue;
		}
		if (r != -ETIMEDOUT) {
			snprintf(why, MAKE_WHY_MAX, "sprite-migd ended");
			return false;
		}
		if (poll(p, 2, -1) > 0 && p[1].revents &&
		    read(p[1].fd, &si, sizeof(si)) == sizeof(si) &&
		    si.ssi_signo != SIGCHLD) {
			struct msg_migd_run_signal s = { pid, si.ssi_signo };
			uint8_t body[16];
			struct rpc_out o = { .code = MSG_migd_run_signal,
					     .body = body };

			if (msg_migd_run_signal_encode(&s, body, sizeof(body),
						       &o.len) == 0 &&
			    client_call(c, &o, WHY_MS, &n) == 0)
				client_reply_free(&n);
		}
	}
}

/* Only returns if there is no stub to become; false: to be run again. */
static bool follow(struct client *c, struct client_reply *re,
		   const sigset_t *caught, int *ret_status, char *why)
{
	struct msg_migd_run_started m;
	char number[16];

	snprintf(why, MAKE_WHY_MAX, "sprite-migd's answer cannot be followed");
	if (re->code != MSG_migd_run_started ||
	    msg_migd_run_started_decode(buf_data(&re->body), buf_len(&re->body),
					&m))
		return false;
	if (m.how == MIGD_WAIT)
		return wait_for_end(c, m.pid, caught, ret_status, why);
	if (m.how == MIGD_BECOME_STUB && re->nfds == 1 &&
	    fcntl(re->fds[0], F_SETFD, 0) == 0) {
		char *argv[] = { (char *)(uintptr_t)m.stub, number,
				 (char *)(uintptr_t)m.rejoin, NULL };

		snprintf(number, sizeof(number), "%d", re->fds[0]);
		execve(m.stub, argv, environ);
	}
	return false;
}

static bool start(const struct make_answer *where, char **argv,
		  const sigset_t *caught, int *ret_status, char *why)
{
	struct run_want w = { .flags = MIGD_RUN_RERUN_OK, .host = where->name,
			      .grant = where->grant, .argv = argv };
	struct client_reply re;
	struct run_request q;
	struct client *c = NULL;
	bool ran = false;
	int r;

	clean_environment();
	w.envp = environ;
	r = run_request_make(&w, argv[0], &q);
	if (!r) {
		r = reach_migd(&c);
		if (!r)
			r = client_call(c, &q.out, START_MS, &re);
		run_request_free(&q);
	}
	if (r) {
		snprintf(why, MAKE_WHY_MAX, "it could not be started: %s",
			 strerror(-r));
	} else {
		if (re.status)
			snprintf(why, MAKE_WHY_MAX, "%s", client_sentence(&re));
		else
			ran = follow(c, &re, caught, ret_status, why);
		client_reply_free(&re);
	}
	client_close(c);
	return ran;
}

/* ---- the parent -------------------------------------------------------------- */

/* Was it the recipe that ended, or did Sprite fail it? */
static bool ended_by_itself(pid_t pid, int status, char *why)
{
	struct msg_migd_why q = { .pid = (uint32_t)pid };
	struct msg_migd_because because;
	struct client_reply re;
	struct client *c;
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_why, .body = body };
	bool itself = true;

	if (!WIFSIGNALED(status) || reach_migd(&c))
		return true;
	if (msg_migd_why_encode(&q, body, sizeof(body), &o.len) == 0 &&
	    client_call(c, &o, WHY_MS, &re) == 0) {
		if (re.status == 0 && re.code == MSG_migd_because &&
		    msg_migd_because_decode(buf_data(&re.body),
					    buf_len(&re.body), &because) == 0)
			itself = because.reason != MIGD_END_HOST_LOST &&
				 because.reason != MIGD_END_EVICTED &&
				 because.reason != MIGD_END_FAILED;
		if (!itself)
			snprintf(why, MAKE_WHY_MAX, "%s", because.why);
		client_reply_free(&re);
	}
	client_close(c);
	return itself;
}

/* Signals of other processes are meant for the recipe; those of the terminal
 * have reached it. */
static int wait_relaying(pid_t child, const sigset_t *caught)
{
	int status = 0;
	siginfo_t si;

	for (;;) {
		int sig = sigwaitinfo(caught, &si);

		if (sig == SIGCHLD && waitpid(child, &status, WNOHANG) == child)
			return status;
		if (sig > 0 && sig != SIGCHLD && si.si_code <= 0)
			kill(child, sig);
	}
}

static _Noreturn void be_child(const struct make_answer *where, char **argv,
			       const sigset_t *caught, int report)
{
	char why[MAKE_WHY_MAX] = "";
	int status = 0;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (start(where, argv, caught, &status, why))
		away_end_like(status);
	(void)!write(report, why, strlen(why) + 1);
	_exit(0);
}

bool away_run(const struct make_answer *where, char **argv, int *ret_status,
	      char ret_why[MAKE_WHY_MAX])
{
	sigset_t caught, before;
	int word[2];
	pid_t child;
	bool again;

	sigemptyset(&caught);
	for (size_t i = 0; i < sizeof(relayed) / sizeof(*relayed); i++)
		sigaddset(&caught, relayed[i]);
	if (pipe2(word, O_CLOEXEC | O_NONBLOCK))
		return false;
	fflush(NULL);
	sigprocmask(SIG_BLOCK, &caught, &before);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		be_child(where, argv, &caught, word[1]);
	}
	close(word[1]);
	again = child < 0;
	if (!again) {
		*ret_status = wait_relaying(child, &caught);
		again = read(word[0], ret_why, MAKE_WHY_MAX) > 0 ||
			!ended_by_itself(child, *ret_status, ret_why);
		ret_why[MAKE_WHY_MAX - 1] = '\0';
	}
	close(word[0]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return !again;
}

_Noreturn void away_end_like(int status)
{
	sigset_t one;

	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	raise(WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}
