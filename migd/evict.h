#ifndef MIGD_EVICT_H
#define MIGD_EVICT_H
/*
 * evict.h -- sending guests away: all at once stopped, then moved, one
 * after the other as fast as the wire allows.
 */
#include "migd.h"

int evict_open(struct migd *m);
void evict_close(struct migd *m);
/* Guests are being sent away: none is let in. */
bool evict_active(const struct migd *m);
/* cause: what the log says.  home 0: everybody's guests.  q: to be answered
 * with migd_evicted, or NULL.  While one is under way another joins it. */
void evict_start(struct migd *m, const char *cause, uint32_t home,
		 struct rpc_req *q);
/* A guest is gone (moved or ended), or runs now. */
void evict_progress(struct migd *m);
void on_migd_evictions_here(struct migd *m, struct rpc_req *q);

#endif
