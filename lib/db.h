#ifndef LIB_DB_H
#define LIB_DB_H
/*
 * db.h -- the daemons' SQLite databases: one owner, checked at opening,
 * durable when a call returns, and errors in our own terms.
 *
 * Programs that use it link SQLite; nothing else in lib/ does.
 */
#include <stddef.h>
#include <stdint.h>

struct sqlite3;
struct sqlite3_stmt;

struct db_kind {
	const char *program; /* who owns it: for the sentences */
	uint32_t app_id;     /* tells our files from any other database */
	int version;	     /* of the schema */
	const char *schema;
};

/*
 * Become the one owner of what path stands for; the descriptor is kept open
 * until the program ends.  Returns it, or -EBUSY and a sentence in err.
 */
int db_lock(const char *path, const char *program, char *err, size_t cap);
/*
 * Open path, making it (mode 0600) with the schema if it is not there;
 * ":memory:" works.  On failure err holds a sentence with the next step.
 */
int db_open(const char *path, const struct db_kind *k, struct sqlite3 **ret,
	    char *err, size_t cap);
/* NULL is fine. */
void db_close(struct sqlite3 *db);
/* The last error as a negative errno, never 0. */
int db_errno(struct sqlite3 *db);
int db_exec(struct sqlite3 *db, const char *sql);
/*
 * Bind all parameters: i int64_t, s const char *, b const void * and size_t.
 * The values must live until the statement was run.
 */
int db_bind(struct sqlite3_stmt *st, const char *kinds, ...);
/* Run to the end a statement that gives no rows, and reset it. */
int db_run(struct sqlite3_stmt *st);

#endif
