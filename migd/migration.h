#ifndef MIGD_MIGRATION_H
#define MIGD_MIGRATION_H
/*
 * migration.h -- moving a running process with its descendants to another
 * host: who asks whom, and what is true at every step.
 *
 * Three migds take part: source (where it runs), target, and home, which may
 * be one of the two.  Source and target have a mover each (mover.h).  The
 * states below are the source's.  The process runs in exactly one place in
 * every state: here up to SENT, there from COMMITTED; between the two it runs
 * nowhere, and home's answer alone moves it on.
 */
#include "migd.h"

#define TO(s) (1u << MIG_##s)
#define MIGRATION_STATES(STATE)					\
	STATE(ASKED, TO(CHECKED) | TO(REFUSED))			\
	STATE(CHECKED, TO(OFFERED) | TO(REFUSED))		\
	STATE(OFFERED, TO(MOVING) | TO(REFUSED))		\
	STATE(MOVING, TO(SENT) | TO(THAWED) | TO(REFUSED))	\
	STATE(SENT, TO(COMMITTED) | TO(THAWED))			\
	STATE(COMMITTED, TO(DONE))				\
	STATE(DONE, 0)						\
	STATE(THAWED, 0)					\
	STATE(REFUSED, 0)

enum mig_state {
#define STATE(name, next) MIG_##name,
	MIGRATION_STATES(STATE)
#undef STATE
};

const char *mig_state_name(enum mig_state s);
bool mig_may(enum mig_state from, enum mig_state to);

struct chan;

/*
 * Move a process that runs here.  done comes exactly once, when it runs there
 * or cannot go: status, a sentence, and the figures.
 */
typedef void move_done_fn(void *arg, int status, const char *why,
			  const struct msg_migd_move_record *rec);
void migration_start(struct migd *m, uint32_t pid, uint32_t to,
		     enum migd_cause cause, enum migd_strategy strategy,
		     bool alone, move_done_fn *done, void *arg);

int migrations_open(struct migd *m);
void migrations_close(struct migd *m);
/* A channel of another host's mover, for rpc_accept_chan. */
void migration_chan(void *m, uint32_t host, uint64_t token, struct chan *c);
/* Could a process of this host move?  status and why as for a move. */
void migration_check(struct migd *m, uint32_t pid, move_done_fn *done,
		     void *arg);
/* From the keeper: a move that was under way when migd died. */
void migration_adopt(struct migd *m, const void *data, size_t len, int *fds,
		     size_t nfds);
void migrations_adopted(struct migd *m);
/* A host is lost: moves with it fail or are settled. */
void migrations_lost(struct migd *m, uint32_t host);

void on_migd_migrate(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_migrate *b);
void on_migd_migrate_here(struct migd *m, struct rpc_req *q,
			  const struct msg_migd_migrate_here *b);
void on_migd_move(struct migd *m, struct rpc_req *q,
		  const struct msg_migd_move *b);
void on_migd_offer(struct migd *m, struct rpc_req *q,
		   const struct msg_migd_offer *b);
void on_migd_commit(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_commit *b);
void on_migd_settle(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_settle *b);
void on_migd_moved(struct migd *m, struct rpc_req *q,
		   const struct msg_migd_moved *b);
void on_migd_cancel(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_cancel *b);
void on_migd_running(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_running *b);
void on_migd_whereto(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_whereto *b);
void on_migd_moves(struct migd *m, struct rpc_req *q,
		   const struct msg_migd_moves *b);

#endif
