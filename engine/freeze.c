/*
 * freeze.c -- a tree is stopped from the root down and let go again.
 *
 * A process whose threads all stand still cannot make children, so after the
 * parents are frozen the list of their children is final, except for what
 * the children do; going down level by level therefore ends.  A
 * process inside vfork cannot be stopped before its child has execed, which
 * is why the parent is always stopped first: its child can still run and let
 * it go.
 *
 * A thread that was just taking a signal when it was seized is sent on with
 * that signal: it stops again at the first instruction of the handler.
 * Nothing is kept back that could be lost.
 */
#include "tree.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "report.h"

#define EVENT_STOP 128
#define RELEASE_US 2000000u

static bool stop_signal(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN ||
	       sig == SIGTTOU;
}

static int read_state(struct thread *t)
{
	struct iovec iov = { &t->regs, sizeof(t->regs) };

	if (ptrace(PTRACE_GETREGSET, t->tid, NT_PRSTATUS, &iov) ||
	    ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask))
		return -errno;
	t->touched = false;
	return 0;
}

/*
 * SIGSTOP was sent but not yet taken.  It can be neither blocked nor carried
 * in the queue, so the process counts as stopped already.
 */
static bool stop_pending(pid_t tid)
{
	siginfo_t si[32];

	for (unsigned shared = 0; shared < 2; shared++) {
		struct __ptrace_peeksiginfo_args a = {
			.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0,
			.nr = 32
		};
		long n;

		while ((n = ptrace(PTRACE_PEEKSIGINFO, tid, &a, si)) > 0) {
			for (long i = 0; i < n; i++)
				if (si[i].si_signo == SIGSTOP)
					return true;
			a.off += (uint64_t)n;
		}
	}
	return false;
}

/* Take a seized and interrupted thread to its stop. */
static int catch_thread(struct proc *p, struct thread *t, uint64_t end_us)
{
	int st, r;

	for (;;) {
		r = wait_stop(t->tid, end_us, &st);
		if (r)
			return r;
		if (st >> 16 == EVENT_STOP) {
			if (stop_signal(WSTOPSIG(st)) || stop_pending(t->tid))
				p->m.stopped = true;
			t->held = true;
			return read_state(t);
		}
		if (ptrace(PTRACE_CONT, t->tid, 0,
			   st >> 16 ? 0 : WSTOPSIG(st)))
			return -errno;
	}
}

/* It ends this moment: the kernel refuses to have it traced. */
static bool ending(pid_t tid)
{
	struct ps_stat s;

	return ps_stat(tid, &s) || s.state == 'Z' || s.state == 'X';
}

