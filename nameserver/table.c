/* table.c -- see table.h. */
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

/* Full at every power of two: the arrays need not remember their capacity. */
static int room(void **mem, unsigned n, size_t size)
{
	void *p;

	if (n & (n - 1))
		return 0;
	p = reallocarray(*mem, n ? (size_t)n * 2 : 1, size);
	if (!p)
		return -ENOMEM;
	*mem = p;
	return 0;
}

#define ROOM(kind, array, count)                                    \
	int table_room_##kind(struct table *t)                      \
	{                                                           \
		void *p = t->array;                                 \
		int r = room(&p, t->count, sizeof(*t->array));      \
                                                                    \
		t->array = p;                                       \
		return r;                                           \
	}
ROOM(host, hosts, nhosts)
ROOM(prefix, prefixes, nprefixes)
ROOM(block, blocks, nblocks)
ROOM(token, tokens, ntokens)
#undef ROOM

void table_fini(struct table *t)
{
	if (t->tokens)
		sodium_memzero(t->tokens, t->ntokens * sizeof(*t->tokens));
	free(t->hosts);
	free(t->prefixes);
	free(t->blocks);
	free(t->tokens);
	*t = (struct table){ 0 };
}

struct roster_host *table_host(const struct table *t, uint32_t id)
{
	for (unsigned i = 0; i < t->nhosts; i++) {
		if (t->hosts[i].id == id)
			return &t->hosts[i];
	}
	return NULL;
}

struct roster_host *table_host_named(const struct table *t, const char *name)
{
	for (unsigned i = 0; i < t->nhosts; i++) {
		if (!t->hosts[i].removed && !strcmp(t->hosts[i].name, name))
			return &t->hosts[i];
	}
	return NULL;
}

struct roster_host *table_host_at_addr(const struct table *t, const char *addr)
{
	for (unsigned i = 0; i < t->nhosts; i++) {
		if (!t->hosts[i].removed && !strcmp(t->hosts[i].addr, addr))
			return &t->hosts[i];
	}
	return NULL;
}

struct roster_host *table_host_with_key(const struct table *t, const uint8_t key[32])
{
	for (unsigned i = 0; i < t->nhosts; i++) {
		if (!t->hosts[i].removed && !memcmp(t->hosts[i].key, key, 32))
			return &t->hosts[i];
	}
	return NULL;
}

struct roster_prefix *table_prefix(const struct table *t, const char *prefix)
{
	for (unsigned i = 0; i < t->nprefixes; i++) {
		if (!strcmp(t->prefixes[i].prefix, prefix))
			return &t->prefixes[i];
	}
	return NULL;
}

struct store_block *table_block(const struct table *t, uint32_t first)
{
	for (unsigned i = 0; i < t->nblocks; i++) {
		if (t->blocks[i].first == first)
			return &t->blocks[i];
	}
	return NULL;
}

struct store_token *table_token(const struct table *t, uint64_t id)
{
	for (unsigned i = 0; i < t->ntokens; i++) {
		if (t->tokens[i].id == id)
			return &t->tokens[i];
	}
	return NULL;
}

static int read_host(void *arg, const struct roster_host *h)
{
	struct table *t = arg;
	int r = table_room_host(t);

	if (!r)
		t->hosts[t->nhosts++] = *h;
	return r;
}

static int read_prefix(void *arg, const struct roster_prefix *p)
{
	struct table *t = arg;
	int r = table_room_prefix(t);

	if (!r)
		t->prefixes[t->nprefixes++] = *p;
	return r;
}

static int read_block(void *arg, const struct store_block *b)
{
	struct table *t = arg;
	int r = table_room_block(t);

	if (!r)
		t->blocks[t->nblocks++] = *b;
	return r;
}

static int read_token(void *arg, const struct store_token *k)
{
	struct table *t = arg;
	int r = table_room_token(t);

	if (!r)
		t->tokens[t->ntokens++] = *k;
	return r;
}

struct store_reader table_reader(struct table *t)
{
	return (struct store_reader){ read_host, read_prefix, read_block,
				      read_token, t };
}

void table_drop_prefix(struct table *t, struct roster_prefix *p)
{
	*p = t->prefixes[--t->nprefixes];
}

void table_drop_prefixes_of(struct table *t, uint32_t host)
{
	for (unsigned i = t->nprefixes; i-- > 0;) {
		if (t->prefixes[i].host == host)
			table_drop_prefix(t, &t->prefixes[i]);
	}
}

void table_drop_tokens(struct table *t, int64_t expired_before)
{
	for (unsigned i = t->ntokens; i-- > 0;) {
		if (t->tokens[i].expires < expired_before) {
			t->tokens[i] = t->tokens[--t->ntokens];
			sodium_memzero(&t->tokens[t->ntokens], sizeof(*t->tokens));
		}
	}
}
