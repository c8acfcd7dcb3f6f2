#ifndef PDEV_FRONT_INT_H
#define PDEV_FRONT_INT_H
/*
 * front_int.h -- the inside of front.h.
 *
 *   front.c      streams: opening, poll, release, out of reach
 *   front_req.c  requests on their way
 */
#include <stdbool.h>

#include "front.h"
#include "list.h"
#include "stream.h"

#define WATCH_MS	  1000u /* how often the hosts of streams are looked at */
#define DOWN_MS		  10000u /* out of touch that long: the stream is cut */
#define INTR_MS		  2000u	 /* an interrupted request is given up after */
#define FRONT_STREAMS_MAX 65536u

struct fstream {
	struct list link;
	struct front *f;
	uint32_t host;
	uint64_t id;		/* the broker's */
	uint64_t epoch;		/* of the fsd that has it */
	uint64_t down_since_ms; /* 0: in touch */
	struct pdev_stream s;
	struct fuse_pollhandle *ph;
	struct list reqs;
	uint32_t flags;	       /* of open */
	pid_t seen, world_pid; /* who called last, here and in the cell */
};

/* A request of the kernel that is not answered yet. */
struct freq {
	struct list link;
	struct fstream *s;
	fuse_req_t req; /* NULL: answered; an open that must be undone */
	uint64_t id;
	uint16_t code;
	struct rpc_call *call; /* NULL: parked */
	bool interrupted, cancelled;
	int ended; /* why we ended it, or 0 */
	struct timer timer;
	pid_t pid;
	uint32_t flags, cmd;
	uint64_t arg;
	size_t size; /* wanted */
	void *data;  /* a copy: it may have to be sent again */
	size_t len;
};

struct front {
	struct front_conf c;
	struct list streams;
	unsigned nstreams;
	uint64_t next_req;
	struct timer watch;
};

/* front.c */
void fstream_free(struct fstream *s);
/* The program or its host is gone: errors from now on. */
void fstream_cut(struct fstream *s);
/* The answer of the open, with q->req NULL if nobody waits for it. */
void fstream_opened(struct freq *q, int status, const struct rpc_msg *m);

/* front_req.c */
/* NULL: answered with an error. */
struct freq *freq_new(struct fstream *s, fuse_req_t req, uint16_t code,
		      const void *data, size_t len);
void freq_free(struct freq *q);
/* Send it, or answer it with the error. */
void freq_send(struct freq *q);
void freq_call(struct freq *q, int encoded, const struct rpc_out *o);
/* Answer it with an error. */
void freq_fail(struct freq *q, int status);
/* bits have become ready: send those that waited for them. */
void freqs_resume(struct fstream *s, uint32_t bits);
pid_t world_pid(struct fstream *s, pid_t pid);

#endif
