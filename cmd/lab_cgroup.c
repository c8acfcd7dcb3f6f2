/*
 * lab_cgroup.c -- the control groups of a lab; contract in lab.h.
 *
 * The old hierarchy is preferred where both are mounted, because a machine
 * that mounts both has its cpu controller there.  A host's group exists in
 * every tree we use, so a process is found even if it joined only one.
 *
 * Quotas are given over a period of 20 ms: at the kernel's 100 ms a host of
 * a fifth of a CPU would stand still for 80 ms at a time, longer than any
 * round trip it is supposed to make.  The kernel refuses quotas under 1 ms.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd.h"
#include "lab.h"

#define PERIOD_US 20000
#define QUOTA_MIN_US 1000
#define SHARES_HEAVY "262144"
#define PIDS_MAX 1000000

static void add_tree(struct cgroups *c, const char *dir)
{
	for (unsigned i = 0; i < c->trees; i++) {
		if (strcmp(c->tree[i], dir) == 0)
			return;
	}
	if (c->trees < CGROUP_TREES && strlen(dir) < sizeof(c->tree[0]))
		strcpy(c->tree[c->trees++], dir);
}

int cgroups_find(struct cgroups *ret)
{
	static const char *const wanted[] = { "cpu", "cpuacct", "freezer" };
	struct cgroups old = { 0 }, new = { .v2 = true };
	bool have_cpu = false;
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;

	if (!f)
		return -errno;
	while ((m = getmntent(f))) {
		if (strcmp(m->mnt_type, "cgroup2") == 0)
			add_tree(&new, m->mnt_dir);
		if (strcmp(m->mnt_type, "cgroup"))
			continue;
		for (size_t i = 0; i < 3; i++) {
			if (!hasmntopt(m, wanted[i]))
				continue;
			add_tree(&old, m->mnt_dir);
			have_cpu |= i == 0;
		}
	}
	endmntent(f);
	if (!have_cpu && !new.trees)
		return -ENOSYS;
	*ret = have_cpu ? old : new;
	if (!have_cpu)
		ret->trees = 1;
	return 0;
}

static int cg_file(const struct cgroups *c, unsigned tree, const char *path,
		   const char *file, char buf[PATH_MAX])
{
	int n = snprintf(buf, PATH_MAX, "%s/%s%s%s", c->tree[tree], path,
			 *file ? "/" : "", file);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Write into the first tree that has the file. */
static int cg_write(const struct cgroups *c, const char *path, const char *file,
		    const char *text)
{
	char name[PATH_MAX];
	int r = -ENOENT;

	for (unsigned i = 0; i < c->trees && r == -ENOENT; i++) {
		r = cg_file(c, i, path, file, name);
		if (!r)
			r = fd_write_str(name, text);
	}
	return r;
}

/* 0 and the first line without its newline, from the first tree that has it. */
static int cg_read(const struct cgroups *c, const char *path, const char *file,
		   char *line, size_t cap)
{
	char name[PATH_MAX];

	for (unsigned i = 0; i < c->trees; i++) {
		FILE *f;
		char *got;

		if (cg_file(c, i, path, file, name))
			continue;
		f = fopen(name, "re");
		if (!f)
			continue;
		got = fgets(line, (int)cap, f);
		fclose(f);
		if (!got)
			return -EIO;
		line[strcspn(line, "\n")] = 0;
		return 0;
	}
	return -ENOENT;
}

/* In the unified tree a group can be limited only if its parents say so. */
static int delegate_cpu(const struct cgroups *c, const char *path)
{
	char parent[64];
	char *slash;
	int r = cg_write(c, ".", "cgroup.subtree_control", "+cpu");

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strchr(parent, '/');
	if (!r && slash) {
		*slash = 0;
		r = cg_write(c, parent, "cgroup.subtree_control", "+cpu");
	}
	return r;
}

int cgroups_make(const struct cgroups *c, const char *path)
{
	char name[PATH_MAX];
	int r = 0;

	for (unsigned i = 0; i < c->trees && !r; i++) {
		r = cg_file(c, i, path, "", name);
		if (!r)
			r = mkdir_p(name, 0755);
	}
	return r || !c->v2 ? r : delegate_cpu(c, path);
}

bool cgroups_exist(const struct cgroups *c, const char *path)
{
	char name[PATH_MAX];

	for (unsigned i = 0; i < c->trees; i++) {
		if (!cg_file(c, i, path, "", name) && access(name, F_OK) == 0)
			return true;
	}
	return false;
}

int cgroups_join(const struct cgroups *c, const char *path, pid_t pid)
{
	char name[PATH_MAX], text[16];
	int r = 0;

	snprintf(text, sizeof(text), "%d", (int)pid);
	for (unsigned i = 0; i < c->trees && !r; i++) {
		r = cg_file(c, i, path, "cgroup.procs", name);
		if (!r)
			r = fd_write_str(name, text);
	}
	return r;
}

