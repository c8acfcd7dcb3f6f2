#ifndef NET_ROSTER_H
#define NET_ROSTER_H
/*
 * roster.h -- every daemon's view of the cell: hosts with address and key, and
 * the prefix table.  Kept by a session with named, which pushes changes;
 * written to state/roster.cache so that a host can start while named is down.
 */
#include <stdbool.h>
#include <stdint.h>

#include "hostconf.h"
#include "rpc.h"

struct roster_host {
	uint32_t id;
	char name[HOST_NAME_MAX_LEN + 1];
	char addr[64];
	uint16_t port[SVC_TOOL];
	uint8_t key[32];
	uint32_t pid_block; /* first PID of its first block */
	bool removed;
};

struct roster_prefix {
	char prefix[1024]; /* "/", "/src" */
	uint32_t host;
	uint64_t domain; /* the server's number for the tree */
};

struct roster;

/*
 * Make a roster (reads the cache); pass roster_key to rpc_new with it, then
 * start it on that rpc.  changed is called after every change.
 */
struct roster *roster_new(const struct hostconf *c,
			  void (*changed)(void *arg), void *arg);
int roster_start(struct roster *t, struct rpc *r);
/* Just before or just after rpc_free: the loop must not run in between. */
void roster_free(struct roster *t);
int roster_key(void *roster, uint32_t host, uint8_t ret_key[32]); /* an rpc_key_fn */

/* Borrowed until the next change.  NULL: unknown. */
const struct roster_host *roster_host(const struct roster *t, uint32_t id);
const struct roster_host *roster_by_name(const struct roster *t, const char *name);
/* i-th host, NULL behind the last. */
const struct roster_host *roster_at(const struct roster *t, unsigned i);
/* The host whose PID block holds pid, or 0. */
uint32_t roster_home_of_pid(const struct roster *t, uint32_t pid, uint32_t block_size);
const struct roster_prefix *roster_prefix_at(const struct roster *t, unsigned i);
uint32_t roster_hostdb(const struct roster *t); /* host that runs hostdb */
/* Our session with named; for registering prefixes, blocks, ... */
struct rpc_peer *roster_named(const struct roster *t);
/* A peer for a service on a host of the roster, address included; NULL: unknown. */
struct rpc_peer *roster_peer(struct roster *t, uint32_t host, enum rpc_service s);

#endif
