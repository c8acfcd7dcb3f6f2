/*
 * inject.c -- system calls executed in the place of a stopped thread, with no
 * code of ours in it: any syscall instruction of its vdso and one
 * single step.
 *
 * All signals but SIGTRAP are blocked meanwhile, else the stop of a signal
 * would come instead of the trap.  SIGTRAP must not be blocked: the kernel
 * forces it, and forcing a blocked or ignored signal resets its handler.  For
 * a process that ignores SIGTRAP the two stops of PTRACE_SYSCALL are used,
 * which are no signals; they cost twice as much.
 *
 * orig_rax = -1 keeps the kernel from restarting a call that never was.
 */
#include "tree.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void vdso_facts(uint64_t *ret_len, uint32_t *ret_crc)
{
	struct vmas m;

	*ret_len = 0;
	*ret_crc = 0;
	if (ps_vmas(getpid(), &m))
		return;
	for (unsigned i = 0; i < m.n; i++) {
		const struct vma *v = &m.v[i];

		if (v->kind != VMA_VDSO)
			continue;
		*ret_len = v->end - v->start;
		*ret_crc = img_crc(0, (const void *)(uintptr_t)v->start,
				   *ret_len);
	}
	vmas_fini(&m);
}

uint64_t xstate_features(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

uint64_t vdso_syscall(uint64_t vdso_start)
{
	static const uint8_t insn[2] = { 0x0f, 0x05 };
	const uint8_t *own = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
	uint64_t len;
	uint32_t crc;
	const uint8_t *at;

	vdso_facts(&len, &crc);
	if (!own || !len)
		return 0;
	at = memmem(own, len, insn, sizeof(insn));
	return at ? vdso_start + (uint64_t)(at - own) : 0;
}

int wait_stop(pid_t tid, uint64_t end_us, int *ret_status)
{
	struct timespec nap = { .tv_nsec = 10000 };

	for (;;) {
		pid_t got = waitpid(tid, ret_status,
				    __WALL | (end_us ? WNOHANG : 0));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -ESRCH;
		if (got == tid && WIFSTOPPED(*ret_status))
			return 0;
		if (got == tid && !WIFCONTINUED(*ret_status))
			return -ESRCH;
		if (got == tid)
			continue;
		if (now_us() > end_us)
			return -ETIMEDOUT;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 1000000)
			nap.tv_nsec += nap.tv_nsec / 2;
	}
}

static int set_regs(pid_t tid, struct user_regs_struct *r)
{
	struct iovec iov = { r, sizeof(*r) };

	if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov))
		return -errno;
	return 0;
}

static int set_mask(pid_t tid, uint64_t mask)
{
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask))
		return -errno;
	return 0;
}

int thread_untouch(struct thread *t)
{
	int r;

	if (!t->touched)
		return 0;
	r = set_regs(t->tid, &t->regs);
	if (r == 0)
		r = set_mask(t->tid, t->sigmask);
	if (r == 0)
		t->touched = false;
	return r;
}

/* Resume until the trap that ends the call; other stops are passed over. */
static int step(struct thread *t, bool by_syscall)
{
	long req = by_syscall ? (long)PTRACE_SYSCALL : (long)PTRACE_SINGLESTEP;
	int traps = by_syscall ? 2 : 1, st, r;

	while (traps) {
		if (ptrace((enum __ptrace_request)req, t->tid, 0, 0))
			return -errno;
		r = wait_stop(t->tid, 0, &st);
		if (r)
			return r;
		if (st >> 16)
			continue;
		if (WSTOPSIG(st) == (by_syscall ? (SIGTRAP | 0x80) : SIGTRAP))
			traps--;
		else if (WSTOPSIG(st) == SIGSTOP)
			t->sigstop = true;
	}
	return 0;
}

int inject(struct proc *p, struct thread *t, long *ret, long nr, long a, long b,
	   long c, long d, long e, long f)
{
	struct user_regs_struct regs = t->regs;
	struct iovec iov = { &regs, sizeof(regs) };
	int r;

	if (!p->syscall_ip)
		return -EOPNOTSUPP;
	if (!t->touched) {
		r = set_mask(t->tid, ~(1ull << (SIGTRAP - 1)));
		if (r)
			return r;
		t->touched = true;
		if (p->sigtrap_ignored &&
		    ptrace(PTRACE_SETOPTIONS, t->tid, 0, PTRACE_O_TRACESYSGOOD))
			return -errno;
	}
	regs.rip = p->syscall_ip;
	regs.rax = (uint64_t)nr;
	regs.orig_rax = ~0ull;
	regs.rdi = (uint64_t)a;
	regs.rsi = (uint64_t)b;
	regs.rdx = (uint64_t)c;
	regs.r10 = (uint64_t)d;
	regs.r8 = (uint64_t)e;
	regs.r9 = (uint64_t)f;
	regs.eflags &= ~0x100ull;
	r = set_regs(t->tid, &regs);
	if (r == 0)
		r = step(t, p->sigtrap_ignored);
	if (r)
		return r;
	if (ptrace(PTRACE_GETREGSET, t->tid, NT_PRSTATUS, &iov))
		return -errno;
	*ret = (long)regs.rax;
	return 0;
}

int mem_read(const struct proc *p, uint64_t addr, void *to, size_t n)
{
	while (n) {
		ssize_t got = pread(p->mem, to, n, (off_t)addr);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EFAULT;
		to = (uint8_t *)to + got;
		addr += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int mem_write(const struct proc *p, uint64_t addr, const void *from, size_t n)
{
	while (n) {
		ssize_t got = pwrite(p->mem, from, n, (off_t)addr);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EFAULT;
		from = (const uint8_t *)from + got;
		addr += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int scratch_open(struct proc *p, uint8_t saved[SCRATCH_LEN])
{
	return mem_read(p, p->scratch, saved, SCRATCH_LEN);
}

int scratch_close(struct proc *p, const uint8_t saved[SCRATCH_LEN])
{
	return mem_write(p, p->scratch, saved, SCRATCH_LEN);
}
