/*
 * res_timers.c -- interval timers and POSIX timers, as time left.
 *
 * They are read, not stopped: a timer that fires at the source while it
 * is frozen only leaves a signal there, which eng_thaw delivers and which a
 * stub drops as stale (stub.c).
 *
 * An interval timer whose signal is still queued shows no time left and is
 * re-armed by the kernel only when the signal is taken.  It travels as "in one
 * microsecond", without the signal (timers_drop_alarm).
 */
#include "new.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "cleanup.h"
#include "fd.h"

#define TIMERS_MAX 4096u

struct listed {
	int id, sig, clock, notify, tid;
	unsigned long long value;
};

/* "ID: 0\nsignal: 14/0000...\nnotify: signal/pid.12\nClockID: 1\n" */
static int next_listed(char **save, struct listed *x)
{
	char *l, how[16];

	*x = (struct listed){ .notify = SIGEV_NONE };
	while ((l = strtok_r(NULL, "\n", save))) {
		if (sscanf(l, "ID: %d", &x->id) == 1)
			continue;
		if (sscanf(l, "signal: %d/%llx", &x->sig, &x->value) >= 1)
			continue;
		if (sscanf(l, "notify: %15[a-z]/%*3[a-z].%d", how, &x->tid) >=
		    1) {
			x->notify = !strcmp(how, "signal") ? SIGEV_SIGNAL
							   : SIGEV_NONE;
			if (strstr(l, "/tid."))
				x->notify = SIGEV_THREAD_ID;
			continue;
		}
		if (sscanf(l, "ClockID: %d", &x->clock) == 1)
			return 1;
	}
	return 0;
}

static int save_timer(struct proc *p, const struct listed *x,
		      struct img_writer *w)
{
	struct itimerspec its;
	long ret;
	int r = inject(p, &p->t[0], &ret, SYS_timer_gettime, x->id,
		       (long)p->scratch, 0, 0, 0, 0);

	if (r == 0 && ret)
		r = (int)ret;
	if (r == 0)
		r = mem_read(p, p->scratch, &its, sizeof(its));
	if (r)
		return r;
	img_i32(w, x->id);
	img_i32(w, x->clock);
	img_i32(w, x->notify);
	img_i32(w, x->sig);
	img_i32(w, x->tid);
	img_u64(w, x->value);
	img_u64(w, (uint64_t)its.it_interval.tv_sec);
	img_u64(w, (uint64_t)its.it_interval.tv_nsec);
	img_u64(w, (uint64_t)its.it_value.tv_sec);
	img_u64(w, (uint64_t)its.it_value.tv_nsec);
	return 0;
}

static int save_posix(struct proc *p, struct img_writer *w)
{
	SCOPED(buf_free) struct buf b = { 0 };
	struct listed x;
	uint32_t n = 0;
	char path[64], *save, *at;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/timers", p->m.pid);
	r = fd_read_file(path, 1u << 20, &b);
	if (r)
		return r;
	at = buf_len(&b) ? (char *)buf_data(&b) : NULL;
	for (char *c = at; c && (c = strstr(c, "ClockID:")); c++)
		n++;
	if (n > TIMERS_MAX)
		return -E2BIG;
	img_u32(w, n);
	if (!n)
		return 0;
	save = at;
	while (n && r == 0 && next_listed(&save, &x)) {
		r = save_timer(p, &x, w);
		n--;
	}
	return r ? r : n ? -EBADMSG : 0;
}

static int timers_save(struct eng *e, struct proc *p, struct img_writer *w,
		       struct eng_report *rep)
{
	uint8_t saved[SCRATCH_LEN];
	struct itimerval it;
	long ret;
	int r = scratch_open(p, saved), r2;

