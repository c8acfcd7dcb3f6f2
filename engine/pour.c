/*
 * pour.c -- see pour.h; the other half of this code is stub/blob.c.
 *
 * The area is placed in a hole that neither the stub nor the image uses.  Its
 * layout: arguments, tables, a spot with a syscall instruction (for
 * restart.c), the stub's own code, one stack per thread.  It is written in
 * one piece and removed by the last injected call, made from the new vdso.
 */
#include "pour.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "report.h"
#include "restart.h"
#include "stub_proto.h"

#define EVENT_STOP  128
#define STACK_LEN   16384u
#define CODE_MAX    65536u
#define AREA_FIRST  0x100000000ull
#define AREA_LAST   0x7fff00000000ull
#define SPOT_LEN    64u
#define GUARD	    (1u << 20)

/* Offsets in the area that are used after the layout. */
struct layout {
	struct buf b;
	uint32_t spot, code, stacks, len;
};

/* ---- the stub, stopped ---- */

static int wait_event_stop(struct thread *t)
{
	int st, r;

	for (;;) {
		r = wait_stop(t->tid, 0, &st);
		if (r)
			return r;
		if (st >> 16 == EVENT_STOP)
			return 0;
		if (st >> 16 == 0 && WSTOPSIG(st) == SIGSTOP)
			t->sigstop = true;
		if (ptrace(PTRACE_CONT, t->tid, 0, 0))
			return -errno;
	}
}

static int seize(struct thread *t, long options)
{
	struct iovec iov = { &t->regs, sizeof(t->regs) };
	int r;

	if (ptrace(PTRACE_SEIZE, t->tid, 0, options))
		return -errno;
	t->nice = boost_thread(t->tid);
	if (ptrace(PTRACE_INTERRUPT, t->tid, 0, 0))
		return -errno;
	r = wait_event_stop(t);
	if (r)
		return r;
	t->held = true;
	if (ptrace(PTRACE_GETREGSET, t->tid, NT_PRSTATUS, &iov) ||
	    ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask))
		return -errno;
	return 0;
}

static uint64_t find_vdso(const struct vmas *m, uint64_t *ret_len)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->v[i].kind == VMA_VDSO) {
			*ret_len = m->v[i].end - m->v[i].start;
			return m->v[i].start;
		}
	return 0;
}

/* Signals that came between HELLO and the stop belong to the process. */
static int drain_control(struct nproc *p)
{
	struct stub_msg m;

	while (p->own_ctl && stub_recv(p->ctl, &m, 0) == 0) {
		if (m.type == STUB_SIGNAL &&
		    buf_add(&p->extra, m.u.siginfo, sizeof(m.u.siginfo)))
			return -ENOMEM;
	}
	return 0;
}

int pour_attach(struct nproc *p)
{
	struct proc *s = &p->p;
	char path[64];
	uint64_t len;
	int r;

	s->m.pid = p->m.pid;
	s->t = calloc(1, sizeof(*s->t));
	if (!s->t)
		return -ENOMEM;
	s->t[0].tid = p->m.pid;
	r = seize(&s->t[0], PTRACE_O_TRACESYSGOOD);
	if (r)
		return r;
	s->nt = 1;
	p->attached = true;
	snprintf(path, sizeof(path), "/proc/%d/mem", p->m.pid);
	s->mem = open(path, O_RDWR | O_CLOEXEC);
	if (s->mem < 0)
		return -errno;
	r = ps_vmas(p->m.pid, &s->maps);
	if (r == 0)
		s->syscall_ip = vdso_syscall(find_vdso(&s->maps, &len));
	return r ? r : drain_control(p);
}

void pour_detach(struct nproc *p)
{
	if (!p->attached)
		return;
	thread_untouch(&p->p.t[0]);
	calm_thread(p->m.pid, p->p.t[0].nice);
	if (p->p.t[0].sigstop)
		kill(p->m.pid, SIGSTOP);
	ptrace(PTRACE_DETACH, p->m.pid, 0, 0);
	p->p.nt = 0;
	p->attached = false;
}

