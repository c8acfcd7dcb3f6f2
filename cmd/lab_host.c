/*
 * lab_host.c -- find, and make, the hosts of a lab; contract in lab.h.
 *
 * A host's first process is this program again, under the name LAB_INIT_NAME
 * with the lab, the host and the lab's folder as arguments: that is how it is
 * recognised among the processes of its cgroup, and the only place where the
 * folder of a running lab stands.  It ignores its children's deaths, so the
 * kernel buries orphans by itself, and never does anything else; when it is
 * killed the kernel ends the host.
 *
 * The file tree of a host is the machine's, with private places where a host
 * must be itself: /proc, /run, /dev/shm, terminals, its name, and Sprite's
 * state and run folders.  Those are bind mounts of the lab's folder, taken as
 * detached trees first because mounting over /run may hide the folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "lab.h"

#define HOST_NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)

/* ---- names and finding ---------------------------------------------------- */

static bool name_is_good(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
			     "XYZ0123456789_-");

	return n > 0 && n <= LAB_NAME_MAX && !s[n] && s[0] != '-';
}

unsigned lab_host_number(const char *s)
{
	unsigned long n;
	char *end;

	if (*s == 'h')
		s++;
	if (*s < '1' || *s > '9')
		return 0;
	n = strtoul(s, &end, 10);
	return *end || n > LAB_HOSTS_MAX ? 0 : (unsigned)n;
}

void lab_cgroup(const struct lab *l, int k, char buf[64])
{
	if (k < 0)
		snprintf(buf, 64, "sprite-%s", l->name);
	else if (k == LAB_SWITCH)
		snprintf(buf, 64, "sprite-%s/switch", l->name);
	else
		snprintf(buf, 64, "sprite-%s/h%d", l->name, k);
}

/* The n-th of the NUL-separated arguments of a process. */
static bool argument(pid_t pid, unsigned n, char *ret, size_t cap)
{
	char path[64], args[PATH_MAX + 256];
	SCOPED(close) int fd = -1;
	ssize_t len;
	char *at = args;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, args, sizeof(args) - 1);
	if (len <= 0)
		return false;
	args[len] = 0;
	for (; n; n--) {
		at += strlen(at) + 1;
		if (at >= args + len)
			return false;
	}
	return snprintf(ret, cap, "%s", at) < (int)cap;
}

/* First in its own PID namespace, which is a child of ours. */
static bool is_first_process(pid_t pid)
{
	char path[64], line[256];
	int outer, inner, more, n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "NSpid:", 6) == 0)
			n = sscanf(line + 6, "%d %d %d", &outer, &inner, &more);
	}
	fclose(f);
	return n == 2 && inner == 1;
}

pid_t lab_init(const struct lab *l, unsigned k)
{
	char cgroup[64], arg[64];
	pid_t *pid, found = 0;
	size_t n;

	lab_cgroup(l, (int)k, cgroup);
	if (cgroups_pids(&l->cg, cgroup, &pid, &n))
		return 0;
	for (size_t i = 0; i < n && !found; i++) {
		if (argument(pid[i], 0, arg, sizeof(arg)) &&
		    strcmp(arg, LAB_INIT_NAME) == 0 && is_first_process(pid[i]))
			found = pid[i];
	}
	free(pid);
	return found;
}

unsigned lab_hosts(const struct lab *l, unsigned ret[LAB_HOSTS_MAX])
{
	char cgroup[64];
	unsigned n = 0;

	for (unsigned k = 1; k <= LAB_HOSTS_MAX; k++) {
		lab_cgroup(l, (int)k, cgroup);
		if (cgroups_exist(&l->cg, cgroup))
			ret[n++] = k;
	}
	return n;
}

unsigned lab_size(const struct lab *l)
{
	unsigned k[LAB_HOSTS_MAX], n = lab_hosts(l, k);

	return n ? k[n - 1] : 0;
}

int lab_open(struct lab *l, const char *name, const char *dir)
{
	pid_t init;
	int r;

	if (!name)
		name = getenv("SPRITE_LAB");
	if (!name || !*name)
		name = "lab";
	if (!name_is_good(name))
		return -EINVAL;
	*l = (struct lab){ 0 };
	strcpy(l->name, name);
	r = cgroups_find(&l->cg);
	if (r)
		return r;
	if (!dir) {
		init = lab_init(l, LAB_SWITCH);
		for (unsigned k = 1; !init && k <= lab_size(l); k++)
			init = lab_init(l, k);
		if (init && argument(init, 3, l->dir, sizeof(l->dir)))
			return 0;
		snprintf(l->dir, sizeof(l->dir), "/tmp/sprite-%s", name);
		return 0;
	}
	if (dir[0] == '/')
		r = snprintf(l->dir, sizeof(l->dir), "%s", dir);
	else if (getcwd(l->dir, sizeof(l->dir)))
		r = snprintf(l->dir + strlen(l->dir),
			     sizeof(l->dir) - strlen(l->dir), "/%s", dir) +
		    (int)strlen(l->dir);
	else
		return -errno;
	return r < (int)sizeof(l->dir) ? 0 : -ENAMETOOLONG;
}

