/*
 * cell.c -- see cell.h.
 *
 * The order of every change: check the rules, make room in memory, commit on
 * disk, then change memory, which can no longer fail.  A host's number is
 * never given again, so that an old key or an old PID cannot be taken for a
 * newcomer's.
 *
 * Host k has the block of PIDs from k times the block size on, as long as
 * there is one; later blocks are taken from the top down, out of the way of
 * hosts still to come.
 */
#include "cell.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

struct cell {
	struct store *store;
	struct store_cell self;
	uint32_t host; /* ours */
	struct table t;
};

static int refuse(char *why, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(char *why, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, WHY_MAX, fmt, ap);
	va_end(ap);
	return r;
}

/* The disk's word on a change that was otherwise in order. */
static int stored(char *why, int r)
{
	if (r == -ENOSPC)
		refuse(why, r, "the name server's disk is full, nothing was "
		       "changed; make room on it and try again");
	else if (r)
		refuse(why, r, "the name server cannot write its database (%s), "
		       "nothing was changed; its log has more", strerror(-r));
	return r;
}

static int no_memory(char *why)
{
	return refuse(why, -ENOMEM, "the name server is out of memory");
}

static uint64_t next_version(const struct cell *c)
{
	return c->self.version + 1;
}

static void fill_own(struct roster_host *h, const struct hostconf *conf,
		     const uint8_t key[32])
{
	memcpy(h->addr, conf->addr, sizeof(h->addr));
	memcpy(h->port, conf->port, sizeof(h->port));
	memcpy(h->key, key, sizeof(h->key));
}

static int found(struct cell *c, const struct hostconf *conf,
		 const uint8_t key[32], char *why)
{
	struct roster_host h = { .id = conf->host, .pid_block = conf->pid_block };
	struct store_reader to = table_reader(&c->t);
	int r;

	memcpy(h.name, conf->name, sizeof(h.name));
	fill_own(&h, conf, key);
	memcpy(c->self.name, conf->cell, sizeof(c->self.name));
	c->self.block_size = conf->pid_block_size;
	c->self.hostdb_host = conf->host;
	c->self.version = 1;
	r = store_found(c->store, &c->self, &h);
	if (r)
		return stored(why, r);
	r = to.host(to.arg, &h);
	if (!r)
		r = to.block(to.arg, &(struct store_block){ h.pid_block, h.id });
	return r ? no_memory(why) : 0;
}

/* Our own address or key may have changed since last time. */
static int refresh(struct cell *c, const struct hostconf *conf,
		   const uint8_t key[32], char *why)
{
	struct roster_host *own = table_host(&c->t, conf->host), now;
	int r;

	if (strcmp(c->self.name, conf->cell) != 0 || !own || own->removed ||
	    c->self.block_size != conf->pid_block_size)
		return refuse(why, -EINVAL, "named.db is of the cell %s and "
			      "host.conf says otherwise; put back the one that "
			      "belongs to the other", c->self.name);
	now = *own;
	fill_own(&now, conf, key);
	if (!strcmp(now.addr, own->addr) && !memcmp(now.key, own->key, 32) &&
	    !memcmp(now.port, own->port, sizeof(now.port)))
		return 0;
	r = store_change(c->store, &now, 0, next_version(c));
	if (r)
		return stored(why, r);
	*own = now;
	c->self.version++;
	return 0;
}

int cell_open(const char *path, const struct hostconf *conf,
	      const uint8_t key[32], char *why, struct cell **ret)
{
	struct cell *c = calloc(1, sizeof(*c));
	struct store_reader to;
	int r;

	if (!c)
		return no_memory(why);
	c->host = conf->host;
	r = store_open(path, &c->store, why, WHY_MAX);
	if (r)
		goto fail;
	to = table_reader(&c->t);
	r = store_load(c->store, &c->self, &to);
	if (r == -ENOENT)
		r = found(c, conf, key, why);
	else if (r)
		refuse(why, r, "%s cannot be read: %s; put back a copy of it",
		       path, strerror(-r));
	else
		r = refresh(c, conf, key, why);
	if (r)
		goto fail;
	*ret = c;
	return 0;
fail:
	cell_close(c);
	return r;
}

void cell_close(struct cell *c)
{
	if (!c)
		return;
	store_close(c->store);
	table_fini(&c->t);
	free(c);
}

