#ifndef STUB_STUB_H
#define STUB_STUB_H
/*
 * stub.h -- what the files of the stub share.  The contract of the program
 * is engine/stub_proto.h.
 */
#include <stdbool.h>
#include <stdint.h>

#include "blob.h"
#include "stub_proto.h"

#define STUB_CTL   0 /* number of the control socket */
#define STUB_SIGFD 1

struct stub {
	int ctl;	  /* -1: lost */
	const char *path; /* to connect to again, or NULL */
	uint32_t hello;	  /* flags of the next HELLO */
	bool unsent;
	struct stub_msg pending; /* the report that could not be sent */
};

/*
 * STUB_EXEC.  Returns only on failure: a negative errno, and the step in
 * *ret_step.  s->ctl may have been moved to another number.
 */
int stub_exec(struct stub *s, const int *fds, unsigned nfds,
	      uint32_t *ret_step);

/* Called from start.S. */
void stub_main(long *sp) __attribute__((noreturn));
void blob_main(struct blob_args *a) __attribute__((noreturn));
void blob_thread(struct blob_args *a, long index) __attribute__((noreturn));
long blob_clone3(void *args, long size, struct blob_args *a, long index);

#endif
