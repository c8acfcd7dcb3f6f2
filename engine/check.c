/*
 * check.c -- the reasons why a tree cannot move, found while it runs.
 *
 * What is seen here can change until the freeze, so eng_save looks again at
 * what it saves (descriptors, mappings); this look is what keeps
 * hopeless attempts from stopping anybody.
 */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "report.h"

/* The tree as pids, root first; zombies left out. */
static unsigned collect(const struct ps_stat *all, unsigned n, pid_t root,
			pid_t *pids)
{
	unsigned np = 1;
	bool grew = true;

	pids[0] = root;
	while (grew) {
		grew = false;
		for (unsigned i = 0; i < n; i++) {
			bool in = false, child = false;

			for (unsigned k = 0; k < np; k++) {
				in |= pids[k] == all[i].pid;
				child |= pids[k] == all[i].ppid;
			}
			if (in || !child || all[i].state == 'Z' ||
			    ps_is_stub(all[i].pid))
				continue;
			pids[np++] = all[i].pid;
			grew = true;
		}
	}
	return np;
}

static bool member(const pid_t *pids, unsigned np, pid_t pid)
{
	for (unsigned i = 0; i < np; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static int check_status(pid_t pid, struct eng_report *rep)
{
	struct ps_status s;
	int r = ps_status(pid, 0, &s);

	if (r)
		return -EBUSY; /* it has just ended */
	if (s.tracer)
		r = refuse(rep, ENG_TRACED, pid, "%d", s.tracer);
	if (s.seccomp)
		r = refuse(rep, ENG_SECCOMP, pid, "%d", pid);
	ps_status_fini(&s);
	return r;
}

static int check_namespaces(pid_t pid, struct eng_report *rep)
{
	static const char *const names[] = { "pid",  "mnt", "user",
					     "ipc",  "net", "uts",
					     "time", "cgroup" };
	char what[32], a[64], b[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(what, sizeof(what), "ns/%s", names[i]);
		/* Of the mover, which is one of this world. */
		if (ps_link(getpid(), what, a, sizeof(a)) ||
		    ps_link(pid, what, b, sizeof(b)))
			continue;
		if (strcmp(a, b))
			return refuse(rep, ENG_NAMESPACE, pid, "%s", names[i]);
	}
	return 0;
}

static int check_root(pid_t pid, struct eng_report *rep)
{
	struct stat own, its;
	char path[64], name[4200];

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	if (stat("/proc/self/root", &own) || stat(path, &its))
		return 0;
	if (own.st_dev == its.st_dev && own.st_ino == its.st_ino)
		return 0;
	if (ps_link(pid, "root", name, sizeof(name)))
		name[0] = 0;
	return refuse(rep, ENG_ROOT, pid, "%.100s", name);
}

static int check_vma(const struct vma *v, pid_t pid, struct eng_report *rep)
{
	if (!strncmp(v->path, "/SYSV", 5))
		return refuse(rep, ENG_SYSV_SHM, pid, "%s", v->path + 1);
	if (!strncmp(v->path, "/[aio]", 6) || strstr(v->path, "io_uring"))
		return refuse(rep, ENG_IO_URING, pid, "%s", v->path);
	if (v->kind == VMA_FILE && v->deleted)
		return refuse(rep, ENG_DELETED, pid, "%s", v->path);
	if (v->kind == VMA_OTHER)
		return refuse(rep, ENG_MAPPING, pid, "%s",
			      *v->path ? v->path : "without a name");
	return 0;
}

/* Nameless shared memory that somebody outside of the tree maps as well. */
static int check_shm(const struct vma *v, pid_t pid, const struct ps_stat *all,
		     unsigned n, const pid_t *pids, unsigned np,
		     struct eng_report *rep)
{
	for (unsigned i = 0; i < n; i++) {
		struct vmas m;
		bool hit = false;

		if (member(pids, np, all[i].pid) || all[i].pid == getpid() ||
		    ps_vmas(all[i].pid, &m))
			continue;
		for (unsigned k = 0; k < m.n && !hit; k++)
			hit = m.v[k].kind == VMA_SHM && m.v[k].dev == v->dev &&
			      m.v[k].ino == v->ino;
		vmas_fini(&m);
		if (hit)
			return refuse(rep, ENG_SHARED_MEM, pid, "%d",
				      all[i].pid);
	}
	return 0;
}

static int check_maps(pid_t pid, const struct ps_stat *all, unsigned n,
		      const pid_t *pids, unsigned np, struct eng_report *rep)
{
	struct ps_stat s;
	struct vmas m;
	char exe[4200];
	int r, worst = 0;

	r = ps_vmas(pid, &m);
	if (r == 0 && ps_link(pid, "exe", exe, sizeof(exe))) {
		vmas_fini(&m);
		r = -EBUSY;
	}
	if (r && ps_stat(pid, &s) == 0 && (pid == 2 || s.ppid == 2))
		return refuse(rep, ENG_KERNEL_THREAD, pid, "%d", pid);
	if (r)
		return -EBUSY; /* it has just ended */
	if (!m.n)
		worst = refuse(rep, ENG_KERNEL_THREAD, pid, "%d", pid);
	else if (strlen(exe) > 10 &&
		 !strcmp(exe + strlen(exe) - 10, " (deleted)"))
		worst = refuse(rep, ENG_DELETED, pid, "%.100s", exe);
	for (unsigned i = 0; i < m.n; i++) {
		r = check_vma(&m.v[i], pid, rep);
		if (r == 0 && m.v[i].kind == VMA_SHM)
			r = check_shm(&m.v[i], pid, all, n, pids, np, rep);
		if (r)
			worst = r;
	}
	vmas_fini(&m);
	return worst;
}

/* Memory or descriptors in common: a vfork under way, or something odd. */
static int check_sharing(pid_t pid, const struct ps_stat *all, unsigned n,
			 struct eng_report *rep)
{
	for (unsigned i = 0; i < n; i++) {
		pid_t other = all[i].pid;

		if (other == pid || all[i].state == 'Z')
			continue;
		if (ps_same(pid, other, KCMP_VM, 0, 0)) {
			refuse(rep, ENG_VFORK, pid, "%d", pid);
			return -EBUSY;
		}
		if (ps_same(pid, other, KCMP_FILES, 0, 0))
			return refuse(rep, ENG_SHARED_VM, pid, "%d", other);
	}
	return 0;
}

static int check_one(pid_t pid, const struct ps_stat *all, unsigned n,
		     const pid_t *pids, unsigned np, struct eng_report *rep)
{
	int results[] = {
		check_status(pid, rep),
		check_namespaces(pid, rep),
		check_root(pid, rep),
		check_maps(pid, all, n, pids, np, rep),
	};
	int worst = 0;

	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
		if (results[i])
			worst = results[i];
	return worst ? worst : check_sharing(pid, all, n, rep);
}

int eng_check(pid_t root, const struct eng_opts *o, struct eng_report *rep)
{
	static const struct eng_opts none;
	SCOPED(free) struct ps_stat *all = NULL;
	SCOPED(free) pid_t *pids = NULL;
	struct eng_report own;
	struct ps_stat s;
	unsigned n, np;
	int r, worst = 0;

	if (!rep)
		rep = &own;
	rep->n = 0;
	r = ps_stat(root, &s);
	if (r == -ESRCH || (r == 0 && s.state == 'Z')) {
		refuse(rep, ENG_GONE, root, "%d", root);
		return -ESRCH;
	}
	if (r == 0)
		r = ps_all(&all, &n);
	if (r)
		return r;
	pids = calloc(n + 1, sizeof(*pids));
	if (!pids)
		return -ENOMEM;
	np = collect(all, n, root, pids);
	if (o && o->single && np > 1)
		worst = refuse(rep, ENG_CHILDREN, root, "%d", pids[1]);
	for (unsigned i = 0; i < np; i++) {
		r = check_one(pids[i], all, n, pids, np, rep);
		if (r && worst != -EOPNOTSUPP)
			worst = r;
	}
	r = fds_check(pids, np, o ? o : &none, rep);
	if (r == -ESRCH)
		return worst ? worst : -EBUSY; /* a child just ended */
	return r ? r : worst;
}
