/*
 * blob.c -- rebuilds a process from inside.  It runs in an area of its own
 * (engine/blob.h), has no stack, no code and no data outside of it, and
 * first of all removes everything else.
 *
 * Threads prepare themselves, because only a thread can set its own ids,
 * signal stack, robust list and private signals.  Privilege is given up last:
 * set_tid, PR_SET_MM_MAP and pidfd_getfd need it.
 *
 * A thread is parked in pause(2) with all signals blocked; the engine
 * replaces all its registers, so what the compiler left there never matters.
 */
#include "stub.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "sys.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS    77
#define PR_TIMER_CREATE_RESTORE_IDS_ON 1
#endif
#define ARCH_MAP_VDSO_64 0x2003
#define TASK_END	 0x7ffffffff000ull

static void trap(struct blob_args *a, enum blob_stage stage)
{
	__atomic_store_n(&a->stage, stage, __ATOMIC_RELEASE);
	__asm__ volatile("int3" ::: "memory");
}

static void fail(struct blob_args *a, enum blob_step step, uint32_t item,
		 long err)
{
	a->step = step;
	a->item = item;
	a->err = (int32_t)err;
	for (;;)
		trap(a, BLOB_FAILED);
}

static void *at(struct blob_args *a, uint32_t off)
{
	return (char *)a + off;
}

static void clear_memory(struct blob_args *a)
{
	uint64_t end = a->area + a->area_len;
	long r = SYS(SYS_munmap, 0, a->area);

	if (r == 0)
		r = SYS(SYS_munmap, end, TASK_END - end);
	if (r)
		fail(a, BLOB_STEP_UNMAP, 0, r);
}

static void map_vdso(struct blob_args *a)
{
	long r;

	if (!a->vdso_start)
		return;
	r = SYS(SYS_arch_prctl, ARCH_MAP_VDSO_64, a->vdso_start);
	if (r < 0)
		fail(a, BLOB_STEP_VDSO, 0, r);
}

/* Descriptors of the stub go, a pidfd of the mover takes their place. */
static void open_mover(struct blob_args *a)
{
	long r;

	SYS(SYS_close_range, 0, ~0u, 0);
	r = SYS(SYS_pidfd_open, a->mover, 0);
	if (r >= 0 && r != a->pidfd) {
		long got = r;

		r = SYS(SYS_dup3, got, a->pidfd, O_CLOEXEC);
		SYS(SYS_close, got);
	}
	if (r < 0)
		fail(a, BLOB_STEP_PIDFD, 0, r);
}

static long fetch(struct blob_args *a, int32_t number)
{
	return SYS(SYS_pidfd_getfd, a->pidfd, number, 0);
}