/* ---- the area ---- */

static int put(struct layout *l, const void *p, size_t n, uint32_t *ret_off)
{
	static const uint8_t zero[16];

	*ret_off = (uint32_t)buf_len(&l->b);
	if (buf_add(&l->b, p, n) ||
	    buf_add(&l->b, zero, (16 - buf_len(&l->b) % 16) % 16))
		return -ENOMEM;
	return 0;
}

static int put_buf(struct layout *l, const struct buf *b, uint32_t *ret_off)
{
	return put(l, buf_data(b), buf_len(b), ret_off);
}

/* The queue of the whole process: the image's, then what came since. */
static int put_queue(struct layout *l, struct nproc *p)
{
	uint32_t off;
	int r = put(l, buf_data(&p->sigs) + (size_t)p->shared_first * 128,
		    (size_t)p->nshared * 128, &p->args.queue_off);

	if (r == 0)
		r = put(l, buf_data(&p->extra), buf_len(&p->extra), &off);
	p->args.nqueue = p->nshared + (uint32_t)(buf_len(&p->extra) / 128);
	return r;
}

static int put_code(struct nproc *p, struct layout *l, uint32_t *ret_enter)
{
	SCOPED(free) uint8_t *code = NULL;
	struct stub_head h;
	uint32_t len;
	int r = mem_read(&p->p, STUB_HEAD, &h, sizeof(h));

	if (r)
		return r;
	if (h.magic != STUB_HEAD_MAGIC || h.version != STUB_HEAD_VERSION ||
	    h.end <= STUB_HEAD || h.end - STUB_BASE > CODE_MAX ||
	    h.enter <= STUB_BASE || h.enter >= h.end)
		return -EPROTO;
	len = h.end - STUB_BASE;
	code = malloc(len);
	if (!code)
		return -ENOMEM;
	r = mem_read(&p->p, STUB_BASE, code, len);
	if (r == 0)
		r = put(l, code, len, &l->code);
	*ret_enter = l->code + (h.enter - STUB_BASE);
	return r;
}

static int layout(struct nproc *p, struct layout *l, uint32_t *ret_enter)
{
	static const uint8_t spot[SPOT_LEN] = { 0x0f, 0x05, 0xcc };
	struct blob_args *a = &p->args;
	struct blob_thread *t = (void *)buf_data(&p->threads);
	uint32_t off, sigs, groups, auxv;
	int r = put(l, a, sizeof(*a), &off);

	if (r || (r = put_buf(l, &p->vmas, &a->vmas_off)) ||
	    (r = put_buf(l, &p->fds, &a->fds_off)) ||
	    (r = put_buf(l, &p->watches, &a->watches_off)) ||
	    (r = put_buf(l, &p->actions, &a->actions_off)) ||
	    (r = put_buf(l, &p->timers, &a->timers_off)) ||
	    (r = put_buf(l, &p->sigs, &sigs)) ||
	    (r = put_buf(l, &p->groups, &groups)) ||
	    (r = put_buf(l, &p->auxv, &auxv)) || (r = put_queue(l, p)) ||
	    (r = put(l, spot, sizeof(spot), &l->spot)) ||
	    (r = put_code(p, l, ret_enter)))
		return r;
	a->nthreads = p->nnt;
	l->stacks = ((uint32_t)buf_len(&l->b) + a->nthreads *
		     (uint32_t)sizeof(*t) + 4095 + 16) & ~4095u;
	for (uint32_t i = 0; i < a->nthreads; i++) {
		t[i].stack_off = l->stacks + (i + 1) * STACK_LEN;
		t[i].queue_off = sigs + t[i].queue_off * 128;
		t[i].creds.groups_off += groups;
	}
	l->len = l->stacks + a->nthreads * STACK_LEN;
	a->mm.auxv = (void *)(uintptr_t)auxv; /* the area is added later */
	return put_buf(l, &p->threads, &a->threads_off);
}

