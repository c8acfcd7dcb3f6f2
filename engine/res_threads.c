/*
 * res_threads.c -- threads: registers with extended state, and all that the
 * kernel keeps per thread: TLS (in the registers), signal mask, private
 * signals, signal stack, robust list, rseq area, address to clear at
 * exit, name, niceness, ids and capabilities.
 *
 * Linux keeps ids per thread.  They are set by the thread itself, last of
 * all, and only if the stub does not have the very same already.
 */
#include "new.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "report.h"
#include "restart.h"

#define GROUPS_MAX 65536u
#define QUEUE_MAX  4096u

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif

struct rseq_config {
	uint64_t area;
	uint32_t len, sig, flags, pad;
};

/* ---- source ---- */

/* Inside a restartable sequence: the program has to begin it again. */
static void abort_rseq(struct proc *p, const struct rseq_config *q,
		       struct user_regs_struct *regs)
{
	struct {
		uint32_t version, flags;
		uint64_t start, len, abort;
	} cs;
	uint64_t at = 0;

	if (!q->area || mem_read(p, q->area + 8, &at, sizeof(at)) || !at ||
	    mem_read(p, at, &cs, sizeof(cs)))
		return;
	if (regs->rip - cs.start < cs.len)
		regs->rip = cs.abort;
}

