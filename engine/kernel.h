#ifndef ENGINE_KERNEL_H
#define ENGINE_KERNEL_H
/* kernel.h -- see kernel.c; eng_kernel_open and _close are in engine.h. */
#include <time.h>

#include "new.h"

/*
 * Until when the interrupted call of a stopped thread would have waited, in
 * nanoseconds of the clock returned (a relative sleep by CLOCK_REALTIME is kept
 * by CLOCK_MONOTONIC).
 */
int kernel_deadline(const struct eng_kernel *k, pid_t tid,
		    enum restart_kind kind, uint64_t *ret_ns,
		    clockid_t *ret_clock);

/*
 * Which call was interrupted, for a thread that shows only restart_syscall: its
 * argument registers are still those of the call, and the block of each call
 * repeats some of them.  *ret_nr is a SYS_ number.
 */
int kernel_interrupted(const struct eng_kernel *k, pid_t tid,
		       const struct user_regs_struct *g, uint64_t *ret_nr);

#endif
