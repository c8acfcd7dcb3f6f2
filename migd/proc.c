/* proc.c -- see proc.h. */
#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "world.h"

#define TREE_MAX 65536

static ssize_t slurp(int dir, const char *path, char *buf, size_t cap)
{
	SCOPED(close) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (len < cap - 1 &&
	       (n = read(fd, buf + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = 0;
	return (ssize_t)len;
}

static const char *line_of(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at && (at == status || at[-1] == '\n') ? at + strlen(key) : NULL;
}

int proc_global_pid(const struct migd *m, pid_t host_pid, uint32_t *ret)
{
	char path[64], buf[8192];
	struct stat a, b;
	const char *at;
	unsigned long v = 0;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)host_pid);
	if (stat(path, &a) || fstat(world_pidns(m), &b))
		return -ESRCH;
	if (a.st_ino != b.st_ino || a.st_dev != b.st_dev)
		return -EXDEV;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)host_pid);
	if (slurp(AT_FDCWD, path, buf, sizeof(buf)) < 0)
		return -ESRCH;
	at = line_of(buf, "NSpid:");
	if (!at)
		return -ESRCH;
	/* The last number is the one in its own namespace. */
	while (*at && *at != '\n') {
		char *end;

		v = strtoul(at, &end, 10);
		if (end == at)
			break;
		at = end;
		while (*at == '\t' || *at == ' ')
			at++;
	}
	*ret = (uint32_t)v;
	return v ? 0 : -ESRCH;
}

static bool runs_stub(const struct migd *m, const char *exe_link, int dir)
{
	struct stat a, b;

	return fstatat(dir, exe_link, &a, 0) == 0 &&
	       stat(m->stub_exe, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

bool proc_is_stub(const struct migd *m, pid_t host_pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)host_pid);
	return runs_stub(m, path, AT_FDCWD);
}

bool proc_pid_is_stub(const struct migd *m, uint32_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "%u/exe", pid);
	return runs_stub(m, path, world_proc(m));
}

int proc_caller(pid_t host_pid, struct proc_caller *ret)
{
	char path[64], buf[16384];
	const char *u, *g, *s;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)host_pid);
	if (slurp(AT_FDCWD, path, buf, sizeof(buf)) < 0)
		return -ESRCH;
	u = line_of(buf, "Uid:");
	g = line_of(buf, "Gid:");
	s = line_of(buf, "Groups:");
	if (!u || !g || !s ||
	    sscanf(u, "%u %u %u", &ret->uid[0], &ret->uid[1], &ret->uid[2]) != 3 ||
	    sscanf(g, "%u %u %u", &ret->gid[0], &ret->gid[1], &ret->gid[2]) != 3)
		return -ESRCH;
	ret->ngroups = 0;
	while (*s && *s != '\n' && ret->ngroups < 256) {
		char *end;
		unsigned long v;

		if (isspace((unsigned char)*s)) {
			s++;
			continue;
		}
		v = strtoul(s, &end, 10);
		if (end == s)
			break;
		ret->groups[ret->ngroups++] = (uint32_t)v;
		s = end;
	}
	return 0;
}

static uint64_t uptime_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

int proc_stat(const struct migd *m, uint32_t pid, struct proc_stat *ret)
{
	unsigned long utime, stime;
	unsigned long long start;
	long rss, hz = sysconf(_SC_CLK_TCK);
	char path[32], buf[2048], *open, *close;
	struct stat st;
	uint64_t up = uptime_ms(), born;
	int ppid, pgid, sid, tpgid;

	snprintf(path, sizeof(path), "%u/stat", pid);
	if (fstatat(world_proc(m), path, &st, 0) ||
	    slurp(world_proc(m), path, buf, sizeof(buf)) <= 0)
		return -ESRCH;
	open = strchr(buf, '(');
	close = strrchr(buf, ')');
	if (!open || !close || close[1] != ' ')
		return -ESRCH;
	*ret = (struct proc_stat){ .pid = pid, .uid = st.st_uid };
	*close = 0;
	snprintf(ret->name, sizeof(ret->name), "%s", open + 1);
	if (sscanf(close + 2,
		   "%c %d %d %d %*d %d %*u %*u %*u %*u %*u %lu %lu %*d %*d "
		   "%*d %*d %*d %*d %llu %*u %ld",
		   &ret->state, &ppid, &pgid, &sid, &tpgid, &utime, &stime,
		   &start, &rss) != 9)
		return -ESRCH;
	ret->ppid = (uint32_t)ppid;
	ret->pgid = (uint32_t)pgid;
	ret->sid = (uint32_t)sid;
	ret->tty_pgid = tpgid;
	ret->cpu_ms = (uint64_t)(utime + stime) * 1000u / (uint64_t)hz;
	born = (uint64_t)start * 1000u / (uint64_t)hz;
	ret->age_ms = up > born ? up - born : 0;
	ret->rss_kb = rss > 0 ? (uint64_t)rss * 4u : 0;
	return 0;
}

