#ifndef ENGINE_POUR_H
#define ENGINE_POUR_H
/*
 * pour.h -- one process poured into one stub, in three steps that restore.c
 * puts in order for a whole tree.
 */
#include "new.h"

/* Stop the stub; it can still be let go as if nothing had happened. */
int pour_attach(struct nproc *p);
/* Undo pour_attach of an untouched stub. */
void pour_detach(struct nproc *p);
/* Fill the area and run the blob until all mappings are there. */
int pour_map(struct nproc *p, struct eng_report *rep);
/* All pages are there (or will come): finish it, stopped. */
int pour_finish(struct eng_new *n, struct nproc *p);
/* Let it go. */
int pour_release(struct nproc *p);

#endif
