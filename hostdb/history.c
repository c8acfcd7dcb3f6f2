/*
 * history.c -- see history.h.
 *
 * Two connections: the thread's writes, the caller's reads.  With WAL neither
 * waits for the other.  The queue is bounded; when the disk cannot keep up,
 * the oldest rows go and their number is said in the log.
 */
#include "history.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "db.h"
#include "log.h"

#define APP_ID 0x53707268 /* "Sprh" */
#define QUEUE 65536u
#define KEEP_ROWS 200000
#define PRUNE_EVERY 10000u
#define GATHER_MS 500

/* clang-format off */
static const char schema[] =
	"CREATE TABLE past ("
	"  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, host INTEGER NOT NULL,"
	"  kind INTEGER NOT NULL, why INTEGER NOT NULL, priority INTEGER NOT NULL,"
	"  home INTEGER NOT NULL, uid INTEGER NOT NULL, name TEXT NOT NULL,"
	"  held_ms INTEGER NOT NULL) STRICT;"
	"CREATE INDEX past_host ON past(host, id);"
	"CREATE TABLE host ("
	"  id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '',"
	"  last_up_ms INTEGER NOT NULL DEFAULT 0, grants INTEGER NOT NULL DEFAULT 0,"
	"  evictions INTEGER NOT NULL DEFAULT 0, reclaims INTEGER NOT NULL DEFAULT 0,"
	"  lost INTEGER NOT NULL DEFAULT 0, held_ms INTEGER NOT NULL DEFAULT 0)"
	"  STRICT;"
	"CREATE TABLE sum (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;";

#define STATEMENTS(S) \
	S(BEGIN, "BEGIN IMMEDIATE") \
	S(COMMIT, "COMMIT") \
	S(ROLLBACK, "ROLLBACK") \
	S(PAST, "INSERT INTO past (at_ms, host, kind, why, priority, home, uid," \
		" name, held_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)") \
	S(HOST, "INSERT INTO host (id, last_up_ms, grants, evictions, reclaims," \
		" lost, held_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)" \
		" ON CONFLICT (id) DO UPDATE SET" \
		" last_up_ms = max(last_up_ms, excluded.last_up_ms)," \
		" grants = grants + excluded.grants," \
		" evictions = evictions + excluded.evictions," \
		" reclaims = reclaims + excluded.reclaims," \
		" lost = lost + excluded.lost," \
		" held_ms = held_ms + excluded.held_ms") \
	S(NAME, "INSERT INTO host (id, name) VALUES (?1, ?2)" \
		" ON CONFLICT (id) DO UPDATE SET name = excluded.name") \
	S(SUM, "INSERT INTO sum VALUES (?1, ?2)" \
	       " ON CONFLICT (name) DO UPDATE SET n = n + excluded.n") \
	S(PRUNE, "DELETE FROM past WHERE id <= (SELECT max(id) FROM past) - ?1")
/* clang-format on */

static const char recent_sql[] =
	"SELECT at_ms, kind, why, priority, home, uid, name, held_ms FROM past"
	" WHERE host = ?1 ORDER BY id DESC LIMIT ?2";

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

static const char *const sum_names[SUMS] = {
	[SUM_STARTS] = "starts",   [SUM_REQUESTS] = "requests",
	[SUM_WANTED] = "wanted",   [SUM_GRANTED] = "granted",
	[SUM_NOTHING] = "nothing",
};

struct row {
	int64_t at_ms;
	uint32_t host;
	bool naming; /* only its name is meant */
	struct past p;
	char host_name[TABLE_NAME_MAX];
};

struct batch {
	struct row *rows; /* QUEUE of them, used as a ring */
	size_t first, n;
	uint64_t sums[SUMS];
	uint64_t dropped;
};

struct history {
	sqlite3 *db;
	sqlite3_stmt *st[ST_COUNT];
	sqlite3 *reader;
	sqlite3_stmt *recent;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t work, done;
	struct batch in; /* being filled */
	bool stop, hurry, busy;
	/* The thread's own. */
	struct batch out;
	uint64_t since_prune;
	bool failing;
};

/* ---- the thread ---- */

static int put_past(struct history *h, const struct row *w)
{
	sqlite3_stmt *st = h->st[ST_PAST];
	const struct past *p = &w->p;
	int r = db_bind(st, "iiiiiiisi", w->at_ms, (int64_t)w->host,
			(int64_t)p->kind, (int64_t)p->why, (int64_t)p->priority,
			(int64_t)p->home, (int64_t)p->uid, p->name,
			(int64_t)p->held_ms);

	return r ? r : db_run(st);
}

