/* local.c -- see local.h. */
#include "local.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "proc.h"

struct local *local_find(struct migd *m, uint32_t pid)
{
	return map_entry(map_get(&m->locals, pid), struct local, node);
}

struct local *local_new(struct migd *m, uint32_t pid, struct rpc_conn *waiter)
{
	struct local *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct local){ .m = m, .pid = pid, .waiter = waiter };
	if (map_put(&m->locals, pid, &l->node)) {
		free(l);
		return NULL;
	}
	return l;
}

void local_free(struct local *l)
{
	map_del(&l->m->locals, &l->node);
	free(l);
}

static void tell(struct local *l)
{
	struct msg_migd_run_ended e = {
		.pid = l->pid, .status = l->status,
		.reason = WIFEXITED(l->status) ? MIGD_END_EXIT :
						 MIGD_END_SIGNAL,
	};
	struct rpc_out o = { .code = MSG_migd_run_ended };
	struct body b;

	if (l->waiter && BODY(migd_run_ended, &e, &b) == 0) {
		o.body = b.b;
		o.len = b.len;
		rpc_conn_note(l->waiter, &o);
	}
	local_free(l);
}

bool local_ended(struct migd *m, const struct keep_msg *end)
{
	struct local *l = local_find(m, (uint32_t)end->pid);

	if (!l)
		return false;
	l->ended = true;
	l->status = end->status;
	if (!l->starting)
		tell(l);
	return true;
}

void local_started(struct local *l)
{
	l->starting = false;
	if (l->ended)
		tell(l);
}

void local_conn_closed(struct migd *m, struct rpc_conn *c)
{
	for (struct map_node *n = map_next(&m->locals, NULL); n;
	     n = map_next(&m->locals, n)) {
		struct local *l = map_entry(n, struct local, node);

		if (l->waiter != c)
			continue;
		l->waiter = NULL;
		proc_signal(m, l->pid, SIGHUP);
	}
}

void local_free_all(struct migd *m)
{
	struct map_node *n;

	while ((n = map_next(&m->locals, NULL)))
		local_free(map_entry(n, struct local, node));
	map_fini(&m->locals);
}
