#ifndef NET_CONN_H
#define NET_CONN_H
/*
 * conn.h -- the inside of rpc.h, for the rpc_*.c files and their tests.
 *
 *   rpc.c        the rpc itself, listeners, accessors
 *   rpc_conn.c   a connection: reading, handshake, greeting, its end
 *   rpc_out.c    what is queued to be written, and writing it
 *   rpc_peer.c   connecting and staying connected to a service
 *   rpc_call.c   calls made
 *   rpc_serve.c  requests received, answers
 *   rpc_once.c   the record that makes them happen at most once
 *
 * A connection ends in two steps: conn_close takes it off the wire at once and
 * from anywhere; conn_reap, later and from the loop, tells everybody.
 */
#include <sys/socket.h>

#include <ev.h>

#include "buf.h"
#include "frame.h"
#include "list.h"
#include "map.h"
#include "rpc.h"
#include "secure.h"

struct rpc_limits {
	uint32_t handshake_ms; /* from connect or accept to open */
	uint32_t ping_ms;      /* silence after which we ask */
	uint32_t dead_ms;      /* silence that ends a connection */
	uint32_t probe_ms;     /* the same, under suspicion */
	uint32_t backoff_min_ms, backoff_max_ms;
	uint32_t session_keep_ms; /* a record is kept for a client that went */
	size_t backlog_max;	  /* bytes queued for one that does not read */
	size_t ahead_max;      /* bytes of calls queued; the others wait unsent */
	unsigned reqs_max;	  /* unanswered requests of one connection */
	unsigned unproved_max;	  /* connections of strangers at a time */
	unsigned records_max; /* answers kept for one client: number, bytes */
	size_t record_bytes_max;
};

struct rpc {
	struct env *env;
	struct ev_loop *loop;
	struct rpc_identity id;
	rpc_key_fn *key_of;
	void *key_arg;
	struct rpc_handler h;
	rpc_psk_fn *psk_of;
	void *psk_arg;
	rpc_chan_fn *on_chan;
	void *chan_arg;
	struct rpc_limits lim;
	struct list conns, closed, dirty, peers, listeners, sessions, reqs;
	struct timer reaper;
	unsigned depth; /* >0: inside a dispatch; frames wait for its end */
	unsigned unproved;
	uint64_t quiet_until_ms; /* no refusal is logged before */
};

enum conn_state {
	CONN_CONNECTING,
	CONN_SHAKING,  /* keys are being agreed */
	CONN_GREETING, /* sealed; session_hello and session_welcome */
	CONN_OPEN,
	CONN_CLOSED
};

#define CONN_FDS (2 * RPC_FDS_MAX)

struct rpc_conn {
	struct rpc *r;
	struct list link;  /* in r->conns or r->closed */
	struct list dirty; /* in r->dirty: has frames to write */
	unsigned refs;
	enum conn_state state;
	bool initiator, tcp;
	bool told;     /* on_open was called */
	bool unproved; /* counts in r->unproved */
	int why;       /* it ended: negative errno */
	int fd;
	struct ev_io rd, wr;
	struct timer timer;  /* handshake, then keep-alive */
	uint64_t rx_ms;	     /* last sign of life */
	uint64_t suspect_ms; /* 0, or silent since then means dead */
	struct secure *sec;
	struct frame_in in;
	uint8_t *rx;
	size_t rx_start, rx_end;
	int fds[CONN_FDS]; /* received, their frame not complete */
	size_t nfds;
	/* to be written */
	struct list outq;
	size_t queued;
	struct buf tx; /* handshake and sealed bytes */
	/* the other side */
	uint32_t host, roles;
	enum rpc_service service;
	uint64_t epoch, token;
	struct ucred cred;
	struct rpc_peer *peer;	 /* of an initiator */
	struct session *session; /* of an accepted daemon */
	/* calls of this connection, both ways */
	struct map calls;
	struct list call_list;
	uint64_t next_id;
	struct list reqs;
	unsigned nreqs;
	void *data;
};

/* A frame on its way out; shared by queue, call and record. */
struct out {
	struct list link; /* in a conn's outq */
	unsigned refs;
	bool started; /* its first byte was handed to a connection, ever */
	size_t head_len;
	const uint8_t *payload;
	size_t payload_len;
	void (*free_payload)(void *arg);
	void *free_arg;
	size_t off; /* done of this transmission */
	size_t nfds;
	int *fds;
	uint8_t *head;
};

struct rpc_call {
	struct map_node node;
	struct list link;
	struct rpc_peer *peer; /* or */
	struct rpc_conn *conn;
	struct rpc_conn *sent_on; /* compared only */
	uint64_t id;
	unsigned flags;
	bool busy; /* told to wait */
	struct out *out;
	rpc_done_fn *done;
	void *arg;
	struct timer deadline;
};

#define PEER_ACKS 64

