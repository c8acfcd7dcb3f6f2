/* cmd.c -- see cmd.h. */
#include "cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line, whatever names the sentence quotes: they come from arguments and
 * from other hosts, and must not steer the terminal. */
static void say(const char *before, const char *name, const char *after,
		const char *fmt, va_list ap)
{
	char s[2048] = "";

	if (vsnprintf(s, sizeof(s), fmt, ap) >= (int)sizeof(s))
		strcpy(s + sizeof(s) - 4, "...");
	for (char *p = s; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	}
	fflush(stdout);
	fprintf(stderr, "%s%s: %s%s\n", before, name, s, after);
}

int fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("", "sprite", "", fmt, ap);
	va_end(ap);
	return code;
}

int usage(const struct verb *v, const char *fmt, ...)
{
	char after[64];
	va_list ap;

	snprintf(after, sizeof(after), "; see `sprite %s --help`", v->name);
	va_start(ap, fmt);
	say("sprite ", v->name, after, fmt, ap);
	va_end(ap);
	return X_USAGE;
}

int code_of(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return X_OK_DONE;
	case ENOENT:
	case ESRCH:
		return X_NOT_FOUND;
	case EPERM:
	case EACCES:
	case EKEYREJECTED:
	case EKEYEXPIRED:
		return X_PERMISSION;
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ETIMEDOUT:
	case EPIPE:
	case ECONNRESET:
		return X_UNREACHABLE;
	case EOPNOTSUPP:
	case EBUSY:
	case EAGAIN:
		return X_REFUSED;
	default:
		return X_FAILED;
	}
}

int next_option(const struct verb *v, int argc, char **argv, const char *shorts,
		const struct option *longs, int *ret_code)
{
	int c;

	opterr = 0;
	c = getopt_long(argc, argv, shorts, longs, NULL);
	if (c == OPT_HELP || (c == 'h' && !strstr(shorts, "h:"))) {
		fputs(v->help, stdout);
		*ret_code = X_OK_DONE;
		return OPT_DONE;
	}
	if (c == ':') {
		*ret_code = usage(v, "'%s' needs a value", argv[optind - 1]);
		return OPT_DONE;
	}
	if (c == '?') {
		*ret_code = usage(v, "'%s' is not an option here",
				  argv[optind - 1]);
		return OPT_DONE;
	}
	return c;
}

bool parse_number(const char *s, unsigned long min, unsigned long max,
		  unsigned long *ret)
{
	unsigned long n;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end || n < min || n > max)
		return false;
	*ret = n;
	return true;
}

int json_print(struct buf *b, const struct json *j)
{
	int r = X_OK_DONE;

	if (j->failed)
		r = fail(X_FAILED, "out of memory while writing JSON");
	else if (fwrite(buf_data(b), 1, buf_len(b), stdout) != buf_len(b) ||
		 fputc('\n', stdout) == EOF || fflush(stdout))
		r = fail(X_FAILED, "cannot write to standard output");
	buf_free(b);
	return r;
}
