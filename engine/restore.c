/*
 * restore.c -- an image becomes processes again.
 *
 * Order: all records up to BUILD are read into plans; then the
 * tree of stubs is made below the root stub, every stub is stopped, every
 * plan poured up to its mappings; pages are put in as they come; at END the
 * rest is done and everything stands one step before running.
 *
 * All stubs are stopped before any is touched: a parent stub that ran would
 * reap the child that has to be a zombie.
 */
#include "pour.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "report.h"
#include "stub_proto.h"

#define PROCS_MAX 4096u
#define ANSWER_MS 5000

static const struct res_ops *const kinds[] = {
	&res_mem,    &res_threads, &res_signals,
	&res_timers, &res_ids,	   &res_fds,
};

int new_proc_at(struct eng_new *n, uint32_t index, struct nproc **ret)
{
	if (index >= n->np || n->p[index].m.pid <= 0)
		return -EBADMSG;
	*ret = &n->p[index];
	return 0;
}

/* ---- records ---- */

static int load_start(struct eng_new *n, struct img_rec *r,
		      struct eng_report *rep)
{
	struct wire_reader *b = &r->body;
	uint32_t np = wire_get_u32(b);
	uint64_t vdso = wire_get_u64(b), own;
	uint32_t crc = wire_get_u32(b), own_crc;
	uint64_t missing;
	const char *release;
	struct utsname u;

	n->xcr0 = wire_get_u64(b);
	n->may_lazy = wire_get_u32(b);
	release = wire_get_str(b);
	if (wire_read_end(b) || n->p || !np || np > PROCS_MAX)
		return -EBADMSG;
	vdso_facts(&own, &own_crc);
	missing = n->xcr0 & ~xstate_features();
	if (uname(&u) || vdso != own || crc != own_crc)
		return refuse(rep, ENG_KERNEL, 0, "%.64s there, %.64s here",
			      release, u.release);
	if (missing)
		return refuse(rep, ENG_CPU, 0, "register set %#llx",
			      (unsigned long long)missing);
	n->p = calloc(np, sizeof(*n->p));
	n->members = calloc(np, sizeof(*n->members));
	if (!n->p || !n->members)
		return -ENOMEM;
	n->np = np;
	for (uint32_t i = 0; i < np; i++) {
		n->p[i].index = i;
		n->p[i].ctl = n->p[i].uffd = n->p[i].p.mem = -1;
		n->p[i].args.cwd_fd = -1;
		n->p[i].args.want_uffd = n->may_lazy;
	}
	return 0;
}

static int load_member(struct eng_new *n, struct img_rec *r)
{
	struct wire_reader *b = &r->body;
	struct eng_member m = { .pid = wire_get_i32(b) };
	bool parent = r->proc == 0;

	m.ppid = wire_get_i32(b);
	m.pgid = wire_get_i32(b);
	m.sid = wire_get_i32(b);
	m.uid = wire_get_u32(b);
	m.zombie = wire_get_u32(b);
	m.stopped = wire_get_u32(b);
	m.status = wire_get_i32(b);
	strncpy(m.name, wire_get_str(b), sizeof(m.name) - 1);
	if (wire_read_end(b) || r->proc >= n->np || m.pid <= 0 ||
	    n->p[r->proc].m.pid || (r->proc == 0 && m.zombie))
		return -EBADMSG;
	for (uint32_t i = 0; i < r->proc; i++) {
		if (n->p[i].m.pid == m.pid)
			return -EBADMSG;
		parent |= n->p[i].m.pid == m.ppid;
	}
	if (!parent)
		return -EBADMSG;
	n->p[r->proc].m = n->members[r->proc] = m;
	n->times.procs++;
	return 0;
}

static int load_kind(struct eng_new *n, struct img_rec *r,
		     struct eng_report *rep)
{
	struct nproc *p;
	int err = new_proc_at(n, r->proc, &p);

	if (err)
		return err;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (kinds[i]->tag == r->tag)
			return p->m.zombie ? -EBADMSG
					   : kinds[i]->load(n, p, r, rep);
	return -EBADMSG;
}

/* ---- the tree of stubs ---- */

static struct nproc *by_pid(struct eng_new *n, pid_t pid)
{
	for (unsigned i = 0; i < n->np; i++)
		if (n->p[i].m.pid == pid)
			return &n->p[i];
	return NULL;
}

