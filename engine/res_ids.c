/*
 * res_ids.c -- what belongs to the whole process and is neither memory nor
 * signals nor descriptors: limits, umask, working directory, personality,
 * and what prctl keeps.
 *
 * A hard limit can only be lowered without CAP_SYS_RESOURCE.  One that is
 * higher than what the target may give becomes what the target has; so
 * daemons are started with the highest limits they may have to give away.
 */
#include "new.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"

static long ask(struct proc *p, int *r, long option, bool through_memory)
{
	long ret = 0;
	uint32_t v = 0;

	if (*r)
		return 0;
	*r = inject(p, &p->t[0], &ret, SYS_prctl, option,
		    through_memory ? (long)p->scratch : 0, 0, 0, 0, 0);
	if (*r || ret < 0)
		return 0;
	if (!through_memory)
		return ret;
	*r = mem_read(p, p->scratch, &v, sizeof(v));
	return (long)v;
}

static uint64_t number_in(pid_t pid, const char *file, int base)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	if (fd_read_file(path, 256, &b) || !buf_len(&b))
		return 0;
	return strtoull((char *)buf_data(&b), NULL, base);
}

static uint64_t limit_at(const char *p)
{
	return strncmp(p, "unlimited", 9) ? strtoull(p, NULL, 10)
					  : RLIM_INFINITY;
}

/*
 * From /proc, in the kernel's order and columns: asking another user's process
 * with prlimit takes CAP_SYS_RESOURCE.
 */
static int save_limits(pid_t pid, struct img_writer *w)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[64], *save = NULL, *l;
	int n = 0, r;

	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	r = fd_read_file(path, 8192, &b);
	if (r || !buf_len(&b))
		return r ? r : -ESRCH;
	strtok_r((char *)buf_data(&b), "\n", &save);
	while ((l = strtok_r(NULL, "\n", &save)) && n < 16) {
		if (strlen(l) < 48)
			return -EBADMSG;
		img_u64(w, limit_at(l + 26));
		img_u64(w, limit_at(l + 47));
		n++;
	}
	return n == 16 ? 0 : -EBADMSG;
}

static int ids_save(struct eng *e, struct proc *p, struct img_writer *w,
		    struct eng_report *rep)
{
	uint8_t saved[SCRATCH_LEN];
	char cwd[4200];
	int r, r2 = scratch_open(p, saved);

	(void)rep;
	if (r2)
		return r2;
	r = ps_link(p->m.pid, "cwd", cwd, sizeof(cwd));
	img_begin(w);
	img_i32(w, r ? -1 : backing_of_path(e, cwd));
	img_u32(w, p->st.umask);
	img_u32(w, (uint32_t)number_in(p->m.pid, "personality", 16));
	img_i32(w, (int32_t)number_in(p->m.pid, "oom_score_adj", 10));
	img_u64(w, number_in(p->m.pid, "timerslack_ns", 10));
	img_u32(w, (uint32_t)ask(p, &r, PR_GET_DUMPABLE, false));
	img_u32(w, (uint32_t)ask(p, &r, PR_GET_PDEATHSIG, true));
	img_u32(w, (uint32_t)ask(p, &r, PR_GET_CHILD_SUBREAPER, true));
	img_u32(w, (uint32_t)ask(p, &r, PR_GET_KEEPCAPS, false));
	img_u32(w, !p->st.thp_enabled);
	if (r == 0)
		r = save_limits(p->m.pid, w);
	r2 = scratch_close(p, saved);
	if (r == 0)
		r = r2;
	return r ? r : img_send(w, IMG_IDS, p->index);
}

static int ids_load(struct eng_new *n, struct nproc *p, struct img_rec *r,
		    struct eng_report *rep)
{
	struct wire_reader *b = &r->body;
	int32_t cwd = wire_get_i32(b);

	(void)rep;
	if (p->have_ids || cwd < 0 || (unsigned)cwd >= n->nfiles)
		return -EBADMSG;
	p->args.cwd_fd = n->files[cwd].fd;
	p->args.umask = wire_get_u32(b) & 0777;
	p->args.personality = wire_get_u32(b);
	p->oom_adj = wire_get_i32(b);
	p->args.timerslack = wire_get_u64(b);
	p->args.dumpable = wire_get_u32(b);
	p->args.pdeathsig = wire_get_u32(b);
	p->args.subreaper = wire_get_u32(b);
	p->args.keepcaps = wire_get_u32(b);
	p->args.thp_disable = wire_get_u32(b);
	for (int i = 0; i < 16; i++) {
		p->args.rlimit[i].cur = wire_get_u64(b);
		p->args.rlimit[i].max = wire_get_u64(b);
	}
	p->have_ids = true;
	return wire_read_end(b);
}

static int ids_finish(struct eng_new *n, struct nproc *p)
{
	char path[64], text[16];

	(void)n;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", p->m.pid);
	snprintf(text, sizeof(text), "%d", p->oom_adj);
	/* Lowering it may be refused; then it stays as the stub's. */
	(void)fd_write_str(path, text);
	return 0;
}

const struct res_ops res_ids = {
	.name = "ids",
	.tag = IMG_IDS,
	.save = ids_save,
	.load = ids_load,
	.finish = ids_finish,
};
