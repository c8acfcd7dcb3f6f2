#ifndef MIGD_FREEZER_H
#define MIGD_FREEZER_H
/*
 * freezer.h -- control groups: all guests of this host are in one, so that
 * they can be stopped at once and without their knowledge; a process
 * on its way is in another, so that it stays stopped whatever becomes of
 * its mover.  Both kinds of hierarchy work (the freezer of old, or the
 * unified one).
 */
#include "migd.h"

/* Find or make the groups; -ENOSYS if there are none to be had. */
int freezer_open(struct migd *m);
void freezer_close(struct migd *m); /* removes what is empty */
/* The cgroup.procs file of the guests' group; "" if there is none. */
const char *freezer_guests(const struct migd *m);
/* Ask for it; freezer_still says whether it is done. */
int freezer_freeze(struct migd *m, bool frozen);
bool freezer_still(const struct migd *m);

/* For movers, which see the world's PIDs: a group for one tree, frozen or
 * not. */
int freezer_tree(const char *guests, uint32_t root, bool frozen,
		 const uint32_t *pids, size_t n);
/* Are the guests stopped (or being stopped)? */
bool freezer_on(const char *guests);
int freezer_tree_freeze(const char *guests, uint32_t root, bool frozen);
/* Back to where guests are (home: to the parent group); removes the group. */
int freezer_tree_done(const char *guests, uint32_t root, bool guest);

#endif
