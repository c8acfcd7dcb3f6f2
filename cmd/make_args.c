/* make_args.c -- see make_args.h. */
#include "make_args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "make_line.h"

/* Short options of make with a value that follows or stands apart. */
#define WITH_VALUE "CfIoWE"
/* With a value only if it is attached, and (l) a number that may stand apart. */
#define MAYBE_VALUE "Ol"

#define JOBS_MAX 100000ul

static int set_limit(struct make_args *a, const char *digits, char **ret_end)
{
	unsigned long n;

	errno = 0;
	n = strtoul(digits, ret_end, 10);
	if (errno || n == 0 || n > JOBS_MAX)
		return -EINVAL;
	a->limit = (unsigned)n;
	return 0;
}

static void note_value(struct make_args *a, char option, const char *value)
{
	if (option == 'C')
		a->dir = value;
	else if (option == 'f' && !a->file)
		a->file = value;
}

/*
 * One cluster of short options: -kj4 and its like.  Writes what is left of
 * it over itself.  next: the argument behind it, or NULL; *ret_used tells that
 * it belongs to this one, *ret_drop that it is not make's to see.
 */
static int short_options(struct make_args *a, char *arg, const char *next,
			 bool *ret_used, bool *ret_drop)
{
	char *in = arg + 1, *out = arg + 1;

	*ret_used = *ret_drop = false;
	while (*in) {
		char c = *in++;

		if (c == 'j') {
			if (isdigit((unsigned char)*in)) {
				if (set_limit(a, in, &in))
					return -EINVAL;
			} else if (!*in && next &&
				   isdigit((unsigned char)*next)) {
				char *end;

				if (set_limit(a, next, &end) || *end)
					return -EINVAL;
				*ret_used = *ret_drop = true;
			} else {
				a->limit = 0;
			}
			continue;
		}
		*out++ = c;
		if (strchr(WITH_VALUE, c)) {
			if (!*in && next)
				*ret_used = true;
			note_value(a, c, *in ? in : next);
		}
		if (strchr(WITH_VALUE MAYBE_VALUE, c)) {
			while (*in)
				*out++ = *in++;
		}
	}
	*out = '\0';
	return 0;
}

/* 1: make's; 0: taken; or -EINVAL.  *ret_used as above. */
static int long_option(struct make_args *a, const char *arg, const char *next,
		       bool *ret_used)
{
	static const char *const with_value[] = {
		"--assume-new", "--assume-old", "--directory", "--eval",
		"--file", "--include-dir", "--makefile", "--new-file",
		"--old-file", "--what-if",
	};
	char *end;

	*ret_used = false;
	if (!strcmp(arg, "--report")) {
		a->report = true;
		return 0;
	}
	if (!strcmp(arg, "--help")) {
		a->help = true;
		return 0;
	}
	if (!strcmp(arg, "--jobs")) {
		a->limit = 0;
		return 0;
	}
	if (!strncmp(arg, "--jobs=", 7))
		return set_limit(a, arg + 7, &end) || *end ? -EINVAL : 0;
	if (!strncmp(arg, "--directory=", 12))
		note_value(a, 'C', arg + 12);
	else if (!strncmp(arg, "--file=", 7))
		note_value(a, 'f', arg + 7);
	else if (!strncmp(arg, "--makefile=", 11))
		note_value(a, 'f', arg + 11);
	for (size_t i = 0; i < sizeof(with_value) / sizeof(*with_value); i++) {
		if (strcmp(arg, with_value[i]) || !next)
			continue;
		*ret_used = true;
		if (!strcmp(arg, "--directory"))
			note_value(a, 'C', next);
		else if (!strcmp(arg, "--file") || !strcmp(arg, "--makefile"))
			note_value(a, 'f', next);
	}
	return 1;
}

static int one_argument(struct make_args *a, char *arg, const char *next,
			bool *ret_used, bool *ret_drop)
{
	bool keep = true;
	int r;

	*ret_used = *ret_drop = false;
	if (!strncmp(arg, "--", 2)) {
		r = long_option(a, arg, next, ret_used);
		if (r < 0)
			return r;
		keep = r == 1;
	} else if (arg[0] == '-' && arg[1]) {
		r = short_options(a, arg, next, ret_used, ret_drop);
		if (r < 0)
			return r;
		keep = arg[1] != '\0';
	} else if (!strncmp(arg, "SHELL=", 6)) {
		a->shell = arg + 6;
		keep = false;
	}
	if (keep)
		a->argv[a->argc++] = arg;
	return 0;
}

