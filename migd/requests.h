#ifndef MIGD_REQUESTS_H
#define MIGD_REQUESTS_H
/* requests.h -- from a message to the function that deals with it. */
#include "rpc.h"

void requests_dispatch(void *migd, struct rpc_req *q, const struct rpc_msg *m);
void requests_note(void *migd, struct rpc_conn *c, const struct rpc_msg *m);

#endif
