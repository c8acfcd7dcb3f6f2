/*
 * make_line.c -- see make_line.h.
 *
 * The question behind line_is_trivial is whether moving the line could ever
 * pay.  Commands that only touch names (mkdir, rm, mv, ln) are served by one
 * call each and print nothing worth waiting for; they are done at home before
 * another host has read the request.
 */
#include "make_line.h"

#include <stdio.h>
#include <string.h>

static const char *const small[] = {
	":",	 "[",	  "cd",	   "chmod", "cp",    "echo",  "exit",
	"export", "false", "ln",   "mkdir", "mv",    "printf", "pwd",
	"rm",	 "rmdir", "set",   "test",  "touch", "true",  "umask",
	"unset",
};

static bool is_small(const char *w, size_t n)
{
	for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++) {
		if (strlen(small[i]) == n && memcmp(small[i], w, n) == 0)
			return true;
	}
	return false;
}

/* Characters that end a word outside quotes. */
static bool ends_word(char c)
{
	return c == '\0' || strchr(" \t\n;&|<>()", c) != NULL;
}

/*
 * Pass over one argument, quotes included.  NULL: it runs a command by
 * itself, or a quote is left open.
 */
static const char *skip_argument(const char *p)
{
	char quote = 0;

	for (; *p; p++) {
		if (quote == '\'') {
			if (*p == '\'')
				quote = 0;
			continue;
		}
		if (*p == '`' || (*p == '$' && p[1] == '('))
			return NULL;
		if (*p == '\\' && p[1]) {
			p++;
			continue;
		}
		if (quote == '"') {
			if (*p == '"')
				quote = 0;
			continue;
		}
		if (*p == '\'' || *p == '"')
			quote = *p;
		else if (ends_word(*p))
			break;
	}
	return quote ? NULL : p;
}

bool line_is_trivial(const char *line)
{
	const char *p = line;
	bool command = true; /* the next word names one */

	while (*p) {
		const char *end;

		if (*p == ' ' || *p == '\t' || *p == '<' || *p == '>') {
			p++;
		} else if (*p == '\\' && p[1] == '\n') {
			p += 2;
		} else if (*p == ';' || *p == '&' || *p == '|' || *p == '\n') {
			command = true;
			p++;
		} else if (*p == '(' || *p == ')') {
			return false;
		} else {
			end = skip_argument(p);
			if (!end)
				return false;
			if (command && !is_small(p, (size_t)(end - p)))
				return false;
			command = false;
			p = end;
		}
	}
	return true;
}

bool line_calls_make(const char *line)
{
	const char *p = line;

	while ((p = strstr(p, "make")) != NULL) {
		bool begins = p == line || strchr(" \t\n;&|(/-g", p[-1]);

		p += 4;
		if (begins && ends_word(*p))
			return true;
	}
	return false;
}

static const char *base_of(const char *w, size_t *n)
{
	const char *slash = memrchr(w, '/', *n);

	if (!slash || slash + 1 == w + *n)
		return w;
	*n -= (size_t)(slash + 1 - w);
	return slash + 1;
}

static const char *next_word(const char *p, size_t *ret_n)
{
	p += strspn(p, " \t\n;&|()");
	*ret_n = strcspn(p, " \t\n;&|()");
	return *ret_n ? p : NULL;
}

void line_label(const char *line, char *buf, size_t cap)
{
	const char *first = NULL, *out = NULL, *last = NULL;
	size_t nfirst = 0, nout = 0, nlast = 0, n;

	for (const char *p = line; (p = next_word(p, &n)) != NULL; p += n) {
		if (last && nlast == 2 && memcmp(last, "-o", 2) == 0) {
			out = p;
			nout = n;
		}
		if (!first) {
			first = p;
			nfirst = n;
		}
		last = p;
		nlast = n;
	}
	if (out) {
		out = base_of(out, &nout);
		snprintf(buf, cap, "%.*s", (int)nout, out);
	} else if (first && last != first) {
		first = base_of(first, &nfirst);
		last = base_of(last, &nlast);
		snprintf(buf, cap, "%.*s %.*s", (int)nfirst, first, (int)nlast,
			 last);
	} else {
		snprintf(buf, cap, "%.*s", (int)nfirst, first ? first : "");
	}
	for (char *c = buf; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	}
}

bool line_word_is_about_jobs(const char *w, size_t n)
{
	return (n >= 2 && !strncmp(w, "-j", 2)) ||
	       (n >= 11 && !strncmp(w, "--jobserver", 11)) ||
	       (n >= 6 && !strncmp(w, "--jobs", 6)) ||
	       (n >= 6 && !strncmp(w, "SHELL=", 6));
}

void line_strip_jobs(char *makeflags)
{
	char *in = makeflags, *out = makeflags;

	while (*in) {
		size_t blanks = strspn(in, " "), n = 0;

		while (in[blanks + n] && in[blanks + n] != ' ')
			n += in[blanks + n] == '\\' && in[blanks + n + 1] ? 2 : 1;
		if (!line_word_is_about_jobs(in + blanks, n)) {
			memmove(out, in, blanks + n);
			out += blanks + n;
		}
		in += blanks + n;
	}
	*out = '\0';
}

uint64_t line_hash(uint64_t h, const char *s)
{
	do {
		h ^= (unsigned char)*s;
		h *= 0x100000001b3u;
	} while (*s++);
	return h;
}
