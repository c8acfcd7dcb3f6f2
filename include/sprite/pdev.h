#ifndef SPRITE_PDEV_H
#define SPRITE_PDEV_H
/*
 * sprite/pdev.h -- become the server of a pseudo-device.
 *
 * A pseudo-device is a name under /sprite that a program answers for: whoever
 * opens it, on any host of the cell, opens a *stream* to that program, and his
 * open, read, write, ioctl, poll and close arrive here as calls of functions.
 * Link with -lsprite -lsodium -lev.
 *
 * Names.  /sprite/svc/NAME, for everybody; /sprite/hosts/HOST/NAME with the
 * name of this host, for root.  A name has one server: a second one gets
 * -EBUSY.  It is free again when its server closes it or ends.
 *
 * All functions return 0 or more, or a negative errno.  Nothing here starts a
 * thread; one device and its streams belong to one thread at a time.  A
 * callback may answer requests and set readiness, but not close the device.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sprite_pdev;	    /* a name, served */
struct sprite_pdev_stream;  /* one open of it; shared by dup and fork */
struct sprite_pdev_request; /* one call of a client, not answered yet */

/* What a stream is ready for.  A new one is ready for reading and writing. */
#define SPRITE_PDEV_IN	1u /* poll: POLLIN */
#define SPRITE_PDEV_OUT 2u /* POLLOUT */
#define SPRITE_PDEV_PRI 4u /* POLLPRI */
#define SPRITE_PDEV_HUP 8u /* POLLHUP; reading still works */

/* A callback returns this when sprite_pdev_answer will be called later. */
#define SPRITE_PDEV_LATER (-1000000)

/* Who opened a stream. */
struct sprite_pdev_client {
	uint32_t host;	       /* number in the cell */
	const char *host_name; /* as in `sprite hosts` */
	pid_t pid;	       /* valid in the whole cell; 0: not known */
	uid_t uid;
	gid_t gid;
	int flags; /* of open(2): O_RDONLY ..., O_NONBLOCK, O_APPEND */
};

/*
 * What the server does.  Any may be NULL: open succeeds, read and write give
 * EINVAL, ioctl gives ENOTTY, close does nothing.  A negative result is the
 * errno the client sees.
 *
 * -EAGAIN from read or write: a client that may wait waits until the stream is
 * ready for it (sprite_pdev_ready, or poll below) and is then asked again; one
 * with O_NONBLOCK gets the error.
 *
 * A callback must return within the timeout of the options, else the client
 * gets ETIMEDOUT.  What takes longer returns SPRITE_PDEV_LATER.
 */
struct sprite_pdev_ops {
	int (*open)(void *arg, struct sprite_pdev_stream *s,
		    struct sprite_pdev_request *q);
	/* Fill buf, return the number of bytes; 0 is the end of the file. */
	ssize_t (*read)(void *arg, struct sprite_pdev_stream *s,
			struct sprite_pdev_request *q, void *buf, size_t size);
	/* Return how much was taken: at least one byte unless size is 0. */
	ssize_t (*write)(void *arg, struct sprite_pdev_stream *s,
			 struct sprite_pdev_request *q, const void *data,
			 size_t size);
	/*
	 * in: what the command's argument points to (_IOW, _IOWR), in_size
	 * bytes.  out: room for what goes back (_IOR, _IOWR), out_size bytes,
	 * zero at first.  Commands without a size pass the argument itself:
	 * sprite_pdev_ioctl_arg(q).  The result is what ioctl(2) returns.
	 */
	int (*ioctl)(void *arg, struct sprite_pdev_stream *s,
		     struct sprite_pdev_request *q, unsigned int cmd,
		     const void *in, size_t in_size, void *out,
		     size_t out_size);
	/*
	 * What is s ready for?  Asked after each of the calls above was
	 * answered; in between, changes are told with sprite_pdev_ready.
	 * Clients' poll(2) is answered from what was told last.
	 */
	unsigned int (*poll)(void *arg, struct sprite_pdev_stream *s);
	/* The client has closed s, or is gone.  s is freed afterwards. */
	void (*close)(void *arg, struct sprite_pdev_stream *s);
	/*
	 * The client of q, which is to be answered later, does not wait any
	 * more.  If it was not answered in this call, -EINTR is.  Requests of a
	 * stream that closes come by here first.
	 */
	void (*cancel)(void *arg, struct sprite_pdev_stream *s,
		       struct sprite_pdev_request *q);
	/*
	 * The outcome of sprite_pdev_serve: 0, or -EBUSY ... with a sentence.
	 * If this is set, sprite_pdev_serve does not wait for it.
	 */
	void (*served)(void *arg, int status, const char *sentence);
};