/* ---- what the first process does to its surroundings ---------------------- */

struct boot_child {
	const struct lab *lab;
	const struct boot *boot; /* NULL: the switch */
	const char *cgroup;
	const char *name; /* "h3" */
	char self[PATH_MAX];
	int report; /* a pipe: silence is success */
};

static void give_up(const struct boot_child *b, const char *what)
{
	int err = errno;

	dprintf(b->report, "%s: %s", what, strerror(err));
	_exit(1);
}

/* Take a folder or file of the tree as it is now, to be mounted later. */
static int tree_of(const struct boot_child *b, const char *path)
{
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		give_up(b, path);
	return fd;
}

static void put_tree(const struct boot_child *b, int tree, const char *where)
{
	if (move_mount(tree, "", AT_FDCWD, where, MOVE_MOUNT_F_EMPTY_PATH))
		give_up(b, where);
	close(tree);
}

static void fresh(const struct boot_child *b, const char *type,
		  const char *where, unsigned long flags, const char *options)
{
	if (mount(type, where, type, flags, options))
		give_up(b, where);
}

static void make_folder(const struct boot_child *b, const char *path)
{
	int r = mkdir_p(path, 0755);

	if (r) {
		errno = -r;
		give_up(b, path);
	}
}

static void host_terminals(const struct boot_child *b)
{
	struct stat st;

	fresh(b, "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
	      "newinstance,ptmxmode=0666,mode=620,gid=5");
	if (lstat("/dev/ptmx", &st) == 0 && S_ISCHR(st.st_mode) &&
	    mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL))
		give_up(b, "/dev/ptmx");
}

