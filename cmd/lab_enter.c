/*
 * lab_enter.c -- start a process inside a host or its world; contract in lab.h.
 *
 * The PID namespace is the only one a process enters through its child, so we
 * set it on ourselves, fork, and let the child do the rest.  All opens of
 * /proc happen before the mount namespace is changed.  The child leads a
 * session of its own: inside, a session led from outside would have number 0,
 * which no program expects and no migration could rebuild.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "cmd.h"
#include "fd.h"
#include "lab.h"

#define OUTPUT_MAX 65536

static const char *const ns_name[5] = { "pid", "net", "uts", "ipc", "mnt" };
static const int ns_type[5] = { CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWUTS,
				CLONE_NEWIPC, CLONE_NEWNS };

/* The /proc folder, as seen from here, of the init of a host's world. */
static int world_proc(pid_t init, char *ret, size_t cap)
{
	char path[64];
	struct buf b = { 0 };
	long pid;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/root/run/sprite/world.pid",
		 (int)init);
	r = fd_read_file(path, 64, &b);
	if (r)
		return r;
	pid = buf_len(&b) ? strtol((char *)buf_data(&b), NULL, 10) : 0;
	buf_free(&b);
	if (pid <= 1)
		return -ENOENT;
	snprintf(ret, cap, "/proc/%d/root/proc/%ld", (int)init, pid);
	return access(ret, F_OK) ? -ENOENT : 0;
}

/* Were two namespaces the same, world.pid would name some other process. */
static bool is_other_pid_namespace(const char *proc, pid_t init)
{
	char a[128], b[64], la[64], lb[64];
	ssize_t na, nb;

	snprintf(a, sizeof(a), "%s/ns/pid", proc);
	snprintf(b, sizeof(b), "/proc/%d/ns/pid", (int)init);
	na = readlink(a, la, sizeof(la));
	nb = readlink(b, lb, sizeof(lb));
	return na > 0 && nb > 0 && (na != nb || memcmp(la, lb, (size_t)na));
}

