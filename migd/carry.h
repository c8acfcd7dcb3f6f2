#ifndef MIGD_CARRY_H
#define MIGD_CARRY_H
/*
 * carry.h -- how each descriptor of a program that starts elsewhere gets
 * there: by name, or relayed.
 */
#include "migd.h"

struct carry_to {
	uint32_t pid, host;
	bool in_world; /* the caller's /tmp is the world's */
};

/*
 * Describe descriptors fds (numbers as the program will see them, from a blob
 * of STRUCT migd_fd) in out as STRUCT migd_carry_fd.  Those that must be relayed
 * become hstreams (streams.h), whose descriptors are duplicates.
 * 0, or -EOPNOTSUPP and a
 * sentence in why.
 */
int carry_plan(struct migd *m, const struct carry_to *to, wire_blob numbers,
	       const int *fds, size_t nfds, struct wire_writer *out, char *why,
	       size_t cap);
/* It did not start: drop the hstreams of pid that are not attached. */
void carry_undo(struct migd *m, uint32_t pid);
/* It runs on host: let the bytes flow. */
void carry_attach(struct migd *m, uint32_t pid, uint32_t host);

#endif
