#ifndef CMD_MEMBER_H
#define CMD_MEMBER_H
/*
 * member.h -- what `init` and `join` have in common: the options that say who
 * this host will be, with defaults from the system.  Functions that return
 * int give an exit code and report.
 */
#include <stdbool.h>

#include "hostconf.h"

struct member_options {
	const char *name, *addr, *console;
};

#define MEMBER_OPTIONS                                   \
	{ "name", required_argument, NULL, 'N' },        \
		{ "addr", required_argument, NULL, 'A' }, \
		{ "console", required_argument, NULL, 'C' }

void member_option(struct member_options *o, int c, const char *value);
bool member_name_ok(const char *name);
/* Root, and in no cell yet.  retry is the command to suggest. */
int member_begin(const char *retry);
/* Defaults, then the options: name, addr, console. */
int member_fill(const struct member_options *o, struct hostconf *ret);
/* This host runs the name server; verb is for the sentence if not. */
int member_at_named(const char *verb);

#endif
