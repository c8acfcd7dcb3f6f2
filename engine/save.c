/*
 * save.c -- the image of a frozen tree, record by record.
 *
 * Everything but memory contents comes first (up to BUILD), so the target
 * builds its processes while the pages are still on their way.
 */
#include "tree.h"

#include <errno.h>
#include <sys/utsname.h>

#include "log.h"
#include "report.h"

static const struct res_ops *const kinds[] = {
	&res_mem,    &res_threads, &res_signals,
	&res_timers, &res_ids,	   &res_fds,
};

static int save_start(struct eng *e, struct img_writer *w)
{
	struct utsname u;
	uint64_t len;
	uint32_t crc;

	vdso_facts(&len, &crc);
	if (uname(&u))
		return -errno;
	img_begin(w);
	img_u32(w, e->np);
	img_u64(w, len);
	img_u32(w, crc);
	img_u64(w, xstate_features());
	img_u32(w, e->o.memory == ENG_LAZY);
	img_str(w, u.release);
	return img_send(w, IMG_START, 0);
}

static int save_member(const struct proc *p, struct img_writer *w)
{
	img_begin(w);
	img_i32(w, p->m.pid);
	img_i32(w, p->m.ppid);
	img_i32(w, p->m.pgid);
	img_i32(w, p->m.sid);
	img_u32(w, p->m.uid);
	img_u32(w, p->m.zombie);
	img_u32(w, p->m.stopped);
	img_i32(w, p->m.status);
	img_str(w, p->m.name);
	return img_send(w, IMG_PROC, p->index);
}

static int save_all(struct eng *e, struct img_writer *w,
		    struct eng_report *rep)
{
	int r = save_start(e, w);

	for (unsigned i = 0; i < e->np && r == 0; i++)
		r = save_member(&e->p[i], w);
	if (r == 0)
		r = backing_save_all(e, w, rep);
	if (r == 0)
		r = fds_save_descs(e, w, rep);
	for (unsigned i = 0; i < e->np && r == 0; i++) {
		if (e->p[i].m.zombie)
			continue;
		for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds) && !r;
		     k++) {
			r = kinds[k]->save(e, &e->p[i], w, rep);
			if (r)
				log_debug("save: process %d, %s: error %d",
					  e->p[i].m.pid, kinds[k]->name, r);
		}
	}
	if (r)
		return r;
	img_begin(w);
	r = img_send(w, IMG_BUILD, 0);
	for (unsigned i = 0; i < e->np && r == 0; i++)
		if (!e->p[i].m.zombie)
			r = mem_save_pages(e, &e->p[i], w);
	if (r)
		return r;
	img_begin(w);
	img_u32(w, w->records);
	return img_send(w, IMG_END, 0);
}

int eng_save(struct eng *e, const struct eng_io *io, struct eng_report *rep)
{
	struct img_writer w = { .io = io };
	uint64_t began = now_us();
	int r;

	if (e->saved)
		return -EALREADY;
	e->saved = true;
	r = save_all(e, &w, rep);
	img_writer_fini(&w);
	e->times.save_us = now_us() - began;
	e->times.bytes = w.bytes;
	return r;
}
