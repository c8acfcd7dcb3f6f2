#ifndef HOSTDB_TABLE_PRIV_H
#define HOSTDB_TABLE_PRIV_H
/*
 * table_priv.h -- the insides of a table, for the files that make it up:
 * table.c (hosts and their condition), lend.c (clients and grants).
 */
#include "list.h"
#include "map.h"
#include "table.h"

struct host {
	struct map_node by_id;
	uint32_t id;
	uint32_t snap; /* its place in the snapshot */
	char name[TABLE_NAME_MAX];
	bool session;	 /* a migd is connected */
	bool reported;	 /* on this session or one that its grace still covers */
	bool up;	 /* false: not heard of for too long */
	uint64_t epoch;	 /* of that migd */
	uint64_t gone_ms;     /* when the session was lost */
	uint64_t report_ms;   /* when it last reported */
	uint64_t boot_ms;     /* on our clock; may be before its zero */
	struct host_report r;
	struct list grants; /* of others, on it */
	struct list clients; /* whose home it is */
	struct past past[PAST_KEPT];
	unsigned npast; /* ever; the ring's next place is npast % PAST_KEPT */
};

struct client {
	struct map_node by_key;
	struct list in_home;
	struct list in_waiting; /* when it waits */
	uint32_t home, id, uid;
	char name[CLIENT_NAME_MAX];
	struct list grants; /* oldest first */
	uint32_t held[PRIORITIES];
	bool waits;
	enum hostdb_priority priority; /* it waits for */
	uint64_t deaf_until_ms; /* then look whether there is a host for it; 0: no need */
	uint32_t mark; /* its index while a reclaim is considered */
};

struct grant {
	struct map_node by_id;
	struct list in_host, in_client;
	uint64_t id;
	uint64_t since_ms;
	struct host *host;
	struct client *client;
	enum hostdb_priority priority;
};

struct table {
	struct table_ears ears;
	uint64_t down_ms;
	uint64_t next_grant;
	struct map hosts, clients, grants;
	struct policy_host *snap;
	struct host **by_snap;
	size_t nhosts, cap;
	struct host **sorted; /* by id, for listing */
	struct list waiting;
};

struct host *host_get(const struct table *t, uint32_t id);
void host_past(struct table *t, struct host *h, const struct past *p);
/* The snapshot follows what is known of h. */
void host_refresh(struct table *t, struct host *h);
/* Every grant on h ends, its holders are told. */
void lend_revoke_all(struct table *t, struct host *h, enum hostdb_why why,
		     uint64_t now);
/* Every client of the home h ends. */
void lend_drop_home(struct table *t, struct host *h, uint64_t now);
/* Something may be had again: tell those who wait. */
void lend_news(struct table *t, uint32_t host, uint64_t now);
/* Those whose deafness has ended are told now. */
void lend_tick(struct table *t, uint64_t now);
void lend_fini(struct table *t);

#endif
