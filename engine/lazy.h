#ifndef ENGINE_LAZY_H
#define ENGINE_LAZY_H
/*
 * lazy.h -- what the two sides of demand paging say to each other.
 *
 * On the connection `req` the target asks and the source answers; on `push`
 * the source sends what nobody asked for yet.  Every message is this head of 24
 * bytes, followed by n pages where it carries any:
 *
 *	ASK	target -> source	n pages at addr are needed now
 *	PAGES	source -> target	on req: the answer (maybe n = 0, if they
 *					are on their way on push); on push
 *	LAST	source -> target	on push: nothing is left
 *	DONE	target -> source	on req: all is here, let go
 */
#include <stdint.h>

#include "engine.h"

enum lazy_kind { LAZY_ASK = 1, LAZY_PAGES, LAZY_LAST, LAZY_DONE };

#define LAZY_HEAD  24u
#define LAZY_CHUNK 64u /* pages in one push */
#define LAZY_BLOCK 16u /* pages in one answer */

struct lazy_msg {
	uint32_t kind, proc, n, crc;
	uint64_t addr;
};

int lazy_send(const struct eng_io *io, const struct lazy_msg *m,
	      const void *pages);
/* Pages, if any, go to room for LAZY_CHUNK of them; the sum is checked. */
int lazy_receive(const struct eng_io *io, struct lazy_msg *ret, void *pages);

#endif
