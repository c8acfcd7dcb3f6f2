#ifndef PDEV_BROKER_INT_H
#define PDEV_BROKER_INT_H
/*
 * broker_int.h -- the inside of broker.h, for the broker_*.c files.
 *
 *   broker.c         devices: programs and their names
 *   broker_client.c  streams, and the hosts of those who have them
 *   broker_op.c      what is under way between a client and a program
 */
#include <stdbool.h>

#include "broker.h"
#include "list.h"
#include "map.h"
#include "stream.h"

#define DEVICES_MAX 1024u
#define STREAMS_MAX 4096u /* of one device */
#define OPS_MAX	    1024u /* of one stream */
#define RENEW_MS    5000u /* a claim is made again, in case it was lost */
#define CLAIM_MS    5000u
#define CUT_OFF_MS  20000u /* a client's host may be out of touch that long */
#define CANCEL_MS   1000u  /* then a cancelled request ends by itself */

struct device {
	struct list link;
	struct broker *b;
	struct rpc_conn *conn;	/* of the program; NULL: it went */
	struct rpc_req *asked;	/* pdev_serve, until the claim is answered */
	bool served;		/* the name is ours */
	struct rpc_call *claim; /* under way, or NULL */
	bool shut;		/* lives on only for the answer of its claim */
	uint32_t mode, uid, gid, timeout_ms;
	struct timer renew;
	struct list streams;
	unsigned nstreams;
	char name[PDEV_NAME_MAX + 1];
};

/* A host that has streams here. */
struct visitor {
	struct list link;
	struct broker *b;
	uint32_t host;
	uint64_t epoch;
	struct rpc_conn *conn; /* or NULL: until the timer fires */
	struct timer gone;
	struct list streams;
};

struct bstream {
	struct map_node node;
	struct list in_device, in_visitor;
	struct device *d; /* NULL: it went (the stream is CUT) */
	struct visitor *v;
	struct broker *b;
	uint64_t id;
	struct pdev_stream s;
	struct list ops;
	unsigned nops;
};

/* A client's request on its way through the program. */
struct op {
	struct map_node node;
	struct list link;
	struct bstream *s;
	struct rpc_req *req;
	struct rpc_call *call;
	uint64_t id;	/* towards the program */
	uint64_t front; /* the client's */
	uint16_t code;
	size_t room; /* most bytes it may move */
	int ended;   /* why we ended it, or 0 */
	bool later, cancelled;
	struct timer timer;
};

struct broker {
	struct broker_conf c;
	struct list devices, visitors;
	struct map streams, ops;
	unsigned ndevices;
	uint64_t next_stream, next_op;
};

/* broker.c */
struct device *broker_device_by_conn(const struct broker *b, const struct rpc_conn *c);
struct device *broker_device_by_name(const struct broker *b, const char *name);

/* broker_client.c */
/* With its streams. */
void bvisitor_free(struct visitor *v);
void bstream_free(struct bstream *s);
/* The program went: errors from now on. */
void bstream_cut(struct bstream *s);
/* Tell the client's host what s is ready for. */
void bstream_tell(struct bstream *s);

/* broker_op.c */
int bop_start(struct bstream *s, struct rpc_req *q, uint64_t front, size_t room,
	     struct op **ret);
/* Hand it to the program; the request is seen to whatever happens. */
void bop_send(struct op *o, int encoded, const struct rpc_out *out);
/* Answer everything under way with status. */
void bops_end(struct bstream *s, int status);
void bop_opened(struct bstream *s, struct rpc_req *q, int status,
	       const struct rpc_msg *m);

#endif
