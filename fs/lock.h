#ifndef FS_LOCK_H
#define FS_LOCK_H
/*
 * lock.h -- locks on one object, at the server: POSIX byte ranges and flock.
 * The two kinds do not see each other, as on Linux.  Pure: no time, no wire.
 *
 * An owner is a number that a client's kernel made up, and that client.
 */
#include <stdbool.h>
#include <stdint.h>

#include "list.h"

#define LOCKS_MAX 4096 /* per object */

struct lock_owner {
	const void *client; /* compared, never followed */
	uint64_t number;
};

struct lock {
	struct list link; /* locks', by start */
	struct lock_owner owner;
	uint32_t pid;
	int type; /* F_RDLCK or F_WRLCK */
	bool flock;
	uint64_t start, end; /* both inside */
};

/* Somebody waits.  The caller's; granted is called once, by then unlinked. */
struct lock_wait {
	struct list link; /* locks' */
	struct lock want;
	void (*granted)(struct lock_wait *w, int status);
};

struct locks {
	struct list held, waiting;
	unsigned count;
};

struct locks *locks_new(void);
void locks_free(struct locks *l); /* NULL is fine; nobody may wait */
bool locks_none(const struct locks *l); /* NULL is fine */

/* The first lock that keeps `want` out, or NULL. */
const struct lock *locks_conflict(const struct locks *l, const struct lock *want);
/*
 * Take, change or (F_UNLCK) release; what becomes free wakes waiters.
 * -EAGAIN if another owner is in the way, -ENOLCK at LOCKS_MAX.
 */
int locks_set(struct locks *l, const struct lock *want);
/*
 * Wait for it: `w` is in the queue afterwards.  -EDEADLK if its owner (of a
 * POSIX lock) is waited for, in turn, by those it would wait for here.
 */
int locks_wait(struct locks *l, struct lock_wait *w);
/* Give up waiting; granted is not called. */
void locks_cancel(struct lock_wait *w);
/* All of one client, waiting ones too (their status is -ECANCELED). */
void locks_drop_client(struct locks *l, const void *client);

#endif
