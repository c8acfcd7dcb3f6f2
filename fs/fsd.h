#ifndef FS_FSD_H
#define FS_FSD_H
/*
 * fsd.h -- the daemon: server and mount of one host, and what comes in over
 * the wire or fsd.sock for either.
 */
#include "export.h"
#include "hostconf.h"
#include "mnt.h"
#include "server.h"

struct fsd {
	struct ev_loop *loop;
	struct env *env;
	struct hostconf conf;
	struct rpc *rpc;
	struct roster *roster;
	struct pool *pool;
	struct export *x;	/* NULL: this host exports nothing */
	struct server *server;	/* the same */
	struct mnt mnt;
	bool mounted, registered, ready, stopping;
	uint32_t root_host; /* who serves "/", as far as known */
	struct timer again; /* to register once more */
};

/* On failure err holds a sentence; fsd_close is right then too. */
int fsd_open(struct fsd *f, struct ev_loop *loop, char *err, size_t cap);
/* Write back what is dirty, for so long; then end the loop. */
void fsd_stop(struct fsd *f);
void fsd_close(struct fsd *f);

/* ctl.c: fs_stat and fs_flush_all. */
void ctl_request(struct fsd *f, struct rpc_req *rq, const struct rpc_msg *m);

#endif
