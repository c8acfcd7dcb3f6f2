/* subs.c -- see subs.h. */
#include "subs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "away.h"
#include "log.h"
#include "proc.h"
#include "stubs.h"
#include "world.h"

struct sub {
	struct map_node node;
	struct migd *m;
	uint32_t pid, root;
	bool lent;
	struct stubc *stub;
};

static void sub_free(struct sub *s)
{
	map_del(&s->m->subs, &s->node);
	world_forget(s->m, KEEP_KEY(KEEP_SUB, s->pid));
	stubc_free(s->stub);
	free(s);
}

static void relay(struct sub *s, int sig, const void *info, size_t len)
{
	struct away *a = away_find(s->m, s->root);
	struct msg_migd_signal g = { .pid = s->pid, .sig = (uint32_t)sig,
				     .info = { info, len } };
	struct body b;

	if (a && a->state == AWAY_RUNNING && BODY(migd_signal, &g, &b) == 0)
		call_host(s->m, a->host, MSG_migd_signal, &b, CALL_MS, 0,
			  call_done_nothing, NULL);
}

static void on_msg(struct stubc *stub, const struct stub_msg *msg)
{
	struct sub *s = stub->data;
	siginfo_t si;

	if (msg->type != STUB_SIGNAL || s->lent)
		return;
	memcpy(&si, msg->u.siginfo, sizeof(si));
	/* What the terminal says reaches the whole group through the root. */
	if (si.si_code != SI_KERNEL)
		relay(s, msg->sig, msg->u.siginfo, sizeof(msg->u.siginfo));
}

static void on_gone(struct stubc *stub)
{
	struct sub *s = stub->data;

	if (!s->lent)
		relay(s, SIGKILL, NULL, 0);
	sub_free(s);
}

static const struct stub_hooks hooks = { on_msg, on_gone };

static bool sub_new(struct migd *m, uint32_t pid, uint32_t root, int fd)
{
	struct sub *s = calloc(1, sizeof(*s));
	uint32_t kept[2] = { pid, root };

	if (!s)
		return false;
	*s = (struct sub){ .m = m, .pid = pid, .root = root };
	s->stub = stubc_adopt(m, fd, &hooks, s);
	if (!s->stub || map_put(&m->subs, pid, &s->node)) {
		if (s->stub) {
			s->stub->ctl = -1;
			stubc_free(s->stub);
		}
		free(s);
		return false;
	}
	s->stub->pid = pid;
	world_keep(m, KEEP_KEY(KEEP_SUB, pid), kept, sizeof(kept), &fd, 1);
	return true;
}

bool sub_came(struct migd *m, uint32_t pid, int fd)
{
	struct map_node *old = map_get(&m->subs, pid);
	struct proc_stat st;
	uint32_t up = pid;

	if (old)
		sub_free(map_entry(old, struct sub, node));
	for (int depth = 0; depth < 64 && up > 1; depth++) {
		if (proc_stat(m, up, &st))
			return false;
		up = st.ppid;
		if (away_find(m, up))
			return sub_new(m, pid, up, fd);
	}
	return false;
}

static void each(struct migd *m, uint32_t root, const uint32_t *pids,
		 unsigned n)
{
	struct map_node *next;

	for (struct map_node *i = map_next(&m->subs, NULL); i; i = next) {
		struct sub *s = map_entry(i, struct sub, node);
		bool alive = false;

		next = map_next(&m->subs, i);
		for (unsigned k = 0; k < n; k++)
			alive |= pids[k] == s->pid;
		if (s->root != root || alive)
			continue;
		if (!s->lent)
			stubc_end(s->stub, 0);
		else
			stubc_free(s->stub);
		s->stub = NULL;
		sub_free(s);
	}
}

void subs_members(struct migd *m, uint32_t root, const uint32_t *pids,
		  unsigned n)
{
	each(m, root, pids, n);
}

void subs_end(struct migd *m, uint32_t root)
{
	each(m, root, NULL, 0);
}

int sub_lend(struct migd *m, uint32_t root, uint32_t pid)
{
	struct sub *s = map_entry(map_get(&m->subs, pid), struct sub, node);
	int fd;

	if (!s || s->root != root || s->stub->gone)
		return -ENOENT;
	fd = fcntl(s->stub->ctl, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	s->lent = true;
	ev_io_stop(m->loop, &s->stub->io);
	return fd;
}

void sub_adopt(struct migd *m, const void *data, size_t len, int *fds,
	       size_t nfds)
{
	uint32_t v[2];

	if (len == sizeof(v) && nfds == 1) {
		memcpy(v, data, sizeof(v));
		if (sub_new(m, v[0], v[1], fds[0]))
			return;
	}
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
}

void subs_free_all(struct migd *m)
{
	struct map_node *n;

	while ((n = map_next(&m->subs, NULL))) {
		struct sub *s = map_entry(n, struct sub, node);

		map_del(&m->subs, n);
		stubc_free(s->stub);
		free(s);
	}
	map_fini(&m->subs);
}
