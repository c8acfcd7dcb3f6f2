/*
 * restart.c -- see restart.h.
 *
 * At a stop the kernel has put one of these into rax:
 *
 *	-ERESTARTSYS, -NOINTR, -NOHAND	kept: the kernel rewinds on resume, or
 *			gives EINTR to a waiting handler, as it should
 *	-ERESTART_RESTARTBLOCK	the time left is in a block inside the kernel,
 *			which does not travel
 *	-EINTR		from epoll_wait and the like, which are never restarted
 *			for signals; but this was no signal
 *
 * With an unknown rest the whole time is taken again: a sleep may become
 * longer by the time already slept, never shorter.  (kernel.c finds the
 * exact rest where the kernel lets it.)
 *
 * Arming: the call is run with its entry reported, then interrupted while it
 * stands there.  It then cannot block: it comes back at once with its restart
 * block made, whatever the load of the machine.
 */
#include "restart.h"

#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "kernel.h"

#define ERESTARTNOHAND	      514
#define ERESTARTSYS	      512
#define ERESTART_RESTARTBLOCK 516
#define EVENT_STOP	      128

static uint64_t span_at(struct proc *p, uint64_t addr)
{
	struct timespec t;

	if (!addr || mem_read(p, addr, &t, sizeof(t)))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void keep_args(const struct user_regs_struct *g, struct restart *x)
{
	x->args[0] = g->rdi;
	x->args[1] = g->rsi;
	x->args[2] = g->rdx;
	x->args[3] = g->r10;
	x->args[4] = g->r8;
	x->args[5] = g->r9;
}

/*
 * A call that was interrupted once before runs as restart_syscall, and its
 * number is gone from the registers; but it still stands in the program:
 * mov $nr,%eax comes right before the syscall instruction.
 */
static uint64_t number_in_code(struct proc *p, uint64_t rip)
{
	uint8_t code[40];

	if (mem_read(p, rip - sizeof(code), code, sizeof(code)))
		return SYS_restart_syscall;
	for (size_t i = sizeof(code) - 7; i > 0; i--) {
		uint32_t nr;

		memcpy(&nr, code + i + 1, sizeof(nr));
		if (code[i] == 0xb8 && nr < 512)
			return nr;
	}
	return SYS_restart_syscall;
}

static void by_block(const struct eng_kernel *k, struct proc *p,
		     const struct thread *t, struct user_regs_struct *g,
		     struct restart *x)
{
	uint64_t nr = g->orig_rax;

	if (nr == SYS_restart_syscall &&
	    (!k || kernel_interrupted(k, t->tid, g, &nr)))
		nr = number_in_code(p, g->rip);
	g->orig_rax = nr;
	keep_args(g, x);
	switch (g->orig_rax) {
	case SYS_nanosleep:
		x->kind = RESTART_SLEEP;
		x->clock = CLOCK_MONOTONIC;
		/* The kernel has written the rest where the program wants it. */
		x->left_ns = span_at(p, g->rsi ? g->rsi : g->rdi);
		x->args[3] = g->rsi;
		break;
	case SYS_clock_nanosleep:
		x->kind = RESTART_SLEEP;
		x->clock = (int32_t)g->rdi;
		x->left_ns = span_at(p, g->r10 ? g->r10 : g->rdx);
		break;
	case SYS_poll:
		x->kind = RESTART_POLL;
		x->left_ns = (uint64_t)(int32_t)g->rdx * 1000000u;
		break;
	case SYS_futex:
		if (((uint32_t)g->rsi & (uint32_t)FUTEX_CMD_MASK) == FUTEX_WAIT) {
			x->kind = RESTART_FUTEX;
			x->left_ns = span_at(p, g->r10);
		} else {
			/* Absolute time: the same arguments are right. */
			g->rax = (uint64_t)-ERESTARTSYS;
		}
		break;
	default:
		g->rax = (uint64_t)-EINTR;
	}
}

/* The time left by the kernel's own word, where it can be had. */
static void exact_rest(const struct eng_kernel *k, const struct thread *t,
		       struct restart *x)
{
	struct timespec now;
	clockid_t clock;
	uint64_t end, ns;

	if (!k || x->kind == RESTART_NONE ||
	    kernel_deadline(k, t->tid, x->kind, &end, &clock) ||
	    clock_gettime(clock, &now))
		return;
	ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	x->left_ns = end > ns ? end - ns : 1;
}

void restart_examine(const struct eng_kernel *k, struct proc *p,
		     const struct thread *t, struct user_regs_struct *g,
		     struct restart *ret)
{
	int64_t rax = (int64_t)g->rax;

	*ret = (struct restart){ 0 };
	if (rax == -ERESTART_RESTARTBLOCK) {
		by_block(k, p, t, g, ret);
		exact_rest(k, t, ret);
		return;
	}
	if (rax != -EINTR)
		return;
	/* With a time limit the rest is not known: begin it again all. */
	switch (g->orig_rax) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_rt_sigtimedwait:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_msgrcv:
	case SYS_msgsnd:
		g->rax = (uint64_t)-ERESTARTNOHAND;
	}
}

