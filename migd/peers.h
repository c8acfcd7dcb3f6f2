#ifndef MIGD_PEERS_H
#define MIGD_PEERS_H
/*
 * peers.h -- the other migds: who came back, who is lost.
 */
#include "migd.h"

/* The roster changed. */
void peers_changed(void *m);
/* Something of that host is here, or of ours there: stay connected. */
void peers_need(struct migd *m, uint32_t host);
/* Compare notes with every host (we just started). */
void peers_census(struct migd *m);
void peers_free(struct migd *m);

#endif
