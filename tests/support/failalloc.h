#ifndef TESTS_FAILALLOC_H
#define TESTS_FAILALLOC_H
/*
 * failalloc.h -- the n-th allocation refused, by the linker's --wrap.
 *
 *	do {
 *		failalloc_nth(++n);
 *		r = thing_new(&t);
 *	} while (failalloc_stop());
 */
#include <stdbool.h>

/* Refuse the n-th allocation from here (1 is the next one). */
void failalloc_nth(unsigned n);
/* No more refusals; whether one happened since failalloc_nth. */
bool failalloc_stop(void);

#endif
