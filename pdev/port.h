#ifndef PDEV_PORT_H
#define PDEV_PORT_H
/*
 * port.h -- the few things that pdev/ asks of connections, as a struct of
 * functions: rpc.h's own in the daemon (pdev_port_rpc), a table that a test
 * looks into otherwise.
 */
#include "rpc.h"

struct pdev_port {
	/* No deadline: whoever calls has one of his own. */
	int (*call)(struct rpc_conn *c, const struct rpc_out *o,
		    uint32_t deadline_ms, rpc_done_fn *done, void *arg,
		    struct rpc_call **ret);
	void (*cancel)(struct rpc_call *call);
	int (*note)(struct rpc_conn *c, const struct rpc_out *o);
	void (*reply)(struct rpc_req *q, int status, const struct rpc_out *o);
	void (*reply_err)(struct rpc_req *q, int status, const char *sentence);
	struct rpc_conn *(*req_conn)(const struct rpc_req *q);
	uint32_t (*req_host)(const struct rpc_req *q);
	uint32_t (*host)(const struct rpc_conn *c);
	uint64_t (*epoch)(const struct rpc_conn *c);
	enum rpc_service (*service)(const struct rpc_conn *c);
	uid_t (*uid)(const struct rpc_conn *c);
	gid_t (*gid)(const struct rpc_conn *c);
	pid_t (*pid)(const struct rpc_conn *c);
	void (*close)(struct rpc_conn *c);
};

extern const struct pdev_port pdev_port_rpc;

#endif
