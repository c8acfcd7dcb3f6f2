/*
 * mirror.c -- see mirror.h.
 *
 * Order of making, all by pipelined commands: session leader (child of the
 * world's first process), below it the group leaders and the parent, below
 * the parent the guest.  setpgid works only within a session, so what is
 * not in the parent's session becomes a session of its own.
 */
#include "mirror.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guests.h"
#include "log.h"
#include "world.h"

#define LINGER_MS 20000

static void unref(struct mirror *r);

static void destroy(struct mirror *r)
{
	struct mirror *above = r->above;

	env_cancel(r->m->env, &r->linger);
	map_del(&r->m->mirrors, &r->node);
	world_forget(r->m, KEEP_KEY(KEEP_MIRROR, r->pid));
	stubc_free(r->stub);
	free(r);
	if (above)
		unref(above);
}

static void on_linger(struct timer *t)
{
	struct mirror *r = t->data;

	r->ending = true;
	stubc_end(r->stub, 0);
	r->stub = NULL;
	destroy(r);
}

static void unref(struct mirror *r)
{
	if (--r->refs == 0)
		env_after(r->m->env, &r->linger, LINGER_MS);
}

/* A guest signalled its parent or its group: home's processes are meant. */
static void relay_signal(struct mirror *r, const struct stub_msg *msg)
{
	struct msg_migd_signal s = { .pid = r->pid, .sig = (uint32_t)msg->sig };
	siginfo_t si;
	struct body b;

	memcpy(&si, msg->u.siginfo, sizeof(si));
	/* Terminals signal on both hosts by themselves. */
	if (si.si_code == SI_KERNEL || si.si_code > 0 ||
	    msg->sig == SIGCONT || msg->sig == SIGWINCH)
		return;
	s.info = (wire_blob){ msg->u.siginfo, sizeof(msg->u.siginfo) };
	if (BODY(migd_signal, &s, &b) == 0)
		call_host(r->m, r->home, MSG_migd_signal, &b, CALL_MS, 0,
			  call_done_nothing, NULL);
}

static void on_msg(struct stubc *s, const struct stub_msg *msg)
{
	struct mirror *r = s->data;

	switch (msg->type) {
	case STUB_CHILD:
		guests_child(r->m, msg);
		break;
	case STUB_SIGNAL:
		relay_signal(r, msg);
		break;
	case STUB_ERR:
		log_debug("stub %u: command %u: %s", r->pid, msg->to,
			  strerror(-msg->err));
		break;
	}
}

static void on_gone(struct stubc *s)
{
	struct mirror *r = s->data;

	if (r->ending)
		return;
	if (s->err)
		log_warn("a stub for process %u could not be made: %s", r->pid,
			 strerror(-s->err));
	/* Whoever is below notices by himself; the record goes with them. */
	r->ending = true;
	if (r->refs == 0)
		destroy(r);
}

static const struct stub_hooks hooks = { on_msg, on_gone };

struct mirror *mirror_find(struct migd *m, uint32_t pid)
{
	return map_entry(map_get(&m->mirrors, pid), struct mirror, node);
}

void mirror_hold(struct mirror *r)
{
	if (r->refs++ == 0)
		env_cancel(r->m->env, &r->linger);
}

static void keep(struct mirror *r)
{
	uint32_t v[4] = { r->pid, r->home, r->uid,
			  r->above ? r->above->pid : 0 };

	world_keep(r->m, KEEP_KEY(KEEP_MIRROR, r->pid), v, sizeof(v),
		   &r->stub->ctl, 1);
}

static struct mirror *make(struct migd *m, uint32_t pid, uint32_t home,
			   uint32_t uid)
{
	struct mirror *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct mirror){ .m = m, .pid = pid, .home = home, .uid = uid };
	r->linger = (struct timer){ .fire = on_linger, .data = r };
	if (map_put(&m->mirrors, pid, &r->node)) {
		free(r);
		return NULL;
	}
	return r;
}