int enter_open(struct enter *e, const struct lab *l, unsigned k, bool world)
{
	char proc[96], path[128];
	int r = 0;

	*e = (struct enter){ .ns = { -1, -1, -1, -1, -1 }, .lab = l };
	e->init = lab_init(l, k);
	if (!e->init)
		return -ESRCH;
	lab_cgroup(l, (int)k, e->cgroup);
	if (sched_getaffinity(e->init, sizeof(e->cpus), &e->cpus))
		return -ESRCH;
	snprintf(proc, sizeof(proc), "/proc/%d", (int)e->init);
	if (world) {
		r = world_proc(e->init, proc, sizeof(proc));
		if (!r && !is_other_pid_namespace(proc, e->init))
			r = -ENOENT;
	}
	for (int i = 0; i < 5 && !r; i++) {
		snprintf(path, sizeof(path), "%s/ns/%s", proc, ns_name[i]);
		e->ns[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (e->ns[i] < 0)
			r = errno == ENOENT && world ? -ENOENT : -errno;
	}
	if (r)
		enter_close(e);
	return r;
}

void enter_close(struct enter *e)
{
	for (int i = 0; i < 5; i++) {
		if (e->ns[i] >= 0)
			close(e->ns[i]);
		e->ns[i] = -1;
	}
}

/* A host has its own places; what the caller set for his do not hold there. */
static void set_environment(void)
{
	const char *old = getenv("PATH");
	char path[8192];

	unsetenv("SPRITE_STATE");
	unsetenv("SPRITE_RUN");
	if (old && strncmp(old, LAB_BIN ":", sizeof(LAB_BIN)) == 0)
		return;
	if (snprintf(path, sizeof(path), LAB_BIN ":%s",
		     old ? old : "/usr/local/bin:/usr/bin:/bin") <
	    (int)sizeof(path))
		setenv("PATH", path, 1);
}

static int child_setup(const struct enter *e, const struct spawn *s)
{
	char here[PATH_MAX];
	const char *cwd = s->cwd;
	sigset_t none;
	int r = cgroups_join(&e->lab->cg, e->cgroup, 0);

	if (r)
		return r;
	(void)sched_setaffinity(0, sizeof(e->cpus), &e->cpus);
	if (!cwd)
		cwd = getcwd(here, sizeof(here)) ? here : "/";
	for (int i = 1; i < 5; i++) {
		if (setns(e->ns[i], ns_type[i]))
			return -errno;
	}
	if (chdir(cwd)) {
		if (s->cwd)
			return -errno;
		(void)!chdir("/");
	}
	if (setsid() < 0)
		return -errno;
	for (int i = 0; i < 3; i++) {
		if (s->fd[i] >= 0 && dup2(s->fd[i], i) < 0)
			return -errno;
	}
	if (s->tty && ioctl(0, TIOCSCTTY, 0))
		return -errno;
	set_environment();
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

int enter_spawn(const struct enter *e, const struct spawn *s, pid_t *ret_pid)
{
	SCOPED(close) int self = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	int pipefd[2], r = 0, err = 0;
	ssize_t n;
	pid_t pid;

	if (self < 0 || pipe2(pipefd, O_CLOEXEC))
		return -errno;
	fflush(stdout);
	if (setns(e->ns[0], CLONE_NEWPID))
		r = -errno;
	pid = r ? -1 : fork();
	if (!r && pid < 0)
		r = -errno;
	if (pid == 0) {
		r = child_setup(e, s);
		if (!r) {
			execvp(s->argv[0], s->argv);
			r = -errno;
		}
		(void)!write(pipefd[1], &r, sizeof(r));
		_exit(1);
	}
	close(pipefd[1]);
	/* Later children are ours again. */
	(void)setns(self, CLONE_NEWPID);
	if (r) {
		close(pipefd[0]);
		return r;
	}
	do
		n = read(pipefd[0], &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	close(pipefd[0]);
	if (n == sizeof(err)) {
		waitpid(pid, NULL, 0);
		return err;
	}
	*ret_pid = pid;
	return 0;
}

static int wait_code(pid_t pid)
{
	int st;

	while (waitpid(pid, &st, 0) < 0) {
		if (errno != EINTR)
			return X_RUN_FAILED;
	}
	return WIFEXITED(st) ? WEXITSTATUS(st) : X_RUN_SIGNAL + WTERMSIG(st);
}

static int collect(int fd, char **ret)
{
	struct buf b = { .max = OUTPUT_MAX };
	int r;

	for (;;) {
		char some[4096];
		ssize_t n = read(fd, some, sizeof(some));

		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : 0;
		if (n > 0)
			r = buf_add(&b, some, (size_t)n);
		if (n <= 0 || r)
			break;
	}
	if (!r)
		r = buf_add(&b, "", 1);
	*ret = NULL;
	if (!r)
		*ret = strdup((char *)buf_data(&b));
	buf_free(&b);
	return r ? r : *ret ? 0 : -ENOMEM;
}

int lab_call(const struct lab *l, unsigned k, char *const *argv, char **ret_out)
{
	SCOPED(close) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct spawn s = { .argv = argv, .cwd = "/", .fd = { null, -1, -1 } };
	struct enter e;
	int pipefd[2] = { -1, -1 };
	pid_t pid;
	int r, code;

	if (ret_out && pipe2(pipefd, O_CLOEXEC))
		return fail(X_RUN_FAILED, "no pipe: %s", strerror(errno));
	s.fd[1] = pipefd[1];
	r = enter_open(&e, l, k, false);
	if (!r)
		r = enter_spawn(&e, &s, &pid);
	enter_close(&e);
	if (pipefd[1] >= 0)
		close(pipefd[1]);
	if (!r && ret_out)
		r = collect(pipefd[0], ret_out);
	if (pipefd[0] >= 0)
		close(pipefd[0]);
	if (r)
		return fail(X_RUN_FAILED, "h%u: cannot run %s: %s", k, argv[0],
			    strerror(-r));
	code = wait_code(pid);
	if (code && ret_out) {
		free(*ret_out);
		*ret_out = NULL;
	}
	return code;
}
