/*
 * db.c -- see db.h.
 *
 * WAL with synchronous=FULL: a commit that returned survives a power cut, and
 * readers (backups, the sqlite3 command) never block the daemon.  The owner
 * is told by an flock on a file of its own, because SQLite's own locks come
 * and go with transactions.
 */
#include "db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <sqlite3.h>

#define BUSY_MS 2000

static const struct {
	int code, err;
} codes[] = {
	{ SQLITE_FULL, ENOSPC },      { SQLITE_NOMEM, ENOMEM },
	{ SQLITE_READONLY, EROFS },   { SQLITE_PERM, EACCES },
	{ SQLITE_BUSY, EBUSY },	      { SQLITE_LOCKED, EBUSY },
	{ SQLITE_AUTH, EACCES },      { SQLITE_CORRUPT, ENOTRECOVERABLE },
	{ SQLITE_NOTADB, ENOTRECOVERABLE },
	{ SQLITE_CONSTRAINT, EEXIST }, { SQLITE_TOOBIG, EFBIG },
};

int db_errno(struct sqlite3 *db)
{
	int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;
	int sys = db ? sqlite3_system_errno(db) : 0;

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		if (codes[i].code == (code & 0xff))
			return -codes[i].err;
	}
	if ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && sys > 0)
		return -sys;
	return -EIO;
}

int db_exec(struct sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) ? db_errno(db) : 0;
}

int db_lock(const char *path, const char *program, char *err, size_t cap)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int r;

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (r == -EBUSY)
		snprintf(err, cap, "another %s runs on %s already; stop it first, "
			 "`sprite status` shows what runs", program, path);
	else
		snprintf(err, cap, "cannot open %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return r;
}

static int one_number(struct sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *st;
	int r = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL))
		return db_errno(db);
	if (sqlite3_step(st) == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	else
		r = db_errno(db);
	sqlite3_finalize(st);
	return r;
}

static int whole(struct sqlite3 *db)
{
	sqlite3_stmt *st;
	const unsigned char *text;
	int r = 0;

	if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL))
		return db_errno(db);
	if (sqlite3_step(st) != SQLITE_ROW)
		r = db_errno(db);
	else if (!(text = sqlite3_column_text(st, 0)) ||
		 strcmp((const char *)text, "ok") != 0)
		r = -ENOTRECOVERABLE;
	sqlite3_finalize(st);
	return r;
}

static int make_schema(struct sqlite3 *db, const struct db_kind *k)
{
	char sql[128];
	int r;

	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d;"
		 "PRAGMA user_version=%d;COMMIT", (int)k->app_id, k->version);
	r = db_exec(db, "BEGIN IMMEDIATE");
	if (!r)
		r = db_exec(db, k->schema);
	if (!r)
		r = db_exec(db, sql);
	if (r)
		(void)db_exec(db, "ROLLBACK");
	return r;
}

/* 0, or -ENOTUNIQ: a database, but not ours; -EPROTONOSUPPORT: newer. */
static int check(struct sqlite3 *db, const struct db_kind *k)
{
	int64_t app = 0, version = 0, tables = 0;
	int r = whole(db);

	if (!r)
		r = one_number(db, "PRAGMA application_id", &app);
	if (!r)
		r = one_number(db, "PRAGMA user_version", &version);
	if (!r)
		r = one_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r)
		return r;
	if (!tables && !app)
		return make_schema(db, k);
	if ((uint32_t)app != k->app_id)
		return -ENOTUNIQ;
	return version == k->version ? 0 : -EPROTONOSUPPORT;
}

static void say(int r, const char *path, const struct db_kind *k, char *err,
		size_t cap)
{
	const char *what = strerror(-r), *next = "";

	if (r == -ENOTRECOVERABLE) {
		what = "is damaged";
		next = "; put back a copy of it, or move it away";
	} else if (r == -ENOTUNIQ) {
		what = "is a database of another program";
		next = "; move it away";
	} else if (r == -EPROTONOSUPPORT) {
		what = "was written by another version";
		next = "; start that version of the program";
	} else if (r == -ENOSPC) {
		what = "cannot be written: the disk is full";
		next = "; make room";
	} else {
		snprintf(err, cap, "%s cannot open %s: %s", k->program, path, what);
		return;
	}
	snprintf(err, cap, "%s cannot start: %s %s%s and start it again",
		 k->program, path, what, next);
}

int db_open(const char *path, const struct db_kind *k, struct sqlite3 **ret,
	    char *err, size_t cap)
{
	sqlite3 *db = NULL;
	int fd, r;

	if (strcmp(path, ":memory:") != 0) {
		/* It holds secrets, and SQLite would follow the umask. */
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0) {
			r = -errno;
			say(r, path, k, err, cap);
			return r;
		}
		close(fd);
	}
	if (sqlite3_open(path, &db)) {
		r = db_errno(db);
		goto fail;
	}
	sqlite3_busy_timeout(db, BUSY_MS);
	r = db_exec(db, "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
			"PRAGMA foreign_keys=ON");
	if (!r)
		r = check(db, k);
	if (r)
		goto fail;
	*ret = db;
	return 0;
fail:
	say(r, path, k, err, cap);
	sqlite3_close(db);
	return r;
}

void db_close(struct sqlite3 *db)
{
	sqlite3_close(db);
}

int db_bind(struct sqlite3_stmt *st, const char *kinds, ...)
{
	const void *p;
	va_list ap;
	int rc = SQLITE_OK;

	va_start(ap, kinds);
	for (int i = 1; kinds[i - 1] && rc == SQLITE_OK; i++) {
		switch (kinds[i - 1]) {
		case 'i':
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
			break;
		case 's':
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *),
					       -1, SQLITE_STATIC);
			break;
		case 'b':
			p = va_arg(ap, const void *);
			rc = sqlite3_bind_blob64(st, i, p, va_arg(ap, size_t),
						 SQLITE_STATIC);
			break;
		default:
			rc = SQLITE_MISUSE;
		}
	}
	va_end(ap);
	return rc ? db_errno(sqlite3_db_handle(st)) : 0;
}

int db_run(struct sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);
	int r = rc == SQLITE_DONE ? 0 : db_errno(sqlite3_db_handle(st));

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return r;
}
