#ifndef NET_HOSTDB_ENUM_H
#define NET_HOSTDB_ENUM_H
/*
 * hostdb_enum.h -- the numbers in the messages of hostdb.def.  A number is
 * forever.
 */

enum hostdb_state {
	HOST_ACTIVE,	/* in use by its owner, or too busy */
	HOST_IDLE,	/* wholly free */
	HOST_PART_USED, /* lent, with room for more */
	HOST_FULL,	/* every slot lent */
	HOST_REFUSES,	/* its policy takes no guests */
	HOST_DOWN,	/* not heard of */
	HOST_STATES
};

enum hostdb_priority {
	PRIORITY_LOW,	 /* long background jobs */
	PRIORITY_NORMAL, /* compiles */
	PRIORITY_HIGH,
	PRIORITIES
};

/* Why a host does not allow guests, or a grant was lost. */
enum hostdb_why {
	WHY_NONE,
	WHY_INPUT,	/* its console was used */
	WHY_LOAD,	/* its load is too high; guests may stay */
	WHY_POLICY,	/* its owner wants none */
	WHY_RECLAIMED,	/* given to a client that has fewer */
	WHY_DOWN,	/* not heard of any more, or removed */
	WHY_REBOOTED,	/* it started anew, what ran there is gone */
	WHY_STARTING,	/* up, but its load was not sampled yet */
	WHYS
};

#endif
