#ifndef MIGD_TTY_H
#define MIGD_TTY_H
/*
 * tty.h -- terminals of guests: a pseudo-terminal at the visited host that is
 * set like the real one at home.
 *
 * The real terminal edits lines, echoes and makes signals, as it does for a
 * program at home.  The pseudo-terminal therefore has EXTPROC set (processing
 * is done elsewhere): its input passes unchanged, a lone end-of-file
 * character reads as end of file, and every change of its settings is told on
 * the master (packet mode), to be copied to the real one.  Only its output
 * is processed, and what ONLCR added there is taken off again.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TTY_STATE_MAX 128

/* How fd is set, as bytes for the wire; 0 or -errno. */
int tty_state_get(int fd, uint8_t ret[TTY_STATE_MAX], size_t *ret_len);
/* Set the real terminal (at home), without EXTPROC; size is not touched. */
int tty_state_put(int fd, const void *state, size_t len);
/* Set the size of a pseudo-terminal, which signals its foreground group. */
int tty_size_put(int fd, const void *state, size_t len);
/* A pseudo-terminal set so; both ends close-on-exec, the master non-blocking. */
int tty_open(const void *state, size_t len, int *ret_master, int *ret_slave);
/* The end-of-file character of a terminal, to be sent for an end of file. */
uint8_t tty_eof_char(int fd);
/*
 * Take off what ONLCR put on, in place.  cut: more follows at once, so that a
 * '\r' at the end may belong to a '\n'; then it is kept back (carry).
 */
size_t tty_unmap(int fd, uint8_t *p, size_t n, bool cut, bool *carry);

#endif
