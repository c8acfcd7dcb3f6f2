#ifndef PDEV_FRONT_H
#define PDEV_FRONT_H
/*
 * front.h -- the mounting side of pseudo-devices: what the kernel asks of an
 * open one, turned into messages to the fsd of the host where its program
 * runs, and answered when the answer is there.
 *
 * fi->fh of an open pseudo-device is ours.  Each function answers its request
 * exactly once, now or later.  A client that may wait waits here: a request
 * that was answered -EAGAIN is sent again when the stream is ready.
 */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <stdint.h>

#include "env.h"
#include "pdev_msg.h"
#include "rpc.h"

struct front;

struct front_conf {
	struct env *env;
	uint32_t host; /* this one */
	/* The fsd of a host; NULL: there is no such host. */
	struct rpc_peer *(*peer)(void *arg, uint32_t host);
	/* Have fuse_lowlevel_notify_poll called by the thread that may, and
	 * then fuse_pollhandle_destroy: ph is the function's from here on. */
	void (*wake)(void *arg, struct fuse_pollhandle *ph);
	void *arg;
};

int front_new(const struct front_conf *c, struct front **ret);
/* Everything under way is answered -EIO. */
void front_free(struct front *f);

/* Open name, whose program runs on host. */
void front_open(struct front *f, fuse_req_t req, const char *name,
		uint32_t host, const struct fuse_file_info *fi);
void front_read(fuse_req_t req, size_t size, const struct fuse_file_info *fi);
void front_write(fuse_req_t req, const void *p, size_t size,
		 const struct fuse_file_info *fi);
void front_ioctl(fuse_req_t req, unsigned cmd, const void *arg,
		 const struct fuse_file_info *fi, unsigned flags,
		 const void *in, size_t in_size, size_t out_size);
/* ph may be NULL: nobody is to be woken. */
void front_poll(fuse_req_t req, const struct fuse_file_info *fi,
		struct fuse_pollhandle *ph);
void front_release(fuse_req_t req, const struct fuse_file_info *fi);

/* From the fsd of host. */
void front_ready(struct front *f, uint32_t host,
		 const struct msg_pdev_ready *m);

unsigned front_streams(const struct front *f);

#endif
