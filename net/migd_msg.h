#ifndef NET_MIGD_MSG_H
#define NET_MIGD_MSG_H
/* migd_msg.h -- structs and codecs of migd.def; see msg.h for what is made. */
#define MSG_TABLE "migd.def"
#include "msg.h"
#undef MSG_TABLE

/* flags of migd_run */
enum migd_run_flags {
	MIGD_RUN_LOCAL = 1u,	/* here, in the world, whatever host says */
	MIGD_RUN_RERUN_OK = 2u, /* may be killed and run again: if it has to
				   leave a host and cannot move, it is killed
				   and its end says MIGD_END_EVICTED */
	MIGD_RUN_STAY = 4u,	/* must never leave the host it is started on */
	MIGD_RUN_OR_HERE = 8u,	/* no host to be had: MIGD_RUN_HERE, not an error */
};

/* how of migd_run_started */
enum migd_how { MIGD_BECOME_STUB = 1, MIGD_WAIT, MIGD_RUN_HERE };

/* reason of migd_because and migd_run_ended */
enum migd_end {
	MIGD_END_NOT = 0,   /* it has not ended */
	MIGD_END_EXIT,	    /* by itself */
	MIGD_END_SIGNAL,    /* killed by a signal */
	MIGD_END_HOST_LOST, /* the host it ran on is gone */
	MIGD_END_EVICTED,   /* had to leave and could not move: run it again */
	MIGD_END_FAILED,    /* a migration failed after its commit */
};

enum migd_strategy { MIGD_AUTO = 0, MIGD_DIRECT, MIGD_LAZY };
enum migd_cause { MIGD_ASKED = 1, MIGD_EVICTION, MIGD_BALANCE, MIGD_RETURN };

/* kind of migd_carry_fd */
enum migd_carry { MIGD_BY_NAME = 1, MIGD_DEVICE, MIGD_RELAY, MIGD_RELAY_TTY };
#endif
