/* failalloc.c -- see failalloc.h.  Allocations of libraries are not refused. */
#include "failalloc.h"

#include <stddef.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static _Thread_local unsigned left; /* 0: refuse nothing */
static _Thread_local bool refused;

static bool refuse(void)
{
	if (!left || --left)
		return false;
	refused = true;
	return true;
}

void failalloc_nth(unsigned n)
{
	left = n;
	refused = false;
}

bool failalloc_stop(void)
{
	left = 0;
	return refused;
}

void *__wrap_malloc(size_t n)
{
	return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return refuse() ? NULL : __real_realloc(p, n);
}
