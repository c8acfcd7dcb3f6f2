#ifndef FS_STREAM_H
#define FS_STREAM_H
/*
 * stream.h -- open files that move to another host, for migd's movers; the
 * contract is at fs_stream_export in net/fs.def.
 *
 * A token names the object and a pin at its server.  The pin begins before the
 * source lets go and ends when the mover says so: at no moment is the object
 * without a holder.
 */
#include "mnt.h"

void stream_request(struct mnt *m, struct rpc_req *rq, const struct rpc_msg *msg);
/* The node behind .stream/<name>, or NULL. */
struct node *stream_node(struct mnt *m, const char *name);
void streams_free(struct mnt *m);

#endif