static void on_report(void *arg, const struct stub_msg *m)
{
	struct eng_new *n = arg;

	if (n->o.on_report)
		n->o.on_report(n->o.arg, m);
}

/* As stub_spawn, but what the root stub reports meanwhile is passed on. */
static int spawn_below(struct eng_new *n, struct nproc *parent, pid_t pid,
		       bool setsid, int pgid, int *ret_ctl)
{
	struct stub_msg m = { .type = STUB_SPAWN,
			      .pid = pid,
			      .sid = setsid,
			      .pgid = pgid };
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	r = stub_call(parent->ctl, &m, &sv[1], 1, ANSWER_MS,
		      parent->index == 0 ? on_report : NULL, n, NULL);
	close(sv[1]);
	if (r == 0)
		r = stub_recv(sv[0], &m, ANSWER_MS);
	if (r == 0 && m.type != STUB_HELLO)
		r = m.err ? m.err : -EPROTO;
	if (r) {
		close(sv[0]);
		return r;
	}
	*ret_ctl = sv[0];
	return 0;
}

/* The group's leader is gone: hold its number until the member has joined. */
static int spawn_orphan(struct eng_new *n, struct nproc *p,
			struct nproc *parent)
{
	struct stub_msg bye = { .type = STUB_EXIT };
	int leader, r;

	r = spawn_below(n, parent, p->m.pgid, false, 0, &leader);
	if (r)
		return r;
	r = spawn_below(n, parent, p->m.pid, false, p->m.pgid, &p->ctl);
	stub_send(leader, &bye, NULL, 0);
	close(leader);
	return r;
}

static int spawn_member(struct eng_new *n, struct nproc *p,
			struct eng_report *rep)
{
	struct nproc *parent = by_pid(n, p->m.ppid);
	bool session = p->m.sid == p->m.pid;
	int pgid = session ? -1 : p->m.pgid == p->m.pid ? 0 : p->m.pgid;
	int r;

	/* What is inherited need not be set. */
	if (!session && getpgid(parent->m.pid) == p->m.pgid)
		pgid = -1;
	r = spawn_below(n, parent, p->m.pid, session, pgid, &p->ctl);
	if (r == -EPERM && pgid > 0)
		r = spawn_orphan(n, p, parent);
	if (r == -EEXIST)
		return refuse(rep, ENG_PID_TAKEN, p->m.pid, "%d", p->m.pid);
	if (r == 0)
		p->own_ctl = p->have_stub = true;
	return r;
}

static int take_given(struct eng_new *n, struct nproc *p)
{
	int ctl, r = -ENOENT;

	if (n->o.find_stub)
		r = n->o.find_stub(n->o.arg, p->m.pid, &ctl);
	if (r)
		return r;
	p->ctl = ctl;
	p->given = true;
	return 0;
}

/* Leaders of groups before those who join them. */
static int spawn_all(struct eng_new *n, struct eng_report *rep)
{
	unsigned left = n->np - 1;
	bool forced = false;
	int r = 0;

	while (left && r == 0) {
		unsigned before = left;

		for (unsigned i = 1; i < n->np && r == 0; i++) {
			struct nproc *p = &n->p[i];
			struct nproc *up = by_pid(n, p->m.ppid);
			struct nproc *lead = by_pid(n, p->m.pgid);

			if (p->ctl >= 0 || up->ctl < 0)
				continue;
			if (!take_given(n, p)) {
				left--;
				continue;
			}
			if (!forced && lead && lead != p && lead->ctl < 0)
				continue;
			r = spawn_member(n, p, rep);
			left -= r == 0;
		}
		if (left == before && forced)
			return r ? r : -EBADMSG;
		forced = left == before;
	}
	return r;
}

/* A child that ended but was not waited for: it ends again. */
static int end_zombie(struct nproc *p)
{
	struct stub_msg m = { .type = STUB_EXIT, .status = p->m.status };
	struct stub_msg got;
	int r = stub_send(p->ctl, &m, NULL, 0);

	while (r == 0)
		r = stub_recv(p->ctl, &got, ANSWER_MS);
	return r == -EPIPE ? 0 : r;
}

