/*
 * res_signals.c -- what a process does with signals, and what is queued for
 * all of its threads together.
 *
 * A handler is asked for only where /proc says that there is one.  The queue is
 * copied, not consumed, so that thawing needs nothing; become.c takes
 * what travelled out of the source's queue once that is certain.
 */
#include "new.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SIGNALS 64

static int save_action(struct proc *p, int sig, struct img_writer *w)
{
	struct blob_action a = { .sig = (uint32_t)sig };
	long ret;
	int r;

	if (p->st.sigign >> (sig - 1) & 1) {
		a.act.handler = (uintptr_t)SIG_IGN;
	} else {
		r = inject(p, &p->t[0], &ret, SYS_rt_sigaction, sig, 0,
			   (long)p->scratch, 8, 0, 0);
		if (r == 0 && ret)
			r = (int)ret;
		if (r == 0)
			r = mem_read(p, p->scratch, &a.act, sizeof(a.act));
		if (r)
			return r;
	}
	img_u32(w, a.sig);
	img_u64(w, a.act.handler);
	img_u64(w, a.act.flags);
	img_u64(w, a.act.restorer);
	img_u64(w, a.act.mask);
	return 0;
}

static int signals_save(struct eng *e, struct proc *p, struct img_writer *w,
			struct eng_report *rep)
{
	uint64_t set = p->st.sigcgt | p->st.sigign;
	uint8_t saved[SCRATCH_LEN];
	int r, r2;

	(void)e;
	(void)rep;
	r = scratch_open(p, saved);
	if (r)
		return r;
	img_begin(w);
	img_u32(w, (uint32_t)__builtin_popcountll(set));
	for (int sig = 1; sig <= SIGNALS && r == 0; sig++)
		if (set >> (sig - 1) & 1)
			r = save_action(p, sig, w);
	r2 = scratch_close(p, saved);
	if (r == 0)
		r = r2;
	if (r == 0)
		r = threads_save_queue(p, &p->t[0], true, w);
	return r ? r : img_send(w, IMG_SIGNALS, p->index);
}

static int signals_load(struct eng_new *n, struct nproc *p, struct img_rec *r,
			struct eng_report *rep)
{
	struct wire_reader *b = &r->body;
	uint32_t count = wire_get_u32(b);
	int err;

	(void)n;
	(void)rep;
	if (p->have_signals || count > SIGNALS)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct blob_action a = { .sig = wire_get_u32(b) };

		a.act.handler = wire_get_u64(b);
		a.act.flags = wire_get_u64(b);
		a.act.restorer = wire_get_u64(b);
		a.act.mask = wire_get_u64(b);
		if (b->failed || a.sig < 1 || a.sig > SIGNALS)
			return -EBADMSG;
		if (buf_add(&p->actions, &a, sizeof(a)))
			return -ENOMEM;
	}
	p->args.nactions = count;
	err = threads_load_queue(p, b, &p->shared_first, &p->nshared);
	p->have_signals = true;
	return err ? err : wire_read_end(b);
}

const struct res_ops res_signals = {
	.name = "signals",
	.tag = IMG_SIGNALS,
	.save = signals_save,
	.load = signals_load,
};
