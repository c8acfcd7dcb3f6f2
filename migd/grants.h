#ifndef MIGD_GRANTS_H
#define MIGD_GRANTS_H
/*
 * grants.h -- hosts that local clients borrow from the host database through
 * us.  A client's connection is its lease.
 */
#include "migd.h"

int grants_open(struct migd *m);
void grants_close(struct migd *m);

/* The host of a grant that somebody of this user holds; 0: not (any more). */
uint32_t grants_host(struct migd *m, uint32_t uid, uint64_t grant);
/* One host for one program; cb(arg, 0, 0, why) if there is none now.  It is
 * given back with grants_done. */
void grants_one(struct migd *m, uint32_t uid,
		void (*cb)(void *arg, uint32_t host, uint64_t grant,
			   const char *why),
		void *arg);
void grants_done(struct migd *m, uint64_t grant);
/* A host lent to somebody here, for a guest of this user of ours: where it
 * can be moved to, not `not_host`.  0: none. */
uint32_t grants_other(struct migd *m, uint32_t uid, uint32_t not_host);

void grants_conn_closed(struct migd *m, struct rpc_conn *c);
/* A note of the database; true: dealt with. */
bool grants_note(struct migd *m, struct rpc_conn *c, const struct rpc_msg *msg);
/* The database restarted and knows nothing. */
void grants_restate(struct migd *m);

void on_migd_hosts_ask(struct migd *m, struct rpc_req *q,
		       const struct msg_migd_hosts_ask *b);
void on_migd_hosts_return(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_hosts_return *b);
void on_migd_ask_hostdb(struct migd *m, struct rpc_req *q,
			const struct msg_migd_ask_hostdb *b);

struct rpc_peer *hostdb_peer(struct migd *m);

#endif
