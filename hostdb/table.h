#ifndef HOSTDB_TABLE_H
#define HOSTDB_TABLE_H
/*
 * table.h -- the hosts, who holds which, who waits.  In memory, with time as
 * an argument (milliseconds, never going back); it knows no connections: what
 * others must hear of is told through struct table_ears.
 *
 * Functions return 0 or a negative errno.
 */
#include "policy.h"

#define CLIENT_NAME_MAX 32
#define TYPE_NAME_MAX	16
#define TABLE_NAME_MAX	64
#define PAST_KEPT	8
#define REQUEST_MAX	1024
/* A client that was reclaimed from does not hear of new hosts for so long. */
#define DEAF_MS 30000
/* A migd whose session was lost may come back so long. */
#define GRACE_MS 15000

/* What happened to a host; numbers are in the history, forever. */
enum past_kind {
	PAST_GRANTED,
	PAST_RETURNED,
	PAST_LOST, /* with a why */
	PAST_UP,
	PAST_DOWN,
	PAST_ALLOWS,
	PAST_BARS, /* with a why */
	PAST_KINDS
};

struct past {
	uint64_t at_ms;
	uint8_t kind, why;
	uint8_t priority;
	uint32_t home, uid; /* of the client */
	char name[CLIENT_NAME_MAX];
	uint64_t held_ms; /* of an ended grant */
};

/* They must not call the table. */
struct table_ears {
	void (*lost)(void *arg, uint32_t home, uint32_t client, uint64_t grant,
		     uint32_t host, enum hostdb_why why);
	void (*news)(void *arg, uint32_t home, uint32_t client);
	void (*evict)(void *arg, uint32_t host, uint32_t home, uint32_t client,
		      uint64_t grant);
	void (*past)(void *arg, uint32_t host, const struct past *p);
	void *arg;
};

struct table;

/* down_ms: of silence; first_grant: above every number given before. */
int table_new(uint64_t down_ms, uint64_t first_grant,
	      const struct table_ears *ears, struct table **ret);
void table_free(struct table *t);

/* The roster has this host, or has it no longer. */
int table_know(struct table *t, uint32_t host, const char *name, uint64_t now);
void table_forget(struct table *t, uint32_t host, uint64_t now);
bool table_knows(const struct table *t, uint32_t host);
/* What is remembered from an earlier life, oldest first. */
void table_remember(struct table *t, uint32_t host, const struct past *p);

/* A migd connected; epoch tells whether it is the one of last time. */
int table_session(struct table *t, uint32_t host, uint64_t epoch, uint64_t now);
void table_session_lost(struct table *t, uint32_t host, uint64_t now);

struct host_report {
	char name[TABLE_NAME_MAX];
	char type[TYPE_NAME_MAX];
	bool allow;
	enum hostdb_why why;
	uint64_t idle_secs, up_secs, version;
	uint32_t load_centi[3];
	uint32_t guests, slots, cpus, mhz;
	uint64_t mem_kib, mem_free_kib;
};

/* -ENOENT: the roster does not have it. */
int table_report(struct table *t, uint32_t host, const struct host_report *r,
		 uint64_t now);

struct client_is {
	uint32_t home, client, uid;
	const char *name;
};

struct slot {
	uint64_t grant;
	uint32_t host;
	enum hostdb_priority priority;
};

/*
 * Up to want slots into ret.  -ENOTCONN: the asker's own host did not report.
 * Who got less than it wanted waits from then on.
 */
int table_request(struct table *t, const struct client_is *who,
		  enum hostdb_priority p, uint32_t want, uint64_t now,
		  struct slot *ret, uint32_t *ret_n);
/* Grants of others and unknown ones are passed over; n 0: all. */
void table_return(struct table *t, uint32_t home, uint32_t client,
		  const uint64_t *grants, size_t n, uint64_t now);
void table_close(struct table *t, uint32_t home, uint32_t client, uint64_t now);
/* A migd that was away says what it holds: it holds it, or is told it is lost. */
int table_restate(struct table *t, const struct client_is *who,
		  const struct slot *slots, size_t n, uint64_t now);

/* Once a second or so: silences, graces, the deaf. */
void table_tick(struct table *t, uint64_t now);

struct host_line {
	uint32_t id;
	const char *name;
	const struct host_report *report; /* zeros if there was none */
	enum hostdb_state state;
	bool available, same_version;
	uint64_t idle_secs, up_secs; /* of now; of a down host: down since */
	uint32_t lent;
};

/* The host with the smallest id >= from, as seen from host asker (0: none). */
int table_line(const struct table *t, uint32_t from, uint32_t asker, uint64_t now,
	       struct host_line *ret);
int table_find(const struct table *t, const char *name, uint32_t *ret_host);
/* i-th youngest, NULL behind the oldest kept. */
const struct past *table_past(const struct table *t, uint32_t host, unsigned i);
size_t table_count(const struct table *t);

#endif
