/*
 * lab_down.c -- end a lab, or one host without warning; contract in lab.h.
 *
 * Needs no record of what was made.  Everything alive is in the lab's cgroup
 * and is killed by descriptor after a second look, so that a number given to
 * somebody else meanwhile is safe.  Namespaces, mounts, links and terminals
 * go with the last process.  A process that waits in a mount of /sprite whose
 * daemon is stuck cannot be killed: such mounts are aborted through fusectl,
 * but only those that this process does not have itself, lest a mount of the
 * machine be hit.
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "cmd.h"
#include "fd.h"
#include "lab.h"

#define PATIENCE_MS 1500
#define DEADLINE_MS 15000
#define FUSE_MAX 256
#define FUSECTL "/sys/fs/fuse/connections"

/* ---- stuck mounts -------------------------------------------------------------- */

struct fuse_list {
	unsigned id[FUSE_MAX];
	size_t n;
};

/* The connection numbers of the FUSE mounts a process sees. */
static void fuse_of(const char *pid, struct fuse_list *l)
{
	char path[64], line[PATH_MAX * 2];
	unsigned major, minor;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		const char *type = strstr(line, " - fuse");
		bool known = false;

		if (!type || (type[7] != ' ' && type[7] != '.') ||
		    sscanf(line, "%*d %*d %u:%u", &major, &minor) != 2)
			continue;
		for (size_t i = 0; i < l->n; i++)
			known |= l->id[i] == minor;
		if (!known && l->n < FUSE_MAX)
			l->id[l->n++] = minor;
	}
	fclose(f);
}

static void fuse_of_lab(const struct lab *l, const char *cgroup,
			struct fuse_list *ret)
{
	struct fuse_list all = { 0 }, ours = { 0 };
	pid_t *pid = NULL;
	size_t n = 0;

	ret->n = 0;
	if (cgroups_pids(&l->cg, cgroup, &pid, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", (int)pid[i]);
		fuse_of(text, &all);
	}
	free(pid);
	fuse_of("self", &ours);
	for (size_t i = 0; i < all.n; i++) {
		bool mine = false;

		for (size_t j = 0; j < ours.n; j++)
			mine |= all.id[i] == ours.id[j];
		if (!mine)
			ret->id[ret->n++] = all.id[i];
	}
}

/* In a child with a private mount of fusectl, where the machine has none. */
static void abort_mounts(const struct fuse_list *l)
{
	char path[64];
	pid_t pid;

	if (!l->n)
		return;
	pid = fork();
	if (pid < 0)
		return;
	if (pid > 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return;
	}
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("fusectl", FUSECTL, "fusectl", 0, NULL))
		_exit(1);
	for (size_t i = 0; i < l->n; i++) {
		snprintf(path, sizeof(path), FUSECTL "/%u/abort", l->id[i]);
		(void)fd_write_str(path, "1");
	}
	_exit(0);
}

/* ---- killing ------------------------------------------------------------------- */

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_inside(pid_t pid, const char *cgroup)
{
	char path[64], line[512], part[72];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	snprintf(part, sizeof(part), "/%s", cgroup);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, part);

		found = at && strchr("/\n", at[strlen(part)]);
	}
	fclose(f);
	return found;
}

static void await_end(int fd, long until)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	long left = until - now_ms();

	while (poll(&p, 1, left > 0 ? (int)left : 0) < 0 && errno == EINTR)
		left = until - now_ms();
}

/* Kill what is in the cgroup now; true if nothing was. */
static bool kill_round(const struct lab *l, const char *cgroup)
{
	pid_t *pid = NULL;
	size_t n = 0;
	int *fd;

	if (cgroups_pids(&l->cg, cgroup, &pid, &n) || n == 0)
		return true;
	fd = calloc(n, sizeof(*fd));
	for (size_t i = 0; fd && i < n; i++) {
		fd[i] = pidfd_open(pid[i], 0);
		if (fd[i] >= 0 && is_inside(pid[i], cgroup))
			(void)pidfd_send_signal(fd[i], SIGKILL, NULL, 0);
	}
	for (size_t i = 0; fd && i < n; i++) {
		if (fd[i] < 0)
			continue;
		await_end(fd[i], now_ms() + 200);
		close(fd[i]);
	}
	free(fd);
	free(pid);
	return false;
}

/* 0, or -ETIMEDOUT: something cannot be killed. */
static int kill_all(const struct lab *l, const char *cgroup)
{
	struct fuse_list fuse;
	long begin = now_ms();

	fuse_of_lab(l, cgroup, &fuse);
	cgroups_thaw(&l->cg, cgroup);
	while (!kill_round(l, cgroup)) {
		if (now_ms() > begin + DEADLINE_MS)
			return -ETIMEDOUT;
		if (now_ms() > begin + PATIENCE_MS)
			abort_mounts(&fuse);
	}
	return 0;
}

/* The kernel may need a moment after the last process's end. */
static int remove_cgroups(const struct lab *l, const char *cgroup)
{
	const struct timespec moment = { .tv_nsec = 5000000 };
	long until = now_ms() + DEADLINE_MS;
	int r;

	while ((r = cgroups_remove(&l->cg, cgroup)) == -EBUSY &&
	       now_ms() < until) {
		(void)kill_round(l, cgroup);
		nanosleep(&moment, NULL);
	}
	return r;
}

static int survivors(const struct lab *l, const char *cgroup)
{
	pid_t *pid = NULL;
	size_t n = 0;

	if (!cgroups_pids(&l->cg, cgroup, &pid, &n) && n)
		fail(X_FAILED, "process %d of %s cannot be killed, the kernel "
		     "keeps it; see /proc/%d/stack, then run the command again",
		     (int)pid[0], cgroup, (int)pid[0]);
	free(pid);
	return X_FAILED;
}

/* ---- the two commands ----------------------------------------------------------- */

int lab_crash(const struct lab *l, unsigned k)
{
	char cgroup[64], name[16];
	pid_t init = lab_init(l, k), sw = lab_init(l, LAB_SWITCH);
	SCOPED(close) int nl = sw ? net_open(sw) : -1;

	if (!init)
		return fail(X_NOT_FOUND, "host h%u is not up", k);
	/* First the cable: a dead host says no goodbye. */
	snprintf(name, sizeof(name), "h%u", k);
	if (nl >= 0)
		(void)net_cut(nl, name, true);
	lab_cgroup(l, (int)k, cgroup);
	return kill_all(l, cgroup) ? survivors(l, cgroup) : X_OK_DONE;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path) && errno != ENOENT ? -1 : 0;
}

static int remove_dir(const struct lab *l)
{
	char mark[PATH_MAX];

	snprintf(mark, sizeof(mark), "%s/" LAB_MARK, l->dir);
	if (access(mark, F_OK))
		return 0;
	if (nftw(l->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) &&
	    errno != ENOENT)
		return fail(X_FAILED, "cannot remove %s: %s", l->dir,
			    strerror(errno));
	return 0;
}

int lab_down(struct lab *l)
{
	char cgroup[64];
	int r;

	lab_cgroup(l, -1, cgroup);
	if (kill_all(l, cgroup))
		return survivors(l, cgroup);
	r = remove_cgroups(l, cgroup);
	if (r)
		return fail(X_FAILED, "cannot remove cgroup %s: %s", cgroup,
			    strerror(-r));
	return remove_dir(l);
}
