/*
 * res_mem.c -- the memory of a process: its map and its pages.
 *
 * Only what the process wrote travels: PAGEMAP_SCAN names the anonymous and
 * copied pages, and clean pages of files are mapped again at the target.
 * Pages of nameless shared memory all travel.  With ENG_LAZY long runs of pages
 * are only named; lazy.c moves them.
 *
 * Pages are put into place from outside.  /proc/PID/mem writes also where the
 * process itself may not (read-only data after relocation), so mappings get
 * their final protection at once.
 */
#include "new.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "report.h"

#define PAGE	 4096ull
#define VMAS_MAX 65536u
#define AUXV_MAX 2048u

/* linux/fs.h of older systems lacks these. */
struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask,
		return_mask;
};

struct pm_region {
	uint64_t start, end, categories;
};

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pm_scan)
#define PM_FILE		   (1u << 2)
#define PM_PRESENT	   (1u << 3)
#define PM_SWAPPED	   (1u << 4)
#define PM_ZERO		   (1u << 5)

/* ---- source: the map ---- */

static int vma_backing(struct eng *e, struct proc *p, const struct vma *v,
		       struct eng_report *rep)
{
	int i;

	if (v->kind == VMA_OTHER || (v->kind == VMA_FILE && v->deleted))
		return refuse(rep, v->deleted ? ENG_DELETED : ENG_MAPPING,
			      p->m.pid, "%s", *v->path ? v->path : "(shared)");
	if (v->kind != VMA_FILE && v->kind != VMA_SHM)
		return 0;
	i = backing_of_vma(e, v);
	return i < 0 ? -EINVAL : 0;
}

static void save_vma(struct eng *e, const struct vma *v, struct img_writer *w)
{
	img_u64(w, v->start);
	img_u64(w, v->end - v->start);
	img_u64(w, v->kind == VMA_FILE || v->kind == VMA_SHM ? v->off : 0);
	img_u32(w, (uint32_t)v->prot);
	img_u32(w, v->kind);
	img_u32(w, (v->shared ? 1u : 0) | (v->growsdown ? 2u : 0));
	img_u32(w, v->advice);
	img_i32(w, v->kind == VMA_FILE || v->kind == VMA_SHM
			   ? backing_of_vma(e, v)
			   : -1);
}

static int save_mm(struct eng *e, struct proc *p, struct img_writer *w)
{
	SCOPED(buf_free) struct buf auxv = { 0 };
	char path[4200], file[64];
	struct ps_stat s;
	long brk;
	int r = ps_stat(p->m.pid, &s);

	snprintf(file, sizeof(file), "/proc/%d/auxv", p->m.pid);
	if (r == 0)
		r = fd_read_file(file, AUXV_MAX, &auxv);
	if (r == 0)
		r = inject(p, &p->t[0], &brk, SYS_brk, 0, 0, 0, 0, 0, 0);
	if (r == 0)
		r = ps_link(p->m.pid, "exe", path, sizeof(path));
	if (r)
		return r;
	img_u64(w, s.start_code);
	img_u64(w, s.end_code);
	img_u64(w, s.start_data);
	img_u64(w, s.end_data);
	img_u64(w, s.start_brk);
	img_u64(w, (uint64_t)brk);
	img_u64(w, s.start_stack);
	img_u64(w, s.arg_start);
	img_u64(w, s.arg_end);
	img_u64(w, s.env_start);
	img_u64(w, s.env_end);
	img_blob(w, buf_data(&auxv), buf_len(&auxv));
	img_i32(w, backing_of_path(e, path));
	return 0;
}

static int mem_save(struct eng *e, struct proc *p, struct img_writer *w,
		    struct eng_report *rep)
{
	uint64_t vvar = 0;
	uint32_t n = 0;
	int r;

	for (unsigned i = 0; i < p->maps.n; i++) {
		struct vma *v = &p->maps.v[i];

		r = vma_backing(e, p, v, rep);
		if (r)
			return r;
		if (!vvar && (v->kind == VMA_VVAR || v->kind == VMA_VDSO))
			vvar = v->start;
		n += v->kind <= VMA_SHM;
	}
	img_begin(w);
	r = save_mm(e, p, w);
	if (r)
		return r;
	img_u64(w, vvar);
	img_u32(w, n);
	for (unsigned i = 0; i < p->maps.n; i++)
		if (p->maps.v[i].kind <= VMA_SHM)
			save_vma(e, &p->maps.v[i], w);
	return img_send(w, IMG_MEM, p->index);
}

/* ---- source: the pages ---- */

