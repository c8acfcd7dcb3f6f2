#ifndef NET_RPC_H
#define NET_RPC_H
/*
 * rpc.h -- calls between daemons: one struct rpc per daemon.
 *
 * A *connection* (rpc_conn) is one live session: sealed TCP with another
 * host's daemon, or a unix socket with a process of this host.  A *peer*
 * (rpc_peer) is a service on a host that we call: it connects when first
 * needed, reconnects with back-off, and re-sends what was not answered.
 *
 * A call is a code (from a .def table), a body (made by the codecs of that table)
 * and an optional raw payload (file data, pages), which is not copied more
 * than needed.  It ends exactly once: with the answer, or with a negative
 * errno: -ETIMEDOUT (deadline), -ECONNRESET (the connection went and the call
 * was not to be repeated), -EHOSTUNREACH (never connected before the
 * deadline), -ECANCELED (rpc_call_cancel, rpc_free).
 *
 * At most once: each call of a peer carries our epoch and a sequence number.
 * After a reconnect to the *same* epoch of the server it is sent again and the
 * server answers a call it has executed already from its record.  When the
 * server's epoch changed, its record is gone: calls flagged RPC_IDEMPOTENT are
 * sent again, others end with -ECONNRESET, unless the peer has an
 * on_restart hook, which then decides when to resend (see below).
 *
 * Both sides of a connection may call: a server calls back its client with
 * rpc_conn_call (lease recalls).  Those calls die with the connection.
 *
 * A handler gets a struct rpc_req and answers it now or later, exactly once,
 * with rpc_reply*.  Answering after the connection went is harmless.
 * Everything runs on one loop; nothing here may be called from other threads.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "env.h"

enum rpc_service {
	SVC_NAMED = 1,
	SVC_FSD,
	SVC_MIGD,
	SVC_HOSTDB,
	SVC_TOOL, /* a local process: command, library client */
};

/* Who may send a request: bits of the .def tables' senders column. */
#define ROLE_NAMED (1u << SVC_NAMED)
#define ROLE_FSD (1u << SVC_FSD)
#define ROLE_MIGD (1u << SVC_MIGD)
#define ROLE_HOSTDB (1u << SVC_HOSTDB)
#define ROLE_TOOL (1u << SVC_TOOL)   /* any local process */
#define ROLE_ROOT (1u << 30)	     /* a local process of uid 0 */
#define ROLE_JOINER (1u << 29)	     /* a stranger with a one-time token */
#define ROLE_DAEMON (ROLE_NAMED | ROLE_FSD | ROLE_MIGD | ROLE_HOSTDB)

#define RPC_BODY_MAX (1u << 20)
#define RPC_PAYLOAD_MAX ((2u << 20) + 65536u)
#define RPC_FDS_MAX 64

struct rpc;
struct rpc_conn;
struct rpc_peer;
struct rpc_req;
struct rpc_call;

/* What came in.  Borrowed for the callback, fds excepted: they are the
 * callback's to close, and set to -1 when it keeps them. */
struct rpc_msg {
	uint16_t code;
	const void *body;
	size_t len;
	const void *payload;
	size_t payload_len;
	int *fds; /* unix connections only */
	size_t nfds;
	bool replayed; /* the sender had to send it again (its answer may have been lost) */
};

struct rpc_handler {
	/* A request, to be answered by rpc_reply*.  NULL: all are refused. */
	void (*on_request)(void *arg, struct rpc_req *req, const struct rpc_msg *m);
	/* A one-way message. */
	void (*on_note)(void *arg, struct rpc_conn *c, const struct rpc_msg *m);
	/* An accepted connection, after the handshake; may set rpc_conn_set_data.
	 * (A connection that a peer made is told to the peer's hooks instead.) */
	void (*on_open)(void *arg, struct rpc_conn *c);
	/* An accepted connection is gone; its data is the owner's to free now. */
	void (*on_close)(void *arg, struct rpc_conn *c);
	void *arg;
};

