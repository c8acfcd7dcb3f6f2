#ifndef NAMESERVER_SERVICE_H
#define NAMESERVER_SERVICE_H
/*
 * service.h -- the name server's messages: each becomes a call of cell.h, and
 * every change is pushed to those who watch.
 */
#include "cell.h"
#include "rpc.h"

struct service;

struct service_conf {
	struct cell *cell;
	const struct hostconf *conf; /* borrowed; who we are, for the tokens */
	const uint8_t *key;	     /* 32 bytes */
	int64_t (*now_secs)(void);   /* since the epoch */
};

/* Makes the rpc too; serving begins with service_listen. */
int service_new(struct env *env, const struct rpc_identity *id,
		const struct service_conf *sc, struct service **ret);
/* err holds a sentence on failure. */
int service_listen(struct service *s, uint16_t port, const char *socket_path,
		   char *err, size_t cap);
struct rpc *service_rpc(struct service *s);
void service_free(struct service *s);

#endif
