/*
 * store.c -- see store.h.
 *
 * Every statement is prepared once, at opening, so that a typing error in SQL
 * is a failure to start.  A token is marked used in the transaction that adds
 * the host it admits: a crash cannot leave one without the other.
 */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "db.h"

#define APP_ID 0x53707264 /* "Sprd" */

/* clang-format off */
static const char schema[] =
	"CREATE TABLE cell ("
	"  one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL,"
	"  block_size INTEGER NOT NULL, hostdb_host INTEGER NOT NULL,"
	"  version INTEGER NOT NULL) STRICT;"
	"CREATE TABLE host ("
	"  id INTEGER PRIMARY KEY, name TEXT NOT NULL, addr TEXT NOT NULL,"
	"  port_named INTEGER NOT NULL, port_fsd INTEGER NOT NULL,"
	"  port_migd INTEGER NOT NULL, port_hostdb INTEGER NOT NULL,"
	"  key BLOB NOT NULL, pid_block INTEGER NOT NULL,"
	"  removed INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE UNIQUE INDEX host_name ON host(name) WHERE removed = 0;"
	"CREATE TABLE prefix ("
	"  prefix TEXT PRIMARY KEY, host INTEGER NOT NULL REFERENCES host(id),"
	"  domain INTEGER NOT NULL) STRICT;"
	"CREATE TABLE block ("
	"  seq INTEGER PRIMARY KEY AUTOINCREMENT, first INTEGER NOT NULL UNIQUE,"
	"  host INTEGER NOT NULL REFERENCES host(id)) STRICT;"
	"CREATE TABLE token ("
	"  id INTEGER PRIMARY KEY, psk BLOB NOT NULL, expires INTEGER NOT NULL,"
	"  host INTEGER NOT NULL DEFAULT 0) STRICT;";

#define STATEMENTS(S) \
	S(BEGIN, "BEGIN IMMEDIATE") \
	S(COMMIT, "COMMIT") \
	S(ROLLBACK, "ROLLBACK") \
	S(VERSION, "UPDATE cell SET version = ?1") \
	S(CELL, "INSERT INTO cell VALUES (1, ?1, ?2, ?3, ?4)") \
	S(HOST_PUT, "INSERT INTO host VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)" \
		    " ON CONFLICT (id) DO UPDATE SET addr = ?3, port_named = ?4," \
		    " port_fsd = ?5, port_migd = ?6, port_hostdb = ?7, key = ?8") \
	S(HOST_REMOVE, "UPDATE host SET removed = 1 WHERE id = ?1") \
	S(HOST_PREFIXES, "DELETE FROM prefix WHERE host = ?1") \
	S(PREFIX_SET, "INSERT INTO prefix VALUES (?1, ?2, ?3)" \
		      " ON CONFLICT (prefix) DO UPDATE SET host = ?2, domain = ?3") \
	S(PREFIX_DEL, "DELETE FROM prefix WHERE prefix = ?1") \
	S(BLOCK, "INSERT OR REPLACE INTO block (first, host) VALUES (?1, ?2)") \
	S(TOKEN, "INSERT INTO token VALUES (?1, ?2, ?3, ?4)") \
	S(TOKEN_USED, "UPDATE token SET host = ?2 WHERE id = ?1") \
	S(PRUNE, "DELETE FROM token WHERE expires < ?1") \
	S(GET_CELL, "SELECT name, block_size, hostdb_host, version FROM cell") \
	S(GET_HOSTS, "SELECT id, name, addr, port_named, port_fsd, port_migd," \
		     " port_hostdb, key, pid_block, removed FROM host ORDER BY id") \
	S(GET_PREFIXES, "SELECT prefix, host, domain FROM prefix ORDER BY prefix") \
	S(GET_BLOCKS, "SELECT first, host FROM block ORDER BY seq") \
	S(GET_TOKENS, "SELECT id, psk, expires, host FROM token")
/* clang-format on */

enum {
#define S(name, sql) ST_##name,
	STATEMENTS(S)
#undef S
	ST_COUNT
};

static const char *const sql[] = {
#define S(name, text) [ST_##name] = text,
	STATEMENTS(S)
#undef S
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *st[ST_COUNT];
};

