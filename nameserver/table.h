#ifndef NAMESERVER_TABLE_H
#define NAMESERVER_TABLE_H
/*
 * table.h -- the four growing arrays of a cell, and finding things in them.
 *
 * A cell has at most a few thousand hosts (PID blocks bound them) and changes
 * rarely, so arrays and linear search are enough.
 */
#include "store.h"

struct table {
	struct roster_host *hosts;
	struct roster_prefix *prefixes;
	struct store_block *blocks;
	struct store_token *tokens;
	unsigned nhosts, nprefixes, nblocks, ntokens;
};

/* Room for one more; -ENOMEM.  After it the add of the same kind cannot fail. */
int table_room_host(struct table *t);
int table_room_prefix(struct table *t);
int table_room_block(struct table *t);
int table_room_token(struct table *t);

void table_fini(struct table *t);

struct roster_host *table_host(const struct table *t, uint32_t id);
/* Among those not removed. */
struct roster_host *table_host_named(const struct table *t, const char *name);
struct roster_host *table_host_at_addr(const struct table *t, const char *addr);
struct roster_host *table_host_with_key(const struct table *t, const uint8_t key[32]);
struct roster_prefix *table_prefix(const struct table *t, const char *prefix);
struct store_block *table_block(const struct table *t, uint32_t first);
struct store_token *table_token(const struct table *t, uint64_t id);

/* Fill the reader so that store_load fills the table. */
struct store_reader table_reader(struct table *t);
void table_drop_prefix(struct table *t, struct roster_prefix *p);
void table_drop_prefixes_of(struct table *t, uint32_t host);
void table_drop_tokens(struct table *t, int64_t expired_before);

#endif