static int put_host(struct history *h, const struct row *w)
{
	sqlite3_stmt *st = h->st[ST_HOST];
	const struct past *p = &w->p;
	bool ended = p->kind == PAST_RETURNED || p->kind == PAST_LOST;
	bool up = p->kind == PAST_UP || p->kind == PAST_DOWN;
	int64_t lost = p->kind == PAST_LOST;
	int64_t input = lost && p->why == WHY_INPUT;
	int64_t reclaimed = lost && p->why == WHY_RECLAIMED;
	int r;

	if (!ended && !up)
		return 0;
	r = db_bind(st, "iiiiiii", (int64_t)w->host, up ? w->at_ms : (int64_t)0,
		    (int64_t)ended, input, reclaimed, lost,
		    ended ? (int64_t)p->held_ms : (int64_t)0);
	return r ? r : db_run(st);
}

static int put_row(struct history *h, const struct row *w)
{
	int r;

	if (w->naming) {
		r = db_bind(h->st[ST_NAME], "is", (int64_t)w->host, w->host_name);
		return r ? r : db_run(h->st[ST_NAME]);
	}
	r = put_past(h, w);
	h->since_prune++;
	return r ? r : put_host(h, w);
}

static int put_sums(struct history *h, const uint64_t *sums)
{
	int r = 0;

	for (int i = 0; !r && i < SUMS; i++) {
		if (!sums[i])
			continue;
		r = db_bind(h->st[ST_SUM], "si", sum_names[i], (int64_t)sums[i]);
		if (!r)
			r = db_run(h->st[ST_SUM]);
	}
	return r;
}

static int prune(struct history *h)
{
	int r;

	if (h->since_prune < PRUNE_EVERY)
		return 0;
	h->since_prune = 0;
	r = db_bind(h->st[ST_PRUNE], "i", (int64_t)KEEP_ROWS);
	return r ? r : db_run(h->st[ST_PRUNE]);
}

static int write_batch(struct history *h, const struct batch *b)
{
	int r = db_run(h->st[ST_BEGIN]);

	for (size_t i = 0; !r && i < b->n; i++)
		r = put_row(h, &b->rows[(b->first + i) % QUEUE]);
	if (!r)
		r = put_sums(h, b->sums);
	if (!r)
		r = prune(h);
	if (!r)
		r = db_run(h->st[ST_COMMIT]);
	if (r && !sqlite3_get_autocommit(h->db))
		(void)db_run(h->st[ST_ROLLBACK]);
	return r;
}

static void report(struct history *h, int r)
{
	if (h->out.dropped)
		log_warn("the disk is too slow: %llu rows of history were dropped",
			 (unsigned long long)h->out.dropped);
	if (r && !h->failing)
		log_error("history cannot be written (%s): hosts are lent on, but "
			  "what happens is not recorded until there is room",
			  strerror(-r));
	if (!r && h->failing)
		log_info("history is recorded again");
	h->failing = r != 0;
}

static void swap(struct history *h)
{
	struct batch b = h->out;

	h->out = h->in;
	h->in = b;
	h->in.first = h->in.n = 0;
	h->in.dropped = 0;
	memset(h->in.sums, 0, sizeof(h->in.sums));
}

static bool idle(const struct history *h)
{
	for (int i = 0; i < SUMS; i++) {
		if (h->in.sums[i])
			return false;
	}
	return h->in.n == 0;
}

/* Let rows come together, unless somebody waits.  The lock is held. */
static void gather(struct history *h)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += GATHER_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (!h->stop && !h->hurry && h->in.n < QUEUE / 2) {
		if (pthread_cond_timedwait(&h->work, &h->lock, &until))
			return;
	}
}

