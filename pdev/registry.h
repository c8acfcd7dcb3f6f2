#ifndef PDEV_REGISTRY_H
#define PDEV_REGISTRY_H
/*
 * registry.h -- the names of pseudo-devices that this fsd knows: name, and the
 * host whose fsd has the program that serves it.
 *
 * A claim belongs to one life (epoch) of the fsd that made it.  It ends with
 * that life, and is kept over a lost connection for grace_ms, so that a cable
 * pulled for a moment does not let another program in.
 */
#include "env.h"
#include "pdev_msg.h"
#include "port.h"

struct registry;

int registry_new(struct env *env, const struct pdev_port *port,
		 const char *(*host_name)(void *arg, uint32_t host), void *arg,
		 struct registry **ret);
void registry_free(struct registry *g);

void registry_claim(struct registry *g, struct rpc_req *q,
		    const struct msg_pdev_claim *m);
void registry_release(struct registry *g, struct rpc_req *q,
		      const struct msg_pdev_release *m);
void registry_find(struct registry *g, struct rpc_req *q,
		   const struct msg_pdev_find *m);
void registry_list(struct registry *g, struct rpc_req *q,
		   const struct msg_pdev_list *m);

/* A connection accepted from an fsd, and its end. */
void registry_conn_open(struct registry *g, struct rpc_conn *c);
void registry_conn_close(struct registry *g, struct rpc_conn *c);

#endif