int store_open(const char *path, struct store **ret, char *err, size_t cap)
{
	static const struct db_kind kind = { "sprite-named", APP_ID, 1, schema };
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	r = db_open(path, &kind, &s->db, err, cap);
	for (int i = 0; !r && i < ST_COUNT; i++) {
		if (sqlite3_prepare_v2(s->db, sql[i], -1, &s->st[i], NULL)) {
			r = db_errno(s->db);
			sqlite3_snprintf((int)cap, err, "%s does not have the "
					 "expected tables: %s", path,
					 sqlite3_errmsg(s->db));
		}
	}
	if (r) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	for (int i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(s->st[i]);
	db_close(s->db);
	free(s);
}

int store_limit_pages(struct store *s, unsigned pages)
{
	char text[64];

	sqlite3_snprintf(sizeof(text), text, "PRAGMA max_page_count=%u", pages);
	return db_exec(s->db, text);
}

/* ---- reading ---- */

static int copy_text(sqlite3_stmt *st, int col, char *to, size_t cap)
{
	const char *p = (const char *)sqlite3_column_text(st, col);
	size_t n = (size_t)sqlite3_column_bytes(st, col);

	if (!p || n >= cap || strlen(p) != n)
		return -ENOTRECOVERABLE;
	memcpy(to, p, n + 1);
	return 0;
}

static int copy_key(sqlite3_stmt *st, int col, uint8_t to[32])
{
	if (sqlite3_column_bytes(st, col) != 32)
		return -ENOTRECOVERABLE;
	memcpy(to, sqlite3_column_blob(st, col), 32);
	return 0;
}

static int read_host(sqlite3_stmt *st, const struct store_reader *to)
{
	struct roster_host h = {
		.id = (uint32_t)sqlite3_column_int64(st, 0),
		.pid_block = (uint32_t)sqlite3_column_int64(st, 8),
		.removed = sqlite3_column_int(st, 9) != 0,
	};
	int r = copy_text(st, 1, h.name, sizeof(h.name));

	for (int i = 0; i < 4; i++)
		h.port[SVC_NAMED + i] = (uint16_t)sqlite3_column_int(st, 3 + i);
	if (!r)
		r = copy_text(st, 2, h.addr, sizeof(h.addr));
	if (!r)
		r = copy_key(st, 7, h.key);
	return r ? r : to->host(to->arg, &h);
}

static int read_prefix(sqlite3_stmt *st, const struct store_reader *to)
{
	struct roster_prefix p = {
		.host = (uint32_t)sqlite3_column_int64(st, 1),
		.domain = (uint64_t)sqlite3_column_int64(st, 2),
	};
	int r = copy_text(st, 0, p.prefix, sizeof(p.prefix));

	return r ? r : to->prefix(to->arg, &p);
}

static int read_block(sqlite3_stmt *st, const struct store_reader *to)
{
	struct store_block b = { (uint32_t)sqlite3_column_int64(st, 0),
				 (uint32_t)sqlite3_column_int64(st, 1) };

	return to->block(to->arg, &b);
}

static int read_token(sqlite3_stmt *st, const struct store_reader *to)
{
	struct store_token t = {
		.id = (uint64_t)sqlite3_column_int64(st, 0),
		.expires = sqlite3_column_int64(st, 2),
		.host = (uint32_t)sqlite3_column_int64(st, 3),
	};
	int r = copy_key(st, 1, t.psk);

	return r ? r : to->token(to->arg, &t);
}

static int each(struct store *s, int i, const struct store_reader *to,
		int (*row)(sqlite3_stmt *st, const struct store_reader *to))
{
	sqlite3_stmt *st = s->st[i];
	int rc, r = 0;

	while (!r && (rc = sqlite3_step(st)) == SQLITE_ROW)
		r = row(st, to);
	if (!r && rc != SQLITE_DONE)
		r = db_errno(s->db);
	sqlite3_reset(st);
	return r;
}

static int read_cell(sqlite3_stmt *st, const struct store_reader *to)
{
	struct store_cell *c = to->arg;

	c->block_size = (uint32_t)sqlite3_column_int64(st, 1);
	c->hostdb_host = (uint32_t)sqlite3_column_int64(st, 2);
	c->version = (uint64_t)sqlite3_column_int64(st, 3);
	return copy_text(st, 0, c->name, sizeof(c->name));
}

int store_load(struct store *s, struct store_cell *ret, const struct store_reader *to)
{
	struct store_cell c = { 0 };
	int r = each(s, ST_GET_CELL, &(struct store_reader){ .arg = &c }, read_cell);

	if (!r && !c.name[0])
		return -ENOENT;
	if (!r)
		r = each(s, ST_GET_HOSTS, to, read_host);
	if (!r)
		r = each(s, ST_GET_PREFIXES, to, read_prefix);
	if (!r)
		r = each(s, ST_GET_BLOCKS, to, read_block);
	if (!r)
		r = each(s, ST_GET_TOKENS, to, read_token);
	if (!r)
		*ret = c;
	return r;
}

/* ---- writing ---- */

static int begin(struct store *s)
{
	return db_run(s->st[ST_BEGIN]);
}

/* Ends the transaction one way or the other; r is its result so far. */
static int end(struct store *s, int r)
{
	if (!r)
		r = db_run(s->st[ST_COMMIT]);
	/* SQLite has rolled back by itself after some errors, not after all. */
	if (r && !sqlite3_get_autocommit(s->db))
		(void)db_run(s->st[ST_ROLLBACK]);
	return r;
}

static int run_i(struct store *s, int i, int64_t a)
{
	int r = db_bind(s->st[i], "i", a);

	return r ? r : db_run(s->st[i]);
}

static int run_ii(struct store *s, int i, int64_t a, int64_t b)
{
	int r = db_bind(s->st[i], "ii", a, b);

	return r ? r : db_run(s->st[i]);
}

static int put_version(struct store *s, uint64_t version)
{
	return run_i(s, ST_VERSION, (int64_t)version);
}

static int put_host(struct store *s, const struct roster_host *h)
{
	sqlite3_stmt *st = s->st[ST_HOST_PUT];
	int r = db_bind(st, "issiiiibi", (int64_t)h->id, h->name, h->addr,
			(int64_t)h->port[SVC_NAMED], (int64_t)h->port[SVC_FSD],
			(int64_t)h->port[SVC_MIGD], (int64_t)h->port[SVC_HOSTDB],
			h->key, sizeof(h->key), (int64_t)h->pid_block);

	return r ? r : db_run(st);
}

static int use_token(struct store *s, uint64_t token, uint32_t host)
{
	return token ? run_ii(s, ST_TOKEN_USED, (int64_t)token, (int64_t)host) : 0;
}

int store_found(struct store *s, const struct store_cell *c,
		const struct roster_host *first)
{
	sqlite3_stmt *st = s->st[ST_CELL];
	int r = begin(s);

	if (!r)
		r = db_bind(st, "siii", c->name, (int64_t)c->block_size,
			    (int64_t)c->hostdb_host, (int64_t)c->version);
	if (!r)
		r = db_run(st);
	if (!r)
		r = put_host(s, first);
	if (!r)
		r = run_ii(s, ST_BLOCK, (int64_t)first->pid_block, (int64_t)first->id);
	return end(s, r);
}

int store_join(struct store *s, const struct roster_host *h, uint64_t token,
	       uint64_t version)
{
	int r = begin(s);

	if (!r)
		r = put_host(s, h);
	if (!r)
		r = run_ii(s, ST_BLOCK, h->pid_block, h->id);
	if (!r)
		r = use_token(s, token, h->id);
	if (!r)
		r = put_version(s, version);
	return end(s, r);
}

int store_change(struct store *s, const struct roster_host *h, uint64_t token,
		 uint64_t version)
{
	int r = begin(s);

	if (!r)
		r = put_host(s, h);
	if (!r)
		r = use_token(s, token, h->id);
	if (!r)
		r = put_version(s, version);
	return end(s, r);
}

int store_remove(struct store *s, uint32_t host, uint64_t version)
{
	int r = begin(s);

	if (!r)
		r = run_i(s, ST_HOST_REMOVE, host);
	if (!r)
		r = run_i(s, ST_HOST_PREFIXES, host);
	if (!r)
		r = put_version(s, version);
	return end(s, r);
}

int store_prefix_set(struct store *s, const struct roster_prefix *p,
		     uint64_t version)
{
	sqlite3_stmt *st = s->st[ST_PREFIX_SET];
	int r = begin(s);

	if (!r)
		r = db_bind(st, "sii", p->prefix, (int64_t)p->host,
			    (int64_t)p->domain);
	if (!r)
		r = db_run(st);
	if (!r)
		r = put_version(s, version);
	return end(s, r);
}

int store_prefix_del(struct store *s, const char *prefix, uint64_t version)
{
	sqlite3_stmt *st = s->st[ST_PREFIX_DEL];
	int r = begin(s);

	if (!r)
		r = db_bind(st, "s", prefix);
	if (!r)
		r = db_run(st);
	if (!r)
		r = put_version(s, version);
	return end(s, r);
}

int store_block(struct store *s, const struct store_block *b, uint64_t version)
{
	int r = begin(s);

	if (!r)
		r = run_ii(s, ST_BLOCK, b->first, b->host);
	if (!r)
		r = put_version(s, version);
	return end(s, r);
}

int store_token(struct store *s, const struct store_token *t)
{
	sqlite3_stmt *st = s->st[ST_TOKEN];
	int r = db_bind(st, "ibii", (int64_t)t->id, t->psk, sizeof(t->psk),
			t->expires, (int64_t)t->host);

	return r ? r : db_run(st);
}

int store_prune(struct store *s, int64_t then)
{
	return run_i(s, ST_PRUNE, then);
}
