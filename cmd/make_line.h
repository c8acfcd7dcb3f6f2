#ifndef CMD_MAKE_LINE_H
#define CMD_MAKE_LINE_H
/*
 * make_line.h -- what can be told about a recipe line by looking at it.
 *
 * This is a glance, not a shell's parser: it may call a line work that is
 * trivial (it then costs a question), never the other way round.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nothing but commands that are over before another host could begin. */
bool line_is_trivial(const char *line);
/* A command of it is called make, gmake or *-make. */
bool line_calls_make(const char *line);
/* A few characters by which people know it: what it makes, if it says so. */
void line_label(const char *line, char *buf, size_t cap);
/* Take jobserver, -j and SHELL= out of a MAKEFLAGS, in place: they mean
 * nothing on another host. */
void line_strip_jobs(char *makeflags);
/* The word, n bytes long, is one of those. */
bool line_word_is_about_jobs(const char *w, size_t n);
/* FNV-1a; begin with LINE_HASH or with an earlier result. */
#define LINE_HASH 0xcbf29ce484222325u
uint64_t line_hash(uint64_t h, const char *s);

#endif
