#ifndef LIB_PROG_H
#define LIB_PROG_H
/*
 * prog.h -- where things are: Sprite's other programs, its state and its
 * run directory.  Written into the caller's buffer; 0 or -ENAMETOOLONG,
 * -ENOENT.
 */
#include <stddef.h>

/*
 * Path of another Sprite program: $SPRITE_BIN/name, else beside this
 * program's own file, else in ../libexec/sprite or ../bin next to it.
 */
int prog_path(const char *name, char *buf, size_t cap);

/* /var/lib/sprite/NAME and /run/sprite/NAME, or below $SPRITE_STATE, $SPRITE_RUN. */
int state_path(const char *name, char *buf, size_t cap);
int run_path(const char *name, char *buf, size_t cap);

/* Tell whoever started this daemon that it serves: READY on $SPRITE_READY_FD. */
void prog_ready(void);

#endif