static bool clash(uint64_t at, uint64_t len, uint64_t start, uint64_t end,
		  uint64_t *next)
{
	start = start > GUARD ? start - GUARD : 0;
	end += GUARD;
	if (at + len <= start || at >= end)
		return false;
	*next = (end + 0xfffff) & ~0xfffffull;
	return true;
}

/* A hole of len bytes in the stub as it is and in what it will be. */
static uint64_t find_hole(struct nproc *p, uint64_t len)
{
	const struct blob_vma *v = (const void *)buf_data(&p->vmas);
	uint64_t at = AREA_FIRST, next = at;
	bool again = true;

	while (again && at + len < AREA_LAST) {
		again = false;
		for (uint32_t i = 0; i < p->args.nvmas && !again; i++)
			again = clash(at, len, v[i].addr, v[i].addr + v[i].len,
				      &next);
		for (unsigned i = 0; i < p->p.maps.n && !again; i++)
			again = clash(at, len, p->p.maps.v[i].start,
				      p->p.maps.v[i].end, &next);
		if (!again && p->args.vdso_start)
			again = clash(at, len, p->args.vdso_start,
				      p->args.vdso_start + GUARD, &next);
		if (again)
			at = next;
	}
	return again ? 0 : at;
}

/* A number for the pidfd that the image does not want itself. */
static int free_number(const struct nproc *p)
{
	const struct blob_fd *f = (const void *)buf_data(&p->fds);
	int n = 0;

	for (uint32_t i = 0; i < p->args.nfds; i++)
		if (f[i].to == n)
			n++;
	return n;
}