struct rpc_peer {
	struct rpc *r;
	struct list link;
	unsigned refs;
	bool freed;
	uint32_t host;
	enum rpc_service service;
	char path[108]; /* unix; "" is TCP */
	char addr[64];
	uint16_t port;
	struct rpc_conn *conn; /* being made or open */
	bool up, keep, held;
	bool stalled; /* over ahead_max: calls wait until the queue is shorter */
	uint64_t epoch; /* the server's, of last time */
	struct timer retry, busy;
	uint32_t backoff_ms, busy_ms;
	struct map calls;
	struct list order; /* by id */
	uint64_t next_id;
	uint64_t acks[PEER_ACKS]; /* answered out of order */
	unsigned nacks;
	size_t ack_bytes;
	struct rpc_peer_hooks hooks[2]; /* the roster's, the owner's */
	char trouble[160];
};

/* What is known of a daemon that calls us, over its reconnects. */
struct session {
	struct list link;
	uint32_t host;
	enum rpc_service service;
	uint64_t epoch;
	uint64_t dead[8]; /* epochs before this one: refused */
	unsigned ndead;
	struct rpc_conn *conn;
	uint64_t gone_ms;
	struct map records;
	struct list order;
	size_t bytes;
	uint64_t acked;
};

struct record {
	struct map_node node;
	struct list link;
	struct session *session;
	uint64_t id;
	struct rpc_req *req; /* still being executed */
	bool forget;	     /* nobody will ask for it again */
	struct out *reply;   /* NULL with req NULL: could not be kept */
	size_t bytes;
};

struct rpc_req {
	struct rpc *r;
	struct list all, link;
	struct rpc_conn *conn;
	struct record *rec;
	uint64_t id;
	uint8_t flags;
	uint32_t host;
};

/* rpc.c */
struct rpc_limits *rpc_limits(struct rpc *r);
void rpc_enter(struct rpc *r);
void rpc_leave(struct rpc *r);

/* rpc_conn.c */
struct rpc_conn *conn_new(struct rpc *r, int fd, bool tcp, bool initiator);
/* Connected or accepted: start the session. */
int conn_begin(struct rpc_conn *c);
void conn_close(struct rpc_conn *c, int why);
/* It is no stranger any more. */
void conn_proved(struct rpc_conn *c);
void conn_reap(struct rpc_conn *c);
void conn_hold(struct rpc_conn *c);
void conn_drop(struct rpc_conn *c);
void conn_greet(struct rpc_conn *c, uint16_t code, int status, const void *body,
		size_t len);
void conn_opened(struct rpc_conn *c);

/* rpc_greet.c: a message of session.def came. */
void greet_msg(struct rpc_conn *c, const struct frame_msg *m);
void greet_hello(struct rpc_conn *c);

/* rpc_out.c */
int out_new(const struct frame *f, const struct rpc_out *o, struct out **ret);
void out_put(struct out *o);
static inline struct out *out_get(struct out *o)
{
	o->refs++;
	return o;
}
static inline size_t out_size(const struct out *o)
{
	return o->head_len + o->payload_len;
}
/* Queue and, outside a dispatch, write.  May close c. */
void conn_send(struct rpc_conn *c, struct out *o);
void conn_send_new(struct rpc_conn *c, const struct frame *f,
		   const struct rpc_out *o);
void conn_flush(struct rpc_conn *c);
void conn_purge(struct rpc_conn *c);

/* rpc_peer.c */
void peer_connect(struct rpc_peer *p);
void peer_opened(struct rpc_peer *p, struct rpc_conn *c);
void peer_lost(struct rpc_peer *p, struct rpc_conn *c);
bool peer_note(struct rpc_peer *p, const struct rpc_msg *m);
void peer_destroy(struct rpc_peer *p);
/* The queue of its connection has become shorter. */
void peer_drained(struct rpc_peer *p, size_t left);
struct rpc_peer *peer_find(struct rpc *r, uint32_t host, enum rpc_service s);
void peer_set_inner_hooks(struct rpc_peer *p, const struct rpc_peer_hooks *h);
void peer_hold(struct rpc_peer *p);
void peer_drop(struct rpc_peer *p);

/* rpc_call.c */
void call_send(struct rpc_call *call);
void call_end(struct rpc_call *call, int status, const struct rpc_msg *m);
void call_reply(struct rpc_conn *c, const struct frame *f,
		const struct rpc_msg *m);
void call_busy(struct rpc_conn *c, const struct frame *f);
uint64_t call_lowest(const struct rpc_peer *p);

/* rpc_serve.c */
void serve_request(struct rpc_conn *c, const struct frame *f,
		   const struct rpc_msg *m);
void req_orphan(struct rpc_req *q);

/* rpc_once.c */
int session_attach(struct rpc_conn *c);
void session_detach(struct rpc_conn *c);
void session_ack(struct session *s, uint64_t ack);
void session_ack_one(struct session *s, uint64_t id);
bool session_full(const struct session *s, const struct rpc_limits *lim);
struct record *session_find(struct session *s, uint64_t id);
int session_add(struct session *s, struct rpc_req *q);
/* The answer is made (NULL: it could not be); q is about to go. */
void record_answer(struct record *rec, struct out *reply);
void record_free(struct record *rec);
void sessions_free(struct rpc *r);

#endif
