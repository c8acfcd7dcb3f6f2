#ifndef TESTS_NET_PAIR_H
#define TESTS_NET_PAIR_H
/*
 * pair.h -- two (or more) daemons in one process on one loop: identities with
 * keys, a server that counts what it executes, and waiting with a deadline.
 */
#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include "buf.h"
#include "conn.h"
#include "rpc.h"

#define HOSTS	   4
#define CODE_ECHO  0x7001 /* answers body and payload */
#define CODE_COUNT 0x7002 /* answers how often it was executed */
#define CODE_HOLD  0x7003 /* is not answered until the test does */
#define CODE_FDS   0x7004 /* answers with the descriptors it got */

struct node {
	struct rpc_identity id;
	struct rpc *r;
	uint16_t port;
	char path[108];
	unsigned executed, opened, closed, notes, replayed;
	struct rpc_req *held[64];
	unsigned nheld;
	struct rpc_conn *last; /* accepted */
	uint32_t roles;
	uint16_t note_code;
};

struct answer {
	bool done;
	unsigned times;
	int status;
	uint16_t code;
	struct buf body, payload;
	int fds[RPC_FDS_MAX];
	size_t nfds;
	char sentence[128];
};

extern struct ev_loop *loop;
extern struct env *env;
extern uint8_t keys[HOSTS + 1][2][32]; /* host: secret, public */
extern bool known[HOSTS + 1];

void pair_init(void);
void pair_fini(void);
int key_of_test(void *arg, uint32_t host, uint8_t ret[32]);
/* A daemon of host; epoch 0: a new one. */
void node_start(struct node *n, uint32_t host, enum rpc_service s,
		uint64_t epoch);
void node_listen(struct node *n); /* TCP on loopback and unix */
void node_stop(struct node *n);
/* Run the loop until *flag, at most 5 s. */
bool run_until(const bool *flag);
bool run_while(bool (*busy)(void *arg), void *arg);
/* Until nothing more happens at once. */
void settle(void);
void on_answer(void *arg, int status, const struct rpc_msg *m);
void answer_free(struct answer *a);
struct rpc_peer *peer_tcp(struct node *from, struct node *to);

#endif