struct rpc_identity {
	uint32_t host;		/* our id; 0 before joining */
	enum rpc_service service;
	uint64_t epoch;		/* random or counting; 0: made by rpc_new */
	uint8_t secret[32], public_key[32];
};

/* Key of a host, from the roster.  0 or -ENOENT. */
typedef int rpc_key_fn(void *arg, uint32_t host, uint8_t ret_key[32]);

struct rpc *rpc_new(struct env *env, const struct rpc_identity *id,
		    rpc_key_fn *key_of, void *key_arg,
		    const struct rpc_handler *h);
void rpc_free(struct rpc *r);
uint64_t rpc_epoch(const struct rpc *r);
struct env *rpc_env(const struct rpc *r);

/* Serve.  0 or -errno.  port is in host order; addr NULL: all addresses. */
int rpc_listen_tcp(struct rpc *r, const char *addr, uint16_t port);
int rpc_listen_unix(struct rpc *r, const char *path, mode_t mode);
/*
 * named only: admit strangers who prove a one-time token (Noise with psk).
 * psk_of finds the pre-shared key of a token id; 0 or -ENOENT.
 */
typedef int rpc_psk_fn(void *arg, uint64_t token_id, uint8_t ret_psk[32]);
void rpc_admit_joiners(struct rpc *r, rpc_psk_fn *psk_of, void *arg);
/*
 * Sessions that migrations use (chan.h): hand an accepted, authenticated
 * connection whose first message is CHAN_HELLO to fn instead of serving it.
 * fd (blocking) and keys belong to fn.
 */
struct chan;
typedef void rpc_chan_fn(void *arg, uint32_t host, uint64_t token, struct chan *ch);
void rpc_accept_chan(struct rpc *r, rpc_chan_fn *fn, void *arg);

/* A host was removed from the roster: close every connection with it. */
void rpc_drop_host(struct rpc *r, uint32_t host);

/* ---- connections ---- */
uint32_t rpc_conn_host(const struct rpc_conn *c);	/* own id for our daemons on unix; 0: tool or joiner */
enum rpc_service rpc_conn_service(const struct rpc_conn *c);
uint32_t rpc_conn_roles(const struct rpc_conn *c);
uint64_t rpc_conn_epoch(const struct rpc_conn *c);	/* the other side's */
/* Unix connections: credentials of the process at the other end. */
uid_t rpc_conn_uid(const struct rpc_conn *c);
gid_t rpc_conn_gid(const struct rpc_conn *c);
pid_t rpc_conn_pid(const struct rpc_conn *c);
/* The token a joiner proved, 0 for others. */
uint64_t rpc_conn_token(const struct rpc_conn *c);
void rpc_conn_set_data(struct rpc_conn *c, void *data);
void *rpc_conn_data(const struct rpc_conn *c);
void rpc_conn_close(struct rpc_conn *c); /* on_close still comes, later */
/* Our own address as the other side of this TCP connection sees it. */
int rpc_conn_local_addr(const struct rpc_conn *c, char *buf, size_t cap);

/* ---- calling ---- */
#define RPC_IDEMPOTENT 1u /* may be executed twice: repeat over a restart */

/*
 * The end of a call.  status: 0 or the answer's negative errno, or one of the
 * errors above.  m is NULL unless an answer came; a negative answer may carry
 * a body too (a sentence for the user).
 */
typedef void rpc_done_fn(void *arg, int status, const struct rpc_msg *m);

struct rpc_out {
	uint16_t code;
	const void *body; /* copied */
	size_t len;
	const void *payload; /* copied, unless free_payload is set: */
	size_t payload_len;
	/* Then borrowed until this is called.  Functions that return an error
	 * leave it to the caller; rpc_reply always sees to it. */
	void (*free_payload)(void *arg);
	void *free_arg;
	const int *fds; /* unix only; duplicated */
	size_t nfds;
};

/*
 * Peer: service on host at addr (numeric) and port; kept until
 * rpc_peer_free.  One exists per (host, service): a second get returns it.
 */
struct rpc_peer *rpc_peer_get(struct rpc *r, uint32_t host, enum rpc_service s,
			      const char *addr, uint16_t port);
