#ifndef NAMESERVER_STORE_H
#define NAMESERVER_STORE_H
/*
 * store.h -- the cell's tables on disk.
 *
 * Each function is one transaction: when it returns 0 the change and the
 * table's new version survive a power cut; otherwise nothing has changed.
 * Nothing is decided here and nothing is read after store_load: cell.c does
 * the one and holds what is in memory.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "roster.h"

struct store;

struct store_token {
	uint64_t id;
	uint8_t psk[32];
	int64_t expires; /* seconds since the epoch */
	uint32_t host;	 /* that came in with it; 0: unused */
};

struct store_block {
	uint32_t first, host;
};

/* What store_load finds, row by row; a negative errno ends it. */
struct store_reader {
	int (*host)(void *arg, const struct roster_host *h);
	int (*prefix)(void *arg, const struct roster_prefix *p);
	int (*block)(void *arg, const struct store_block *b);
	int (*token)(void *arg, const struct store_token *t);
	void *arg;
};

/* The cell's name, the size of a PID block and the host that runs hostdb. */
struct store_cell {
	char name[HOST_NAME_MAX_LEN + 1];
	uint32_t block_size, hostdb_host;
	uint64_t version;
};

/* ":memory:" works.  err holds a sentence on failure. */
int store_open(const char *path, struct store **ret, char *err, size_t cap);
void store_close(struct store *s);
/* -ENOENT: a new database, to be begun with store_found. */
int store_load(struct store *s, struct store_cell *ret, const struct store_reader *to);

int store_found(struct store *s, const struct store_cell *c,
		const struct roster_host *first);
/* A member comes in, with its block; token 0: without one. */
int store_join(struct store *s, const struct roster_host *h, uint64_t token,
	       uint64_t version);
/* A member's address, ports or key are other ones now. */
int store_change(struct store *s, const struct roster_host *h, uint64_t token,
		 uint64_t version);
/* Its prefixes go as well; the row stays, so that its number is not given again. */
int store_remove(struct store *s, uint32_t host, uint64_t version);
int store_prefix_set(struct store *s, const struct roster_prefix *p,
		     uint64_t version);
int store_prefix_del(struct store *s, const char *prefix, uint64_t version);
int store_block(struct store *s, const struct store_block *b, uint64_t version);
int store_token(struct store *s, const struct store_token *t);
/* Forget tokens that expired before then. */
int store_prune(struct store *s, int64_t then);
/* For tests: let the disk be full at this many pages. */
int store_limit_pages(struct store *s, unsigned pages);

#endif