/* With a reference.  above may be NULL: a session of its own. */
static struct mirror *get(struct migd *m, uint32_t pid, uint32_t home,
			  uint32_t uid, uint32_t gid, struct mirror *above,
			  int pgid)
{
	struct mirror *r = mirror_find(m, pid);
	struct stub_msg ids = { .type = STUB_IDS, .u.ids = { uid, gid } };

	if (r && !r->ending) {
		mirror_hold(r);
		return r;
	}
	if (r || guest_find(m, pid))
		return NULL;
	r = make(m, pid, home, uid);
	if (!r)
		return NULL;
	r->stub = stubc_spawn(m, above ? above->stub : NULL, pid, !above, pgid,
			      &hooks, r);
	if (!r->stub) {
		map_del(&m->mirrors, &r->node);
		free(r);
		return NULL;
	}
	stubc_send(r->stub, &ids, NULL, 0);
	r->refs = 1;
	if (above) {
		r->above = above;
		mirror_hold(above);
	}
	keep(r);
	return r;
}

int mirror_place(struct migd *m, uint32_t home, uint32_t uid, uint32_t gid,
		 const struct msg_migd_place *p, bool own_session,
		 struct place *ret)
{
	struct mirror *leader = NULL;
	bool same = p->sid == p->parent_sid, third;

	*ret = (struct place){ .setsid = own_session || p->sid == p->pid ||
					 p->ppid <= 1 };
	if (p->ppid > 1 && p->parent_sid && p->parent_sid != p->ppid) {
		leader = get(m, p->parent_sid, home, uid, gid, NULL, -1);
		if (!leader)
			return -EEXIST;
	}
	/* A group whose leader is neither the parent nor the session's: made
	 * before the parent, by the same stub, so that it is there when the
	 * guest, made by the parent, joins it. */
	third = !ret->setsid && same && p->pgid && p->pgid != p->pid &&
		p->pgid != p->ppid && p->pgid != p->parent_sid;
	if (third && leader)
		ret->group = get(m, p->pgid, home, uid, gid, leader, 0);
	if (p->ppid > 1) {
		ret->parent = get(m, p->ppid, home, uid, gid, leader,
				  !leader	 ? -1 :
				  p->parent_pgid == p->ppid ? 0 :
							      -1);
		if (!ret->parent)
			goto fail;
	}
	ret->pgid = -1;
	if (ret->setsid)
		goto out;
	if (p->pgid == p->pid || !p->pgid || !same) {
		ret->pgid = 0;
	} else if (third) {
		if (!ret->group && ret->parent)
			ret->group = get(m, p->pgid, home, uid, gid,
					 leader ? leader : ret->parent, 0);
		ret->pgid = ret->group ? (int)p->pgid : 0;
	} else {
		ret->pgid = (int)p->pgid;
	}
out:
	if (leader)
		unref(leader);
	return 0;
fail:
	if (leader)
		unref(leader);
	mirror_leave(ret);
	return -EEXIST;
}

void mirror_leave(struct place *p)
{
	if (p->group)
		unref(p->group);
	if (p->parent)
		unref(p->parent);
	*p = (struct place){ 0 };
}

void mirror_adopt(struct migd *m, const void *data, size_t len, int *fds,
		  size_t nfds)
{
	uint32_t v[4];
	struct mirror *r;

	if (len != sizeof(v) || nfds != 1) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return;
	}
	memcpy(v, data, sizeof(v));
	r = make(m, v[0], v[1], v[2]);
	if (r)
		r->stub = stubc_adopt(m, fds[0], &hooks, r);
	if (!r || !r->stub) {
		close(fds[0]);
		return;
	}
	r->stub->hello = true;
	r->stub->pid = r->pid;
	r->above_pid = v[3];
}

void mirror_adopted(struct migd *m)
{
	for (struct map_node *n = map_next(&m->mirrors, NULL); n;
	     n = map_next(&m->mirrors, n)) {
		struct mirror *r = map_entry(n, struct mirror, node);

		r->above = r->above_pid ? mirror_find(m, r->above_pid) : NULL;
		if (r->above)
			mirror_hold(r->above);
	}
	for (struct map_node *n = map_next(&m->mirrors, NULL); n;
	     n = map_next(&m->mirrors, n)) {
		struct mirror *r = map_entry(n, struct mirror, node);

		if (r->refs == 0)
			env_after(m->env, &r->linger, LINGER_MS);
	}
}

void mirror_free_all(struct migd *m)
{
	struct map_node *n;

	while ((n = map_next(&m->mirrors, NULL))) {
		struct mirror *r = map_entry(n, struct mirror, node);

		map_del(&m->mirrors, n);
		env_cancel(m->env, &r->linger);
		stubc_free(r->stub);
		free(r);
	}
	map_fini(&m->mirrors);
}
