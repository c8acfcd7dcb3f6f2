/*
 * load.c -- see load.h.
 *
 * What is a virtual host?  One whose PID namespace is not the machine's and
 * whose cgroup is not the root.  The cgroup alone would not tell: a service
 * manager puts the daemon of a real machine into a cgroup too.
 */
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"

#define FILE_BYTES (4u << 20)
#define DEPTH_MAX  16
/* The inode of the machine's own PID namespace, fixed by the kernel. */
#define FIRST_PID_NS 0xeffffffcu
#define CGROUP_ROOT  "/sys/fs/cgroup"

void load_avg_add(struct load_avg *a, double queue)
{
	static const double samples[3] = { 12, 60, 180 }; /* 1, 5, 15 min */

	for (int i = 0; i < 3; i++) {
		double keep = exp(-1 / samples[i]);

		a->v[i] = a->v[i] * keep + queue * (1 - keep);
		if (a->v[i] < 0.00001)
			a->v[i] = 0;
	}
}

uint32_t load_centi(double v)
{
	double c = v * 100 + 0.5;

	if (!(c > 0))
		return 0;
	return c < 1e9 ? (uint32_t)c : 1000000000u;
}

/* ---- the gate ---- */

struct load_limits load_limits_for(const struct hostconf *c, unsigned cpus)
{
	struct load_limits l = { .idle_secs = c->idle_secs };
	unsigned more = c->slots > 1 ? c->slots - 1 : 0;

	for (int i = 0; i < 3; i++) {
		l.in[i] = c->load_in_centi[i] / 100.0 * cpus;
		l.out[i] = c->load_out_centi[i] / 100.0 * cpus + more;
	}
	return l;
}

static bool over(const struct load_avg *a, const double limit[3])
{
	for (int i = 0; i < 3; i++) {
		if (a->v[i] > limit[i])
			return true;
	}
	return false;
}

bool load_gate_step(struct load_gate *g, const struct load_facts *f,
		    const struct load_limits *l)
{
	struct load_gate now = { .allow = true };

	if (f->refuses)
		now = (struct load_gate){ false, WHY_POLICY };
	else if (f->touched && f->idle_secs < l->idle_secs)
		now = (struct load_gate){ false, WHY_INPUT };
	else if (over(&f->avg, g->allow ? l->out : l->in))
		now = (struct load_gate){ false, WHY_LOAD };
	if (now.allow == g->allow && now.why == g->why)
		return false;
	*g = now;
	return true;
}

/* ---- what to sample ---- */

/* Our cgroup as /proc/self/cgroup has it: that of the cpu controller, else
 * of version 2.  "" if there is none. */
static void own_group(char *text, char *ret, size_t cap, bool *ret_v2)
{
	char *line, *rest = text, *names, *path, *name;

	ret[0] = 0;
	*ret_v2 = false;
	while ((line = strsep(&rest, "\n"))) {
		if (!strsep(&line, ":") || !(names = strsep(&line, ":")) || !line)
			continue;
		path = line;
		if (!*names && !*ret) {
			snprintf(ret, cap, "%s", path);
			*ret_v2 = true;
		}
		while ((name = strsep(&names, ","))) {
			if (strcmp(name, "cpu") != 0)
				continue;
			snprintf(ret, cap, "%s", path);
			*ret_v2 = false;
			return;
		}
	}
}

static bool first_pid_ns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) || st.st_ino == FIRST_PID_NS;
}

int load_sampler_init(struct load_sampler *s)
{
	static const char *const mounts[] = { "/cpu", "/cpu,cpuacct",
					      "/cpuacct,cpu" };
	SCOPED(buf_free) struct buf b = { 0 };
	char path[PATH_MAX / 2];
	bool v2;
	int r = fd_read_file("/proc/self/cgroup", FILE_BYTES, &b);

	*s = (struct load_sampler){ .whole = true,
				    .self = (pid_t)syscall(SYS_gettid) };
	if (r && r != -ENOENT)
		return r;
	if (r || first_pid_ns())
		return 0;
	own_group((char *)buf_data(&b), path, sizeof(path), &v2);
	if (!path[0] || !strcmp(path, "/"))
		return 0;
	s->tasks = v2 ? "cgroup.threads" : "tasks";
	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		snprintf(s->group, sizeof(s->group), "%s%s%s", CGROUP_ROOT,
			 v2 ? "" : mounts[i], path);
		if (access(s->group, R_OK) == 0) {
			s->whole = false;
			return 0;
		}
	}
	return 0; /* cgroups are not mounted here: the machine it is */
}

/* ---- counting ---- */

/* The state letter stands behind the last bracket: names hold anything. */
static bool runnable(const char *tid)
{
	char path[64], text[512], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	p = strrchr(text, ')');
	return p && p[1] == ' ' && p[2] == 'R';
}

static int count_file(const struct load_sampler *s, const char *dir)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[PATH_MAX], *rest, *tid;
	int n = 0, r;

	r = snprintf(path, sizeof(path), "%s/%s", dir, s->tasks);
	if (r < 0 || (size_t)r >= sizeof(path))
		return -ENAMETOOLONG;
	r = fd_read_file(path, FILE_BYTES, &b);
	if (r)
		return r == -ENOENT || r == -ENODEV ? 0 : r; /* just removed */
	rest = (char *)buf_data(&b);
	while ((tid = strsep(&rest, "\n"))) {
		if (*tid && atoi(tid) != s->self && runnable(tid))
			n++;
	}
	return n;
}

static int count_group(const struct load_sampler *s, const char *dir,
		       unsigned depth)
{
	char path[PATH_MAX];
	struct dirent *e;
	int n = count_file(s, dir), r = 0;
	DIR *d;

	if (n < 0 || depth == DEPTH_MAX)
		return n;
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? n : -errno;
	while (r >= 0 && (e = readdir(d))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		r = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		r = r < 0 || (size_t)r >= sizeof(path) ?
			    -ENAMETOOLONG : count_group(s, path, depth + 1);
		if (r > 0)
			n += r;
	}
	closedir(d);
	return r < 0 ? r : n;
}

/* "0.31 0.22 0.20 2/345 6789": two runnable, and one of them is us. */
static int count_machine(void)
{
	SCOPED(buf_free) struct buf b = { 0 };
	int r = fd_read_file("/proc/loadavg", 256, &b), n;

	if (r)
		return r;
	if (sscanf((char *)buf_data(&b), "%*s %*s %*s %d/", &n) != 1)
		return -EBADMSG;
	return n > 0 ? n - 1 : 0;
}

int load_sample(const struct load_sampler *s)
{
	return s->whole ? count_machine() : count_group(s, s->group, 0);
}

/* ---- processors ---- */

static long read_long(const struct load_sampler *s, const char *name)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", s->group, name);

	if (n < 0 || (size_t)n >= sizeof(path) || fd_read_file(path, 256, &b))
		return -1;
	return atol((char *)buf_data(&b));
}

unsigned load_cpus(const struct load_sampler *s)
{
	cpu_set_t set;
	unsigned n = 1;
	long quota, period;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		n = (unsigned)CPU_COUNT(&set);
	if (s->whole)
		return n;
	quota = read_long(s, "cpu.cfs_quota_us");
	period = read_long(s, "cpu.cfs_period_us");
	if (quota > 0 && period > 0 && (quota + period - 1) / period < (long)n)
		n = (unsigned)((quota + period - 1) / period);
	return n ? n : 1;
}