struct store *cell_store(struct cell *c)
{
	return c->store;
}

const struct store_cell *cell_self(const struct cell *c)
{
	return &c->self;
}

const struct roster_host *cell_host_at(const struct cell *c, unsigned i)
{
	return i < c->t.nhosts ? &c->t.hosts[i] : NULL;
}

const struct roster_prefix *cell_prefix_at(const struct cell *c, unsigned i)
{
	return i < c->t.nprefixes ? &c->t.prefixes[i] : NULL;
}

const struct store_block *cell_block_at(const struct cell *c, unsigned i)
{
	return i < c->t.nblocks ? &c->t.blocks[i] : NULL;
}

int cell_key(const struct cell *c, uint32_t host, uint8_t ret_key[32])
{
	const struct roster_host *h = table_host(&c->t, host);

	if (!h || h->removed)
		return -ENOENT;
	memcpy(ret_key, h->key, 32);
	return 0;
}

/* ---- tokens ---- */

int cell_token_add(struct cell *c, uint64_t id, const uint8_t psk[32],
		   uint32_t lifetime_secs, int64_t now, char *why)
{
	struct store_token t = { .id = id, .expires = now + lifetime_secs };
	int64_t then = now - TOKEN_REMEMBER_SECS;
	int r;

	r = store_prune(c->store, then);
	if (r)
		return stored(why, r);
	table_drop_tokens(&c->t, then);
	if (c->t.ntokens >= TOKENS_MAX)
		return refuse(why, -ENOBUFS, "there are %d tokens already; wait "
			      "until some have expired", TOKENS_MAX);
	memcpy(t.psk, psk, sizeof(t.psk));
	if (table_room_token(&c->t))
		return no_memory(why);
	r = store_token(c->store, &t);
	if (r)
		return stored(why, r);
	c->t.tokens[c->t.ntokens++] = t;
	return 0;
}

int cell_token_psk(const struct cell *c, uint64_t id, uint8_t ret_psk[32])
{
	const struct store_token *t = table_token(&c->t, id);

	if (!t)
		return -ENOENT;
	memcpy(ret_psk, t->psk, 32);
	return 0;
}

/* ---- members ---- */

static bool name_ok(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
			     "XYZ0123456789_-.");

	return n > 0 && n <= HOST_NAME_MAX_LEN && !s[n] && s[0] != '-' &&
	       s[0] != '.';
}

static bool addr_ok(const char *s)
{
	struct in6_addr any;

	return strlen(s) < sizeof(((struct roster_host *)NULL)->addr) &&
	       (inet_pton(AF_INET, s, &any) == 1 ||
		inet_pton(AF_INET6, s, &any) == 1);
}

static uint32_t blocks_in_all(const struct cell *c)
{
	return PID_LIMIT / c->self.block_size;
}

static bool block_free(const struct cell *c, uint32_t number)
{
	return number > 0 && number < blocks_in_all(c) &&
	       !table_block(&c->t, number * c->self.block_size);
}

/* The wanted one, else the highest free one, else one of a host that was
 * removed; 0: none is left. */
static uint32_t pick_block(const struct cell *c, uint32_t wanted)
{
	const struct roster_host *h;

	if (block_free(c, wanted))
		return wanted * c->self.block_size;
	for (uint32_t n = blocks_in_all(c); n-- > 1;) {
		if (block_free(c, n))
			return n * c->self.block_size;
	}
	for (unsigned i = 0; i < c->t.nblocks; i++) {
		h = table_host(&c->t, c->t.blocks[i].host);
		if (!h || h->removed)
			return c->t.blocks[i].first;
	}
	return 0;
}

/* There is room for it.  A host's blocks stand in the order they were given. */
static void block_given(struct cell *c, struct store_block b)
{
	struct store_block *old = table_block(&c->t, b.first);
	struct store_block *last;

	if (old) {
		last = &c->t.blocks[--c->t.nblocks];
		memmove(old, old + 1, (size_t)(last - old) * sizeof(*old));
	}
	c->t.blocks[c->t.nblocks++] = b;
}

static int no_block(const struct cell *c, char *why)
{
	return refuse(why, -ENOSPC, "all %u blocks of %u PIDs are given; remove "
		      "a host that is no longer used", blocks_in_all(c) - 1,
		      c->self.block_size);
}

