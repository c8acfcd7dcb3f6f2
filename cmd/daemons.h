#ifndef CMD_DAEMONS_H
#define CMD_DAEMONS_H
/*
 * daemons.h -- the daemons of this host: which belong here, which run, and
 * starting and stopping one.
 *
 * A daemon holds a write lock on run/PROGRAM.pid from before its exec to its
 * end.  The kernel tells who holds it, so there are no stale pid files and no
 * stranger is ever killed; the number in the file is for people to read.
 *
 * Functions return 0 or a negative errno and leave the sentence to the caller
 * unless they take an err buffer.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct daemon {
	const char *name;    /* "fsd" */
	const char *program; /* "sprite-fsd" */
	bool once;	     /* one a cell, on the host that ran `sprite init` */
};

#define DAEMONS 4
/* In the order in which they are started. */
extern const struct daemon daemons[DAEMONS];

/* "fsd" or "sprite-fsd"; NULL: no such daemon. */
const struct daemon *daemon_find(const char *name);
/* The process that holds the lock in that run folder, 0 if none. */
pid_t daemon_pid(const char *run_dir, const struct daemon *d);
/* Start it and wait for READY.  0 if it runs already. */
int daemon_start(const struct daemon *d, bool verbose, unsigned timeout_ms,
		 char *err, size_t errcap);
/*
 * Send sig to the daemon and wait for its end.  -ESRCH: it does not run;
 * -ETIMEDOUT: it still does.
 */
int daemon_stop(const char *run_dir, const struct daemon *d, int sig,
		unsigned timeout_ms);
/* This host's run folder. */
int daemon_run_dir(char *buf, size_t cap);

#endif