static void advise(const struct blob_vma *v)
{
	static const struct {
		uint8_t bit, advice;
	} table[] = {
		{ BLOB_ADVICE_DONTFORK, MADV_DONTFORK },
		{ BLOB_ADVICE_DONTDUMP, MADV_DONTDUMP },
		{ BLOB_ADVICE_WIPE, MADV_WIPEONFORK },
		{ BLOB_ADVICE_HUGE, MADV_HUGEPAGE },
		{ BLOB_ADVICE_NOHUGE, MADV_NOHUGEPAGE },
		{ BLOB_ADVICE_MERGE, MADV_MERGEABLE },
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (v->advice & table[i].bit)
			SYS(SYS_madvise, v->addr, v->len, table[i].advice);
}

static void map_all(struct blob_args *a)
{
	struct blob_vma *v = at(a, a->vmas_off);
	int32_t had = -1;
	long fd = -1;

	for (uint32_t i = 0; i < a->nvmas; i++, v++) {
		long r;

		/* Neighbours are mostly of one file: keep it open. */
		if (v->fd != had) {
			if (fd >= 0)
				SYS(SYS_close, fd);
			had = v->fd;
			fd = had >= 0 ? fetch(a, had) : -1;
			if (had >= 0 && fd < 0)
				fail(a, BLOB_STEP_MAP, i, fd);
		}
		r = SYS(SYS_mmap, v->addr, v->len, v->prot,
			v->flags | MAP_FIXED_NOREPLACE, fd, v->off);
		/* Too much by the rules of overcommit, but it was granted once. */
		if (r == -ENOMEM)
			r = SYS(SYS_mmap, v->addr, v->len, v->prot,
				v->flags | MAP_FIXED_NOREPLACE | MAP_NORESERVE,
				fd, v->off);
		if (r != (long)v->addr)
			fail(a, BLOB_STEP_MAP, i, r < 0 ? r : -EEXIST);
		if (v->advice)
			advise(v);
	}
	if (fd >= 0)
		SYS(SYS_close, fd);
}

static void make_uffd(struct blob_args *a)
{
	long fd;

	if (!a->want_uffd)
		return;
	fd = SYS(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fail(a, BLOB_STEP_UFFD, 0, fd);
	a->uffd = (int32_t)fd;
}

static void set_mm(struct blob_args *a)
{
	long r, fd = -1;

	if ((int32_t)a->mm.exe_fd >= 0) {
		fd = fetch(a, (int32_t)a->mm.exe_fd);
		if (fd < 0)
			fail(a, BLOB_STEP_MM, 1, fd);
		a->mm.exe_fd = (uint32_t)fd;
	}
	r = SYS(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, P(&a->mm), sizeof(a->mm),
		0);
	if (r)
		fail(a, BLOB_STEP_MM, 0, r);
	if (fd >= 0)
		SYS(SYS_close, fd);
	r = SYS(SYS_personality, a->personality);
	if (r < 0)
		fail(a, BLOB_STEP_MM, 2, r);
}

static void open_fds(struct blob_args *a)
{
	struct blob_fd *f = at(a, a->fds_off);
	long r;

	if (a->cwd_fd >= 0) {
		long fd = fetch(a, a->cwd_fd);

		r = fd < 0 ? fd : SYS(SYS_fchdir, fd);
		if (r < 0)
			fail(a, BLOB_STEP_CWD, 0, r);
		SYS(SYS_close, fd);
	}
	SYS(SYS_umask, a->umask);
	/* Sorted by number, so a fetched one is never above its place. */
	for (uint32_t i = 0; i < a->nfds; i++, f++) {
		long fd = fetch(a, f->from);

		r = fd;
		if (fd >= 0 && fd != f->to) {
			r = SYS(SYS_dup3, fd, f->to,
				f->cloexec ? O_CLOEXEC : 0);
			SYS(SYS_close, fd);
		} else if (fd >= 0 && !f->cloexec) {
			r = SYS(SYS_fcntl, fd, F_SETFD, 0);
		}
		if (r < 0)
			fail(a, BLOB_STEP_FDS, i, r);
	}
	SYS(SYS_close, a->pidfd);
}

static void watch_all(struct blob_args *a)
{
	struct blob_watch *w = at(a, a->watches_off);

	for (uint32_t i = 0; i < a->nwatches; i++, w++) {
		struct epoll_event ev = { .events = w->events };
		long r;

		ev.data.u64 = w->data;
		r = SYS(SYS_epoll_ctl, w->epfd, EPOLL_CTL_ADD, w->fd, P(&ev));
		if (r)
			fail(a, BLOB_STEP_WATCH, i, r);
	}
}

static void set_actions(struct blob_args *a)
{
	struct blob_action *x = at(a, a->actions_off);

	for (uint32_t i = 0; i < a->nactions; i++, x++) {
		long r = SYS(SYS_rt_sigaction, x->sig, P(&x->act), 0, 8);
		if (r)
			fail(a, BLOB_STEP_ACTION, i, r);
	}
}

static long set_caps(const struct blob_creds *c)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct d[2];
	long r;

	for (int i = 0; i < 2; i++)
		d[i] = (struct __user_cap_data_struct){
			c->cap_eff[i], c->cap_prm[i], c->cap_inh[i]
		};
	r = SYS(SYS_capset, P(&h), P(d));
	for (unsigned n = 0; r == 0 && n < 64; n++)
		if (c->cap_amb[n / 32] >> n % 32 & 1)
			r = SYS(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE,
				n, 0, 0);
	return r;
}

static long set_creds(struct blob_args *a, const struct blob_creds *c)
{
	long r;

	if (!c->change)
		return c->nnp ? SYS(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
			      : 0;
	/* The bounding set shrinks while CAP_SETPCAP is still there. */
	for (unsigned n = 0; n < 64; n++)
		if (!(c->cap_bnd[n / 32] >> n % 32 & 1) &&
		    SYS(SYS_prctl, PR_CAPBSET_READ, n, 0, 0, 0) == 1)
			SYS(SYS_prctl, PR_CAPBSET_DROP, n, 0, 0, 0);
	r = SYS(SYS_setgroups, c->ngroups, P(at(a, c->groups_off)));
	if (r == 0)
		r = SYS(SYS_setresgid, c->rgid, c->egid, c->sgid);
	/* Keep capabilities over the change of ids; capset decides. */
	if (r == 0)
		r = SYS(SYS_prctl, PR_SET_SECUREBITS,
			c->securebits | 1u << 2 | 1u << 4, 0, 0, 0);
	if (r == 0)
		r = SYS(SYS_setresuid, c->ruid, c->euid, c->suid);
	if (r)
		return r;
	SYS(SYS_setfsgid, c->fsgid);
	SYS(SYS_setfsuid, c->fsuid);
	/* CAP_SETPCAP is needed for this one, and may go with capset. */
	r = SYS(SYS_prctl, PR_SET_SECUREBITS, c->securebits, 0, 0, 0);
	if (r == 0)
		r = set_caps(c);
	if (r == 0 && c->nnp)
		r = SYS(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return r;
}

/* What a thread can only do for itself. */
static long prepare_thread(struct blob_args *a, struct blob_thread *t)
{
	struct blob_siginfo *q = at(a, t->queue_off);
	stack_t alt = { .ss_sp = (void *)t->alt_sp,
			.ss_size = t->alt_size,
			.ss_flags = (int)t->alt_flags };
	long r = 0;

	SYS(SYS_set_tid_address, t->clear_tid);
	SYS(SYS_prctl, PR_SET_NAME, P(t->name), 0, 0, 0);
	t->step = BLOB_STEP_THREAD;
	if (t->robust)
		r = SYS(SYS_set_robust_list, t->robust, t->robust_len);
	if (r == 0 && t->alt_size)
		r = SYS(SYS_sigaltstack, P(&alt), 0);
	if (r)
		return r;
	if (t->rseq) {
		t->step = BLOB_STEP_RSEQ;
		r = SYS(SYS_rseq, t->rseq, t->rseq_len, 0, t->rseq_sig);
		if (r)
			return r;
	}
	t->step = BLOB_STEP_QUEUE;
	for (uint32_t i = 0; i < t->nqueue && r == 0; i++) {
		siginfo_t *si = (siginfo_t *)q[i].raw;

		r = SYS(SYS_rt_tgsigqueueinfo, SYS(SYS_getpid), t->tid,
			si->si_signo, P(si));
	}
	return r;
}

static void park(void) __attribute__((noreturn));
static void park(void)
{
	for (;;)
		SYS(SYS_pause);
}

void blob_thread(struct blob_args *a, long index)
{
	struct blob_thread *t =
		(struct blob_thread *)at(a, a->threads_off) + index;

	t->err = (int32_t)prepare_thread(a, t);
	if (t->err == 0) {
		t->step = BLOB_STEP_IDS;
		t->err = (int32_t)set_creds(a, &t->creds);
	}
	__atomic_add_fetch(&a->ready, 1, __ATOMIC_RELEASE);
	SYS(SYS_futex, P(&a->ready), FUTEX_WAKE, 1, 0, 0, 0);
	park();
}

static void start_threads(struct blob_args *a)
{
	struct blob_thread *t = at(a, a->threads_off);
	uint32_t n;

	for (uint32_t i = 1; i < a->nthreads; i++) {
		struct clone_args ca = {
			.flags = CLONE_VM | CLONE_FS | CLONE_FILES |
				 CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
			.stack = (uintptr_t)a,
			.stack_size = t[i].stack_off,
			.set_tid = (uintptr_t)&t[i].tid,
			.set_tid_size = 1,
		};
		long r = blob_clone3(&ca, sizeof(ca), a, i);

		if (r < 0)
			fail(a, BLOB_STEP_THREAD, i, r);
	}
	while ((n = __atomic_load_n(&a->ready, __ATOMIC_ACQUIRE)) + 1 <
	       a->nthreads)
		SYS(SYS_futex, P(&a->ready), FUTEX_WAIT, n, 0, 0, 0);
	for (uint32_t i = 1; i < a->nthreads; i++)
		if (t[i].err)
			fail(a, t[i].step, i, t[i].err);
}

static void start_timers(struct blob_args *a)
{
	struct blob_timer *t = at(a, a->timers_off);

	if (a->ntimers)
		SYS(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS,
		    PR_TIMER_CREATE_RESTORE_IDS_ON, 0, 0, 0);
	for (uint32_t i = 0; i < a->ntimers; i++, t++) {
		struct itimerspec its = {
			{ t->interval_s, t->interval_ns },
			{ t->value_s, t->value_ns },
		};
		int id = t->id;
		long r = SYS(SYS_timer_create, t->clock, P(t->sigev), P(&id));

		if (r == 0 && id != t->id)
			r = -EEXIST;
		if (r == 0)
			r = SYS(SYS_timer_settime, id, 0, P(&its), 0);
		if (r)
			fail(a, BLOB_STEP_TIMER, i, r);
	}
	if (a->ntimers)
		SYS(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
	for (int i = 0; i < 3; i++)
		if (a->itimer[i].value_s || a->itimer[i].value_us)
			SYS(SYS_setitimer, i, P(&a->itimer[i]), 0);
}

static void queue_shared(struct blob_args *a)
{
	struct blob_siginfo *q = at(a, a->queue_off);

	for (uint32_t i = 0; i < a->nqueue; i++) {
		siginfo_t *si = (siginfo_t *)q[i].raw;
		long r = SYS(SYS_rt_sigqueueinfo, SYS(SYS_getpid),
			     si->si_signo, P(si));
		if (r)
			fail(a, BLOB_STEP_QUEUE, i, r);
	}
}

static void set_limits(struct blob_args *a)
{
	for (int i = 0; i < 16; i++) {
		struct rlimit now = { 0 };
		struct rlimit want = { a->rlimit[i].cur, a->rlimit[i].max };

		/* A hard limit can be lowered, not always raised. */
		if (SYS(SYS_prlimit64, 0, i, P(&want), 0) == 0)
			continue;
		SYS(SYS_prlimit64, 0, i, 0, P(&now));
		want.rlim_max = now.rlim_max;
		if (want.rlim_cur > want.rlim_max)
			want.rlim_cur = want.rlim_max;
		SYS(SYS_prlimit64, 0, i, P(&want), 0);
	}
}

static void set_prctls(struct blob_args *a)
{
	if (a->keepcaps)
		SYS(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (a->thp_disable)
		SYS(SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (a->subreaper)
		SYS(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (a->timerslack)
		SYS(SYS_prctl, PR_SET_TIMERSLACK, a->timerslack, 0, 0, 0);
	SYS(SYS_prctl, PR_SET_PDEATHSIG, a->pdeathsig, 0, 0, 0);
	if (a->dumpable <= 1)
		SYS(SYS_prctl, PR_SET_DUMPABLE, a->dumpable, 0, 0, 0);
}

static void lock_memory(struct blob_args *a)
{
	struct blob_vma *v = at(a, a->vmas_off);

	for (uint32_t i = 0; i < a->nvmas; i++, v++)
		if (v->advice & BLOB_ADVICE_LOCK)
			SYS(SYS_mlock2, v->addr, v->len, MLOCK_ONFAULT);
}

void blob_main(struct blob_args *a)
{
	struct blob_thread *t = at(a, a->threads_off);
	long r;

	clear_memory(a);
	map_vdso(a);
	open_mover(a);
	map_all(a);
	make_uffd(a);
	trap(a, BLOB_MAPPED);

	if (a->want_uffd)
		SYS(SYS_close, a->uffd);
	set_mm(a);
	open_fds(a);
	watch_all(a);
	set_actions(a);
	lock_memory(a);
	start_threads(a);
	queue_shared(a);
	r = prepare_thread(a, t);
	if (r)
		fail(a, t->step, 0, r);
	start_timers(a);
	set_limits(a);
	r = set_creds(a, &t->creds);
	if (r)
		fail(a, BLOB_STEP_IDS, 0, r);
	set_prctls(a);
	trap(a, BLOB_READY);
	park();
}
