#ifndef TESTS_PDEV_FAKE_H
#define TESTS_PDEV_FAKE_H
/*
 * fake.h -- a world for the broker and the registry: a clock that the test
 * moves, connections that are structs, and everything sent written down.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"
#include "port.h"

struct rpc_conn {
	uint32_t host;
	enum rpc_service service;
	uint64_t epoch;
	uid_t uid;
	gid_t gid;
	pid_t pid;
	bool open, closed_by_us;
};

/* A request to the code under test, and its answer. */
struct rpc_req {
	struct rpc_conn *conn;
	unsigned answers;
	int status;
	uint16_t code;
	uint8_t body[512];
	size_t len;
	uint8_t payload[4096];
	size_t payload_len;
	char sentence[256];
};

/* A call made by the code under test. */
struct rpc_call {
	struct rpc_conn *conn; /* NULL: a claim */
	rpc_done_fn *done;
	void *arg;
	bool ended;
	uint16_t code;
	uint8_t body[8192];
	size_t len;
	size_t payload_len;
};

struct sent_note {
	struct rpc_conn *conn;
	uint16_t code;
	uint8_t body[64];
	size_t len;
};

#define CALLS 4096
#define NOTES 256 /* the last ones */
extern struct rpc_call calls[CALLS];
extern unsigned ncalls;
extern struct sent_note notes[NOTES];
extern unsigned nnotes;
extern struct env *fake_env;
extern const struct pdev_port fake_port;

void fake_reset(void);
/* Let time pass; timers fire in their order. */
void fake_advance(uint64_t ms);
unsigned fake_timers(void);
/* Answer a call that was made. */
void fake_answer(struct rpc_call *c, int status, uint16_t code,
		 const void *body, size_t len, const void *payload,
		 size_t payload_len);
/* The last call on conn that has not ended, or NULL. */
struct rpc_call *fake_call(const struct rpc_conn *conn, uint16_t code);
/* How many notes of code went to conn; the last is put into *ret. */
unsigned fake_notes(const struct rpc_conn *conn, uint16_t code,
		    struct sent_note *ret);
int fake_make_call(struct rpc_conn *c, const struct rpc_out *o, uint32_t ms,
		   rpc_done_fn *done, void *arg, struct rpc_call **ret);

#endif