static int make_area(struct nproc *p, struct layout *l)
{
	uint64_t at = find_hole(p, l->len);
	struct blob_args *a = &p->args;
	long got;
	int r;

	if (!at)
		return -ENOMEM;
	r = inject(&p->p, &p->p.t[0], &got, SYS_mmap, (long)at, l->len,
		   PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (r)
		return r;
	if (got != (long)at)
		return got < 0 ? (int)got : -EEXIST;
	a->area = at;
	a->area_len = l->len;
	a->mover = getpid();
	a->pidfd = free_number(p);
	a->mm.auxv = (void *)((uintptr_t)a->mm.auxv + at);
	memcpy(buf_data(&l->b), a, sizeof(*a));
	return mem_write(&p->p, at, buf_data(&l->b), buf_len(&l->b));
}

/* ---- the blob, running ---- */

static int blob_error(struct nproc *p)
{
	struct blob_args a;
	int r = mem_read(&p->p, p->args.area, &a, sizeof(a));

	if (r)
		return r;
	p->failed_step = a.step;
	p->failed_item = a.item;
	return a.err < 0 ? a.err : -EPROTO;
}

/* Run to the next int3; the stage reached must be the one expected. */
static int run_to(struct nproc *p, enum blob_stage want)
{
	struct thread *t = &p->p.t[0];
	uint32_t stage = BLOB_START;
	int st, r;

	for (;;) {
		if (ptrace(PTRACE_CONT, t->tid, 0, 0))
			return -errno;
		r = wait_stop(t->tid, 0, &st);
		if (r)
			return r;
		if (st >> 16)
			continue;
		if (WSTOPSIG(st) == SIGTRAP)
			break;
		if (WSTOPSIG(st) == SIGSTOP)
			t->sigstop = true;
		else if (WSTOPSIG(st) == SIGSEGV || WSTOPSIG(st) == SIGILL ||
			 WSTOPSIG(st) == SIGBUS)
			return -EFAULT;
	}
	r = mem_read(&p->p, p->args.area + offsetof(struct blob_args, stage),
		     &stage, sizeof(stage));
	if (r)
		return r;
	return stage == want ? 0 : blob_error(p);
}

static int enter(struct nproc *p, uint32_t enter_off)
{
	struct thread *t = &p->p.t[0];
	const struct blob_thread *b = (const void *)buf_data(&p->threads);
	struct user_regs_struct g = t->regs;
	struct iovec iov = { &g, sizeof(g) };
	uint64_t mask = ~(1ull << (SIGTRAP - 1));

	g.rip = p->args.area + enter_off;
	g.rsp = p->args.area + b[0].stack_off - 64;
	g.rdi = p->args.area;
	g.orig_rax = ~0ull;
	g.eflags &= ~0x500ull;
	if (ptrace(PTRACE_SETREGSET, t->tid, NT_PRSTATUS, &iov) ||
	    ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask) ||
	    ptrace(PTRACE_SETOPTIONS, t->tid, 0,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		return -errno;
	p->touched = true;
	return run_to(p, BLOB_MAPPED);
}

int pour_map(struct nproc *p, struct eng_report *rep)
{
	struct layout l = { 0 };
	uint32_t enter_off = 0;
	int r;

	if (!p->have_mem || !p->have_ids || !p->have_signals || !p->nnt ||
	    p->nt[0].t.tid != p->m.pid)
		return -EBADMSG;
	timers_drop_alarm(p);
	r = threads_own_creds(p, rep);
	if (r == 0)
		r = layout(p, &l, &enter_off);
	if (r == 0)
		r = make_area(p, &l);
	p->spot = p->args.area + l.spot;
	if (r == 0)
		r = enter(p, enter_off);
	buf_free(&l.b);
	return r;
}

/* The threads are parked and not yet ours. */
static int seize_threads(struct nproc *p)
{
	struct thread *more = realloc(p->p.t, p->nnt * sizeof(*more));
	int r = 0;

	if (!more)
		return -ENOMEM;
	p->p.t = more;
	for (unsigned i = 1; i < p->nnt && r == 0; i++) {
		p->p.t[i] = (struct thread){ .tid = p->nt[i].t.tid };
		r = seize(&p->p.t[i],
			  PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
		if (r == 0)
			p->p.nt = i + 1;
	}
	return r;
}

static int arm_all(struct nproc *p)
{
	int r = 0;

	for (unsigned i = 0; i < p->nnt && r == 0; i++)
		if (p->nt[i].restart.kind != RESTART_NONE)
			r = restart_arm(p, &p->nt[i].t, &p->nt[i].restart,
					p->spot, p->spot + 16);
	return r;
}

static int remove_area(struct nproc *p)
{
	uint64_t len = 0;
	long ret;
	int r;

	vmas_fini(&p->p.maps);
	r = ps_vmas(p->m.pid, &p->p.maps);
	if (r)
		return r;
	p->p.syscall_ip = vdso_syscall(find_vdso(&p->p.maps, &len));
	if (!len)
		return -ENOENT;
	r = inject(&p->p, &p->p.t[0], &ret, SYS_munmap, (long)p->args.area,
		   (long)p->args.area_len, 0, 0, 0, 0);
	/* An abort from here on has to use the program's own memory. */
	p->ready_scratch = (p->nt[0].t.regs.rsp - 4096) & ~63ull;
	return r ? r : (int)ret;
}

int pour_finish(struct eng_new *n, struct nproc *p)
{
	static const struct res_ops *const kinds[] = { &res_ids, &res_threads };
	struct iovec iov;
	int r = run_to(p, BLOB_READY);

	if (r)
		return r;
	iov = (struct iovec){ &p->p.t[0].regs, sizeof(p->p.t[0].regs) };
	if (ptrace(PTRACE_GETREGSET, p->m.pid, NT_PRSTATUS, &iov))
		return -errno;
	p->p.t[0].touched = false;
	r = seize_threads(p);
	if (r == 0)
		r = arm_all(p);
	if (r == 0)
		r = remove_area(p);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && r == 0; i++)
		r = kinds[i]->finish(n, p);
	return r;
}

int pour_release(struct nproc *p)
{
	int first = 0;

	if (p->m.stopped || p->p.t[0].sigstop)
		kill(p->m.pid, SIGSTOP);
	for (unsigned i = 0; i < p->p.nt; i++)
		if (ptrace(PTRACE_DETACH, p->p.t[i].tid, 0, 0) && !first)
			first = -errno;
	p->p.nt = 0;
	p->attached = false;
	return first;
}