static int build(struct eng_new *n, struct eng_report *rep)
{
	int r = 0;

	if (!n->np || n->built)
		return -EBADMSG;
	for (unsigned i = 0; i < n->np; i++)
		if (n->p[i].m.pid <= 0)
			return -EBADMSG;
	if (n->p[0].m.pid != n->root_pid)
		return -EBADMSG;
	n->p[0].ctl = n->root_ctl;
	n->p[0].given = true;
	n->built = true;
	r = spawn_all(n, rep);
	for (unsigned i = 0; i < n->np && r == 0; i++)
		if (!n->p[i].m.zombie)
			r = pour_attach(&n->p[i]);
	for (unsigned i = 0; i < n->np && r == 0; i++)
		if (n->p[i].m.zombie)
			r = end_zombie(&n->p[i]);
	for (unsigned i = 0; i < n->np && r == 0; i++)
		if (!n->p[i].m.zombie)
			r = pour_map(&n->p[i], rep);
	return r;
}

static int finish(struct eng_new *n, struct img_reader *rd, struct img_rec *rec)
{
	uint32_t records = wire_get_u32(&rec->body);
	int r = wire_read_end(&rec->body);

	if (r || records + 1 != rd->records || !n->built)
		return -EBADMSG;
	for (unsigned i = 0; i < n->np && r == 0; i++) {
		struct nproc *p = &n->p[i];

		if (p->m.zombie)
			continue;
		if (p->nlazy)
			r = pager_register(n, p);
		if (r == 0)
			r = pour_finish(n, p);
		n->times.threads += p->nnt;
	}
	descs_close(n);
	n->ready = r == 0;
	return r;
}

int eng_new_take(struct eng_new *n, struct img_reader *rd, struct img_rec *rec,
		 struct eng_report *rep)
{
	struct nproc *p;
	int r;

	switch (rec->tag) {
	case IMG_START:
		return load_start(n, rec, rep);
	case IMG_PROC:
		return load_member(n, rec);
	case IMG_FILE:
		return n->built ? -EBADMSG : backing_load_file(n, rec, rep);
	case IMG_SHM:
		return n->built ? -EBADMSG : backing_load_shm(n, rec);
	case IMG_DESC:
		return n->built ? -EBADMSG : desc_load(n, rec, rep);
	case IMG_PIPE:
		return pipe_load(n, rec);
	case IMG_BUILD:
		return build(n, rep);
	case IMG_PAGES:
	case IMG_LAZY:
		r = new_proc_at(n, rec->proc, &p);
		if (r || !n->built || p->m.zombie)
			return -EBADMSG;
		return rec->tag == IMG_PAGES ? mem_load_pages(n, p, rec)
					     : mem_load_lazy(n, p, rec);
	case IMG_END:
		return finish(n, rd, rec);
	default:
		return n->built ? -EBADMSG : load_kind(n, rec, rep);
	}
}

/* For whoever looks for a bug: where it stopped. */
static void explain(const struct eng_new *n, const struct img_rec *rec, int r)
{
	log_debug("restore: error %d after record %u of process %u", r,
		  (unsigned)rec->tag, rec->proc);
	for (unsigned i = 0; i < n->np; i++)
		if (n->p[i].failed_step)
			log_debug("restore: process %d failed in step %u, item %u",
				  n->p[i].m.pid, n->p[i].failed_step,
				  n->p[i].failed_item);
}

struct eng_new *eng_new_empty(void)
{
	return calloc(1, sizeof(struct eng_new));
}

int eng_restore(const struct eng_io *io, const struct eng_stub *root,
		const struct eng_new_opts *o, struct eng_report *rep,
		struct eng_new **ret)
{
	struct eng_new *n = eng_new_empty();
	struct img_reader rd = { .io = io };
	uint64_t began = 0;
	struct img_rec rec = { 0 };
	struct eng_report own;
	int r = 0;