/* Never left behind by res_mem.c: the kernel cannot wait for these. */
static int note_hot(struct proc *p, uint64_t addr)
{
	uint64_t *more;

	if (!addr)
		return 0;
	more = realloc(p->hot, (p->nhot + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->hot = more;
	p->hot[p->nhot++] = addr & ~4095ull;
	return 0;
}

/* What needs calls in the thread itself. */
static int save_injected(struct proc *p, struct thread *t,
			 struct img_writer *w)
{
	uint64_t clear_tid = 0;
	stack_t alt = { .ss_flags = SS_DISABLE };
	long ret;
	int r;

	r = inject(p, t, &ret, SYS_prctl, PR_GET_TID_ADDRESS, (long)p->scratch,
		   0, 0, 0, 0);
	if (r == 0 && ret == 0)
		r = mem_read(p, p->scratch, &clear_tid, sizeof(clear_tid));
	if (r == 0)
		r = inject(p, t, &ret, SYS_sigaltstack, 0, (long)p->scratch, 0,
			   0, 0, 0);
	if (r == 0 && ret == 0)
		r = mem_read(p, p->scratch, &alt, sizeof(alt));
	r = r ? r : note_hot(p, clear_tid);
	img_u64(w, clear_tid);
	img_u64(w, (uintptr_t)alt.ss_sp);
	img_u64(w, alt.ss_flags & SS_DISABLE ? 0 : alt.ss_size);
	img_u32(w, (uint32_t)alt.ss_flags & ~(uint32_t)(SS_ONSTACK | SS_DISABLE));
	return r;
}

int threads_save_queue(struct proc *p, struct thread *t, bool shared,
		       struct img_writer *w)
{
	SCOPED(buf_free) struct buf all = { 0 };
	struct __ptrace_peeksiginfo_args a = {
		.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 32
	};
	siginfo_t si[32];
	long n;

	while ((n = ptrace(PTRACE_PEEKSIGINFO, t->tid, &a, si)) > 0) {
		for (long i = 0; i < n; i++) {
			if (si[i].si_signo == SIGSTOP ||
			    si[i].si_signo == SIGKILL)
				continue;
			if (buf_add(&all, &si[i], 128))
				return -ENOMEM;
			/* The others die with their thread at an exec. */
			if (shared || t == &p->t[0]) {
				struct taken *more = realloc(
					p->taken,
					(p->ntaken + 1) * sizeof(*more));
				if (!more)
					return -ENOMEM;
				p->taken = more;
				p->taken[p->ntaken++].sig = si[i].si_signo;
			}
		}
		a.off += (uint64_t)n;
		if (buf_len(&all) / 128 > QUEUE_MAX)
			return -E2BIG;
	}
	if (n < 0)
		return -errno;
	img_blob(w, buf_data(&all), buf_len(&all));
	return 0;
}

static int save_creds(struct proc *p, struct thread *t, struct img_writer *w)
{
	struct ps_status s;
	long bits;
	int r = ps_status(p->m.pid, t->tid, &s);

	if (r)
		return r;
	r = inject(p, t, &bits, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0, 0);
	for (int i = 0; i < 4; i++)
		img_u32(w, s.uid[i]);
	for (int i = 0; i < 4; i++)
		img_u32(w, s.gid[i]);
	img_u64(w, s.cap_eff);
	img_u64(w, s.cap_prm);
	img_u64(w, s.cap_inh);
	img_u64(w, s.cap_bnd);
	img_u64(w, s.cap_amb);
	img_u32(w, bits > 0 ? (uint32_t)bits : 0);
	img_u32(w, s.nnp);
	img_u32(w, s.ngroups);
	for (unsigned i = 0; i < s.ngroups; i++)
		img_u32(w, s.groups[i]);
	img_str(w, s.name);
	ps_status_fini(&s);
	return r;
}

static void save_restart(const struct restart *x, struct img_writer *w)
{
	img_u32(w, x->kind);
	img_u64(w, x->left_ns);
	img_i32(w, x->clock);
	for (int i = 0; i < 6; i++)
		img_u64(w, x->args[i]);
}

static int save_thread(struct eng *e, struct proc *p, struct thread *t,
		       struct img_writer *w)
{
	SCOPED(free) uint8_t *xstate = malloc(XSTATE_MAX);
	struct iovec iov = { xstate, XSTATE_MAX };
	struct user_regs_struct regs = t->regs;
	struct rseq_config q = { 0 };
	struct restart restart = { 0 };
	uint64_t robust = 0, robust_len = 0;
	int r;

	if (!xstate)
		return -ENOMEM;
	if (ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &iov))
		return -errno;
	if (ptrace((enum __ptrace_request)PTRACE_GET_RSEQ_CONFIGURATION, t->tid,
		   sizeof(q), &q) < 0)
		q.area = 0;
	if (syscall(SYS_get_robust_list, t->tid, &robust, &robust_len))
		robust = 0;
	if ((long)regs.orig_rax < 0)
		abort_rseq(p, &q, &regs);
	else
		restart_examine(e->o.kernel, p, t, &regs, &restart);
	img_begin(w);
	img_i32(w, t->tid);
	img_blob(w, &regs, sizeof(regs));
	img_blob(w, xstate, iov.iov_len);
	img_u64(w, t->sigmask);
	img_u64(w, robust);
	img_u64(w, robust_len);
	img_u64(w, q.area);
	img_u32(w, q.len);
	img_u32(w, q.sig);
	img_i32(w, t->nice);
	save_restart(&restart, w);
	r = threads_save_queue(p, t, false, w);
	if (r == 0)
		r = note_hot(p, q.area);
	if (r == 0)
		r = note_hot(p, robust);
	if (r == 0)
		r = note_hot(p, regs.fs_base);
	if (r == 0)
		r = note_hot(p, regs.rsp);
	if (r == 0)
		r = save_injected(p, t, w);
	if (r == 0)
		r = save_creds(p, t, w);
	return r ? r : img_send(w, IMG_THREAD, p->index);
}

static int threads_save(struct eng *e, struct proc *p, struct img_writer *w,
			struct eng_report *rep)
{
	uint8_t saved[SCRATCH_LEN];
	int r, r2;

	if (p->nt > THREADS_MAX)
		return refuse(rep, ENG_LIMIT, p->m.pid, "threads");
	r = scratch_open(p, saved);
	if (r)
		return r;
	for (unsigned i = 0; i < p->nt && r == 0; i++)
		r = save_thread(e, p, &p->t[i], w);
	r2 = scratch_close(p, saved);
	return r ? r : r2;
}

/* ---- target ---- */

static int load_creds(struct nproc *p, struct wire_reader *b,
		      struct blob_creds *c)
{
	uint32_t *const ids[] = { &c->ruid, &c->euid, &c->suid, &c->fsuid,
				  &c->rgid, &c->egid, &c->sgid, &c->fsgid };
	uint32_t *const caps[] = { c->cap_eff, c->cap_prm, c->cap_inh,
				   c->cap_bnd, c->cap_amb };

	for (int i = 0; i < 8; i++)
		*ids[i] = wire_get_u32(b);
	for (int i = 0; i < 5; i++) {
		caps[i][0] = wire_get_u32(b);
		caps[i][1] = wire_get_u32(b);
	}
	c->securebits = wire_get_u32(b);
	c->nnp = wire_get_u32(b);
	c->ngroups = wire_get_u32(b);
	if (b->failed || c->ngroups > GROUPS_MAX ||
	    c->ngroups > b->left / 4)
		return -EBADMSG;
	c->groups_off = (uint32_t)buf_len(&p->groups);
	for (uint32_t i = 0; i < c->ngroups; i++) {
		uint32_t g = wire_get_u32(b);

		if (buf_add(&p->groups, &g, sizeof(g)))
			return -ENOMEM;
	}
	return 0;
}

int threads_load_queue(struct nproc *p, struct wire_reader *b,
		       uint32_t *ret_first, uint32_t *ret_n)
{
	struct wire_blob q = wire_get_blob(b);
	uint32_t n = 0;

	*ret_first = (uint32_t)(buf_len(&p->sigs) / 128);
	if (b->failed || q.len % 128 || q.len / 128 > QUEUE_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < q.len; i += 128) {
		siginfo_t si;

		memcpy(&si, (const uint8_t *)q.p + i, sizeof(si));
		if (si.si_signo < 1 || si.si_signo > 64)
			return -EBADMSG;
		if (buf_add(&p->sigs, &si, 128))
			return -ENOMEM;
		n++;
	}
	*ret_n = n;
	return 0;
}

static int load_restart(struct wire_reader *b, struct restart *x)
{
	uint32_t kind = wire_get_u32(b);

	x->left_ns = wire_get_u64(b);
	x->clock = wire_get_i32(b);
	for (int i = 0; i < 6; i++)
		x->args[i] = wire_get_u64(b);
	if (b->failed || kind > RESTART_FUTEX)
		return -EBADMSG;
	x->kind = (enum restart_kind)kind;
	return 0;
}

static int load_regs(struct nthread *nt, struct wire_reader *b)
{
	struct wire_blob regs, xstate;

	nt->t.tid = wire_get_i32(b);
	regs = wire_get_blob(b);
	xstate = wire_get_blob(b);
	nt->t.sigmask = wire_get_u64(b);
	if (b->failed || nt->t.tid <= 0 || regs.len != sizeof(nt->t.regs) ||
	    xstate.len > XSTATE_MAX || xstate.len < 576)
		return -EBADMSG;
	memcpy(&nt->t.regs, regs.p, regs.len);
	nt->xstate = malloc(xstate.len);
	if (!nt->xstate)
		return -ENOMEM;
	nt->xlen = xstate.len;
	memcpy(nt->xstate, xstate.p, xstate.len);
	/* The selectors of 64-bit user code: nothing else is accepted. */
	return nt->t.regs.cs == 0x33 ? 0 : -EBADMSG;
}

static int load_blob_thread(struct nproc *p, struct nthread *nt,
			    struct wire_reader *b)
{
	struct blob_thread t = { .tid = nt->t.tid };
	int r;

	t.robust = wire_get_u64(b);
	t.robust_len = wire_get_u64(b);
	t.rseq = wire_get_u64(b);
	t.rseq_len = wire_get_u32(b);
	t.rseq_sig = wire_get_u32(b);
	nt->nice = wire_get_i32(b);
	r = load_restart(b, &nt->restart);
	if (r == 0)
		r = threads_load_queue(p, b, &t.queue_off, &t.nqueue);
	if (r)
		return r;
	t.clear_tid = wire_get_u64(b);
	t.alt_sp = wire_get_u64(b);
	t.alt_size = wire_get_u64(b);
	t.alt_flags = wire_get_u32(b);
	r = load_creds(p, b, &t.creds);
	if (r)
		return r;
	strncpy(t.name, wire_get_str(b), sizeof(t.name) - 1);
	if (wire_read_end(b))
		return -EBADMSG;
	return buf_add(&p->threads, &t, sizeof(t));
}

static int threads_load(struct eng_new *n, struct nproc *p, struct img_rec *r,
			struct eng_report *rep)
{
	struct nthread *more;

	(void)n;
	(void)rep;
	if (p->nnt >= THREADS_MAX)
		return -EBADMSG;
	more = realloc(p->nt, (p->nnt + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->nt = more;
	p->nt[p->nnt] = (struct nthread){ 0 };
	p->nnt++;
	return load_regs(&p->nt[p->nnt - 1], &r->body)
		       ? -EBADMSG
		       : load_blob_thread(p, &p->nt[p->nnt - 1], &r->body);
}

/* Never more than the mover itself has: nothing else can be given. */
static void clamp_caps(struct blob_creds *c, const struct ps_status *own)
{
	const uint64_t have[] = { own->cap_prm, own->cap_prm, own->cap_bnd,
				  own->cap_bnd, own->cap_prm };
	uint32_t *const caps[] = { c->cap_eff, c->cap_prm, c->cap_inh,
				   c->cap_bnd, c->cap_amb };

	for (int i = 0; i < 5; i++) {
		caps[i][0] &= (uint32_t)have[i];
		caps[i][1] &= (uint32_t)(have[i] >> 32);
	}
}

static uint64_t cap64(const uint32_t c[2])
{
	return (uint64_t)c[1] << 32 | c[0];
}

static bool same_creds(const struct nproc *p, const struct blob_creds *c,
		       const struct ps_status *s)
{
	const uint32_t uid[] = { c->ruid, c->euid, c->suid, c->fsuid };
	const uint32_t gid[] = { c->rgid, c->egid, c->sgid, c->fsgid };
	const uint32_t *groups = (const void *)(buf_data(&p->groups) +
						c->groups_off);

	return !memcmp(uid, s->uid, sizeof(uid)) &&
	       !memcmp(gid, s->gid, sizeof(gid)) &&
	       c->ngroups == s->ngroups &&
	       (!c->ngroups ||
		!memcmp(groups, s->groups, c->ngroups * sizeof(*groups))) &&
	       cap64(c->cap_eff) == s->cap_eff &&
	       cap64(c->cap_prm) == s->cap_prm &&
	       cap64(c->cap_inh) == s->cap_inh &&
	       cap64(c->cap_bnd) == s->cap_bnd &&
	       cap64(c->cap_amb) == s->cap_amb && c->securebits == 0;
}

int threads_own_creds(struct nproc *p, struct eng_report *rep)
{
	struct blob_thread *t = (void *)buf_data(&p->threads);
	struct ps_status s, own;
	int r = ps_status(p->m.pid, 0, &s);

	if (r)
		return r;
	r = ps_status(getpid(), 0, &own);
	for (unsigned i = 0; i < p->nnt && r == 0; i++) {
		clamp_caps(&t[i].creds, &own);
		t[i].creds.change = !same_creds(p, &t[i].creds, &s);
	}
	/* set_tid, PR_SET_MM_MAP and pidfd_getfd cannot do without. */
	if (r == 0 && !(s.cap_eff >> 21 & 1))
		r = refuse(rep, ENG_PRIVILEGE, p->m.pid, "it runs as uid %u",
			   s.uid[0]);
	if (r == 0)
		ps_status_fini(&own);
	ps_status_fini(&s);
	return r;
}

/* Every thread is held and parked: give it its registers. */
static int threads_finish(struct eng_new *n, struct nproc *p)
{
	(void)n;
	for (unsigned i = 0; i < p->nnt; i++) {
		struct nthread *t = &p->nt[i];
		struct iovec x = { t->xstate, t->xlen };
		struct iovec g = { &t->t.regs, sizeof(t->t.regs) };

		if (ptrace(PTRACE_SETREGSET, t->t.tid, NT_X86_XSTATE, &x) ||
		    ptrace(PTRACE_SETREGSET, t->t.tid, NT_PRSTATUS, &g) ||
		    ptrace(PTRACE_SETSIGMASK, t->t.tid, sizeof(t->t.sigmask),
			   &t->t.sigmask))
			return -errno;
		calm_thread(t->t.tid, t->nice);
	}
	return 0;
}

const struct res_ops res_threads = {
	.name = "threads",
	.tag = IMG_THREAD,
	.save = threads_save,
	.load = threads_load,
	.finish = threads_finish,
};
