#ifndef CMD_MAKE_ARGS_H
#define CMD_MAKE_ARGS_H
/*
 * make_args.h -- the user's make arguments, and what make is told instead.
 *
 * make must believe that it is a sub-make with a jobserver: a -j of its own
 * would make it drop ours, so every form of it is taken off the arguments and
 * becomes the upper limit.  SHELL is ours, so a SHELL= of the user's is taken
 * off too and becomes the shell that sprite-sh runs recipes with.
 */
#include <stdbool.h>

#include "buf.h"

struct make_args {
	bool report, help;
	unsigned limit;	    /* of -jN; 0: none given */
	const char *dir;    /* the last -C; NULL: none */
	const char *file;   /* the first -f; NULL: none */
	const char *shell;  /* of SHELL=; NULL: none */
	char **argv;	    /* for make: argv[0] is "make"; NULL-terminated */
	int argc;
};

/*
 * argv[0] is the verb.  Strings are shared with argv or owned by a.  0,
 * -ENOMEM, or -EINVAL with the argument that is wrong in *ret_bad.
 */
int make_args_parse(int argc, char **argv, struct make_args *a,
		    const char **ret_bad);
void make_args_free(struct make_args *a);

/* The MAKEFLAGS for make: old (NULL: none) without its jobs, and with ours. */
int make_flags(const char *old, int r, int w, const char *shell,
	       struct buf *ret);

/*
 * The shell that a makefile sets, as a path to execute: text is the
 * makefile's.  False: it sets none that can be found.
 */
bool make_shell_in(const char *text, char *buf, size_t cap);

#endif
