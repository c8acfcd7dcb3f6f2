#ifndef MIGD_MOVER_H
#define MIGD_MOVER_H
/*
 * mover.h -- one process per migration and side, in the world's PID and mount
 * namespaces, that does the blocking work (engine.h), and what it and migd say
 * to each other over a SOCK_SEQPACKET pair.
 *
 * A mover that loses migd before everything is sent puts the source back;
 * after that it leaves the processes in their frozen control group, for the
 * next migd to settle.  A target's mover that loses migd dies, and with
 * it what it has built.
 */
#include "engine.h"
#include "migd.h"

struct chan;

#define MOVER_TEXT 400
#define MOVER_PIDS 2048

enum mover_op {
	/* ---- mover to migd; those with ? wait for the same op back ---- */
	MV_CHECKED = 1, /* err, text; n: processes */
	MV_FD_CHECK,	/* ? fd; back: err as fd_check's result, text */
	MV_FD_SAVE,	/* ? fd, one descriptor; back: err, blob */
	MV_FD_OPEN,	/* ? fd, blob; back: err, one descriptor */
	MV_WIDEN,	/* ? back when PIDs of any size may be made */
	MV_FIND_STUB,	/* ? pid; back: err, one descriptor */
	MV_MEMBERS,	/* ? pids[n]: what will come; before it is restored */
	MV_SIGNAL,	/* target: blob is the siginfo of one for the root */
	MV_FROZEN,	/* the source stands still */
	MV_SENT,	/* all is sent and frozen for good: migd decides */
	MV_READY,	/* target: built */
	MV_RUNNING,	/* target: resumed; times */
	MV_DONE,	/* err, text, times: nothing is left to do */
	/* ---- migd to mover ---- */
	MV_GO,	   /* source: connect and move.  target: resume */
	MV_COMMIT, /* source: it is theirs now */
	MV_ABORT,
};

struct mover_fd {
	uint32_t kind, flags, desc, holders;
	uint64_t dev, ino, rdev, pos;
	uint8_t deleted, in_sprite, sock_stream;
	char path[512];
};

struct mover_msg {
	uint32_t op;
	int32_t err;
	uint32_t pid, n;
	uint64_t at_us; /* when it happened */
	char text[MOVER_TEXT];
	union {
		struct mover_fd fd;
		struct eng_times times;
		uint32_t pids[MOVER_PIDS];
		struct {
			uint64_t token;
			uint32_t host, port;
			char addr[64];
			uint8_t key[32];
		} go;
	} u;
	uint32_t blob_len;
	uint8_t blob[ENG_FD_BLOB_MAX];
};

struct mover;

struct mover_hooks {
	void (*on_msg)(void *arg, const struct mover_msg *m, int *fd);
	/* It is gone; the owner frees it. */
	void (*on_gone)(void *arg);
};

/* What a mover is for. */
struct mover_job {
	bool target;
	uint32_t pid;
	bool home; /* source: leave stubs.  target: into the home stub */
	bool lazy, alone;
	int ctl;	      /* target: of the root's stub; taken over */
	struct chan *chan[3]; /* target; not closed here */
};

struct mover *mover_start(struct migd *m, const struct mover_job *j,
			  const struct mover_hooks *h, void *arg);
int mover_tell(struct mover *v, const struct mover_msg *m, int fd);
/* Deal with one message that waits, now; false: none.  The hooks may free v. */
bool mover_take(struct mover *v);
void mover_kill(struct mover *v);
/* NULL is fine.  A living mover sees its socket close. */
void mover_free(struct mover *v);

/* In the child (mover_source.c, mover_target.c). */
struct mover_self {
	struct migd *m; /* configuration only: nothing that has a loop */
	struct mover_job job;
	int sock;
};
int mover_say(const struct mover_self *s, const struct mover_msg *m, int fd);
/* Wait for a message of migd's; -EPIPE: migd is gone. */
int mover_hear(const struct mover_self *s, struct mover_msg *ret, int *ret_fd);
/* Send and wait for the same op. */
int mover_ask(const struct mover_self *s, struct mover_msg *m, int fd,
	      int *ret_fd);
void mover_report_text(const struct eng_report *rep, int err, char *text);
int mover_source_main(struct mover_self *s);
int mover_target_main(struct mover_self *s);

/* An eng_io on a channel. */
struct eng_io mover_io(struct chan *c);
/* For pages on demand: nothing may wait in a buffer. */
struct eng_io mover_io_prompt(struct chan *c);
/* What follows an image: everything was sent, and is frozen. */
#define MOVER_TRAILER 0x5350524954454f4bull

#endif
