#ifndef MIGD_PS_H
#define MIGD_PS_H
/* ps.h -- listings, kill, explanations: what is asked about processes. */
#include "migd.h"

void on_migd_ps(struct migd *m, struct rpc_req *q, const struct msg_migd_ps *b);
void on_migd_ps_here(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_ps_here *b);
void on_migd_kill(struct migd *m, struct rpc_req *q,
		  const struct msg_migd_kill *b);
void on_migd_kill_here(struct migd *m, struct rpc_req *q,
		       const struct msg_migd_kill_here *b);
void on_migd_explain(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_explain *b);
void on_migd_explain_here(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_explain_here *b);
void on_migd_status(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_status *b);
void on_migd_status_here(struct migd *m, struct rpc_req *q);
void on_migd_why(struct migd *m, struct rpc_req *q,
		 const struct msg_migd_why *b);
/* Pass a host's answer on as it came. */
void pass_answer(void *req, int status, const struct rpc_msg *msg);

#endif
