/*
 * lab_up.c -- bring a lab up, and single hosts of it up and down again;
 * contract in lab.h.
 *
 * The lab uses the same verbs inside a host that a user would type on a real
 * one: init on the first, join with a token on the others, up on all.  Only
 * what is missing is done, so a second `lab up` repairs or widens a lab.
 * Quotas are put on at the end: starting is not what anyone wants to measure.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "cmd.h"
#include "daemons.h"
#include "fd.h"
#include "lab.h"

#define SPRITE LAB_BIN "/sprite"
#define KILL_MS 10000

/* The lab's folder: made, or seen to be one of ours.  Reports. */
static int make_dir(const struct lab *l)
{
	char path[PATH_MAX];
	struct stat st;
	int r = mkdir_p(l->dir, 0755);
	int fd;

	if (r)
		return fail(code_of(r), "cannot make %s: %s", l->dir, strerror(-r));
	if (lstat(l->dir, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return fail(X_FAILED, "%s is not a folder of yours; choose "
			    "another one with --dir", l->dir);
	snprintf(path, sizeof(path), "%s/" LAB_MARK, l->dir);
	if (access(path, F_OK) && rmdir(l->dir))
		return fail(X_FAILED, "%s exists and is not a lab's folder; "
			    "empty it or choose another one with --dir", l->dir);
	r = mkdir_p(l->dir, 0755);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (r || fd < 0)
		return fail(X_FAILED, "cannot write to %s: %s", l->dir,
			    strerror(r ? -r : errno));
	close(fd);
	return 0;
}

/* One `up` or `start` at a time.  Reports; *ret_fd holds the lock. */
static int take_lock(const struct lab *l, int *ret_fd)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" LAB_MARK, l->dir);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*ret_fd < 0)
		return fail(X_NOT_FOUND, "there is no lab '%s' in %s; `sprite "
			    "lab up 4` makes one", l->name, l->dir);
	if (flock(*ret_fd, LOCK_EX | LOCK_NB)) {
		close(*ret_fd);
		*ret_fd = -1;
		return fail(X_REFUSED, "another `sprite lab` is at work on lab "
			    "'%s'; wait for it to finish", l->name);
	}
	return 0;
}

static bool has_conf(const struct lab *l, unsigned k)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/h%u/state/host.conf", l->dir, k);
	return access(path, F_OK) == 0;
}

static int enter_cell(const struct lab *l, unsigned k, const char *token)
{
	char name[16], addr[32], *said = NULL;
	int code;
	char *init[] = { (char *)SPRITE, (char *)"init", (char *)"--cell",
			 (char *)l->name, (char *)"--name", name,
			 (char *)"--addr", addr, (char *)"--console",
			 (char *)"/run/sprite/console", NULL };
	char *join[] = { (char *)SPRITE, (char *)"join", (char *)"--name", name,
			 (char *)"--addr", addr, (char *)"--console",
			 (char *)"/run/sprite/console", (char *)token, NULL };

	snprintf(name, sizeof(name), "h%u", k);
	snprintf(addr, sizeof(addr), LAB_NET "%u", k);
	code = lab_call(l, k, token ? join : init, &said);
	free(said); /* what to do next: we do it */
	return code;
}

/* A one-time token for one more host, or NULL; reports. */
static char *make_token(const struct lab *l)
{
	char *const argv[] = { (char *)SPRITE, (char *)"token", NULL };
	char *out = NULL;

	if (lab_call(l, 1, argv, &out) || !out)
		return NULL;
	out[strcspn(out, "\n")] = 0;
	return out;
}

static int start_daemons(const struct lab *l, unsigned k, const char *daemon)
{
	char *const argv[] = { (char *)SPRITE, (char *)"up", (char *)daemon, NULL };

	return lab_call(l, k, argv, NULL);
}

/* In the order of their names, so that h3 is the third member. */
static int enter_if_new(const struct lab *l, unsigned k)
{
	char *token = NULL;
	int code;

	if (has_conf(l, k))
		return 0;
	if (k > 1) {
		token = make_token(l);
		if (!token)
			return fail(X_FAILED, "h1 gives no token for h%u", k);
	}
	code = enter_cell(l, k, token);
	free(token);
	return code ? fail(code, "h%u did not enter the cell", k) : 0;
}

/* In a child, so that hosts come up side by side. */
static pid_t bring_up(const struct lab *l, unsigned k)
{
	pid_t pid;
	int code;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	code = start_daemons(l, k, NULL);
	if (code)
		fail(code, "h%u did not come up", k);
	_exit(code);
}

static int up_daemons(const struct lab *l, unsigned hosts)
{
	pid_t pid[LAB_HOSTS_MAX + 1] = { 0 };
	int st, worst = X_OK_DONE;

	for (unsigned k = 1; k <= hosts && !worst; k++) {
		worst = enter_if_new(l, k);
		if (!worst && (pid[k] = bring_up(l, k)) < 0)
			worst = fail(X_FAILED, "fork: %s", strerror(errno));
		/* The others need the first one's name server. */
		if (k > 1 || pid[k] <= 0)
			continue;
		if (waitpid(pid[k], &st, 0) < 0 || st)
			worst = X_FAILED;
		pid[k] = 0;
	}
	for (unsigned k = 1; k <= hosts; k++) {
		if (pid[k] > 0 && (waitpid(pid[k], &st, 0) < 0 || st))
			worst = X_FAILED;
	}
	return worst;
}

