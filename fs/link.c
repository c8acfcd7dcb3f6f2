/* link.c -- see link.h. */
#include "link.h"

#include <errno.h>

#include "server.h"

static void on_done(void *arg, int status, const struct rpc_msg *m)
{
	struct link_call *c = arg;

	c->rpc = NULL;
	c->sreq = NULL;
	c->done(c->arg, status, m);
}

/* Nothing of c may be touched afterwards: it may be done and freed. */
int link_call(struct link *l, struct link_call *c, const struct rpc_out *o,
	      rpc_done_fn *done, void *arg)
{
	c->rpc = NULL;
	c->sreq = NULL;
	c->done = done;
	c->arg = arg;
	if (l->local)
		return server_local(l->local, o, c->again, on_done, c, &c->sreq);
	if (!l->peer)
		return -ENOTCONN;
	return rpc_call(l->peer, o, 0, 0, on_done, c, &c->rpc);
}

void link_cancel(struct link *l, struct link_call *c)
{
	if (c->sreq)
		server_cancel(c->sreq);
	else if (c->rpc)
		rpc_call_cancel(c->rpc);
	(void)l;
}

int link_note(struct link *l, const struct rpc_out *o)
{
	if (l->local) {
		server_local_note(l->local, o);
		return 0;
	}
	return l->peer ? rpc_peer_note(l->peer, o) : -ENOTCONN;
}

bool link_up(const struct link *l)
{
	return l->local || (l->peer && rpc_peer_up(l->peer));
}
