/*
 * become.c -- after the commit: what is left of the source becomes a stub in
 * place, or dies.
 *
 * Exec keeps PID, parent, children, group, session and pending signals, and
 * drops everything else, which is just what a stub is.  Signals that went
 * with the image are taken out of the queue first, in the image's order: the
 * queue is first in, first out per number, so what stays is what came
 * later.  What must not act any more (interval timers survive an exec) the
 * stub turns off itself.
 */
#include "tree.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATHS_MAX (SCRATCH_LEN - 64)

static int take_signals(struct proc *p)
{
	struct {
		struct timespec zero;
		uint64_t set;
	} m = { 0 };
	long ret;
	int r = 0;

	for (unsigned i = 0; i < p->ntaken && r == 0; i++) {
		m.set = 1ull << (p->taken[i].sig - 1);
		r = mem_write(p, p->scratch, &m, sizeof(m));
		if (r == 0)
			r = inject(p, &p->t[0], &ret, SYS_rt_sigtimedwait,
				   (long)(p->scratch + sizeof(m.zero)), 0,
				   (long)p->scratch, 8, 0, 0);
	}
	return r;
}

/* argv, an empty environment and the strings into the scratch memory. */
static int put_arguments(struct proc *p, const char *exe, const char *ctl)
{
	uint8_t m[SCRATCH_LEN] = { 0 };
	size_t le = strlen(exe) + 1, lc = strlen(ctl) + 2;
	uint64_t v[4] = { p->scratch + 32, p->scratch + 32 + le, 0, 0 };

	if (le + lc > PATHS_MAX)
		return -ENAMETOOLONG;
	memcpy(m, v, sizeof(v));
	memcpy(m + 32, exe, le);
	m[32 + le] = '@';
	memcpy(m + 32 + le + 1, ctl, lc - 1);
	return mem_write(p, p->scratch, m, sizeof(m));
}

/* The other threads die in the exec; their tracer has to take note. */
static void reap_threads(struct proc *p)
{
	for (unsigned i = 1; i < p->nt; i++) {
		int st;

		if (p->t[i].tid && waitpid(p->t[i].tid, &st,
					   __WALL | WNOHANG) == p->t[i].tid &&
		    !WIFSTOPPED(st))
			p->t[i].tid = 0;
	}
}

static int wait_exec(struct proc *p)
{
	pid_t pid = p->m.pid;
	struct user_regs_struct g;
	struct iovec iov = { &g, sizeof(g) };
	bool entered = false;
	int st;

	for (;;) {
		pid_t got = waitpid(pid, &st, __WALL | WNOHANG);
		struct timespec nap = { .tv_nsec = 20000 };

		if (got < 0)
			return -ESRCH;
		if (got == 0) {
			reap_threads(p);
			nanosleep(&nap, NULL);
			continue;
		}
		if (!WIFSTOPPED(st))
			return -ESRCH;
		if (st >> 16 == PTRACE_EVENT_EXEC)
			return 0;
		if (WSTOPSIG(st) == (SIGTRAP | 0x80)) {
			if (entered) {
				if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS,
					   &iov))
					return -errno;
				return (int)(long)g.rax;
			}
			entered = true;
		}
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
			return -errno;
	}
}

int exec_stub(struct proc *p, const char *stub_exe, const char *ctl_path)
{
	struct thread *t = &p->t[0];
	struct user_regs_struct g = t->regs;
	struct iovec iov = { &g, sizeof(g) };
	uint64_t all = ~0ull;
	int r = put_arguments(p, stub_exe, ctl_path);

	if (r)
		return r;
	g.rip = p->syscall_ip;
	g.orig_rax = ~0ull;
	g.rax = SYS_execve;
	g.rdi = p->scratch + 32;
	g.rsi = p->scratch;
	g.rdx = p->scratch + 24;
	g.eflags &= ~0x100ull;
	if (ptrace(PTRACE_SETREGSET, t->tid, NT_PRSTATUS, &iov) ||
	    ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(all), &all) ||
	    ptrace(PTRACE_SETOPTIONS, t->tid, 0,
		   PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD) ||
	    ptrace(PTRACE_SYSCALL, t->tid, 0, 0))
		return -errno;
	r = wait_exec(p);
	if (r)
		return r;
	calm_thread(t->tid, t->nice);
	if (t->sigstop)
		kill(p->m.pid, SIGSTOP);
	if (ptrace(PTRACE_DETACH, t->tid, 0, 0))
		return -errno;
	reap_threads(p);
	p->nt = 0;
	p->frozen = false;
	return 0;
}

void kill_held(struct proc *p)
{
	int st;

	if (!p->nt)
		return;
	kill(p->m.pid, SIGKILL);
	for (unsigned i = p->nt; i-- > 0;)
		while (p->t[i].tid &&
		       waitpid(p->t[i].tid, &st, __WALL) == p->t[i].tid &&
		       WIFSTOPPED(st))
			;
	p->nt = 0;
	p->frozen = false;
}

int eng_become_stub(struct eng *e, const char *stub_exe, const char *ctl_path)
{
	uint64_t began = now_us();
	int first = 0;

	for (unsigned i = 0; i < e->np; i++) {
		struct proc *p = &e->p[i];
		int r;

		if (p->m.zombie || !p->frozen)
			continue;
		r = take_signals(p);
		if (r == 0)
			r = exec_stub(p, stub_exe, ctl_path);
		if (r) {
			kill_held(p);
			if (!first)
				first = r;
		}
	}
	eng_frozen_end(e);
	e->times.release_us = now_us() - began;
	return first;
}

int eng_kill(struct eng *e)
{
	uint64_t began = now_us();

	for (unsigned i = e->np; i-- > 0;)
		kill_held(&e->p[i]);
	eng_frozen_end(e);
	e->times.release_us = now_us() - began;
	return 0;
}