struct sprite_pdev_options {
	unsigned int mode;	 /* permissions of the name; 0: 0666 */
	unsigned int timeout_ms; /* for one callback: 100 to 25000; 0: 10000 */
	const char *socket;	 /* of fsd; NULL: this host's */
	char *err;		 /* or NULL: room for a sentence when serve fails */
	size_t err_size;
};

/* Serve name.  options may be NULL.  -EBUSY, -EACCES, -EINVAL (no such place
 * for a device), -ENOENT or -ECONNREFUSED (fsd does not run), -ETIMEDOUT. */
int sprite_pdev_serve(const char *name, const struct sprite_pdev_ops *ops,
		      const struct sprite_pdev_options *options, void *arg,
		      struct sprite_pdev **ret);
/* Give the name up; streams are closed, clients get errors.  NULL is fine. */
void sprite_pdev_close(struct sprite_pdev *d);

/* With a loop of your own: wait for events (POLLIN, POLLOUT) on fd, then
 * dispatch, which never blocks.  events may change with every call made here.
 * dispatch returns 0, or the errno with which the service ended for good
 * (-EPIPE: fsd went; close the device, then serve again). */
int sprite_pdev_fd(const struct sprite_pdev *d);
short sprite_pdev_events(const struct sprite_pdev *d);
int sprite_pdev_dispatch(struct sprite_pdev *d);

/* Without one: serve until sprite_pdev_stop (0) or the end of the service. */
int sprite_pdev_run(struct sprite_pdev *d);
/* From a callback or a signal handler. */
void sprite_pdev_stop(struct sprite_pdev *d);

/* ---- streams ---- */
const struct sprite_pdev_client *
sprite_pdev_stream_client(const struct sprite_pdev_stream *s);
void sprite_pdev_stream_set_data(struct sprite_pdev_stream *s, void *data);
void *sprite_pdev_stream_data(const struct sprite_pdev_stream *s);
/* The next one of d, behind s; NULL: the first. */
struct sprite_pdev_stream *
sprite_pdev_stream_next(const struct sprite_pdev *d,
			const struct sprite_pdev_stream *s);
/* From now on s is ready for these and nothing else.  Wakes who waits. */
int sprite_pdev_ready(struct sprite_pdev_stream *s, unsigned int bits);

/* ---- requests ---- */
/*
 * Answer q, which is gone then: the result as a callback would return it, and
 * the data of a read or ioctl (len at most what was asked for; the result of
 * a read is its len).  For requests whose callback returned SPRITE_PDEV_LATER.
 */
int sprite_pdev_answer(struct sprite_pdev_request *q, long result,
		       const void *data, size_t len);
/* Who calls: of streams shared by fork, not always who opened. */
pid_t sprite_pdev_request_pid(const struct sprite_pdev_request *q);
/* Flags of the stream now: fcntl may have changed O_NONBLOCK. */
int sprite_pdev_request_flags(const struct sprite_pdev_request *q);
uint64_t sprite_pdev_ioctl_arg(const struct sprite_pdev_request *q);

#ifdef __cplusplus
}
#endif
#endif
