/*
 * lab_exec.c -- `lab exec`: a command inside a host, as if it were outside.
 *
 * Without a terminal the command has our descriptors and we only pass signals
 * on.  With one it gets a terminal of the host's own (ours has no name in
 * there), and we carry bytes and window sizes between the two; ours is raw
 * meanwhile, so that ^C and ^Z are typed into the inner one.  When the command
 * stops, so do we, with our terminal as it was: the outer shell's job control
 * then works on the pair.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"
#include "cmd.h"
#include "fd.h"
#include "lab.h"

static const int relayed[] = { SIGINT,	SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
			       SIGUSR2, SIGALRM, SIGCONT, SIGTSTP, SIGWINCH,
			       SIGCHLD };

struct session {
	pid_t child;
	int master; /* of the inner terminal; -1: none */
	int sig;    /* signalfd */
	bool raw;
	bool in_open;  /* our standard input has not ended */
	bool finished; /* the child's status is in code */
	int code;
	struct termios saved;
};

static void copy_size(struct session *s)
{
	struct winsize w = { .ws_row = 24, .ws_col = 80 };

	if (s->master < 0)
		return;
	(void)ioctl(STDIN_FILENO, TIOCGWINSZ, &w);
	(void)ioctl(s->master, TIOCSWINSZ, &w);
}

static void go_raw(struct session *s)
{
	struct termios t;

	if (s->master < 0 || tcgetattr(STDIN_FILENO, &s->saved))
		return;
	t = s->saved;
	cfmakeraw(&t);
	s->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
}

static void leave_raw(struct session *s)
{
	if (s->raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
	s->raw = false;
}

/* A terminal of the host: the master, and the slave for the child. */
static int open_terminal(pid_t init, int *ret_master, int *ret_slave)
{
	char path[64];
	int zero = 0, master, slave;

	snprintf(path, sizeof(path), "/proc/%d/root/dev/pts/ptmx", (int)init);
	master = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0)
		return -errno;
	if (ioctl(master, TIOCSPTLCK, &zero) ||
	    (slave = ioctl(master, TIOCGPTPEER,
			   O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
		int r = -errno;

		close(master);
		return r;
	}
	*ret_master = master;
	*ret_slave = slave;
	return 0;
}

/* Stop with the child and continue with it. */
static void stop_together(struct session *s)
{
	bool was_raw = s->raw;

	leave_raw(s);
	raise(SIGSTOP);
	if (was_raw)
		go_raw(s);
	copy_size(s);
	kill(-s->child, SIGCONT);
}

static void reap(struct session *s)
{
	int st;

	while (!s->finished &&
	       waitpid(s->child, &st, WNOHANG | (s->master >= 0 ? WUNTRACED : 0)) > 0) {
		if (WIFSTOPPED(st)) {
			stop_together(s);
			continue;
		}
		s->finished = true;
		s->code = WIFEXITED(st) ? WEXITSTATUS(st) :
					  X_RUN_SIGNAL + WTERMSIG(st);
	}
}

/* A key of our terminal means the whole group, a kill(2) only the command. */
static void on_signal(struct session *s)
{
	struct signalfd_siginfo si;
	pid_t to = s->child;
	int sig;

	if (read(s->sig, &si, sizeof(si)) != sizeof(si))
		return;
	sig = (int)si.ssi_signo;
	if (sig == SIGCHLD) {
		reap(s);
		return;
	}
	if (sig == SIGWINCH) {
		copy_size(s);
		return;
	}
	if (si.ssi_code == SI_KERNEL)
		to = -s->child;
	kill(to, sig == SIGTSTP ? SIGSTOP : sig);
	if (sig == SIGTSTP)
		stop_together(s);
}

static void from_stdin(struct session *s)
{
	char some[4096];
	ssize_t n = read(STDIN_FILENO, some, sizeof(some));

	if (n > 0) {
		(void)fd_write_full(s->master, some, (size_t)n);
		return;
	}
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	/* The end of a file that plays the terminal: what ^D would say. */
	s->in_open = false;
	(void)fd_write_full(s->master, "\4", 1);
}

/* False at the end of the inner terminal. */
static bool from_master(struct session *s)
{
	char some[4096];
	ssize_t n = read(s->master, some, sizeof(some));

	if (n > 0)
		return fd_write_full(STDOUT_FILENO, some, (size_t)n) == 0;
	return n < 0 && errno == EINTR;
}

static void relay(struct session *s)
{
	bool out_open = s->master >= 0;

	while (!s->finished) {
		struct pollfd p[3] = {
			{ .fd = s->sig, .events = POLLIN },
			{ .fd = out_open ? s->master : -1, .events = POLLIN },
			{ .fd = s->master >= 0 && s->in_open ? STDIN_FILENO : -1,
			  .events = POLLIN },
		};

		if (poll(p, 3, -1) < 0)
			continue;
		if (p[0].revents)
			on_signal(s);
		if (p[1].revents)
			out_open = from_master(s);
		if (p[2].revents && !s->finished)
			from_stdin(s);
	}
	/* What was written before the end; others may keep the terminal open. */
	while (out_open) {
		struct pollfd p = { .fd = s->master, .events = POLLIN };

		out_open = poll(&p, 1, 0) > 0 && from_master(s);
	}
}

static int explain(const struct lab *l, unsigned k, bool world, int r)
{
	if (r == -ESRCH)
		return fail(X_RUN_FAILED, "host h%u of lab '%s' is not up; "
			    "`sprite lab status` shows the lab, `sprite lab "
			    "start h%u` boots a host", k, l->name, k);
	if (r == -ENOENT && world)
		return fail(X_RUN_FAILED, "h%u has no world, its sprite-migd "
			    "has not made one; try `sprite lab start h%u`, or "
			    "--host for the host outside its world", k, k);
	return fail(X_RUN_FAILED, "cannot enter h%u: %s", k, strerror(-r));
}

static int cannot_run(const char *what, int r)
{
	if (r == -ENOENT)
		return fail(X_RUN_MISSING, "%s: not found there", what);
	return fail(X_RUN_CANNOT, "%s: %s", what, strerror(-r));
}

int lab_exec(const struct lab *l, unsigned k, bool world, int tty,
	     const char *cwd, char *const *argv)
{
	struct session s = { .master = -1, .in_open = true };
	struct spawn sp = { .argv = argv, .cwd = cwd, .fd = { -1, -1, -1 } };
	struct enter e;
	sigset_t set;
	int slave = -1, r = enter_open(&e, l, k, world);

	if (r)
		return explain(l, k, world, r);
	if (tty < 0)
		tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	if (tty) {
		r = open_terminal(e.init, &s.master, &slave);
		if (r) {
			enter_close(&e);
			return fail(X_RUN_FAILED, "no terminal in h%u: %s", k,
				    strerror(-r));
		}
		sp.fd[0] = sp.fd[1] = sp.fd[2] = slave;
		sp.tty = true;
		copy_size(&s);
	}
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(relayed) / sizeof(*relayed); i++)
		sigaddset(&set, relayed[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s.sig = signalfd(-1, &set, SFD_CLOEXEC);
	r = s.sig < 0 ? -errno : enter_spawn(&e, &sp, &s.child);
	enter_close(&e);
	if (slave >= 0)
		close(slave);
	if (r)
		return cannot_run(argv[0], r);
	if (isatty(STDIN_FILENO))
		go_raw(&s);
	relay(&s);
	leave_raw(&s);
	return s.code;
}
