#ifndef FS_LINK_H
#define FS_LINK_H
/*
 * link.h -- the way from the mount to the server of its tree: a call within
 * this process on the serving host, the wire elsewhere.  The same requests and
 * answers either way.
 */
#include <stdbool.h>

#include "rpc.h"

struct server;
struct sreq;

struct link {
	struct server *local; /* or */
	struct rpc_peer *peer;
};

/* A call under way; the caller's, in place until done. */
struct link_call {
	rpc_done_fn *done;
	void *arg;
	struct rpc_call *rpc;
	struct sreq *sreq;
	bool again; /* set by the caller: an earlier life may have sent it */
};

/*
 * done comes exactly once if this returns 0, possibly before it returns.
 * Over a restart of the server the call is sent again, flagged as such.
 */
int link_call(struct link *l, struct link_call *c, const struct rpc_out *o,
	      rpc_done_fn *done, void *arg);
void link_cancel(struct link *l, struct link_call *c);
/* One-way; lost if the server is away. */
int link_note(struct link *l, const struct rpc_out *o);
/* Can the server be reached now? */
bool link_up(const struct link *l);

#endif
