/*
 * boost.c -- on a busy host a frozen process is one that waits for a CPU:
 * every stop and every injected call needs the thread to be scheduled.  So
 * the mover takes a real-time priority while something is frozen, and the threads
 * it handles are at the highest niceness until they are let go.
 */
#include "tree.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

#define HIGHEST (-19)

void boost_self(void)
{
	struct sched_param p = { .sched_priority = 1 };

	/* In a cgroup without real-time budget only the second is allowed. */
	if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &p))
		setpriority(PRIO_PROCESS, 0, HIGHEST);
}

void calm_self(void)
{
	struct sched_param p = { 0 };

	if (sched_getscheduler(0) != SCHED_OTHER)
		sched_setscheduler(0, SCHED_OTHER, &p);
}

int boost_thread(pid_t tid)
{
	int nice = getpriority(PRIO_PROCESS, (id_t)tid);

	setpriority(PRIO_PROCESS, (id_t)tid, HIGHEST);
	return nice;
}

void calm_thread(pid_t tid, int nice)
{
	setpriority(PRIO_PROCESS, (id_t)tid, nice);
}