static void host_files(const struct boot_child *b)
{
	char path[PATH_MAX], bin[PATH_MAX];
	static const char *const from[] = { "state", "run", "hosts", "hostname" };
	static const char *const to[] = { "/var/lib/sprite", "/run/sprite",
					  "/etc/hosts", "/etc/hostname" };
	int tree[4], bin_tree;

	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", b->lab->dir, b->name,
			 from[i]);
		tree[i] = tree_of(b, path);
	}
	snprintf(bin, sizeof(bin), "%s", b->self);
	*strrchr(bin, '/') = 0;
	bin_tree = tree_of(b, bin);

	fresh(b, "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	fresh(b, "tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755");
	if (access("/dev/shm", F_OK) == 0)
		fresh(b, "tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	if (access("/dev/mqueue", F_OK) == 0)
		fresh(b, "mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV, NULL);
	host_terminals(b);
	make_folder(b, "/run/lock");
	make_folder(b, "/run/sprite");
	for (int i = 0; i < 4; i++) {
		if (i < 2 || access(to[i], F_OK) == 0)
			put_tree(b, tree[i], to[i]);
		else
			close(tree[i]);
	}
	make_folder(b, LAB_BIN);
	put_tree(b, bin_tree, LAB_BIN);
}

/* Nobody in a lab waits for IPv6 addresses to be found free. */
static void host_sysctls(void)
{
	(void)fd_write_str("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	(void)fd_write_str("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

static void child_main(const struct boot_child *b)
{
	char *const argv[] = { (char *)LAB_INIT_NAME, (char *)b->lab->name,
			       (char *)b->name, (char *)b->lab->dir, NULL };
	char *const envp[] = { NULL };
	char program[PATH_MAX + 32];
	cpu_set_t one;
	int r = cgroups_join(&b->lab->cg, b->cgroup, 0);
	int null;

	if (r) {
		errno = -r;
		give_up(b, b->cgroup);
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		give_up(b, "private mounts");
	if (sethostname(b->name, strlen(b->name)))
		give_up(b, "sethostname");
	if (b->boot) {
		host_files(b);
		host_sysctls();
	}
	if (b->boot && b->boot->cpu >= 0) {
		CPU_ZERO(&one);
		CPU_SET((size_t)b->boot->cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			give_up(b, "pin to a CPU");
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || setsid() < 0 || chdir("/"))
		give_up(b, "/dev/null");
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	/* Nothing of the caller may stay open for the life of the lab. */
	if (dup3(b->report, 3, O_CLOEXEC) < 0 && errno != EINVAL)
		give_up(b, "report");
	close_range(4, UINT_MAX, 0);
	/* Inside a host the way to our file may be hidden by its /run. */
	snprintf(program, sizeof(program), "%s%s", b->boot ? LAB_BIN : "",
		 b->boot ? strrchr(b->self, '/') : b->self);
	execve(program, argv, envp);
	dprintf(3, "%s: %s", program, strerror(errno));
	_exit(1);
}

int lab_init_main(void)
{
	struct sigaction sa = { .sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT };
	sigset_t all;

	sigaction(SIGCHLD, &sa, NULL);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (;;)
		pause();
}

/* ---- the parent's half ------------------------------------------------------ */

/* Start a first process and wait until it has become LAB_INIT_NAME. */
static int launch(struct boot_child *b, unsigned long namespaces, pid_t *ret,
		  char *err, size_t errcap)
{
	int pipefd[2], r;
	ssize_t n;
	pid_t pid;

	n = readlink("/proc/self/exe", b->self, sizeof(b->self) - 1);
	if (n < 0)
		return -errno;
	b->self[n] = 0;
	r = cgroups_make(&b->lab->cg, b->cgroup);
	if (r) {
		snprintf(err, errcap, "cannot make cgroup %s: %s", b->cgroup,
			 strerror(-r));
		return r;
	}
	if (pipe2(pipefd, O_CLOEXEC))
		return -errno;
	pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0) {
		r = -errno;
		snprintf(err, errcap, "cannot make namespaces: %s", strerror(-r));
		close(pipefd[0]);
		close(pipefd[1]);
		return r;
	}
	if (pid == 0) {
		close(pipefd[0]);
		b->report = pipefd[1];
		child_main(b);
	}
	close(pipefd[1]);
	do
		n = read(pipefd[0], err, errcap - 1);
	while (n < 0 && errno == EINTR);
	close(pipefd[0]);
	if (n != 0) {
		err[n > 0 ? n : 0] = 0;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return -EIO;
	}
	*ret = pid;
	return 0;
}

int lab_boot_switch(struct lab *l, char *err, size_t errcap)
{
	char cgroup[64];
	struct boot_child b = { .lab = l, .cgroup = cgroup, .name = "switch" };
	SCOPED(close) int nl = -1;
	pid_t pid;
	int r;

	if (lab_init(l, LAB_SWITCH))
		return 0;
	lab_cgroup(l, LAB_SWITCH, cgroup);
	r = launch(&b, HOST_NAMESPACES, &pid, err, errcap);
	if (r)
		return r;
	nl = net_open(pid);
	r = nl < 0 ? nl : net_bridge(nl, "lab");
	if (r)
		snprintf(err, errcap, "cannot make the switch: %s", strerror(-r));
	return r;
}

static int write_hosts(const struct lab *l, const struct boot *b,
		       const char *folder)
{
	char path[PATH_MAX + 16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/hosts", folder);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	fprintf(f, "127.0.0.1 localhost\n::1 localhost\n");
	for (unsigned k = 1; k <= b->hosts; k++)
		fprintf(f, LAB_NET "%u h%u h%u.%s\n", k, k, k, l->name);
	if (fclose(f))
		return -errno;
	snprintf(path, sizeof(path), "%s/hostname", folder);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	fprintf(f, "h%u\n", b->k);
	return fclose(f) ? -errno : 0;
}

static int make_folders(const struct lab *l, const struct boot *b)
{
	static const char *const names[] = { "state", "run", "state/log",
					     "run/bin" };
	char folder[PATH_MAX], path[PATH_MAX + 16];
	int fd, r = 0;

	snprintf(folder, sizeof(folder), "%s/h%u", l->dir, b->k);
	for (size_t i = 0; i < 4 && !r; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		r = mkdir_p(path, 0755);
	}
	if (!r)
		r = write_hosts(l, b, folder);
	if (!r)
		r = mkdir_p("/var/lib/sprite", 0755);
	if (!r)
		r = mkdir_p("/sprite", 0755);
	if (r)
		return r;
	/* The host's console: `lab console` writes to it, migd watches it. */
	snprintf(path, sizeof(path), "%s/run/console", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0620);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int connect_host(const struct lab *l, unsigned k, const char *name,
			pid_t pid)
{
	pid_t sw = lab_init(l, LAB_SWITCH);
	SCOPED(close) int at_switch = -1;
	SCOPED(close) int at_host = -1;
	int r;

	if (!sw)
		return -ESRCH;
	at_switch = net_open(sw);
	at_host = net_open(pid);
	if (at_switch < 0 || at_host < 0)
		return at_switch < 0 ? at_switch : at_host;
	/* The cable of an earlier life may outlast it by a moment. */
	r = net_unplug(at_switch, name);
	if (!r)
		r = net_cable(at_switch, name, pid, k);
	if (!r)
		r = net_plug(at_switch, name, "lab");
	return r ? r : net_address(at_host, k);
}

int lab_boot(struct lab *l, const struct boot *b, char *err, size_t errcap)
{
	char cgroup[64], name[16];
	struct boot_child c = { .lab = l, .boot = b, .cgroup = cgroup, .name = name };
	pid_t pid;
	int r;

	/* Also for a host that is up: its table of hosts may have to grow. */
	r = make_folders(l, b);
	if (r) {
		snprintf(err, errcap, "cannot make folders in %s: %s", l->dir,
			 strerror(-r));
		return r;
	}
	if (lab_init(l, b->k))
		return 0;
	snprintf(name, sizeof(name), "h%u", b->k);
	lab_cgroup(l, (int)b->k, cgroup);
	r = launch(&c, HOST_NAMESPACES, &pid, err, errcap);
	if (r)
		return r;
	r = connect_host(l, b->k, name, pid);
	if (r) {
		snprintf(err, errcap, "cannot connect it to the switch: %s",
			 strerror(-r));
		kill(pid, SIGKILL);
	}
	return r;
}
