#ifndef MIGD_MOVE_H
#define MIGD_MOVE_H
/*
 * move.h -- one migration as source, target and home share it within migd:
 * leave.c is the source's part, arrive.c the target's, settle.c home's.
 */
#include "migration.h"
#include "mover.h"

#define MOVE_STREAMS 64

struct guest;
struct stubc;

enum move_role { MOVE_LEAVE, MOVE_ARRIVE };

struct move {
	struct list link;
	struct migd *m;
	uint64_t id; /* of this record, for calls that may outlive it */
	enum move_role role;
	uint32_t pid, other, home; /* other: target or source */
	enum migd_cause cause;
	enum migd_strategy strategy;
	bool lazy, alone;
	uint64_t token;
	struct mover *mover;
	struct timer timer;
	uint64_t start_us, frozen_us;
	struct msg_migd_move_record rec;
	char why[MOVER_TEXT];
	/* Relays that go along: numbers. */
	uint64_t stream[MOVE_STREAMS];
	int stream_fd[MOVE_STREAMS]; /* arrive: for a second opening */
	unsigned nstreams;
	struct list signals; /* that came while it was on its way */

	/* ---- leaving ---- */
	enum mig_state state;
	uint32_t uid;
	struct msg_migd_place place;
	char command[64];
	bool check_only;
	bool has_tty, dead, settling, running, arrived, mover_gone;
	move_done_fn *done;
	void *arg;

	/* ---- arriving ---- */
	struct rpc_req *offer;
	struct guest *g;	/* not at home */
	struct stubc *stub;
	struct chan *chan[3];
	uint32_t moves;
	bool ready, committed, resumed, finished;
};

struct move *move_new(struct migd *m, enum move_role role, uint32_t pid);
/* A call's argument: finds the move if it still exists, and is freed. */
struct move_ref {
	struct migd *m;
	uint64_t id;
};
struct move_ref *move_ref(struct move *v);
struct move *move_deref(struct move_ref *r);
void move_free(struct move *v); /* with its mover and channels */
struct move *move_by_token(struct migd *m, enum move_role role, uint64_t token);
struct move *move_by_pid(struct migd *m, enum move_role role, uint32_t pid);
/* Remember and log. */
void move_record(struct move *v, int status);

/* leave.c */
void leave_close(struct migd *m);
void leave_state(struct move *v, enum mig_state next);
/* Others say what follows from our mover's last word, which may still lie in
 * its socket: read it first.  NULL: that ended the move. */
struct move *leave_catch_up(struct move *v);
/* Home's word. */
void leave_committed(struct move *v);
void leave_called_off(struct move *v, const char *why);
/* The target says that it cannot. */
void leave_cancelled(struct move *v, const char *why);

/* settle.c: home decides.  0: committed, the process runs on target. */
int home_commit(struct migd *m, uint32_t pid, uint32_t source, uint32_t target,
		uint64_t token);
/* True: it was committed; false: it never will be. */
bool home_settle(struct migd *m, uint32_t pid, uint64_t token);

/* arrive.c */
void arrive_home_committed(struct move *v);

/* What travels with a relayed descriptor. */
struct stream_blob {
	uint64_t id;
	uint32_t flags; /* STREAM_* */
	uint32_t pending;
	uint32_t tty_len;
	uint8_t tty[128];
};

#endif