int cgroups_quota(const struct cgroups *c, const char *path, double cpus)
{
	long period = PERIOD_US, quota = -1;
	char text[48];
	int r;

	if (cpus > 0) {
		if (cpus * PERIOD_US < QUOTA_MIN_US)
			period = (long)(QUOTA_MIN_US / cpus) + 1;
		quota = (long)(cpus * (double)period + 0.5);
	}
	if (c->v2) {
		if (quota < 0)
			return cg_write(c, path, "cpu.max", "max");
		snprintf(text, sizeof(text), "%ld %ld", quota, period);
		return cg_write(c, path, "cpu.max", text);
	}
	r = cg_write(c, path, "cpu.cfs_quota_us", "-1");
	snprintf(text, sizeof(text), "%ld", period);
	if (!r)
		r = cg_write(c, path, "cpu.cfs_period_us", text);
	snprintf(text, sizeof(text), "%ld", quota);
	return r ? r : cg_write(c, path, "cpu.cfs_quota_us", text);
}

double cgroups_quota_get(const struct cgroups *c, const char *path)
{
	char line[64];
	long quota, period;

	if (c->v2) {
		if (cg_read(c, path, "cpu.max", line, sizeof(line)) ||
		    sscanf(line, "%ld %ld", &quota, &period) != 2)
			return 0;
	} else {
		if (cg_read(c, path, "cpu.cfs_quota_us", line, sizeof(line)))
			return 0;
		quota = atol(line);
		if (cg_read(c, path, "cpu.cfs_period_us", line, sizeof(line)))
			return 0;
		period = atol(line);
	}
	return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

int cgroups_weight(const struct cgroups *c, const char *path)
{
	return c->v2 ? cg_write(c, path, "cpu.weight", "10000") :
		       cg_write(c, path, "cpu.shares", SHARES_HEAVY);
}

double cgroups_cpu_secs(const struct cgroups *c, const char *path)
{
	char line[64];
	unsigned long long n;

	if (c->v2)
		return cg_read(c, path, "cpu.stat", line, sizeof(line)) ||
				       sscanf(line, "usage_usec %llu", &n) != 1 ?
			       0 :
			       (double)n / 1e6;
	return cg_read(c, path, "cpuacct.usage", line, sizeof(line)) ?
		       0 :
		       (double)strtoull(line, NULL, 10) / 1e9;
}

/* Call fn for every group in path and path itself, deepest first. */
static int walk(const char *dir, int (*fn)(const char *dir, void *arg), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!r && (e = readdir(d))) {
		char below[PATH_MAX];

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", dir, e->d_name) <
		    (int)sizeof(below))
			r = walk(below, fn, arg);
	}
	closedir(d);
	return r ? r : fn(dir, arg);
}

static int walk_trees(const struct cgroups *c, const char *path,
		      int (*fn)(const char *dir, void *arg), void *arg)
{
	char dir[PATH_MAX];
	int r = 0, one;

	for (unsigned i = 0; i < c->trees; i++) {
		one = cg_file(c, i, path, "", dir);
		if (!one)
			one = walk(dir, fn, arg);
		if (one && !r)
			r = one;
	}
	return r;
}

static int thaw_one(const char *dir, void *arg)
{
	char name[PATH_MAX];
	bool v2 = *(bool *)arg;

	if (snprintf(name, sizeof(name), "%s/%s", dir,
		     v2 ? "cgroup.freeze" : "freezer.state") < PATH_MAX)
		(void)fd_write_str(name, v2 ? "0" : "THAWED");
	return 0;
}

void cgroups_thaw(const struct cgroups *c, const char *path)
{
	bool v2 = c->v2;

	(void)walk_trees(c, path, thaw_one, &v2);
}

struct pid_list {
	pid_t *pid;
	size_t n, cap;
};

static int add_pid(struct pid_list *l, pid_t pid)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		pid_t *more;

		if (cap > PIDS_MAX)
			return -E2BIG;
		more = realloc(l->pid, cap * sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->pid = more;
		l->cap = cap;
	}
	l->pid[l->n++] = pid;
	return 0;
}

static int pids_one(const char *dir, void *arg)
{
	char name[PATH_MAX];
	FILE *f;
	int pid, r = 0;

	if (snprintf(name, sizeof(name), "%s/cgroup.procs", dir) >= PATH_MAX)
		return -ENAMETOOLONG;
	f = fopen(name, "re");
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	while (!r && fscanf(f, "%d", &pid) == 1)
		r = add_pid(arg, pid);
	fclose(f);
	return r;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

int cgroups_pids(const struct cgroups *c, const char *path, pid_t **ret,
		 size_t *ret_n)
{
	struct pid_list l = { 0 };
	int r = walk_trees(c, path, pids_one, &l);
	size_t n = 0;

	if (r) {
		free(l.pid);
		return r;
	}
	if (l.n)
		qsort(l.pid, l.n, sizeof(*l.pid), by_number);
	for (size_t i = 0; i < l.n; i++) {
		if (l.pid[i] > 0 && (n == 0 || l.pid[n - 1] != l.pid[i]))
			l.pid[n++] = l.pid[i];
	}
	*ret = l.pid;
	*ret_n = n;
	return 0;
}

static int remove_one(const char *dir, void *arg)
{
	(void)arg;
	return rmdir(dir) && errno != ENOENT ? -errno : 0;
}

int cgroups_remove(const struct cgroups *c, const char *path)
{
	return walk_trees(c, path, remove_one, NULL);
}