int make_args_parse(int argc, char **argv, struct make_args *a,
		    const char **ret_bad)
{
	bool options = true;

	memset(a, 0, sizeof(*a));
	a->argv = calloc((size_t)argc + 2, sizeof(*a->argv));
	if (!a->argv)
		return -ENOMEM;
	a->argv[a->argc++] = (char *)(uintptr_t)"make";
	for (int i = 1; i < argc; i++) {
		char *next = i + 1 < argc ? argv[i + 1] : NULL;
		bool used = false, drop = false;

		if (options && !strcmp(argv[i], "--"))
			options = false;
		if (!options && strncmp(argv[i], "SHELL=", 6)) {
			a->argv[a->argc++] = argv[i];
			continue;
		}
		*ret_bad = argv[i];
		if (one_argument(a, argv[i], next, &used, &drop)) {
			make_args_free(a);
			return -EINVAL;
		}
		if (used)
			i++;
		if (used && !drop)
			a->argv[a->argc++] = next;
	}
	return 0;
}

void make_args_free(struct make_args *a)
{
	free(a->argv);
	a->argv = NULL;
}

/* A word as make writes it: blanks and backslashes are escaped. */
static int add_escaped(struct buf *b, const char *s)
{
	int r = 0;

	for (; *s && !r; s++) {
		if (*s == ' ' || *s == '\t' || *s == '\\')
			r = buf_add(b, "\\", 1);
		if (!r && *s == '$') /* make expands the values again */
			r = buf_add(b, "$", 1);
		if (!r)
			r = buf_add(b, s, 1);
	}
	return r;
}

int make_flags(const char *old, int r, int w, const char *shell,
	       struct buf *ret)
{
	const char *p = old ? old : "";
	bool first = *p != ' ' && *p != '-';
	struct buf vars = { 0 };
	bool behind = false; /* the "--" after which variables stand */
	int rc = 0;

	while (*p && !rc) {
		size_t n = 0;

		while (*p == ' ')
			p++;
		while (p[n] && p[n] != ' ')
			n += p[n] == '\\' && p[n + 1] ? 2 : 1;
		if (!n)
			break;
		if (n == 2 && !strncmp(p, "--", 2))
			behind = true;
		else if (!line_word_is_about_jobs(p, n))
			rc = buf_addf(behind ? &vars : ret, " %s%.*s",
				      first && !memchr(p, '=', n) ? "-" : "",
				      (int)n, p);
		first = false;
		p += n;
	}
	if (!rc)
		rc = buf_addf(ret, " -j --jobserver-auth=%d,%d -- SHELL=", r, w);
	if (!rc)
		rc = add_escaped(ret, shell);
	if (!rc && buf_len(&vars))
		rc = buf_add(ret, buf_data(&vars), buf_len(&vars));
	buf_free(&vars);
	return rc ? rc : buf_add(ret, "", 1);
}

static bool find_in_path(const char *name, char *buf, size_t cap)
{
	const char *p = getenv("PATH");

	if (strchr(name, '/')) {
		snprintf(buf, cap, "%s", name);
		return *name == '/' && access(buf, X_OK) == 0;
	}
	for (p = p ? p : "/bin:/usr/bin"; *p;) {
		size_t n = strcspn(p, ":");

		if (n && *p == '/' &&
		    snprintf(buf, cap, "%.*s/%s", (int)n, p, name) < (int)cap &&
		    access(buf, X_OK) == 0)
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

/* The value of a line that assigns SHELL, or NULL. */
static const char *shell_assigned(const char *line, size_t *ret_n)
{
	static const char *const before[] = { "export ", "override " };
	size_t n;

	line += strspn(line, " ");
	for (size_t i = 0; i < 2; i++) {
		if (!strncmp(line, before[i], strlen(before[i]))) {
			line += strlen(before[i]);
			line += strspn(line, " ");
		}
	}
	if (strncmp(line, "SHELL", 5))
		return NULL;
	line += 5;
	line += strspn(line, " \t:");
	if (*line++ != '=')
		return NULL;
	line += strspn(line, " \t");
	n = strcspn(line, "\n#");
	while (n && (line[n - 1] == ' ' || line[n - 1] == '\t' ||
		     line[n - 1] == '\r'))
		n--;
	*ret_n = n;
	return n ? line : NULL;
}

bool make_shell_in(const char *text, char *buf, size_t cap)
{
	bool found = false;

	while (*text) {
		size_t n;
		const char *v = shell_assigned(text, &n);
		char name[256];

		if (v && n < sizeof(name)) {
			snprintf(name, sizeof(name), "%.*s", (int)n, v);
			/* $(shell which bash), /usr/bin/env bash, $(BASH) */
			if (strpbrk(name, "$ ") &&
			    (strstr(name, "bash") || strstr(name, "BASH")))
				strcpy(name, "bash");
			found = find_in_path(name, buf, cap) || found;
		}
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return found;
}