	if (!n)
		return -ENOMEM;
	if (!rep)
		rep = &own;
	rep->n = 0;
	if (o)
		n->o = *o;
	n->root_pid = root->pid;
	n->root_ctl = root->ctl;
	boost_self();
	if (n->o.pid_space)
		r = n->o.pid_space(n->o.arg, true);
	while (r == 0 && !rd.ended) {
		r = img_next(&rd, &rec);
		if (!began)
			began = now_us();
		if (r == 0)
			r = eng_new_take(n, &rd, &rec, rep);
	}
	if (n->o.pid_space)
		n->o.pid_space(n->o.arg, false);
	n->times.bytes = rd.bytes;
	n->times.restore_us = now_us() - began;
	img_reader_fini(&rd);
	if (r == 0 && !n->ready)
		r = -EBADMSG;
	if (r) {
		explain(n, &rec, r);
		eng_new_free(n);
		calm_self();
		return r;
	}
	*ret = n;
	return 0;
}

unsigned eng_new_members(const struct eng_new *n,
			 const struct eng_member **ret)
{
	*ret = n->members;
	return n->np;
}

bool eng_new_lazy(const struct eng_new *n)
{
	return n->lazy;
}

/* Children first, so that none runs before its parent can be seen to. */
int eng_resume(struct eng_new *n)
{
	uint64_t began = now_us();
	int first = 0;

	if (!n->ready || n->resumed)
		return -EINVAL;
	n->resumed = true;
	for (unsigned i = n->np; i-- > 0;) {
		int r = n->p[i].m.zombie ? 0 : pour_release(&n->p[i]);

		if (r && !first)
			first = r;
	}
	calm_self();
	n->resumed_at_us = now_us();
	n->times.resume_us = n->resumed_at_us - began;
	return first;
}

/* What we made dies. */
static void end_member(struct nproc *p)
{
	if (p->attached && p->p.nt)
		kill_held(&p->p);
	else if (p->have_stub)
		kill(p->m.pid, SIGKILL);
	p->attached = false;
	p->have_stub = false;
}

/* What was given becomes a stub again. */
static int undo_given(struct eng_new *n, struct nproc *p)
{
	int r = 0;

	if (!p->attached)
		return 0;
	if (!p->touched) {
		pour_detach(p);
		return 0;
	}
	r = n->o.stub_exe ? -ESRCH : 0;
	if (n->o.stub_exe && n->o.ctl_path && p->p.nt) {
		/* The area is still there, or the program's own memory. */
		p->p.scratch = p->ready_scratch ? p->ready_scratch
						: p->spot + 64;
		if (!p->ready_scratch)
			p->p.syscall_ip = p->spot;
		r = exec_stub(&p->p, n->o.stub_exe, n->o.ctl_path);
	}
	if (r || !n->o.stub_exe)
		kill_held(&p->p);
	p->attached = false;
	return r;
}

int eng_abort(struct eng_new *n)
{
	int r = 0;

	if (n->resumed)
		return -EINVAL;
	if (!n->np || !n->built)
		return 0;
	for (unsigned i = n->np; i-- > 0;) {
		int one = 0;

		if (n->p[i].given)
			one = undo_given(n, &n->p[i]);
		else
			end_member(&n->p[i]);
		if (one && !r)
			r = one;
	}
	n->ready = false;
	n->built = false;
	calm_self();
	return r;
}

const struct eng_times *eng_new_times(const struct eng_new *n)
{
	return &n->times;
}

static void nproc_fini(struct nproc *p)
{
	struct buf *const bufs[] = { &p->vmas,	  &p->fds,     &p->watches,
				     &p->actions, &p->timers,  &p->threads,
				     &p->sigs,	  &p->groups,  &p->auxv,
				     &p->extra };

	for (size_t i = 0; i < sizeof(bufs) / sizeof(*bufs); i++)
		buf_free(bufs[i]);
	for (unsigned i = 0; i < p->nnt; i++)
		free(p->nt[i].xstate);
	free(p->nt);
	free(p->lazy);
	if (p->own_ctl)
		close(p->ctl);
	if (p->uffd >= 0)
		close(p->uffd);
	proc_fini(&p->p);
}

void eng_new_free(struct eng_new *n)
{
	if (!n)
		return;
	if (!n->resumed)
		eng_abort(n);
	pager_free(n);
	descs_close(n);
	for (unsigned i = 0; i < n->nfiles; i++)
		close(n->files[i].fd);
	for (unsigned i = 0; i < n->nshms; i++)
		close(n->shms[i].fd);
	free(n->files);
	free(n->shms);
	for (unsigned i = 0; i < n->np; i++)
		nproc_fini(&n->p[i]);
	free(n->p);
	free(n->members);
	free(n);
}
