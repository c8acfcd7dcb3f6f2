#ifndef MIGD_MIRROR_H
#define MIGD_MIRROR_H
/*
 * mirror.h -- the stubs that stand here for the parent, the session leader
 * and the group leader of guests, so that getppid, getpgrp, wait and kill are
 * answered by the kernel.  Shared between guests, kept for a while after the
 * last one (the next recipe of a build has the same parent).
 */
#include "migd.h"
#include "stubs.h"

struct mirror {
	struct map_node node;
	struct migd *m;
	uint32_t pid, home, uid;
	struct mirror *above; /* whose child it is, with a reference; or NULL */
	uint32_t above_pid;   /* adopted: until mirror_adopted */
	struct stubc *stub;
	unsigned refs;
	struct timer linger;
	bool ending;
};

/* The mirrors that one guest needs. */
struct place {
	struct mirror *parent, *group;
	bool setsid;
	int pgid; /* for the spawn of the guest itself */
};

/* own_session: make it the leader of a session (it has a terminal). */
int mirror_place(struct migd *m, uint32_t home, uint32_t uid, uint32_t gid,
		 const struct msg_migd_place *p, bool own_session,
		 struct place *ret);
void mirror_leave(struct place *p);
/* From the keeper. */
void mirror_adopt(struct migd *m, const void *data, size_t len, int *fds,
		  size_t nfds);
/* After the guests were adopted too: join up, drop what nobody needs. */
void mirror_adopted(struct migd *m);
/* References of an adopted guest; NULL if it is not there. */
struct mirror *mirror_find(struct migd *m, uint32_t pid);
void mirror_hold(struct mirror *r);
void mirror_free_all(struct migd *m);

#endif
