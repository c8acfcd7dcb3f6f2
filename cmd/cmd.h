#ifndef CMD_CMD_H
#define CMD_CMD_H
/*
 * cmd.h -- what every verb of the command shares: its table entry, the exit
 * codes users can rely on, and the way an error is said.
 *
 * A verb is called with argv[0] being its own name, prints results on
 * standard output and returns the exit code.  Errors are one sentence on
 * standard error: what failed, and what to do next.
 */
#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "json.h"

enum exit_code {
	X_OK_DONE = 0,
	X_FAILED = 1,	   /* the sentence says why */
	X_USAGE = 2,	   /* wrong arguments */
	X_NOT_FOUND = 3,   /* no such host, process, lab */
	X_PERMISSION = 4,  /* not yours, or root is needed */
	X_UNREACHABLE = 5, /* a daemon or host does not answer */
	X_REFUSED = 6,	   /* possible in general, refused now: the reason is said */
	X_RUN_FAILED = 125, /* run, lab exec: Sprite failed, not the command */
	X_RUN_CANNOT = 126, /* the command cannot be executed */
	X_RUN_MISSING = 127, /* the command was not found */
	X_RUN_SIGNAL = 128, /* plus the number of the signal that ended it */
};

struct verb {
	const char *name;
	const char *group;
	const char *summary;
	const char *help; /* shown by --help: usage, options, examples */
	int (*run)(const struct verb *v, int argc, char **argv);
};

/* "sprite: ..." on standard error; returns code, for `return fail(...)`. */
int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A mistake in the arguments, and where the help is. */
int usage(const struct verb *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The exit code that tells a negative errno best. */
int code_of(int err);

/*
 * getopt_long, with --help answered and mistakes reported: returns the option
 * character, -1 behind the last option, or OPT_DONE when the verb shall
 * return *ret_code at once.  Options stop at the first other argument.
 */
struct option;
#define OPT_DONE 1000
#define OPT_HELP 1001 /* val of --help where -h means something else */
int next_option(const struct verb *v, int argc, char **argv, const char *shorts,
		const struct option *longs, int *ret_code);

/* A decimal number from min to max, and nothing behind it. */
bool parse_number(const char *s, unsigned long min, unsigned long max,
		  unsigned long *ret);

/* Print what j was written into, a newline, and release it. */
int json_print(struct buf *b, const struct json *j);

extern const struct verb verb_init, verb_join, verb_token, verb_remove, verb_up, verb_down,
	verb_status, verb_run, verb_make, verb_ps, verb_hosts, verb_migrate,
	verb_evict, verb_kill, verb_explain, verb_moves, verb_lab;

#endif
