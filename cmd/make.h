#ifndef CMD_MAKE_H
#define CMD_MAKE_H
/*
 * make.h -- what the files of `sprite make` share.
 *
 * One process, one epoll loop: it started make, owns the jobserver pipe,
 * borrows hosts, and tells each sprite-sh where its recipe runs.
 *
 *	cmd_make.c	the verb: start make, loop, end as it ended
 *	make_args.c	arguments and MAKEFLAGS
 *	make_jobs.c	the socket and the recipes behind it
 *	make_sched.c	who is next, and where (pure)
 *	make_tokens.c	the jobserver pipe
 *	make_hosts.c	borrowed hosts
 *	make_costs.c	experience
 *	make_show.c	the live line and the report
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "list.h"
#include "make_costs.h"
#include "make_proto.h"
#include "make_sched.h"
#include "make_tokens.h"

struct watch {
	void (*ready)(struct watch *w);
	int fd;
};

struct make_hosts;

struct show {
	bool live; /* the last row of the terminal is ours */
	unsigned rows, cols;
	bool resized;
	char last[512]; /* what it says now */
};

struct make {
	int epoll;
	struct watch listening, signals, hosts_fd;
	char sock_name[64];

	struct sched sched;
	struct costs costs;
	struct tokens tokens;
	struct list jobs;
	struct make_hosts *hosts; /* NULL: none asked for, or no migd */
	bool hosts_asked;
	const char *trouble; /* why everything runs here: a literal, or NULL */

	/* Is a folder the same on every host?  The last answer is kept. */
	char mount[256];
	char last_cwd[PATH_MAX];
	bool last_shared, told_unshared;

	struct show show;
	uint64_t begun_ms;
	unsigned kept, reruns, tokens_lost;

	pid_t child;
	int status; /* of the child, once ended */
	bool ended, interrupted;
};

uint64_t make_now_ms(void);
int make_watch(struct make *m, struct watch *w, int fd,
	       void (*ready)(struct watch *w));
void make_unwatch(struct make *m, struct watch *w);

/* ---- make_jobs.c --------------------------------------------------------- */

struct job {
	struct list all;
	struct make *make;
	struct watch conn, process;
	struct sched_job s;
	enum { JOB_NEW, JOB_WAITS, JOB_RUNS, JOB_SMALL, JOB_KEPT } state;
	uint64_t key, begun_ms, grant;
	pid_t pid;
	char label[MAKE_LABEL_MAX];
};

int make_listen(struct make *m);
void make_unlisten(struct make *m);
/* Start what can start, and let make begin as many as pays. */
void make_pump(struct make *m);
unsigned make_alive(const struct make *m);

/* ---- make_local.c -------------------------------------------------------- */

/* How many recipes this host computes at once: its CPUs, or less by a quota. */
unsigned make_local_slots(void);
/* path lies in the namespace that all hosts share. */
bool make_is_shared(const char *path, const char *mount);

/* ---- make_hosts.c -------------------------------------------------------- */

/*
 * Ask migd for up to n hosts.  They come and go by themselves from then on,
 * each told to m->sched.  Sets m->trouble if there can be none.
 */
void make_hosts_ask(struct make *m, unsigned n);
/* After migd was lost: see whether it is back. */
void make_hosts_tick(struct make *m);
void make_hosts_return(struct make *m);
/* A grant for one recipe on that host, and its end. */
uint64_t make_hosts_take(struct make *m, uint32_t host);
void make_hosts_put(struct make *m, uint64_t grant);

/* ---- make_show.c --------------------------------------------------------- */

void show_begin(struct make *m);
void show_update(struct make *m);
void show_end(struct make *m);
void show_report(const struct make *m);
/* One sentence for the user, not mixed up with the live line. */
void show_say(struct make *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
