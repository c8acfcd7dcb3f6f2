#ifndef MIGD_STREAMS_H
#define MIGD_STREAMS_H
/*
 * streams.h -- relayed descriptors.
 *
 * What a process abroad has open and cannot open there by name (pipes,
 * terminals, sockets, private files of its home) stays open at home and is
 * relayed.  An *hstream* (hstream.c) is home's end: it holds the original.  A
 * *gstream* (gstream.c) is the end at the visited host: a pipe, socket pair or
 * pseudo-terminal of which the guest has one end and migd the other.  They
 * have the same number.
 *
 * Each block of data is one call, answered when the other side has written
 * it: this is the flow control, and over a lost connection it is repeated.
 * Home may be the visited host as well: a process that came home while
 * bytes read ahead for it were still under way.
 */
#include "migd.h"

/* Of the description, as the process sees it; bits. */
#define STREAM_READ  1u
#define STREAM_WRITE 2u
#define STREAM_TTY   4u
#define STREAM_SOCK  8u /* home: the original is a socket */
#define STREAM_FILE  16u /* home: the original is an ordinary file */

#define STREAM_CHUNK 65536
#define STREAM_AHEAD 2 /* blocks under way in one direction */

/* Bytes that wait to be written, each block with the call to be answered. */
struct block {
	struct list link;
	struct rpc_req *req;
	size_t len, at;
	bool end;
	uint8_t data[];
};

/* Takes the payload's bytes; NULL: no memory. */
struct block *block_new(struct rpc_req *req, const struct rpc_msg *msg,
			bool end);
/* Write what goes; 1: all written, 0: would block, negative: error. */
int block_write(struct block *b, int fd, bool sock);
void block_answer(struct block *b, int status);
void blocks_drop(struct list *l, int status);

/* ---- home's end ---- */

struct hstream;

/* Takes fd over on success.  Inert until hstream_attach. */
struct hstream *hstream_new(struct migd *m, int fd, uint32_t pid);
/* It will be attached to that host, whose bytes may come first. */
void hstream_expect(struct hstream *h, uint32_t host);
uint64_t hstream_id(const struct hstream *h);
unsigned hstream_flags(const struct hstream *h);
struct hstream *hstream_find(struct migd *m, uint64_t id);
/* How its terminal is set; len 0 if it is none. */
void hstream_tty(const struct hstream *h, uint8_t state[128], size_t *ret_len);
/* Its process runs on that host now.  from: the host that still has to say
 * that it left it, or 0. */
void hstream_attach(struct hstream *h, uint32_t host, uint32_t from);
/* The one at n, if it is pid's and not attached yet: attach it, or (host 0)
 * free it. */
void hstream_settle(struct map_node *n, uint32_t pid, uint32_t host);
/* Nothing more is read for the process: it may be coming home. */
void hstream_pause(struct hstream *h, bool pause);
/* Are there bytes read for it that are not known to have reached it? */
bool hstream_pending(const struct hstream *h);
/* All of a process that went on from one host to another. */
void hstreams_move(struct migd *m, uint32_t pid, uint32_t from, uint32_t to);
/* Bytes written by the process that are not yet through. */
bool hstreams_busy(struct migd *m, uint32_t pid);
/* Its process came home: a descriptor of the original description. */
int hstream_take(struct hstream *h);
void hstream_free(struct hstream *h);
/* A host is lost: whatever was there is closed. */
void hstreams_lost(struct migd *m, uint32_t host);
void hstreams_winch(struct migd *m, uint32_t pid);
void hstreams_set_pid(struct migd *m, uint32_t host, uint32_t pid);
void hstream_adopt(struct migd *m, const void *data, size_t len, int *fds,
		   size_t nfds);
void hstreams_adopted(struct migd *m);
void hstreams_free_all(struct migd *m);

/* ---- the visited host's end ---- */

struct gstream;

/* ret_fd: for the guest, close-on-exec, the caller's. */
int gstream_new(struct migd *m, uint64_t id, uint32_t home, uint32_t pid,
		unsigned flags, const void *tty, size_t tty_len, int *ret_fd,
		struct gstream **ret);
struct gstream *gstream_find(struct migd *m, uint64_t id);
/* By what fstat says of the guest's descriptor. */
struct gstream *gstream_by_inode(struct migd *m, uint64_t dev, uint64_t ino,
				 uint64_t rdev);
uint64_t gstream_id(const struct gstream *g);
unsigned gstream_flags(const struct gstream *g);
void gstream_tty(const struct gstream *g, uint8_t state[128], size_t *ret_len);
/* Everything the process has written is sent before anything else. */
void gstreams_flush(struct migd *m, uint32_t pid);
/*
 * The holders are frozen: take what they have written, and what they have not
 * read.  pending: there was such.  Undone by gstream_return; completed by
 * gstream_leave, which tells home that no more comes from here.
 */
void gstream_drain(struct gstream *g, int guest_fd, bool *ret_pending);
void gstream_return(struct gstream *g);
void gstream_leave(struct gstream *g);
void gstream_free(struct gstream *g);
int gstream_resize(struct gstream *g, const void *state, size_t len);
void gstreams_lost(struct migd *m, uint32_t home);
/* All of a guest that never began. */
void gstreams_of_free(struct migd *m, uint32_t pid);
void gstream_adopt(struct migd *m, const void *data, size_t len, int *fds,
		   size_t nfds);
void gstreams_free_all(struct migd *m);

/* ---- what comes from other migds ---- */

void on_migd_stream_data(struct migd *m, struct rpc_req *q,
			 const struct msg_migd_stream_data *b,
			 const struct rpc_msg *msg);
void on_migd_stream_left(struct migd *m, struct rpc_req *q,
			 const struct msg_migd_stream_left *b,
			 const struct rpc_msg *msg);
void on_migd_stream_tty(struct migd *m, struct rpc_req *q,
			const struct msg_migd_stream_tty *b);
void hstream_data(struct hstream *h, struct rpc_req *q,
		  const struct msg_migd_stream_data *b,
		  const struct rpc_msg *msg);
void gstream_data(struct gstream *g, struct rpc_req *q,
		  const struct msg_migd_stream_data *b,
		  const struct rpc_msg *msg);
void hstream_left(struct hstream *h, struct rpc_req *q,
		  const struct msg_migd_stream_left *b,
		  const struct rpc_msg *msg);

#endif
