#ifndef HOSTDB_SERVICE_H
#define HOSTDB_SERVICE_H
/*
 * service.h -- the host database's messages: each becomes a call of table.h,
 * and what the table has to tell becomes notes.
 */
#include "history.h"
#include "roster.h"
#include "rpc.h"
#include "table.h"

struct service;

struct service_conf {
	const struct hostconf *conf; /* borrowed: thresholds, who we are */
	struct roster *roster;
	struct history *history;
	int64_t (*wall_ms)(void);
};

/* Begins its timer too. */
int service_new(struct env *env, const struct service_conf *sc,
		struct service **ret);
/* What the rpc is to be made with. */
struct rpc_handler service_handler(struct service *s);
/* The roster changed. */
void service_roster(struct service *s);
void service_free(struct service *s);

#endif
