#ifndef MIGD_LOCAL_H
#define MIGD_LOCAL_H
/*
 * local.h -- programs that callers outside of the world start inside it, on
 * this host: no stub, no relay, only somebody who waits.
 */
#include "keep.h"
#include "migd.h"

struct local {
	struct map_node node;
	struct migd *m;
	uint32_t pid;
	struct rpc_conn *waiter;
	bool starting; /* its end, if it comes, is kept for local_started */
	bool ended;
	int32_t status;
};

struct local *local_new(struct migd *m, uint32_t pid, struct rpc_conn *waiter);
/* The waiter knows its number now. */
void local_started(struct local *l);
struct local *local_find(struct migd *m, uint32_t pid);
void local_free(struct local *l);
/* True if it was one. */
bool local_ended(struct migd *m, const struct keep_msg *end);
void local_conn_closed(struct migd *m, struct rpc_conn *c);
void local_free_all(struct migd *m);

#endif