/* Seize what is new among the threads; *ret_new says how many there were. */
static int seize_new(struct proc *p, unsigned *ret_new, struct eng_report *rep)
{
	SCOPED(free) pid_t *tids = NULL;
	struct thread *more;
	unsigned n, fresh = 0;
	int r = ps_threads(p->m.pid, &tids, &n);

	if (r)
		return r;
	more = realloc(p->t, (p->nt + n) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->t = more;
	for (unsigned i = 0; i < n; i++) {
		bool known = false;

		for (unsigned k = 0; k < p->nt && !known; k++)
			known = p->t[k].tid == tids[i];
		if (known)
			continue;
		if (ptrace(PTRACE_SEIZE, tids[i], 0, 0)) {
			if (errno == EPERM && !ending(tids[i]))
				return refuse(rep, ENG_TRACED, p->m.pid,
					      "unknown");
			continue;
		}
		p->t[p->nt++] = (struct thread){
			.tid = tids[i], .nice = boost_thread(tids[i])
		};
		fresh++;
		ptrace(PTRACE_INTERRUPT, tids[i], 0, 0);
	}
	*ret_new = fresh;
	return 0;
}

/* Threads that ended while being caught leave a gap. */
static void drop_thread(struct proc *p, unsigned i)
{
	memmove(&p->t[i], &p->t[i + 1], (p->nt - i - 1) * sizeof(*p->t));
	p->nt--;
}

static int stuck(struct proc *p, struct thread *t, struct eng_report *rep)
{
	struct ps_stat s;

	/* In vfork the thread sleeps in state D until the child execs. */
	if (ps_stat(t->tid, &s) == 0 && s.state == 'D') {
		refuse(rep, ENG_VFORK, p->m.pid, "%d", t->tid);
		return -EBUSY;
	}
	refuse(rep, ENG_STUCK, p->m.pid, "%d", t->tid);
	return -EBUSY;
}

static int find_places(struct proc *p, struct eng_report *rep)
{
	uint64_t sp = p->t[0].regs.rsp;

	p->syscall_ip = 0;
	p->scratch = 0;
	for (unsigned i = 0; i < p->maps.n; i++) {
		const struct vma *v = &p->maps.v[i];

		if (v->kind == VMA_VDSO)
			p->syscall_ip = vdso_syscall(v->start);
		if (!(v->prot & 2) || v->shared ||
		    (v->kind != VMA_ANON && v->kind != VMA_STACK))
			continue;
		/* The stack is best: the page is there already. */
		if (sp >= v->start && sp < v->end)
			p->scratch = (sp - v->start > 2 * SCRATCH_LEN + 256
					      ? sp - 2 * SCRATCH_LEN - 256
					      : v->start) &
				     ~63ull;
		else if (!p->scratch)
			p->scratch = v->start;
	}
	if (!p->syscall_ip)
		return refuse(rep, ENG_MAPPING, p->m.pid, "[vdso] (missing)");
	if (!p->scratch)
		return refuse(rep, ENG_MAPPING, p->m.pid,
			      "(none is writable)");
	return 0;
}

int proc_freeze(struct proc *p, uint64_t end_us, struct eng_report *rep)
{
	unsigned fresh = 0, from = 0;
	char path[64];
	int r;

	do {
		r = seize_new(p, &fresh, rep);
		if (r)
			return r;
		for (unsigned i = from; i < p->nt; i++) {
			r = catch_thread(p, &p->t[i], end_us);
			if (r == -ETIMEDOUT)
				return stuck(p, &p->t[i], rep);
			if (r == -ESRCH) {
				drop_thread(p, i--);
				continue;
			}
			if (r)
				return r;
		}
		from = p->nt;
	} while (fresh);
	if (!p->nt || p->t[0].tid != p->m.pid)
		return -ESRCH;
	for (unsigned i = 0; i < p->nt; i++)
		if (p->t[i].regs.cs != 0x33)
			return refuse(rep, ENG_COMPAT, p->m.pid, "%d",
				      p->t[i].tid);
	p->frozen = true;
	snprintf(path, sizeof(path), "/proc/%d/mem", p->m.pid);
	p->mem = open(path, O_RDWR | O_CLOEXEC);
	if (p->mem < 0)
		return -errno;
	r = ps_vmas(p->m.pid, &p->maps);
	if (r == 0)
		r = ps_status(p->m.pid, 0, &p->st);
	if (r == 0) {
		p->sigtrap_ignored = p->st.sigign >> (SIGTRAP - 1) & 1;
		r = find_places(p, rep);
	}
	return r;
}

/*
 * A thread that never came to its stop (vfork) cannot be detached; it is
 * interrupted already, so wait for it: its child lets it go.  If even that
 * takes too long, the end of the mover detaches it.
 */
static int release(struct proc *p, struct thread *t)
{
	int r;

	if (!t->held) {
		r = catch_thread(p, t, now_us() + RELEASE_US);
		if (r)
			return r == -ESRCH ? 0 : r;
	}
	r = thread_untouch(t);
	calm_thread(t->tid, t->nice);
	if (t->sigstop)
		syscall(SYS_tgkill, p->m.pid, t->tid, SIGSTOP);
	if (ptrace(PTRACE_DETACH, t->tid, 0, 0) && r == 0)
		r = errno == ESRCH ? 0 : -errno;
	t->held = false;
	return r;
}

int proc_thaw(struct proc *p)
{
	int first = 0;

	for (unsigned i = 0; i < p->nt; i++) {
		int r = release(p, &p->t[i]);

		if (r && !first)
			first = r;
	}
	p->nt = 0;
	p->frozen = false;
	return first;
}

void proc_fini(struct proc *p)
{
	if (p->mem >= 0)
		close(p->mem);
	p->mem = -1;
	free(p->t);
	p->t = NULL;
	free(p->taken);
	free(p->lazy);
	free(p->hot);
	vmas_fini(&p->maps);
	vmas_fini(&p->early);
	ps_status_fini(&p->st);
}

/* ---- the tree ---- */

static struct proc *find(struct eng *e, pid_t pid)
{
	for (unsigned i = 0; i < e->np; i++)
		if (e->p[i].m.pid == pid)
			return &e->p[i];
	return NULL;
}

static int add(struct eng *e, const struct ps_stat *s)
{
	struct proc *more = realloc(e->p, (e->np + 1) * sizeof(*more));
	struct proc *p;

	if (!more)
		return -ENOMEM;
	e->p = more;
	p = &e->p[e->np];
	*p = (struct proc){ .mem = -1, .index = e->np };
	e->np++;
	p->m = (struct eng_member){ .pid = s->pid,
				    .ppid = s->ppid,
				    .pgid = s->pgid,
				    .sid = s->sid,
				    .zombie = s->state == 'Z',
				    .status = s->exit_code };
	memcpy(p->m.name, s->name, sizeof(p->m.name));
	return 0;
}

/* The smaps of a running process: its flags are needed later. */
static void look_early(struct proc *p)
{
	if (!p->m.zombie && ps_vmas(p->m.pid, &p->early) == 0)
		(void)ps_vma_flags(p->m.pid, &p->early);
}

static void use_early(struct proc *p)
{
	unsigned at = 0;

	for (unsigned i = 0; i < p->maps.n; i++) {
		struct vma *v = &p->maps.v[i];

		while (at < p->early.n && p->early.v[at].start < v->start)
			at++;
		if (at < p->early.n && p->early.v[at].start == v->start) {
			v->advice = p->early.v[at].advice;
			v->growsdown |= p->early.v[at].growsdown;
		}
	}
	vmas_fini(&p->early);
}

/* One pass over all processes: freeze those whose parent is frozen. */
static int freeze_level(struct eng *e, uint64_t end_us, unsigned *ret_new,
			struct eng_report *rep)
{
	SCOPED(free) struct ps_stat *all = NULL;
	unsigned n, first = e->np;
	int r = ps_all(&all, &n);

	for (unsigned i = 0; i < n && r == 0; i++) {
		struct proc *parent = find(e, all[i].ppid);

		if (!parent || parent->index >= first ||
		    find(e, all[i].pid) ||
		    (all[i].state != 'Z' && ps_is_stub(all[i].pid)))
			continue;
		if (e->o.single)
			return refuse(rep, ENG_CHILDREN, e->p[0].m.pid, "%d",
				      all[i].pid);
		r = add(e, &all[i]);
	}
	for (unsigned i = first; i < e->np && r == 0; i++) {
		struct proc *p = &e->p[i];

		if (p->m.zombie)
			continue;
		look_early(p);
		r = proc_freeze(p, end_us, rep);
		if (r == -ESRCH) {
			/* It ended meanwhile: now a zombie of its parent. */
			struct ps_stat s;

			r = ps_stat(p->m.pid, &s);
			p->m.zombie = r == 0;
			p->m.status = r == 0 ? s.exit_code : 0;
		}
		use_early(p);
	}
	*ret_new = e->np - first;
	return r;
}

static int freeze_all(struct eng *e, struct eng_report *rep)
{
	uint64_t end = now_us() + 1000ull * (e->o.freeze_ms ? e->o.freeze_ms
							    : 2000);
	unsigned fresh = 0;
	int r = proc_freeze(&e->p[0], end, rep);

	use_early(&e->p[0]);
	while (r == 0) {
		r = freeze_level(e, end, &fresh, rep);
		if (r || !fresh)
			break;
	}
	return r;
}

static int note_members(struct eng *e)
{
	e->members = calloc(e->np, sizeof(*e->members));
	if (!e->members)
		return -ENOMEM;
	for (unsigned i = 0; i < e->np; i++) {
		struct proc *p = &e->p[i];
		struct ps_stat s;

		/* Group and session may have changed before the stop. */
		if (ps_stat(p->m.pid, &s) == 0) {
			p->m.pgid = s.pgid;
			p->m.sid = s.sid;
			memcpy(p->m.name, s.name, sizeof(s.name));
		}
		p->m.uid = p->st.uid[0];
		e->members[i] = p->m;
		e->times.procs++;
		e->times.threads += p->nt;
	}
	return 0;
}

int eng_freeze(pid_t root, const struct eng_opts *o, struct eng_report *rep,
	       struct eng **ret)
{
	struct eng *e = calloc(1, sizeof(*e));
	uint64_t began = now_us();
	struct ps_stat s;
	int r;

	if (!e)
		return -ENOMEM;
	if (o)
		e->o = *o;
	if (!e->o.lazy_min)
		e->o.lazy_min = 1u << 20;
	r = eng_check(root, &e->o, rep);
	if (r == 0)
		r = ps_stat(root, &s);
	if (r == 0)
		r = add(e, &s);
	if (r)
		goto fail;
	look_early(&e->p[0]);
	boost_self();
	e->froze_at_us = now_us();
	e->times.check_us = e->froze_at_us - began;
	r = freeze_all(e, rep);
	if (r == 0)
		r = note_members(e);
	if (r)
		goto fail;
	e->times.freeze_us = now_us() - e->froze_at_us;
	*ret = e;
	return 0;
fail:
	eng_free(e);
	return r;
}

unsigned eng_members(const struct eng *e, const struct eng_member **ret)
{
	*ret = e->members;
	return e->np;
}

/* Children first: a parent must not see its child still stopped. */
int eng_thaw(struct eng *e)
{
	int first = 0;

	for (unsigned i = e->np; i-- > 0;) {
		int r = proc_thaw(&e->p[i]);

		if (r && !first)
			first = r;
	}
	eng_frozen_end(e);
	return first;
}

void eng_frozen_end(struct eng *e)
{
	calm_self();
	if (!e->times.frozen_us && e->froze_at_us)
		e->times.frozen_us = now_us() - e->froze_at_us;
}

const struct eng_times *eng_times(const struct eng *e)
{
	return &e->times;
}

void eng_free(struct eng *e)
{
	if (!e)
		return;
	eng_thaw(e);
	for (unsigned i = 0; i < e->np; i++)
		proc_fini(&e->p[i]);
	fds_free(e->descs);
	backings_fini(&e->files);
	backings_fini(&e->shms);
	free(e->members);
	free(e->p);
	free(e);
}
