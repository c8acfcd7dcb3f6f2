#ifndef MIGD_AWAY_H
#define MIGD_AWAY_H
/*
 * away.h -- processes whose home is here and whose body is elsewhere, and the
 * memory of how they ended.
 */
#include "migd.h"
#include "stubs.h"

enum away_state { AWAY_STARTING, AWAY_RUNNING, AWAY_ENDED };

struct away {
	struct map_node node;
	struct migd *m;
	uint32_t pid, host, uid, flags, moves;
	enum away_state state;
	bool moving;
	bool early; /* ended while STARTING */
	struct msg_migd_place place;
	struct stubc *stub;
	struct rpc_conn *waiter; /* a client outside of the world */
	int err_fd;		 /* the caller's standard error, or -1 */
	uint64_t since_ms;
	uint64_t grant; /* to be given back at the end, or 0 */
	uint64_t move_token; /* of the last move that was committed */
	uint64_t dead_token; /* of the last move that was called off */
	char command[64];
	int32_t status;
	uint8_t reason;
	char why[160];
	struct timer stub_due; /* a caller that does not become a stub */
};

struct away *away_find(struct migd *m, uint32_t pid);
struct away *away_new(struct migd *m, uint32_t pid, uint32_t host);
/* The socket of its home stub, which need not have said HELLO. */
int away_set_stub(struct away *a, int ctl);
void away_keep(struct away *a);
/* It ended over there, or is lost. */
void away_ended(struct away *a, int status, uint8_t reason, const char *why);
/* It came home, or never left: the stub is somebody else's affair now. */
void away_free(struct away *a);
/* A stub connected to the stub socket; true: it was awaited, fd taken. */
bool away_stub_came(struct migd *m, uint32_t pid, int fd);
/* What a process had written is through. */
void away_flushed(struct migd *m, uint32_t pid);
void away_host_lost(struct migd *m, uint32_t host);
void away_census(struct migd *m, uint32_t host);
unsigned away_count(const struct migd *m, uint32_t host);
/* A tool's connection closed. */
void away_conn_closed(struct migd *m, struct rpc_conn *c);

int away_signal(struct away *a, int sig, const void *info, size_t len,
		bool group);

/* A guest on `from` signalled a process of ours that is at home (it is
 * mirrored there): allowed if one of that host's guests has its user. */
int home_signal(struct migd *m, uint32_t from, const struct msg_migd_signal *b);

/* How a process ended that was here or away; NULL: not known (any more). */
struct ended_record {
	uint32_t pid, host, uid;
	int32_t status;
	uint8_t reason;
	uint64_t at_ms;
	char why[160];
};
const struct ended_record *away_end_of(struct migd *m, uint32_t pid);

void away_adopt(struct migd *m, const void *data, size_t len, int *fds,
		size_t nfds);
void away_adopted(struct migd *m);
void away_free_all(struct migd *m);

/* requests */
void on_migd_exited(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_exited *b);
void on_migd_stopped(struct migd *m, struct rpc_req *q,
		     const struct msg_migd_stopped *b);
void on_migd_census(struct migd *m, struct rpc_req *q,
		    const struct msg_migd_census *b);

#endif
