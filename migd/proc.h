#ifndef MIGD_PROC_H
#define MIGD_PROC_H
/*
 * proc.h -- what /proc says of processes.  Those of the world are named by
 * their global PID and read through the world's /proc; callers by the PID the
 * kernel gave us for them, which is of our own namespace.
 */
#include "migd.h"

struct proc_stat {
	uint32_t pid, ppid, pgid, sid;
	int32_t tty_pgid; /* foreground group of its terminal, -1 if none */
	uint32_t uid;
	char state;
	uint64_t cpu_ms, age_ms, rss_kb;
	char name[64];
};

/* Of a process of our namespace. */
struct proc_caller {
	uint32_t uid[3], gid[3]; /* real, effective, saved */
	uint32_t ngroups;
	uint32_t groups[256];
};

/* 0 and its global PID; -EXDEV: not in our world; -ESRCH. */
int proc_global_pid(const struct migd *m, pid_t host_pid, uint32_t *ret);
bool proc_is_stub(const struct migd *m, pid_t host_pid);
int proc_caller(pid_t host_pid, struct proc_caller *ret);

int proc_stat(const struct migd *m, uint32_t pid, struct proc_stat *ret);
/* Arguments separated by spaces, at most cap. */
void proc_command(const struct migd *m, uint32_t pid, char *buf, size_t cap);
/* Both uids that count for permission: effective and real one. */
bool proc_owned(const struct migd *m, uint32_t pid, uint32_t uid);
/* Does it execute sprite-stub? */
bool proc_pid_is_stub(const struct migd *m, uint32_t pid);

/* A descriptor that stands for exactly this process (its /proc folder). */
int proc_open(const struct migd *m, uint32_t pid);
/* Signal a process of the world; info may be NULL. */
int proc_signal(const struct migd *m, uint32_t pid, int sig);
int proc_fd_signal(int dir, int sig, const void *siginfo);

/* Neither caught, ignored nor blocked: the kernel's own action comes. */
bool proc_defaults(const struct migd *m, uint32_t pid, int sig);

/* All PIDs of the world, malloc'ed. */
int proc_all(const struct migd *m, uint32_t **ret, size_t *ret_n);
/* root and its descendants, parents first; malloc'ed. */
int proc_tree(const struct migd *m, uint32_t root, uint32_t **ret,
	      size_t *ret_n);

#endif