static int send_pages(struct eng *e, struct proc *p, struct img_writer *w,
		      uint64_t addr, uint64_t end)
{
	while (addr < end) {
		uint64_t n = (end - addr) / PAGE;
		struct iovec local, remote;
		void *to;
		int r;

		if (n > IMG_PAGES_MAX)
			n = IMG_PAGES_MAX;
		img_begin(w);
		img_u64(w, addr);
		to = img_raw(w, n * PAGE);
		if (!to)
			return -ENOMEM;
		local = (struct iovec){ to, n * PAGE };
		remote = (struct iovec){ (void *)(uintptr_t)addr, n * PAGE };
		if (process_vm_readv(p->m.pid, &local, 1, &remote, 1, 0) !=
		    (ssize_t)(n * PAGE)) {
			/* Not readable for the process itself. */
			r = mem_read(p, addr, to, n * PAGE);
			if (r)
				return r;
		}
		r = img_send(w, IMG_PAGES, p->index);
		if (r)
			return r;
		e->times.pages += n;
		addr += n * PAGE;
	}
	return 0;
}

static int leave_pages(struct proc *p, struct img_writer *w, uint64_t addr,
		       uint64_t end)
{
	struct lazy_run *more =
		realloc(p->lazy, (p->nlazy + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	p->lazy = more;
	p->lazy[p->nlazy++] = (struct lazy_run){ addr, end - addr };
	img_begin(w);
	img_u64(w, addr);
	img_u64(w, end - addr);
	return img_send(w, IMG_LAZY, p->index);
}

static bool hot_in(const struct proc *p, uint64_t addr, uint64_t end,
		   uint64_t *ret)
{
	bool any = false;

	for (unsigned i = 0; i < p->nhot; i++)
		if (p->hot[i] >= addr && p->hot[i] < end &&
		    (!any || p->hot[i] < *ret)) {
			*ret = p->hot[i];
			any = true;
		}
	return any;
}

/* A run that may stay, without its hot pages. */
static int leave_run(struct eng *e, struct proc *p, struct img_writer *w,
		     uint64_t addr, uint64_t end)
{
	uint64_t hot = 0;
	int r = 0;

	while (r == 0 && addr < end && hot_in(p, addr, end, &hot)) {
		if (hot > addr)
			r = leave_pages(p, w, addr, hot);
		if (r == 0)
			r = send_pages(e, p, w, hot, hot + PAGE);
		addr = hot + PAGE;
	}
	if (r == 0 && addr < end)
		r = leave_pages(p, w, addr, end);
	return r;
}

static bool may_stay(const struct eng *e, const struct vma *v, uint64_t len)
{
	/* Only plain memory can be filled on demand; locked memory is not. */
	return e->o.memory == ENG_LAZY && v->kind == VMA_ANON &&
	       !(v->advice & BLOB_ADVICE_LOCK) && len >= e->o.lazy_min;
}

static int scan_vma(struct eng *e, struct proc *p, int fd, const struct vma *v,
		    struct img_writer *w)
{
	struct pm_region reg[256];
	bool all = v->kind == VMA_SHM;
	struct pm_scan s = {
		.size = sizeof(s),
		.start = v->start,
		.end = v->end,
		.vec = (uintptr_t)reg,
		.vec_len = sizeof(reg) / sizeof(*reg),
		.category_inverted = all ? 0 : PM_FILE | PM_ZERO,
		.category_mask = all ? 0 : PM_FILE | PM_ZERO,
		.category_anyof_mask = PM_PRESENT | PM_SWAPPED,
		.return_mask = all ? PM_ZERO : PM_FILE,
	};

	while (s.start < s.end) {
		long n = ioctl(fd, PAGEMAP_SCAN_IOCTL, &s);

		if (n < 0)
			return -errno;
		for (long i = 0; i < n; i++) {
			uint64_t len = reg[i].end - reg[i].start;
			int r = may_stay(e, v, len)
					? leave_run(e, p, w, reg[i].start,
						    reg[i].end)
					: send_pages(e, p, w, reg[i].start,
						     reg[i].end);
			if (r)
				return r;
		}
		if (s.walk_end <= s.start)
			break;
		s.start = s.walk_end;
	}
	return 0;
}

int mem_save_pages(struct eng *e, struct proc *p, struct img_writer *w)
{
	char path[64];
	int fd, r = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", p->m.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < p->maps.n && r == 0; i++) {
		const struct vma *v = &p->maps.v[i];

		/* A shared file holds its own pages. */
		if (v->kind > VMA_SHM || (v->kind == VMA_FILE && v->shared))
			continue;
		r = scan_vma(e, p, fd, v, w);
	}
	close(fd);
	return r;
}

/* ---- target ---- */

static int load_vma(struct eng_new *n, struct nproc *p, struct wire_reader *b,
		    uint64_t *last)
{
	struct blob_vma v = { .fd = -1 };
	uint32_t kind, bits;
	int32_t back;

	v.addr = wire_get_u64(b);
	v.len = wire_get_u64(b);
	v.off = wire_get_u64(b);
	v.prot = wire_get_u32(b);
	kind = wire_get_u32(b);
	bits = wire_get_u32(b);
	v.advice = wire_get_u32(b);
	back = wire_get_i32(b);
	if (b->failed || v.addr < *last || v.addr % PAGE || v.len % PAGE ||
	    v.off % PAGE || !v.len || v.len > 1ull << 47 ||
	    v.addr + v.len > 1ull << 47 || v.prot > 7 || kind > VMA_SHM)
		return -EBADMSG;
	*last = v.addr + v.len;
	v.flags = bits & 1 ? MAP_SHARED : MAP_PRIVATE;
	if (kind == VMA_FILE && back >= 0 && (unsigned)back < n->nfiles)
		v.fd = n->files[back].fd;
	else if (kind == VMA_SHM && back >= 0 && (unsigned)back < n->nshms)
		v.fd = n->shms[back].fd;
	else if (kind == VMA_FILE || kind == VMA_SHM)
		return -EBADMSG;
	else
		v.flags |= MAP_ANONYMOUS;
	if (bits & 2)
		v.flags |= MAP_GROWSDOWN;
	return buf_add(&p->vmas, &v, sizeof(v));
}

static int mem_load(struct eng_new *n, struct nproc *p, struct img_rec *r,
		    struct eng_report *rep)
{
	struct wire_reader *b = &r->body;
	struct prctl_mm_map *m = &p->args.mm;
	uint64_t last = 65536;
	struct wire_blob auxv;
	uint32_t count;
	int32_t exe;
	int err = 0;

	(void)rep;
	if (p->have_mem)
		return -EBADMSG;
	m->start_code = wire_get_u64(b);
	m->end_code = wire_get_u64(b);
	m->start_data = wire_get_u64(b);
	m->end_data = wire_get_u64(b);
	m->start_brk = wire_get_u64(b);
	m->brk = wire_get_u64(b);
	m->start_stack = wire_get_u64(b);
	m->arg_start = wire_get_u64(b);
	m->arg_end = wire_get_u64(b);
	m->env_start = wire_get_u64(b);
	m->env_end = wire_get_u64(b);
	auxv = wire_get_blob(b);
	exe = wire_get_i32(b);
	p->args.vdso_start = wire_get_u64(b);
	count = wire_get_u32(b);
	if (b->failed || count > VMAS_MAX || auxv.len > AUXV_MAX || exe < 0 ||
	    (unsigned)exe >= n->nfiles || p->args.vdso_start % PAGE)
		return -EBADMSG;
	m->exe_fd = (uint32_t)n->files[exe].fd;
	m->auxv_size = (uint32_t)auxv.len;
	if (buf_add(&p->auxv, auxv.p, auxv.len))
		return -ENOMEM;
	for (uint32_t i = 0; i < count && err == 0; i++)
		err = load_vma(n, p, b, &last);
	p->args.nvmas = count;
	p->have_mem = true;
	return err ? err : wire_read_end(b);
}

/* [addr, addr + len) must lie in the mappings of the image. */
static bool mapped(const struct nproc *p, uint64_t addr, uint64_t len)
{
	const struct blob_vma *v = (const void *)buf_data(&p->vmas);

	if (addr % PAGE || len % PAGE || !len)
		return false;
	for (uint32_t i = 0; i < p->args.nvmas; i++)
		if (addr >= v[i].addr && addr - v[i].addr < v[i].len)
			return len <= v[i].len - (addr - v[i].addr);
	return false;
}

int mem_load_pages(struct eng_new *n, struct nproc *p, struct img_rec *r)
{
	uint64_t addr = wire_get_u64(&r->body);
	size_t len = r->body.left;
	struct iovec local = { (void *)(uintptr_t)r->body.p, len };
	struct iovec remote = { (void *)(uintptr_t)addr, len };

	if (r->body.failed || !mapped(p, addr, len))
		return -EBADMSG;
	n->times.pages += len / PAGE;
	if (process_vm_writev(p->m.pid, &local, 1, &remote, 1, 0) ==
	    (ssize_t)len)
		return 0;
	return mem_write(&p->p, addr, r->body.p, len);
}

int mem_load_lazy(struct eng_new *n, struct nproc *p, struct img_rec *r)
{
	uint64_t addr = wire_get_u64(&r->body);
	uint64_t len = wire_get_u64(&r->body);
	struct lazy_run *more;

	if (wire_read_end(&r->body) || !mapped(p, addr, len))
		return -EBADMSG;
	more = realloc(p->lazy, (p->nlazy + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->lazy = more;
	p->lazy[p->nlazy++] = (struct lazy_run){ addr, len };
	n->lazy = true;
	return 0;
}

const struct res_ops res_mem = {
	.name = "memory",
	.tag = IMG_MEM,
	.save = mem_save,
	.load = mem_load,
};
