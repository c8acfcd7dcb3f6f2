#ifndef CMD_LAB_H
#define CMD_LAB_H
/*
 * lab.h -- virtual hosts on one machine: what the lab's files share.
 *
 * A host is a first process ("init") that holds net, uts, mount, pid and ipc
 * namespaces, and a cgroup NAME-of-lab/hK in which everything of the host
 * runs.  The switch is one more init, holding a net namespace with a bridge.
 * Nothing about a lab is written down: its inits are found through the
 * cgroups, everything else through its inits.
 *
 * Functions return 0 or a negative errno; those that say so report
 * themselves and return an exit code.
 */
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LAB_INIT_NAME "sprite-lab-init"
#define LAB_HOSTS_MAX 200
#define LAB_NAME_MAX 24
#define LAB_SWITCH 0 /* the number of the switch among the hosts */
#define LAB_NET "10.83.0."
#define LAB_BIN "/run/sprite/bin" /* this program's folder, inside a host */
#define LAB_MARK ".sprite-lab"	  /* in a lab's folder: safe to remove */

/* ---- cgroups (lab_cgroup.c) ---------------------------------------------- */

#define CGROUP_TREES 3

struct cgroups {
	char tree[CGROUP_TREES][256]; /* mount points */
	unsigned trees;
	bool v2; /* one tree, the unified one */
};

/* -ENOSYS: the kernel shows no cgroup tree that can limit CPU time. */
int cgroups_find(struct cgroups *ret);
/* path is relative to the trees: "sprite-lab/h1". */
int cgroups_make(const struct cgroups *c, const char *path);
bool cgroups_exist(const struct cgroups *c, const char *path);
/* Move a process, 0 being the caller. */
int cgroups_join(const struct cgroups *c, const char *path, pid_t pid);
/* cpus: CPUs' worth of time, 0 for no limit.  weighted: keep it on a busy machine. */
int cgroups_quota(const struct cgroups *c, const char *path, double cpus);
double cgroups_quota_get(const struct cgroups *c, const char *path);
int cgroups_weight(const struct cgroups *c, const char *path);
/* CPU time used in it so far. */
double cgroups_cpu_secs(const struct cgroups *c, const char *path);
/* Let frozen processes run: SIGKILL waits for it. */
void cgroups_thaw(const struct cgroups *c, const char *path);
/* All processes in path and below, each once; the caller frees *ret. */
int cgroups_pids(const struct cgroups *c, const char *path, pid_t **ret,
		 size_t *ret_n);
/* Remove path and all below.  -EBUSY while a process is inside. */
int cgroups_remove(const struct cgroups *c, const char *path);

/* ---- the network (lab_net.c) --------------------------------------------- */

/* A route socket in the network namespace of a process; -errno. */
int net_open(pid_t pid);
int net_bridge(int nl, const char *name);
/* A cable: end name here, eth0 with address LAB_NET k in the namespace of pid. */
int net_cable(int nl, const char *name, pid_t pid, unsigned k);
/* Take a cable away, both ends; nothing if there is none. */
int net_unplug(int nl, const char *name);
int net_plug(int nl, const char *name, const char *bridge);
/* Take the host's port out of the bridge's forwarding, or put it back. */
int net_cut(int nl, const char *name, bool cut);
/* 1: cut, 0: not, or -errno (-ENODEV: no such port). */
int net_is_cut(int nl, const char *name);
/* Loopback and eth0 with its address, in the namespace of nl. */
int net_address(int nl, unsigned k);

/* ---- labs and their hosts (lab_host.c) ------------------------------------ */

struct lab {
	char name[LAB_NAME_MAX + 1];
	char dir[PATH_MAX - 128];
	struct cgroups cg;
};

/* name NULL: $SPRITE_LAB, else "lab".  dir NULL: that of the running lab, else the default. */
int lab_open(struct lab *l, const char *name, const char *dir);
/* "h3" or "3" to 3; 0 for anything else. */
unsigned lab_host_number(const char *s);
/* "sprite-lab/h3"; k LAB_SWITCH is the switch, -1 the lab. */
void lab_cgroup(const struct lab *l, int k, char buf[64]);
/* The first process of host k, or 0. */
pid_t lab_init(const struct lab *l, unsigned k);
/* The numbers of the hosts that are up or have a cgroup; returns how many. */
unsigned lab_hosts(const struct lab *l, unsigned ret[LAB_HOSTS_MAX]);
/* The highest number given to a host of this lab, up or not. */
unsigned lab_size(const struct lab *l);

struct boot {
	unsigned k, hosts;
	int cpu; /* CPU to pin the host to; -1: all */
};
/* Make the switch; nothing if it is there. */
int lab_boot_switch(struct lab *l, char *err, size_t errcap);
/* Make host k; nothing if it is there. */
int lab_boot(struct lab *l, const struct boot *b, char *err, size_t errcap);
/* What the first process of a host does for the rest of its life. */
int lab_init_main(void);

/* ---- going inside (lab_enter.c) ------------------------------------------- */

struct enter {
	int ns[5];
	pid_t init; /* of the host, as seen from here */
	cpu_set_t cpus; /* those it may use */
	char cgroup[64];
	const struct lab *lab;
};

/* world: the namespaces of the host's world, else the host's own.
   -ESRCH: the host is down; -ENOENT: it has no world. */
int enter_open(struct enter *e, const struct lab *l, unsigned k, bool world);
void enter_close(struct enter *e);

struct spawn {
	char *const *argv;
	const char *cwd; /* NULL: where we are if that exists inside, else "/" */
	int fd[3];	 /* standard descriptors; -1: ours */
	bool tty;	 /* fd[0] is a terminal to be taken as the controlling one */
};
/* Returns 0 once the program runs; -errno of what failed, fork to exec. */
int enter_spawn(const struct enter *e, const struct spawn *s, pid_t *ret_pid);

/* The rest of `lab exec`: run, relay signals and terminal; an exit code. */
int lab_exec(const struct lab *l, unsigned k, bool world, int tty,
	     const char *cwd, char *const *argv);
/*
 * Run a command in host k's own namespaces; its output, at most 64 KiB, goes to
 * ret_out if not NULL (the caller frees it), else to ours.  An exit code.
 */
int lab_call(const struct lab *l, unsigned k, char *const *argv, char **ret_out);

/* ---- the verbs (lab_up.c, lab_down.c, lab_status.c): exit codes ------------ */

struct lab_up_options {
	unsigned hosts;
	double cpu;
	bool bare; /* hosts only, no daemons */
	bool pin;
	bool quiet;
};
int lab_up(struct lab *l, const struct lab_up_options *o);
int lab_start(struct lab *l, unsigned k, const char *daemon);
int lab_kill(const struct lab *l, unsigned k, const char *daemon);
int lab_crash(const struct lab *l, unsigned k);
int lab_down(struct lab *l);
int lab_status(const struct lab *l, bool json);
int lab_list(bool json);

#endif
