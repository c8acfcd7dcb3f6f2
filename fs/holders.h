#ifndef FS_HOLDERS_H
#define FS_HOLDERS_H
/*
 * holders.h -- the hosts that hold leases at this server: their connections,
 * the recalls on their way to them, fences, and how they come back after a
 * restart of the server.  For server.c only.
 */
#include "server.h"

int holders_init(struct server *s, uint32_t self, const char *clients_path);
void holders_fini(struct server *s);
/* The holder behind a connection; its former life is forgotten if this is a
 * new one.  NULL: too many hosts. */
struct holder *holder_of(struct server *s, struct rpc_conn *c);
/* fs_hello and fs_reclaim. */
void holder_request(struct holder *h, struct rpc_req *rq, const struct rpc_msg *m);
/* Once a second. */
void holders_tick(struct server *s);

#endif
