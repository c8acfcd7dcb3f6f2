/*
 * roster.c -- see roster.h.
 *
 * The whole table comes with every change: a cell's roster is small and
 * changes rarely, and a table that is always replaced whole cannot drift.
 * Hosts are kept sorted by id.  Between calls of changed the arrays do not
 * move, so borrowed entries stay good until then.
 */
#include "roster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "fd.h"
#include "log.h"
#include "named_msg.h"
#include "prog.h"
#include "status.h"

#define HOSTS_MAX    65536u
#define PREFIXES_MAX 65536u
#define BLOCKS_MAX   65536u
#define CACHE_MAX    (8u << 20)
#define WATCH_MS     10000u
#define AGAIN_MS     2000u

struct block {
	uint32_t first, host;
};

struct table {
	struct roster_host *hosts;
	size_t nhosts;
	struct roster_prefix *prefixes;
	size_t nprefixes;
	struct block *blocks;
	size_t nblocks;
	uint64_t version;
	uint32_t hostdb;
};

struct roster {
	struct hostconf conf;
	void (*changed)(void *arg);
	void *arg;
	uint8_t own_key[32];
	bool have_own_key;
	struct rpc *r;
	struct env *env;
	struct rpc_peer *named;
	struct timer again;
	struct table t;
};

static void table_free(struct table *t)
{
	free(t->hosts);
	free(t->prefixes);
	free(t->blocks);
	*t = (struct table){0};
}

/* ---- from and to messages ---- */

static int copy_str(char *to, size_t cap, const char *from)
{
	size_t len = strlen(from);

	if (len >= cap)
		return -EBADMSG;
	memcpy(to, from, len + 1);
	return 0;
}

static bool numeric(const char *addr)
{
	struct in6_addr any;

	return inet_pton(AF_INET, addr, &any) == 1 ||
	       inet_pton(AF_INET6, addr, &any) == 1;
}

static int to_host(const struct msg_roster_host *m, struct roster_host *ret)
{
	struct roster_host h = {.id = m->id,
				.port = {[SVC_NAMED] = m->port_named,
					 [SVC_FSD] = m->port_fsd,
					 [SVC_MIGD] = m->port_migd,
					 [SVC_HOSTDB] = m->port_hostdb},
				.pid_block = m->pid_block,
				.removed = m->removed != 0};

	if (!m->id || m->key.len != sizeof(h.key) || !numeric(m->addr) ||
	    copy_str(h.name, sizeof(h.name), m->name) ||
	    copy_str(h.addr, sizeof(h.addr), m->addr))
		return -EBADMSG;
	memcpy(h.key, m->key.p, sizeof(h.key));
	*ret = h;
	return 0;
}

/* Make room for one more element at p, doubling. */
static void *grow(void *p, size_t n, size_t size)
{
	if (n & (n - 1))
		return p;
	return realloc(p, (n ? 2 * n : 1) * size);
}

