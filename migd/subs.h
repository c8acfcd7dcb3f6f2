#ifndef MIGD_SUBS_H
#define MIGD_SUBS_H
/*
 * subs.h -- the stubs here of processes that went away with their parent: a
 * tree leaves a tree of stubs, whose root is the away record (away.h).
 */
#include "migd.h"

/* A stub came whose parent is a stub of a tree that is away: true, fd taken. */
bool sub_came(struct migd *m, uint32_t pid, int fd);
/* The tree comes home; only these are still alive: the other stubs end. */
void subs_members(struct migd *m, uint32_t root, const uint32_t *pids,
		  unsigned n);
/* Its control socket for the engine, which pours the process into it;
 * -ENOENT.  The caller's to close. */
int sub_lend(struct migd *m, uint32_t root, uint32_t pid);
/* The root ended or is home again. */
void subs_end(struct migd *m, uint32_t root);
void sub_adopt(struct migd *m, const void *data, size_t len, int *fds,
	       size_t nfds);
void subs_free_all(struct migd *m);

#endif