/* Registers for one call from code. */
static struct user_regs_struct call_regs(const struct user_regs_struct *base,
					 const struct restart *x,
					 uint64_t code, uint64_t scratch)
{
	struct user_regs_struct g = *base;

	g.rip = code;
	g.orig_rax = ~0ull;
	g.rdi = x->args[0];
	g.rsi = x->args[1];
	g.rdx = x->args[2];
	g.r10 = x->args[3];
	g.r8 = x->args[4];
	g.r9 = x->args[5];
	switch (x->kind) {
	case RESTART_SLEEP:
		g.rax = SYS_clock_nanosleep;
		g.rdi = (unsigned long long)x->clock;
		g.rsi = 0;
		g.rdx = scratch;
		break;
	case RESTART_POLL:
		g.rax = SYS_poll;
		g.rdx = x->left_ns / 1000000u + 1;
		break;
	default:
		g.rax = SYS_futex;
		g.r10 = scratch;
	}
	return g;
}

static int resume_until(pid_t tid, long how, bool entry)
{
	int st, r;

	if (ptrace((enum __ptrace_request)how, tid, 0, 0))
		return -errno;
	for (;;) {
		r = wait_stop(tid, 0, &st);
		if (r)
			return r;
		if (entry && WSTOPSIG(st) == (SIGTRAP | 0x80))
			return 0;
		if (!entry && st >> 16 == EVENT_STOP)
			return 0;
		if (ptrace((enum __ptrace_request)how, tid, 0, 0))
			return -errno;
	}
}

int restart_arm(struct nproc *p, struct thread *t, const struct restart *x,
		uint64_t code, uint64_t scratch)
{
	struct timespec left = {
		.tv_sec = (time_t)(x->left_ns / 1000000000u),
		.tv_nsec = (long)(x->left_ns % 1000000000u) | 1,
	};
	struct user_regs_struct g = call_regs(&t->regs, x, code, scratch);
	struct iovec iov = { &g, sizeof(g) };
	uint64_t all = ~(1ull << (SIGTRAP - 1));
	int r;

	r = mem_write(&p->p, scratch, &left, sizeof(left));
	if (r)
		return r;
	if (ptrace(PTRACE_SETREGSET, t->tid, NT_PRSTATUS, &iov) ||
	    ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(all), &all) ||
	    ptrace(PTRACE_SETOPTIONS, t->tid, 0,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		return -errno;
	r = resume_until(t->tid, PTRACE_SYSCALL, true);
	if (r)
		return r;
	if (ptrace(PTRACE_INTERRUPT, t->tid, 0, 0))
		return -errno;
	r = resume_until(t->tid, PTRACE_CONT, false);
	if (r)
		return r;
	if (ptrace(PTRACE_GETREGSET, t->tid, NT_PRSTATUS, &iov))
		return -errno;
	/* It was over at once: the program gets the result itself. */
	if ((int64_t)g.rax != -ERESTART_RESTARTBLOCK)
		t->regs.rax = g.rax;
	return 0;
}
