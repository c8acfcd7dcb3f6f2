#ifndef LIB_CLEANUP_H
#define LIB_CLEANUP_H
/*
 * cleanup.h -- scope-bound release: SCOPED(free) char *p = ...; is freed on
 * every way out of the scope.  Each SCOPED(x) needs a function x_ptr.
 */
#include <stdlib.h>
#include <unistd.h>

#define SCOPED(fn) __attribute__((cleanup(fn##_ptr)))

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void close_ptr(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* Hand a value out of a SCOPED variable: the variable forgets it. */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#endif