	(void)e;
	(void)rep;
	if (r)
		return r;
	img_begin(w);
	for (int i = 0; i < 3 && r == 0; i++) {
		r = inject(p, &p->t[0], &ret, SYS_getitimer, i,
			   (long)p->scratch, 0, 0, 0, 0);
		if (r == 0)
			r = mem_read(p, p->scratch, &it, sizeof(it));
		img_u64(w, (uint64_t)it.it_interval.tv_sec);
		img_u64(w, (uint64_t)it.it_interval.tv_usec);
		img_u64(w, (uint64_t)it.it_value.tv_sec);
		img_u64(w, (uint64_t)it.it_value.tv_usec);
	}
	if (r == 0)
		r = save_posix(p, w);
	r2 = scratch_close(p, saved);
	if (r == 0)
		r = r2;
	return r ? r : img_send(w, IMG_TIMERS, p->index);
}

/* ---- target ---- */

static int load_timer(struct nproc *p, struct wire_reader *b)
{
	struct blob_timer t = { 0 };
	struct sigevent ev = { 0 };

	t.id = wire_get_i32(b);
	t.clock = wire_get_i32(b);
	ev.sigev_notify = wire_get_i32(b);
	ev.sigev_signo = wire_get_i32(b);
#ifndef sigev_notify_thread_id
	ev._sigev_un._tid = wire_get_i32(b);
#else
	ev.sigev_notify_thread_id = wire_get_i32(b);
#endif
	ev.sigev_value.sival_ptr = (void *)(uintptr_t)wire_get_u64(b);
	t.interval_s = wire_get_i64(b);
	t.interval_ns = wire_get_i64(b);
	t.value_s = wire_get_i64(b);
	t.value_ns = wire_get_i64(b);
	if (b->failed)
		return -EBADMSG;
	memcpy(t.sigev, &ev, sizeof(ev) < sizeof(t.sigev) ? sizeof(ev)
							  : sizeof(t.sigev));
	return buf_add(&p->timers, &t, sizeof(t));
}

static int timers_load(struct eng_new *n, struct nproc *p, struct img_rec *r,
		       struct eng_report *rep)
{
	struct wire_reader *b = &r->body;
	uint32_t count;
	int err = 0;

	(void)n;
	(void)rep;
	for (int i = 0; i < 3; i++) {
		p->args.itimer[i].interval_s = wire_get_i64(b);
		p->args.itimer[i].interval_us = wire_get_i64(b);
		p->args.itimer[i].value_s = wire_get_i64(b);
		p->args.itimer[i].value_us = wire_get_i64(b);
	}
	count = wire_get_u32(b);
	if (b->failed || count > TIMERS_MAX || p->args.ntimers)
		return -EBADMSG;
	for (uint32_t i = 0; i < count && err == 0; i++)
		err = load_timer(p, b);
	p->args.ntimers = count;
	return err ? err : wire_read_end(b);
}

/*
 * All timers and queues have been read: where an interval timer waits for its
 * own signal to be taken, let it fire anew instead.
 */
void timers_drop_alarm(struct nproc *p)
{
	static const int sigs[] = { SIGALRM, SIGVTALRM, SIGPROF };

	for (int i = 0; i < 3; i++) {
		uint8_t *q = buf_data(&p->sigs);

		if (p->args.itimer[i].value_s || p->args.itimer[i].value_us ||
		    !(p->args.itimer[i].interval_s ||
		      p->args.itimer[i].interval_us))
			continue;
		p->args.itimer[i].value_us = 1;
		for (unsigned k = 0; k < p->nshared; k++) {
			uint8_t *at = q + (size_t)(p->shared_first + k) * 128;
			siginfo_t si;

			memcpy(&si, at, sizeof(si));
			if (si.si_signo != sigs[i] || si.si_code != SI_KERNEL)
				continue;
			memmove(at, at + 128,
				(size_t)(p->nshared - k - 1) * 128);
			p->nshared--;
			break;
		}
	}
}

const struct res_ops res_timers = {
	.name = "timers",
	.tag = IMG_TIMERS,
	.save = timers_save,
	.load = timers_load,
};
