#ifndef MIGD_STUBS_H
#define MIGD_STUBS_H
/*
 * stubs.h -- stubs under our control, on the loop.
 *
 * Commands need no waiting: they are executed in order, so a whole chain
 * (make the session's stub, below it the parent's, below it one that becomes
 * a program) is sent at once, and only its end is listened to.
 */
#include "migd.h"
#include "stub_proto.h"

struct stubc;

struct stub_hooks {
	void (*on_msg)(struct stubc *s, const struct stub_msg *msg);
	/* The socket closed; s->err says why if it never said HELLO.  The
	 * owner calls stubc_free now or later. */
	void (*on_gone)(struct stubc *s);
};

struct stubc {
	struct migd *m;
	struct list link; /* while nobody has said HELLO on it */
	int ctl;
	ev_io io;
	uint32_t pid; /* 0: not known yet */
	bool hello, gone;
	bool awaited; /* the answer to its SPAWN is due */
	uint32_t spawn_seq;
	int err;
	const struct stub_hooks *hooks;
	void *data;
};

/* ret_child: the other end of its socket, the caller's to pass on and close. */
struct stubc *stubc_new(struct migd *m, const struct stub_hooks *h, void *data,
			int *ret_child);
/* With a socket that exists. */
struct stubc *stubc_adopt(struct migd *m, int ctl, const struct stub_hooks *h,
			  void *data);
void stubc_free(struct stubc *s); /* NULL is fine; the stub lives on */
int stubc_send(struct stubc *s, const struct stub_msg *msg, const int *fds,
	       unsigned nfds);
/* Listen again after somebody else had it. */
void stubc_resume(struct stubc *s);
/* Give the socket up; the watcher ends. */
int stubc_take(struct stubc *s);

/* A new stub as child of parent, or of the world's first process if NULL. */
struct stubc *stubc_spawn(struct migd *m, struct stubc *parent, uint32_t pid,
			  bool setsid, int pgid,
			  const struct stub_hooks *h, void *data);
/* It dies with this wait status; s is freed when it has.  NULL is fine. */
void stubc_end(struct stubc *s, int status);

/* For world.c: the answer to a SPAWN of the first process. */
void stubs_await(struct stubc *s, uint32_t seq);
void stubs_spawned(struct migd *m, uint32_t seq, int32_t pid, int err);

/* Stubs that connect to the stub socket: home stubs that lost their migd, and
 * processes that the engine turned into stubs. */
int stubs_listen(struct migd *m);
void stubs_close(struct migd *m);

#endif