void proc_command(const struct migd *m, uint32_t pid, char *buf, size_t cap)
{
	struct proc_stat st;
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "%u/cmdline", pid);
	n = slurp(world_proc(m), path, buf, cap);
	if (n <= 0) {
		if (proc_stat(m, pid, &st) == 0)
			snprintf(buf, cap, "[%s]", st.name);
		else
			buf[0] = 0;
		return;
	}
	for (ssize_t i = 0; i < n - 1; i++)
		if (!buf[i] || iscntrl((unsigned char)buf[i]))
			buf[i] = ' ';
}

bool proc_owned(const struct migd *m, uint32_t pid, uint32_t uid)
{
	char path[32], buf[8192];
	uint32_t r, e;
	const char *u;

	if (uid == 0)
		return true;
	snprintf(path, sizeof(path), "%u/status", pid);
	if (slurp(world_proc(m), path, buf, sizeof(buf)) <= 0)
		return false;
	u = line_of(buf, "Uid:");
	return u && sscanf(u, "%u %u", &r, &e) == 2 && r == uid;
}

int proc_open(const struct migd *m, uint32_t pid)
{
	char path[16];
	int fd;

	snprintf(path, sizeof(path), "%u", pid);
	fd = openat(world_proc(m), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? (errno == ENOENT ? -ESRCH : -errno) : fd;
}

int proc_fd_signal(int dir, int sig, const void *siginfo)
{
	return syscall(SYS_pidfd_send_signal, dir, sig, siginfo, 0) ? -errno : 0;
}

int proc_signal(const struct migd *m, uint32_t pid, int sig)
{
	SCOPED(close) int fd = proc_open(m, pid);

	return fd < 0 ? fd : proc_fd_signal(fd, sig, NULL);
}

bool proc_defaults(const struct migd *m, uint32_t pid, int sig)
{
	static const char *const keys[] = { "SigBlk:", "SigIgn:", "SigCgt:" };
	char path[32], buf[8192];

	snprintf(path, sizeof(path), "%u/status", pid);
	if (slurp(world_proc(m), path, buf, sizeof(buf)) <= 0)
		return false;
	for (size_t i = 0; i < 3; i++) {
		const char *at = line_of(buf, keys[i]);

		if (!at || strtoull(at, NULL, 16) & 1ull << (sig - 1))
			return false;
	}
	return true;
}

int proc_all(const struct migd *m, uint32_t **ret, size_t *ret_n)
{
	int fd = openat(world_proc(m), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0, cap = 256;
	uint32_t *v = malloc(cap * sizeof(*v)), *more;
	struct dirent *e;

	if (!d || !v) {
		if (d)
			closedir(d);
		else if (fd >= 0)
			close(fd);
		free(v);
		return -ENOMEM;
	}
	while ((e = readdir(d)) && n < TREE_MAX) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (n == cap) {
			cap *= 2;
			more = realloc(v, cap * sizeof(*v));
			if (!more)
				break;
			v = more;
		}
		v[n++] = (uint32_t)strtoul(e->d_name, NULL, 10);
	}
	closedir(d);
	*ret = v;
	*ret_n = n;
	return 0;
}

int proc_tree(const struct migd *m, uint32_t root, uint32_t **ret,
	      size_t *ret_n)
{
	SCOPED(free) uint32_t *all = NULL;
	SCOPED(free) uint32_t *parent = NULL;
	uint32_t *v;
	size_t n = 0, nall = 0;
	int r = proc_all(m, &all, &nall);

	if (r)
		return r;
	parent = calloc(nall ? nall : 1, sizeof(*parent));
	v = malloc((nall + 1) * sizeof(*v));
	if (!parent || !v) {
		free(v);
		return -ENOMEM;
	}
	for (size_t i = 0; i < nall; i++) {
		struct proc_stat st;

		if (proc_stat(m, all[i], &st) == 0)
			parent[i] = st.ppid;
	}
	v[n++] = root;
	for (size_t at = 0; at < n; at++)
		for (size_t i = 0; i < nall && n <= nall; i++)
			if (parent[i] == v[at] && all[i] != root)
				v[n++] = all[i];
	*ret = v;
	*ret_n = n;
	return 0;
}