static int take_hosts(struct table *t, struct wire_blob blob)
{
	struct wire_reader r = wire_reader(blob.p, blob.len);

	while (r.left) {
		struct msg_roster_host m = msg_roster_host_get(&r);
		struct roster_host *more;

		if (r.failed || t->nhosts == HOSTS_MAX)
			return -EBADMSG;
		more = grow(t->hosts, t->nhosts, sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->hosts = more;
		if (to_host(&m, &t->hosts[t->nhosts]))
			return -EBADMSG;
		t->nhosts++;
	}
	return 0;
}

static int take_prefixes(struct table *t, struct wire_blob blob)
{
	struct wire_reader r = wire_reader(blob.p, blob.len);

	while (r.left) {
		struct msg_roster_prefix m = msg_roster_prefix_get(&r);
		struct roster_prefix *more, *p;

		if (r.failed || t->nprefixes == PREFIXES_MAX)
			return -EBADMSG;
		more = grow(t->prefixes, t->nprefixes, sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->prefixes = more;
		p = &t->prefixes[t->nprefixes];
		*p = (struct roster_prefix){.host = m.host, .domain = m.domain};
		if (*m.prefix != '/' ||
		    copy_str(p->prefix, sizeof(p->prefix), m.prefix))
			return -EBADMSG;
		t->nprefixes++;
	}
	return 0;
}

static int take_blocks(struct table *t, struct wire_blob blob)
{
	struct wire_reader r = wire_reader(blob.p, blob.len);

	while (r.left) {
		struct msg_roster_block m = msg_roster_block_get(&r);
		struct block *more;

		if (r.failed || t->nblocks == BLOCKS_MAX)
			return -EBADMSG;
		more = grow(t->blocks, t->nblocks, sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->blocks = more;
		t->blocks[t->nblocks++] = (struct block){m.first, m.host};
	}
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct roster_host *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int table_make(const struct msg_named_table *m, struct table *ret)
{
	struct table t = {.version = m->version, .hostdb = m->hostdb_host};
	int r = take_hosts(&t, m->hosts);

	if (!r)
		r = take_prefixes(&t, m->prefixes);
	if (!r)
		r = take_blocks(&t, m->blocks);
	if (r) {
		table_free(&t);
		return r;
	}
	if (t.nhosts)
		qsort(t.hosts, t.nhosts, sizeof(*t.hosts), by_id);
	*ret = t;
	return 0;
}

/* ---- the cache: the body of the last table, as it came ---- */

static int table_of_body(const void *body, size_t len, struct table *ret)
{
	struct msg_named_table m;
	int r = msg_named_table_decode(body, len, &m);

	return r ? r : table_make(&m, ret);
}

static void cache_read(struct roster *t)
{
	SCOPED(buf_free) struct buf b = {0};
	char path[PATH_MAX];
	int r = state_path("roster.cache", path, sizeof(path));

	if (!r)
		r = fd_read_file(path, CACHE_MAX, &b);
	if (!r)
		r = table_of_body(buf_data(&b), buf_len(&b), &t->t);
	if (r && r != -ENOENT)
		log_warn("cannot use %s: %s; waiting for named", path,
			 status_text(r));
}

static void cache_write(const void *body, size_t len)
{
	char path[PATH_MAX];
	int r = state_path("roster.cache", path, sizeof(path));

	if (!r)
		r = fd_write_file(path, body, len, 0644);
	if (r)
		log_warn("cannot write %s: %s; a restart without named will "
			 "not know the cell",
			 path, status_text(r));
}

/* ---- changes ---- */

static void follow_host(struct roster *t, const struct roster_host *h)
{
	if (h->removed) {
		rpc_drop_host(t->r, h->id);
		return;
	}
	for (int s = SVC_NAMED; s < SVC_TOOL; s++) {
		struct rpc_peer *p =
			peer_find(t->r, h->id, (enum rpc_service)s);

		if (p && h->port[s])
			rpc_peer_set_addr(p, h->addr, h->port[s]);
	}
}

/* A host that is gone from the table altogether is as removed. */
static void drop_missing(struct roster *t, const struct table *old)
{
	for (size_t i = 0; i < old->nhosts; i++) {
		if (!roster_host(t, old->hosts[i].id))
			rpc_drop_host(t->r, old->hosts[i].id);
	}
}

static void take_body(struct roster *t, const void *body, size_t len)
{
	struct table new, old = t->t;
	int r = table_of_body(body, len, &new);

	if (r) {
		log_warn("named sent a table that cannot be used: %s",
			 status_text(r));
		return;
	}
	t->t = new;
	for (size_t i = 0; i < new.nhosts; i++)
		follow_host(t, &new.hosts[i]);
	drop_missing(t, &old);
	cache_write(body, len);
	if (t->changed)
		t->changed(t->arg);
	table_free(&old);
}

static bool on_note(void *arg, struct rpc_peer *p, const struct rpc_msg *m)
{
	(void)p;
	if (m->code != MSG_named_table)
		return false;
	take_body(arg, m->body, m->len);
	return true;
}

/* named_watching has the fields of named_table, in the same order. */
static void on_watching(void *arg, int status, const struct rpc_msg *m)
{
	struct roster *t = arg;

	if (status == -ECANCELED || status == -ECONNRESET)
		return;
	if (status || !m || m->code != MSG_named_watching) {
		log_warn("named does not give its table: %s",
			 rpc_sentence(status, m));
		env_after(t->env, &t->again, AGAIN_MS);
		return;
	}
	take_body(t, m->body, m->len);
}

static void watch(struct roster *t)
{
	struct msg_named_watch w = {.version = t->t.version};
	uint8_t body[16];
	struct rpc_out o = {.code = MSG_named_watch, .body = body};
	int r = msg_named_watch_encode(&w, body, sizeof(body), &o.len);

	if (!r)
		r = rpc_call(t->named, &o, WATCH_MS, RPC_IDEMPOTENT,
			     on_watching, t, NULL);
	if (r)
		env_after(t->env, &t->again, AGAIN_MS);
}

static void watch_again(struct timer *timer)
{
	struct roster *t = timer->data;

	if (rpc_peer_up(t->named))
		watch(t);
}

static void on_up(void *arg, struct rpc_peer *p, bool restarted)
{
	(void)p;
	(void)restarted;
	watch(arg);
}

/* ---- beginning and end ---- */

struct roster *roster_new(const struct hostconf *c, void (*changed)(void *arg),
			  void *arg)
{
	struct roster *t = calloc(1, sizeof(*t));
	uint8_t secret[32];

	if (!t)
		return NULL;
	t->conf = *c;
	t->changed = changed;
	t->arg = arg;
	t->again = (struct timer){.fire = watch_again, .data = t};
	t->have_own_key = hostkey_load(secret, t->own_key) == 0;
	explicit_bzero(secret, sizeof(secret));
	cache_read(t);
	return t;
}

int roster_start(struct roster *t, struct rpc *r)
{
	struct rpc_peer_hooks h = {
		.on_up = on_up, .on_note = on_note, .arg = t};
	char path[PATH_MAX];
	int e;

	t->r = r;
	t->env = rpc_env(r);
	if (t->conf.named_host == t->conf.host) {
		e = run_path("named.sock", path, sizeof(path));
		if (e)
			return e;
		t->named = rpc_peer_unix(r, SVC_NAMED, path);
	} else {
		t->named = rpc_peer_get(r, t->conf.named_host, SVC_NAMED,
					t->conf.named_addr, t->conf.named_port);
	}
	if (!t->named)
		return -ENOMEM;
	peer_set_inner_hooks(t->named, &h);
	rpc_peer_keep(t->named, true);
	return 0;
}

void roster_free(struct roster *t)
{
	if (!t)
		return;
	if (t->env)
		env_cancel(t->env, &t->again);
	table_free(&t->t);
	free(t);
}

/* ---- questions ---- */

int roster_key(void *roster, uint32_t host, uint8_t ret_key[32])
{
	struct roster *t = roster;
	const struct roster_host *h = roster_host(t, host);
	const uint8_t *key = NULL;

	if (h && h->removed)
		return -ENOENT;
	/* Our own configuration is believed before what we were told. */
	if (host == t->conf.named_host)
		key = t->conf.named_key;
	else if (host == t->conf.host && t->have_own_key)
		key = t->own_key;
	else if (h)
		key = h->key;
	if (!key)
		return -ENOENT;
	memcpy(ret_key, key, 32);
	return 0;
}

const struct roster_host *roster_host(const struct roster *t, uint32_t id)
{
	struct roster_host key = {.id = id};

	return t->t.nhosts ? bsearch(&key, t->t.hosts, t->t.nhosts, sizeof(key),
				     by_id)
			   : NULL;
}

const struct roster_host *roster_by_name(const struct roster *t,
					 const char *name)
{
	const struct roster_host *gone = NULL;

	for (size_t i = 0; i < t->t.nhosts; i++) {
		const struct roster_host *h = &t->t.hosts[i];

		if (strcmp(h->name, name) != 0)
			continue;
		if (!h->removed)
			return h;
		gone = h;
	}
	return gone;
}

const struct roster_host *roster_at(const struct roster *t, unsigned i)
{
	return i < t->t.nhosts ? &t->t.hosts[i] : NULL;
}

uint32_t roster_home_of_pid(const struct roster *t, uint32_t pid,
			    uint32_t block_size)
{
	for (size_t i = 0; i < t->t.nblocks; i++) {
		const struct block *b = &t->t.blocks[i];

		if (pid >= b->first && pid - b->first < block_size)
			return b->host;
	}
	return 0;
}

const struct roster_prefix *roster_prefix_at(const struct roster *t, unsigned i)
{
	return i < t->t.nprefixes ? &t->t.prefixes[i] : NULL;
}

uint32_t roster_hostdb(const struct roster *t)
{
	return t->t.hostdb ? t->t.hostdb : t->conf.named_host;
}

struct rpc_peer *roster_named(const struct roster *t)
{
	return t->named;
}

static struct rpc_peer *own_peer(struct roster *t, enum rpc_service s)
{
	static const char *const socks[] = {[SVC_NAMED] = "named.sock",
					    [SVC_FSD] = "fsd.sock",
					    [SVC_MIGD] = "migd.sock",
					    [SVC_HOSTDB] = "hostdb.sock"};
	char path[PATH_MAX];

	if (run_path(socks[s], path, sizeof(path)))
		return NULL;
	return rpc_peer_unix(t->r, s, path);
}

struct rpc_peer *roster_peer(struct roster *t, uint32_t host,
			     enum rpc_service s)
{
	const struct roster_host *h = roster_host(t, host);

	if (!t->r || s < SVC_NAMED || s >= SVC_TOOL)
		return NULL;
	if (s == SVC_NAMED && host == t->conf.named_host)
		return t->named;
	if (host == t->conf.host)
		return own_peer(t, s);
	if (!h || h->removed || !h->port[s])
		return NULL;
	return rpc_peer_get(t->r, host, s, h->addr, h->port[s]);
}