static void *writer(void *arg)
{
	struct history *h = arg;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		while (idle(h) && !h->stop)
			pthread_cond_wait(&h->work, &h->lock);
		if (idle(h))
			break;
		gather(h);
		swap(h);
		h->busy = true;
		pthread_mutex_unlock(&h->lock);
		report(h, write_batch(h, &h->out));
		pthread_mutex_lock(&h->lock);
		h->busy = false;
		if (idle(h)) {
			h->hurry = false;
			pthread_cond_broadcast(&h->done);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* ---- the caller's side ---- */

static struct row *new_row(struct history *h)
{
	struct batch *b = &h->in;

	if (b->n == QUEUE) {
		b->first = (b->first + 1) % QUEUE;
		b->n--;
		b->dropped++;
	}
	return &b->rows[(b->first + b->n++) % QUEUE];
}

/* Only when the thread may sleep on it: a signal costs a system call. */
static void added(struct history *h)
{
	if (h->in.n <= 1 || h->in.n == QUEUE / 2)
		pthread_cond_signal(&h->work);
}

void history_add(struct history *h, uint32_t host, const struct past *p,
		 int64_t wall_ms)
{
	struct row *w;

	pthread_mutex_lock(&h->lock);
	w = new_row(h);
	w->at_ms = wall_ms;
	w->host = host;
	w->naming = false;
	w->p = *p;
	added(h);
	pthread_mutex_unlock(&h->lock);
}

void history_name(struct history *h, uint32_t host, const char *name)
{
	struct row *w;

	pthread_mutex_lock(&h->lock);
	w = new_row(h);
	*w = (struct row){ .host = host, .naming = true };
	strncpy(w->host_name, name, sizeof(w->host_name) - 1);
	added(h);
	pthread_mutex_unlock(&h->lock);
}

void history_sum(struct history *h, enum history_sum s, uint64_t n)
{
	pthread_mutex_lock(&h->lock);
	h->in.sums[s] += n;
	added(h);
	pthread_mutex_unlock(&h->lock);
}

void history_flush(struct history *h)
{
	pthread_mutex_lock(&h->lock);
	while (!idle(h) || h->busy) {
		h->hurry = true;
		pthread_cond_signal(&h->work);
		pthread_cond_wait(&h->done, &h->lock);
	}
	pthread_mutex_unlock(&h->lock);
}

int history_recent(struct history *h, uint32_t host, int64_t wall_ms,
		   uint64_t now_ms, struct past *ret, unsigned *ret_n)
{
	sqlite3_stmt *st = h->recent;
	unsigned n = 0;
	const char *name;
	int rc, r = db_bind(st, "ii", (int64_t)host, (int64_t)PAST_KEPT);

	if (r)
		return r;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && n < PAST_KEPT) {
		struct past *p = &ret[n++];

		*p = (struct past){
			.at_ms = now_ms - (uint64_t)(wall_ms -
						     sqlite3_column_int64(st, 0)),
			.kind = (uint8_t)sqlite3_column_int(st, 1),
			.why = (uint8_t)sqlite3_column_int(st, 2),
			.priority = (uint8_t)sqlite3_column_int(st, 3),
			.home = (uint32_t)sqlite3_column_int64(st, 4),
			.uid = (uint32_t)sqlite3_column_int64(st, 5),
			.held_ms = (uint64_t)sqlite3_column_int64(st, 7),
		};
		name = (const char *)sqlite3_column_text(st, 6);
		strncpy(p->name, name ? name : "", sizeof(p->name) - 1);
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		r = db_errno(h->reader);
	sqlite3_reset(st);
	for (unsigned i = 0; i < n / 2; i++) {
		struct past p = ret[i];

		ret[i] = ret[n - 1 - i];
		ret[n - 1 - i] = p;
	}
	*ret_n = n;
	return r;
}

/* ---- beginning and end ---- */

static int prepare(struct history *h, const char *path)
{
	/* Not worth waiting for the disk at each commit. */
	int r = db_exec(h->db, "PRAGMA synchronous=NORMAL");

	for (int i = 0; !r && i < ST_COUNT; i++) {
		if (sqlite3_prepare_v2(h->db, sql[i], -1, &h->st[i], NULL))
			r = db_errno(h->db);
	}
	if (!r && sqlite3_open_v2(path, &h->reader, SQLITE_OPEN_READONLY, NULL))
		r = h->reader ? db_errno(h->reader) : -ENOMEM;
	if (!r && sqlite3_prepare_v2(h->reader, recent_sql, -1, &h->recent, NULL))
		r = db_errno(h->reader);
	return r;
}

int history_open(const char *path, struct history **ret, char *err, size_t cap)
{
	static const struct db_kind kind = { "sprite-hostdb", APP_ID, 1, schema };
	struct history *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->work, NULL);
	pthread_cond_init(&h->done, NULL);
	h->in.rows = calloc(QUEUE, sizeof(*h->in.rows));
	h->out.rows = calloc(QUEUE, sizeof(*h->out.rows));
	r = h->in.rows && h->out.rows ? 0 : -ENOMEM;
	if (!r)
		r = db_open(path, &kind, &h->db, err, cap);
	if (!r) {
		r = prepare(h, path);
		if (r)
			sqlite3_snprintf((int)cap, err, "%s cannot be used: %s; "
					 "move it away and start again", path,
					 strerror(-r));
	}
	if (!r)
		r = -pthread_create(&h->thread, NULL, writer, h);
	if (r) {
		history_close(h);
		return r;
	}
	h->running = true;
	*ret = h;
	return 0;
}

void history_close(struct history *h)
{
	if (!h)
		return;
	if (h->running) {
		pthread_mutex_lock(&h->lock);
		h->stop = true;
		pthread_cond_signal(&h->work);
		pthread_mutex_unlock(&h->lock);
		pthread_join(h->thread, NULL);
	}
	for (int i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(h->st[i]);
	sqlite3_finalize(h->recent);
	sqlite3_close(h->reader);
	db_close(h->db);
	free(h->in.rows);
	free(h->out.rows);
	pthread_cond_destroy(&h->work);
	pthread_cond_destroy(&h->done);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
