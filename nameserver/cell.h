#ifndef NAMESERVER_CELL_H
#define NAMESERVER_CELL_H
/*
 * cell.h -- what the name server knows and the rules for changing it: members,
 * prefixes, PID blocks, tokens.  Knows nothing of connections.
 *
 * All of it is in memory; a change is on disk before it is in memory, and one
 * that cannot be made durable is refused.  Functions return 0 or a negative
 * errno and then leave a sentence for the user in why (of WHY_MAX bytes).
 * The time, where it matters, is an argument: seconds since the epoch.
 */
#include <stdint.h>

#include "roster.h"
#include "store.h"

#define WHY_MAX 256
/* Kept so long after it expired, to say so instead of just refusing. */
#define TOKEN_REMEMBER_SECS 86400
#define TOKENS_MAX 10000
/* Of the kernel: no PID reaches it. */
#define PID_LIMIT 4194304u

struct cell;

/*
 * Open the tables at path.  A new database begins with this host as the only
 * member.  conf is who we are; its address and ports are taken over into the
 * roster if they changed.
 */
int cell_open(const char *path, const struct hostconf *conf,
	      const uint8_t key[32], char *why, struct cell **ret);
void cell_close(struct cell *c);
struct store *cell_store(struct cell *c);

const struct store_cell *cell_self(const struct cell *c);
/* The i-th, NULL behind the last.  Borrowed until the next change. */
const struct roster_host *cell_host_at(const struct cell *c, unsigned i);
const struct roster_prefix *cell_prefix_at(const struct cell *c, unsigned i);
const struct store_block *cell_block_at(const struct cell *c, unsigned i);
/* A member that was not removed.  -ENOENT. */
int cell_key(const struct cell *c, uint32_t host, uint8_t ret_key[32]);

/* A token with id and secret made by the caller. */
int cell_token_add(struct cell *c, uint64_t id, const uint8_t psk[32],
		   uint32_t lifetime_secs, int64_t now, char *why);
/* Also of one that is used or too old: cell_join says which.  -ENOENT. */
int cell_token_psk(const struct cell *c, uint64_t id, uint8_t ret_psk[32]);

struct cell_joiner {
	uint64_t token;
	const char *name, *addr;
	uint8_t key[32];
};

/*
 * Let a stranger in.  Asked again by the same key with the same token (its
 * answer was lost), or by a member that shows its own key under its own name,
 * it answers with the host that already is.
 */
int cell_join(struct cell *c, const struct cell_joiner *j, int64_t now,
	      const struct roster_host **ret, char *why);
int cell_remove(struct cell *c, const char *name, uint32_t *ret_host, char *why);
int cell_prefix_set(struct cell *c, uint32_t host, const char *prefix,
		    uint64_t domain, char *why);
int cell_prefix_del(struct cell *c, uint32_t host, const char *prefix, char *why);
/* One more block for a host that has `have` of them. */
int cell_block(struct cell *c, uint32_t host, uint32_t have, uint32_t *ret_first,
	       char *why);

#endif