static int boot_hosts(struct lab *l, const struct lab_up_options *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned size = lab_size(l);
	char err[512] = "", cgroup[64];
	struct boot b = { .hosts = o->hosts > size ? o->hosts : size };
	int r = lab_boot_switch(l, err, sizeof(err));

	if (r)
		return fail(code_of(r), "the switch: %s",
			    *err ? err : strerror(-r));
	for (b.k = 1; b.k <= b.hosts; b.k++) {
		b.cpu = o->pin && cpus > 0 ? (int)((b.k - 1) % (unsigned long)cpus) :
					     -1;
		lab_cgroup(l, (int)b.k, cgroup);
		/* A host that was crashed on purpose waits for `lab start`. */
		if (b.k > o->hosts && !lab_init(l, b.k))
			continue;
		r = lab_boot(l, &b, err, sizeof(err));
		if (r)
			return fail(code_of(r), "h%u: %s", b.k,
				    *err ? err : strerror(-r));
	}
	return 0;
}

static int set_quotas(const struct lab *l, const struct lab_up_options *o)
{
	char cgroup[64];
	int r = 0;

	lab_cgroup(l, -1, cgroup);
	if (o->cpu > 0)
		r = cgroups_weight(&l->cg, cgroup);
	for (unsigned k = 1; k <= o->hosts && !r; k++) {
		lab_cgroup(l, (int)k, cgroup);
		r = cgroups_quota(&l->cg, cgroup, o->cpu);
	}
	return r ? fail(code_of(r), "cannot set the CPU quota: %s", strerror(-r)) :
		   0;
}

int lab_up(struct lab *l, const struct lab_up_options *o)
{
	SCOPED(close) int lock = -1;
	int code = make_dir(l);

	if (!code)
		code = take_lock(l, &lock);
	if (!code)
		code = boot_hosts(l, o);
	if (!code && !o->bare)
		code = up_daemons(l, o->hosts);
	if (!code)
		code = set_quotas(l, o);
	if (code)
		return fail(code, "lab '%s' is not whole; `sprite lab status` "
			    "shows what is up, `sprite lab up %u` tries again, "
			    "`sprite lab down` removes it", l->name, o->hosts);
	if (!o->quiet)
		printf("lab '%s' is up: %u host%s, h1 to h%u; try `sprite lab "
		       "exec h1 -- hostname`\n", l->name, o->hosts,
		       o->hosts == 1 ? "" : "s", o->hosts);
	return X_OK_DONE;
}

/* A lab pinned at its making is seen by its other hosts. */
static int pinned_cpu(const struct lab *l, unsigned k)
{
	unsigned n = lab_size(l);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (unsigned i = 1; i <= n; i++) {
		pid_t init = lab_init(l, i);
		cpu_set_t set;

		if (init && !sched_getaffinity(init, sizeof(set), &set))
			return cpus > 1 && CPU_COUNT(&set) == 1 ?
				       (int)((k - 1) % (unsigned long)cpus) :
				       -1;
	}
	return -1;
}

int lab_start(struct lab *l, unsigned k, const char *daemon)
{
	SCOPED(close) int lock = -1;
	struct boot b = { .k = k, .hosts = lab_size(l), .cpu = pinned_cpu(l, k) };
	char err[512] = "";
	int r, code = take_lock(l, &lock);

	if (code)
		return code;
	r = lab_boot_switch(l, err, sizeof(err));
	if (!r)
		r = lab_boot(l, &b, err, sizeof(err));
	if (r)
		return fail(code_of(r), "h%u: %s", k, *err ? err : strerror(-r));
	if (!has_conf(l, k) && !daemon)
		return X_OK_DONE; /* a bare host */
	return start_daemons(l, k, daemon);
}

int lab_kill(const struct lab *l, unsigned k, const char *daemon)
{
	pid_t init = lab_init(l, k);
	unsigned killed = 0;
	char run[64];

	if (!init)
		return fail(X_NOT_FOUND, "host h%u is not up; `sprite lab "
			    "start h%u` boots it", k, k);
	snprintf(run, sizeof(run), "/proc/%d/root/run/sprite", (int)init);
	for (size_t i = 0; i < DAEMONS; i++) {
		int r;

		if (daemon && daemon_find(daemon) != &daemons[i])
			continue;
		r = daemon_stop(run, &daemons[i], SIGKILL, KILL_MS);
		if (r && r != -ESRCH)
			return fail(code_of(r), "h%u: cannot kill %s: %s", k,
				    daemons[i].program, strerror(-r));
		killed += r == 0;
	}
	if (!killed)
		return fail(X_NOT_FOUND, "h%u runs no %s; `sprite lab status` "
			    "shows what runs", k, daemon ? daemon : "daemon");
	return X_OK_DONE;
}
