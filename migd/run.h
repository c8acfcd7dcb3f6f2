#ifndef MIGD_RUN_H
#define MIGD_RUN_H
/*
 * run.h -- home's half of exec-time migration: from a command's request to a
 * process elsewhere (or in this host's world).
 */
#include "migd.h"

void on_migd_run(struct migd *m, struct rpc_req *q,
		 const struct msg_migd_run *b, struct rpc_msg *msg);
void on_migd_run_signal(struct migd *m, struct rpc_req *q,
			const struct msg_migd_run_signal *b);

#endif