static int token_good(const struct store_token *t, const struct cell_joiner *j,
		      const struct cell *c, int64_t now, char *why)
{
	const struct roster_host *h;

	if (!t)
		return refuse(why, -EKEYREJECTED, "the name server does not know "
			      "this token; `sprite token` makes a new one");
	h = t->host ? table_host(&c->t, t->host) : NULL;
	if (h && !h->removed && !memcmp(h->key, j->key, 32))
		return 0; /* its answer was lost */
	if (t->host)
		return refuse(why, -EKEYREJECTED, "this token was used already, by "
			      "%s, and admits one host; `sprite token` makes a "
			      "new one", h ? h->name : "a former member");
	if (now > t->expires)
		return refuse(why, -EKEYEXPIRED, "this token expired %lld minutes "
			      "ago; `sprite token` makes a new one",
			      (long long)(now - t->expires) / 60 + 1);
	return 0;
}

/* The member that the joiner is already, NULL if it is new. */
static int is_member(struct cell *c, const struct cell_joiner *j,
		     struct roster_host **ret, char *why)
{
	struct roster_host *by_key = table_host_with_key(&c->t, j->key);
	struct roster_host *by_name = table_host_named(&c->t, j->name);
	struct roster_host *by_addr = table_host_at_addr(&c->t, j->addr);

	if (by_key && by_key != by_name)
		return refuse(why, -EEXIST, "this host is in the cell already, as "
			      "%s; join under that name, or `sprite remove %s` "
			      "first", by_key->name, by_key->name);
	if (by_name && by_name != by_key)
		return refuse(why, -EEXIST, "the cell has another host called %s; "
			      "choose another --name, or `sprite remove %s` if it "
			      "is gone for good", j->name, j->name);
	if (by_addr && by_addr != by_key)
		return refuse(why, -EEXIST, "the cell's host %s has the address "
			      "%s; give this host's own with --addr", by_addr->name,
			      j->addr);
	*ret = by_key;
	return 0;
}

static int add_member(struct cell *c, const struct cell_joiner *j,
		      struct roster_host **ret, char *why)
{
	struct roster_host h = { .port = { [SVC_NAMED] = PORT_NAMED,
					   [SVC_FSD] = PORT_FSD,
					   [SVC_MIGD] = PORT_MIGD,
					   [SVC_HOSTDB] = PORT_HOSTDB } };
	int r;

	for (unsigned i = 0; i < c->t.nhosts; i++) {
		if (c->t.hosts[i].id > h.id)
			h.id = c->t.hosts[i].id;
	}
	h.id++;
	h.pid_block = pick_block(c, h.id);
	if (!h.pid_block)
		return no_block(c, why);
	memcpy(h.name, j->name, strlen(j->name) + 1);
	memcpy(h.addr, j->addr, strlen(j->addr) + 1);
	memcpy(h.key, j->key, sizeof(h.key));
	if (table_room_host(&c->t) || table_room_block(&c->t))
		return no_memory(why);
	r = store_join(c->store, &h, j->token, next_version(c));
	if (r)
		return stored(why, r);
	c->self.version++;
	block_given(c, (struct store_block){ h.pid_block, h.id });
	*ret = &c->t.hosts[c->t.nhosts++];
	**ret = h;
	return 0;
}

static int renew_member(struct cell *c, const struct cell_joiner *j,
			struct roster_host *h, char *why)
{
	struct roster_host now = *h;
	int r;

	memcpy(now.addr, j->addr, strlen(j->addr) + 1);
	r = store_change(c->store, &now, j->token, next_version(c));
	if (r)
		return stored(why, r);
	*h = now;
	c->self.version++;
	return 0;
}

int cell_join(struct cell *c, const struct cell_joiner *j, int64_t now,
	      const struct roster_host **ret, char *why)
{
	struct store_token *t = table_token(&c->t, j->token);
	struct roster_host *h = NULL;
	int r;

	if (!name_ok(j->name))
		return refuse(why, -EINVAL, "that cannot be a host's name: 1 to %d "
			      "letters, digits, - _ and .; choose one with --name",
			      HOST_NAME_MAX_LEN);
	if (!addr_ok(j->addr))
		return refuse(why, -EINVAL, "that is not a numeric address; give "
			      "this host's own with --addr");
	r = token_good(t, j, c, now, why);
	if (!r)
		r = is_member(c, j, &h, why);
	if (!r)
		r = h ? renew_member(c, j, h, why) : add_member(c, j, &h, why);
	if (r)
		return r;
	t->host = h->id;
	*ret = h;
	return 0;
}