struct rpc_peer *rpc_peer_unix(struct rpc *r, enum rpc_service s, const char *path);
/* The address changed (roster). */
void rpc_peer_set_addr(struct rpc_peer *p, const char *addr, uint16_t port);
void rpc_peer_free(struct rpc_peer *p);
/* Connect now and stay connected (needed to be called back). */
void rpc_peer_keep(struct rpc_peer *p, bool on);
bool rpc_peer_up(const struct rpc_peer *p);
struct rpc_conn *rpc_peer_conn(const struct rpc_peer *p); /* NULL when down */
uint32_t rpc_peer_host(const struct rpc_peer *p);
enum rpc_service rpc_peer_service(const struct rpc_peer *p);
/* The peer whose connection c is, or NULL for an accepted one. */
struct rpc_peer *rpc_conn_peer(const struct rpc_conn *c);
/* Something suggests that it is gone: probe now, give up after 2 s of silence. */
void rpc_peer_probe(struct rpc_peer *p);
/* Why the last attempt to connect failed: a sentence, "" if none did. */
const char *rpc_peer_trouble(const struct rpc_peer *p);

struct rpc_peer_hooks {
	/* Up (again); restarted: the server's epoch is not the one of last time. */
	void (*on_up)(void *arg, struct rpc_peer *p, bool restarted);
	void (*on_down)(void *arg, struct rpc_peer *p);
	/*
	 * If hold is set, calls of earlier connections are not re-sent, and
	 * new ones not sent, after on_up(restarted = true) until
	 * rpc_peer_resume(): the owner re-claims its state first, using
	 * rpc_conn_call on rpc_peer_conn().  Then all unanswered calls are
	 * sent, flagged as replayed.
	 */
	bool hold;
	/* A one-way message from it: true if dealt with, else (or if NULL) it
	 * goes to the on_note of rpc_new. */
	bool (*on_note)(void *arg, struct rpc_peer *p, const struct rpc_msg *m);
	void *arg;
};
void rpc_peer_set_hooks(struct rpc_peer *p, const struct rpc_peer_hooks *h);
void rpc_peer_resume(struct rpc_peer *p);

/*
 * Call.  deadline_ms 0 means no deadline of its own: it waits over
 * reconnects until answered or cancelled (file operations, which users can
 * interrupt).  Returns 0 and the call (may be NULL if not wanted), or a
 * negative errno and then done is not called.
 */
int rpc_call(struct rpc_peer *p, const struct rpc_out *o, uint32_t deadline_ms,
	     unsigned flags, rpc_done_fn *done, void *arg, struct rpc_call **ret_call);
int rpc_conn_call(struct rpc_conn *c, const struct rpc_out *o, uint32_t deadline_ms,
		  rpc_done_fn *done, void *arg, struct rpc_call **ret_call);
/* done comes at once with -ECANCELED; a late answer is dropped. */
void rpc_call_cancel(struct rpc_call *call);
int rpc_conn_note(struct rpc_conn *c, const struct rpc_out *o);
int rpc_peer_note(struct rpc_peer *p, const struct rpc_out *o); /* -ENOTCONN when down */
/* Bytes queued to be sent: for flow control of streams. */
size_t rpc_conn_backlog(const struct rpc_conn *c);

/* ---- answering ---- */
struct rpc_conn *rpc_req_conn(const struct rpc_req *q); /* NULL once it went */
uint32_t rpc_req_host(const struct rpc_req *q);		/* of the sender, also after it went */
void rpc_reply(struct rpc_req *q, int status, const struct rpc_out *o /* may be NULL */);
/* Just a status, with a sentence for the user (may be NULL). */
void rpc_reply_err(struct rpc_req *q, int status, const char *sentence);
/* Not executed and not now: the caller's rpc sends it again after a pause. */
void rpc_reply_busy(struct rpc_req *q);
/* The sentence of a negative answer, or strerror's. */
const char *rpc_sentence(int status, const struct rpc_msg *m);

#endif
