/*
 * make_local.c -- what `sprite make` has to know of the host it runs on.
 *
 * A quota is looked for where the kernel has it, from the process's own group
 * up to the root: a container or a virtual host is limited somewhere above us.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "fd.h"
#include "make.h"

#define FUSE_MAGIC 0x65735546
#define SMALL_FILE 4096u

static bool read_number(const char *path, double *ret)
{
	struct buf b = { 0 };
	char *end;
	bool ok = fd_read_file(path, SMALL_FILE, &b) == 0 && buf_len(&b);

	if (ok) {
		*ret = strtod((char *)buf_data(&b), &end);
		ok = end != (char *)buf_data(&b);
	}
	buf_free(&b);
	return ok;
}

/* CPUs' worth of time that one group allows; 0: any. */
static double quota_of(const char *tree, const char *group, bool v2)
{
	char path[PATH_MAX];
	double quota, period;
	struct buf b = { 0 };

	if (v2) {
		snprintf(path, sizeof(path), "%s%s/cpu.max", tree, group);
		if (fd_read_file(path, SMALL_FILE, &b) ||
		    sscanf((char *)buf_data(&b), "%lf %lf", &quota, &period) != 2)
			quota = period = 0;
		buf_free(&b);
	} else {
		snprintf(path, sizeof(path), "%s%s/cpu.cfs_quota_us", tree, group);
		if (!read_number(path, &quota))
			return 0;
		snprintf(path, sizeof(path), "%s%s/cpu.cfs_period_us", tree, group);
		if (!read_number(path, &period))
			return 0;
	}
	return quota > 0 && period > 0 ? quota / period : 0;
}

/* The tightest quota of the group and those above it; 0: none. */
static double tightest(const char *tree, char *group, bool v2)
{
	double least = 0;

	for (;;) {
		double q = quota_of(tree, group, v2);
		char *slash = strrchr(group, '/');

		if (q > 0 && (least <= 0 || q < least))
			least = q;
		if (!slash || !*group)
			return least;
		*slash = '\0';
	}
}

/* One line of /proc/self/cgroup: "4:cpu,cpuacct:/group" or "0::/group". */
static double quota_of_line(char *line)
{
	char *controllers = strchr(line, ':'), *group;

	if (!controllers)
		return 0;
	group = strchr(++controllers, ':');
	if (!group)
		return 0;
	*group++ = '\0';
	if (!*controllers)
		return tightest("/sys/fs/cgroup", group, true);
	for (char *c; (c = strsep(&controllers, ",")) != NULL;) {
		if (strcmp(c, "cpu") == 0)
			return tightest("/sys/fs/cgroup/cpu", group, false);
	}
	return 0;
}

static double own_quota(void)
{
	struct buf b = { 0 };
	double least = 0;
	char *rest, *line;

	if (fd_read_file("/proc/self/cgroup", 65536, &b) == 0) {
		rest = (char *)buf_data(&b);
		while (rest && (line = strsep(&rest, "\n")) != NULL) {
			double q = quota_of_line(line);

			if (q > 0 && (least <= 0 || q < least))
				least = q;
		}
	}
	buf_free(&b);
	return least;
}

unsigned make_local_slots(void)
{
	cpu_set_t set;
	double quota = own_quota();
	unsigned n = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (unsigned)CPU_COUNT(&set);
	while (n > 1 && quota > 0 && (double)(n - 1) >= quota)
		n--;
	return n ? n : 1;
}

bool make_is_shared(const char *path, const char *mount)
{
	struct stat at, root;
	struct statfs fs;

	return stat(path, &at) == 0 && stat(mount, &root) == 0 &&
	       at.st_dev == root.st_dev && statfs(mount, &fs) == 0 &&
	       fs.f_type == FUSE_MAGIC;
}
