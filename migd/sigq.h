#ifndef MIGD_SIGQ_H
#define MIGD_SIGQ_H
/*
 * sigq.h -- signals for a process that is on its way: kept in order until it
 * can take them.
 */
#include "migd.h"

void sigq_add(struct list *q, int sig, const void *info, size_t len,
	      bool group);
/* To where it went; empties q. */
void sigq_forward(struct migd *m, struct list *q, uint32_t host, uint32_t pid);
/* To a process of this world that is no guest; empties q. */
void sigq_deliver(struct migd *m, struct list *q, uint32_t pid);
void sigq_free(struct list *q);

struct sigq_item {
	struct list link;
	int sig;
	bool group;
	size_t len;
	uint8_t info[128];
};

/* Reports of signals that still lie in a stub's socket. */
void sigq_drain_stub(struct list *q, int ctl);

#endif
