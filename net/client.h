#ifndef NET_CLIENT_H
#define NET_CLIENT_H
/*
 * client.h -- a synchronous client of a daemon on this host: for the command,
 * the library and other programs without a loop.  Same frames as rpc.h over
 * the daemon's unix socket.
 */
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "rpc.h"

struct client;

struct client_reply {
	int status;	      /* of the answer: 0 or negative errno */
	uint16_t code;
	struct buf body;      /* the answer's; of an error: a sentence */
	struct buf payload;
	int fds[RPC_FDS_MAX]; /* the caller's to close */
	size_t nfds;
};

/* path: of the daemon's socket.  -ENOENT/-ECONNREFUSED: it does not run. */
int client_open(const char *path, unsigned timeout_ms, struct client **ret);
/*
 * As a stranger with a token (token.h): a sealed session with named, good for
 * named_join only.  -EKEYREJECTED: the token is not (any more) good there.
 */
struct token;
int client_open_join(const struct token *t, unsigned timeout_ms,
		     struct client **ret);
void client_close(struct client *c);
int client_fd(const struct client *c);
/*
 * Call and wait.  0 when an answer came (see ret->status), -ETIMEDOUT, -EPIPE
 * (the daemon died).  Release with client_reply_free.  timeout_ms 0: the one
 * of client_open; UINT_MAX: for ever, but -EINTR when a signal was handled.
 * After -ETIMEDOUT or -EINTR the client is usable; the late answer is dropped.
 */
int client_call(struct client *c, const struct rpc_out *o, unsigned timeout_ms,
		struct client_reply *ret);
/* The next one-way message from the daemon (progress, notices). */
int client_note(struct client *c, unsigned timeout_ms, struct client_reply *ret);
void client_reply_free(struct client_reply *r);
/* The answer's sentence, or strerror's. */
const char *client_sentence(const struct client_reply *r);

#endif
