/*
 * daemons.c -- see daemons.h.
 *
 * The lock is a POSIX record lock: it survives exec, is not inherited by
 * fork (a world outlives its migd and must not look like it), and F_GETLK
 * gives the holder's number in the asker's own PID namespace.
 */
#include "daemons.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "prog.h"

#define LOG_KEEP_BYTES (8 << 20)
#define READY_FD 3
#define LOCK_FD 4

const struct daemon daemons[DAEMONS] = {
	{ "named", "sprite-named", true },
	{ "hostdb", "sprite-hostdb", true },
	{ "fsd", "sprite-fsd", false },
	{ "migd", "sprite-migd", false },
};

const struct daemon *daemon_find(const char *name)
{
	for (size_t i = 0; i < DAEMONS; i++) {
		if (!strcmp(name, daemons[i].name) ||
		    !strcmp(name, daemons[i].program))
			return &daemons[i];
	}
	return NULL;
}

int daemon_run_dir(char *buf, size_t cap)
{
	int r = run_path("", buf, cap);

	if (!r)
		buf[strlen(buf) - 1] = 0;
	return r;
}

static int pid_file(const char *run_dir, const struct daemon *d, char *buf,
		    size_t cap)
{
	int n = snprintf(buf, cap, "%s/%s.pid", run_dir, d->program);

	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

pid_t daemon_pid(const char *run_dir, const struct daemon *d)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	SCOPED(close) int fd = -1;

	if (pid_file(run_dir, d, path, sizeof(path)))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_GETLK, &fl) || fl.l_type == F_UNLCK)
		return 0;
	return fl.l_pid > 0 ? fl.l_pid : 0;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int daemon_stop(const char *run_dir, const struct daemon *d, int sig,
		unsigned timeout_ms)
{
	pid_t pid = daemon_pid(run_dir, d);
	SCOPED(close) int fd = pid ? pidfd_open(pid, 0) : -1;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	/* The second look makes sure that the descriptor is the daemon's. */
	if (fd < 0 || daemon_pid(run_dir, d) != pid)
		return -ESRCH;
	if (pidfd_send_signal(fd, sig, NULL, 0))
		return -errno;
	for (long end = now_ms() + (long)timeout_ms;;) {
		long left = end - now_ms();
		int n = poll(&p, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* ---- starting ---------------------------------------------------------------- */

struct start {
	const struct daemon *d;
	bool verbose;
	char program[PATH_MAX];
	char log[PATH_MAX];
	char pid_file[PATH_MAX];
	int ready[2];
};

/* All in the child; the sentence goes where the daemon's READY would. */
static void child(const struct start *s)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char *argv[] = { (char *)s->d->program, s->verbose ? (char *)"-v" : NULL,
			 NULL };
	int ready = fcntl(s->ready[1], F_DUPFD, 10);
	int null = open("/dev/null", O_RDWR);
	int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	int lock = open(s->pid_file, O_RDWR | O_CREAT, 0644);
	const char *what = "its terminal";
	sigset_t none;

	if (log < 0 || lock < 0) {
		what = log < 0 ? s->log : s->pid_file;
		goto fail;
	}
	if (setsid() < 0 || chdir("/"))
		goto fail;
	umask(022);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	lock = fcntl(lock, F_DUPFD, 10);
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	dup2(ready, READY_FD);
	dup2(lock, LOCK_FD);
	close_range(LOCK_FD + 1, UINT_MAX, 0);
	ready = READY_FD;
	/* After the closing: closing any descriptor of a file drops its locks. */
	if (fcntl(LOCK_FD, F_SETLK, &fl)) {
		what = "its lock (another one is just starting)";
		goto fail;
	}
	(void)!ftruncate(LOCK_FD, 0);
	dprintf(LOCK_FD, "%d\n", (int)getpid());
	setenv("SPRITE_READY_FD", "3", 1);
	execv(s->program, argv);
	what = s->program;
fail:
	dprintf(ready, "%s: %s", what, strerror(errno));
	_exit(1);
}

/* The last line of a log, for the sentence about a daemon that died. */
static void last_line(const char *path, char *ret, size_t cap)
{
	SCOPED(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char tail[513];
	ssize_t n;
	off_t size;
	char *at;

	*ret = 0;
	if (fd < 0)
		return;
	size = lseek(fd, 0, SEEK_END);
	n = pread(fd, tail, 512, size > 512 ? size - 512 : 0);
	while (n > 0 && tail[n - 1] == '\n')
		n--;
	tail[n > 0 ? n : 0] = 0;
	at = strrchr(tail, '\n');
	snprintf(ret, cap, "%s", at ? at + 1 : tail);
}

static int died(const struct start *s, pid_t pid, const char *said, char *err,
		size_t errcap)
{
	char line[520];
	int st = 0;

	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	if (*said) {
		snprintf(err, errcap, "%s could not be started: %s",
			 s->d->program, said);
		return -EIO;
	}
	last_line(s->log, line, sizeof(line));
	snprintf(err, errcap, "%s ended at its start (%s %d)%s%s; its log is %s",
		 s->d->program, WIFSIGNALED(st) ? "signal" : "exit status",
		 WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st),
		 *line ? ", saying: " : "", line, s->log);
	return -EIO;
}

static int await_ready(const struct start *s, pid_t pid, unsigned timeout_ms,
		       char *err, size_t errcap)
{
	long end = now_ms() + (long)timeout_ms;
	char said[300];
	size_t have = 0;

	for (;;) {
		struct pollfd p = { .fd = s->ready[0], .events = POLLIN };
		long left = end - now_ms();
		ssize_t n = poll(&p, 1, left > 0 ? (int)left : 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0) {
			snprintf(err, errcap, "%s (pid %d) did not say that it "
				 "is ready within %u s; its log is %s",
				 s->d->program, (int)pid, timeout_ms / 1000,
				 s->log);
			return -ETIMEDOUT;
		}
		n = read(s->ready[0], said + have, sizeof(said) - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		have += n > 0 ? (size_t)n : 0;
		said[have] = 0;
		if (strncmp(said, "READY", 5) == 0)
			return 0;
		if (n <= 0 || have == sizeof(said) - 1)
			return died(s, pid, said, err, errcap);
	}
}

static void rotate(const char *path)
{
	char old[PATH_MAX];
	struct stat st;

	if (stat(path, &st) == 0 && st.st_size > LOG_KEEP_BYTES &&
	    snprintf(old, sizeof(old), "%s.old", path) < (int)sizeof(old))
		(void)rename(path, old);
}

static int prepare(struct start *s, char *err, size_t errcap)
{
	char run[PATH_MAX], log[PATH_MAX], name[64];
	int r = prog_path(s->d->program, s->program, sizeof(s->program));

	if (r || access(s->program, X_OK)) {
		snprintf(err, errcap, "%s is not installed beside this program "
			 "nor in ../libexec/sprite", s->d->program);
		return -ENOENT;
	}
	snprintf(name, sizeof(name), "log/%s.log", s->d->program);
	r = daemon_run_dir(run, sizeof(run));
	if (!r)
		r = state_path("log", log, sizeof(log));
	if (!r)
		r = state_path(name, s->log, sizeof(s->log));
	if (!r)
		r = pid_file(run, s->d, s->pid_file, sizeof(s->pid_file));
	if (!r)
		r = mkdir_p(run, 0755);
	if (!r)
		r = mkdir_p(log, 0755);
	if (r) {
		snprintf(err, errcap, "%s: no place for its files: %s",
			 s->d->program, strerror(-r));
		return r;
	}
	rotate(s->log);
	return 0;
}

int daemon_start(const struct daemon *d, bool verbose, unsigned timeout_ms,
		 char *err, size_t errcap)
{
	struct start s = { .d = d, .verbose = verbose };
	char run[PATH_MAX];
	pid_t pid;
	int r = daemon_run_dir(run, sizeof(run));

	if (!r && daemon_pid(run, d))
		return 0;
	r = prepare(&s, err, errcap);
	if (r)
		return r;
	if (pipe2(s.ready, O_CLOEXEC) || (pid = fork()) < 0) {
		r = -errno;
		snprintf(err, errcap, "cannot start %s: %s", d->program,
			 strerror(-r));
		return r;
	}
	if (pid == 0)
		child(&s);
	close(s.ready[1]);
	r = await_ready(&s, pid, timeout_ms, err, errcap);
	close(s.ready[0]);
	return r;
}
