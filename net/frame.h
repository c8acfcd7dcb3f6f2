#ifndef NET_FRAME_H
#define NET_FRAME_H
/*
 * frame.h -- cuts a byte stream into frames.  Knows no sockets and no keys.
 *
 * A frame is a fixed head, a body and an optional payload.  Every length is
 * checked against its maximum before anything is allocated for it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD 36u

enum frame_kind {
	FRAME_SESSION = 1, /* a message of session.def */
	FRAME_REQUEST,
	FRAME_REPLY,
	FRAME_NOTE,
	FRAME_BUSY, /* the request id was not executed; later perhaps */
	FRAME_PING,
	FRAME_PONG,
	FRAME_KINDS
};

/* Flags.  Unknown ones are an error: versions are negotiated. */
#define FRAME_CONN                                                             \
	1u /* id counts on this connection, not over all of a peer's */
#define FRAME_REPLAYED 2u /* was sent before */
#define FRAME_ONCE     4u /* must not be executed twice: keep a record */
#define FRAME_FLAGS    7u
#define FRAME_FLAGS_AT 1 /* in the head */

struct frame {
	uint8_t kind;
	uint8_t flags;
	uint8_t nfds; /* descriptors that travel with it */
	uint16_t code;
	int status;   /* of a reply: 0 or negative errno */
	uint64_t id;  /* of the call */
	uint64_t ack; /* the sender has the answers of all its calls below */
	uint32_t len; /* of the body */
	uint32_t payload_len;
};

void frame_put(const struct frame *f, uint8_t ret_head[FRAME_HEAD]);
/* -EBADMSG: no frame of ours, or over a limit. */
int frame_get(const uint8_t head[FRAME_HEAD], struct frame *ret);
/* Flags and ack are set anew when a frame is sent again. */
void frame_patch(uint8_t head[FRAME_HEAD], uint8_t flags, uint64_t ack);

/* What frame_in_* return when a frame is complete; borrowed until the next
 * call. */
struct frame_msg {
	struct frame f;
	const uint8_t *body;
	const uint8_t *payload;
};

struct frame_in {
	uint8_t head[FRAME_HEAD];
	size_t have; /* of the head */
	bool in_body;
	struct frame f;
	size_t got;   /* of body and payload together */
	uint8_t *mem; /* body, then payload at an aligned place */
	size_t cap;
};

/*
 * Take up to n bytes.  1: a frame is complete in *ret, which may point into p;
 * 0: all was taken and more is needed; -EBADMSG or -ENOMEM ends the stream.
 */
int frame_in_feed(struct frame_in *in, const uint8_t *p, size_t n,
		  size_t *ret_used, struct frame_msg *ret);
/*
 * Where the next bytes of the stream belong, when a frame is under way and
 * they can go straight to their place; NULL otherwise.  After writing n of
 * them, frame_in_filled answers like frame_in_feed.
 */
uint8_t *frame_in_room(struct frame_in *in, size_t *ret_n);
int frame_in_filled(struct frame_in *in, size_t n, struct frame_msg *ret);
/* Give back a large buffer between frames. */
void frame_in_trim(struct frame_in *in);
void frame_in_fini(struct frame_in *in);

#endif