int cell_remove(struct cell *c, const char *name, uint32_t *ret_host, char *why)
{
	struct roster_host *h = table_host_named(&c->t, name);
	int r;

	if (!h)
		return refuse(why, -ENOENT, "the cell has no host called %.64s; "
			      "`sprite hosts` lists them", name);
	if (h->id == c->host)
		return refuse(why, -EBUSY, "%s runs the name server and cannot be "
			      "removed", h->name);
	r = store_remove(c->store, h->id, next_version(c));
	if (r)
		return stored(why, r);
	c->self.version++;
	h->removed = true;
	table_drop_prefixes_of(&c->t, h->id);
	*ret_host = h->id;
	return 0;
}

/* ---- prefixes ---- */

static bool prefix_ok(const char *p)
{
	size_t n = strlen(p);
	const char *part;

	if (p[0] != '/' || n >= sizeof(((struct roster_prefix *)NULL)->prefix))
		return false;
	if (n == 1)
		return true;
	for (part = p; *part; part += strcspn(part, "/")) {
		part++;
		if (*part == '/' || !*part || !strncmp(part, "./", 2) ||
		    !strcmp(part, ".") || !strncmp(part, "../", 3) ||
		    !strcmp(part, ".."))
			return false;
	}
	return true;
}

int cell_prefix_set(struct cell *c, uint32_t host, const char *prefix,
		    uint64_t domain, char *why)
{
	struct roster_prefix *old = table_prefix(&c->t, prefix);
	struct roster_prefix p = { .host = host, .domain = domain };
	const struct roster_host *h;
	int r;

	if (!prefix_ok(prefix))
		return refuse(why, -EINVAL, "a prefix is a path as seen below the "
			      "mount, like /src, without . and .. in it");
	if (old && old->host == host && old->domain == domain)
		return 0;
	if (old && old->host != host) {
		h = table_host(&c->t, old->host);
		return refuse(why, -EEXIST, "%.128s is served by %s; end that "
			      "export first", prefix, h ? h->name : "another host");
	}
	memcpy(p.prefix, prefix, strlen(prefix) + 1);
	if (table_room_prefix(&c->t))
		return no_memory(why);
	r = store_prefix_set(c->store, &p, next_version(c));
	if (r)
		return stored(why, r);
	c->self.version++;
	old = table_prefix(&c->t, prefix); /* the room may have moved it */
	if (old)
		*old = p;
	else
		c->t.prefixes[c->t.nprefixes++] = p;
	return 0;
}

int cell_prefix_del(struct cell *c, uint32_t host, const char *prefix, char *why)
{
	struct roster_prefix *p = table_prefix(&c->t, prefix);
	int r;

	if (!p)
		return 0; /* asked again */
	if (p->host != host)
		return refuse(why, -EPERM, "%.128s is served by another host, only "
			      "that can give it up", prefix);
	r = store_prefix_del(c->store, prefix, next_version(c));
	if (r)
		return stored(why, r);
	c->self.version++;
	table_drop_prefix(&c->t, p);
	return 0;
}

/* ---- PIDs ---- */

int cell_block(struct cell *c, uint32_t host, uint32_t have, uint32_t *ret_first,
	       char *why)
{
	struct store_block b = { .host = host };
	uint32_t n = 0;
	int r;

	for (unsigned i = 0; i < c->t.nblocks; i++) {
		if (c->t.blocks[i].host != host)
			continue;
		if (n++ == have) {
			*ret_first = c->t.blocks[i].first;
			return 0;
		}
	}
	if (n != have)
		return refuse(why, -EINVAL, "the host has %u PID blocks, not %u",
			      n, have);
	b.first = pick_block(c, 0);
	if (!b.first)
		return no_block(c, why);
	if (table_room_block(&c->t))
		return no_memory(why);
	r = store_block(c->store, &b, next_version(c));
	if (r)
		return stored(why, r);
	c->self.version++;
	block_given(c, b);
	*ret_first = b.first;
	return 0;
}
