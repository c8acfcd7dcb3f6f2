#ifndef NET_CHAN_H
#define NET_CHAN_H
/*
 * chan.h -- a blocking sealed byte channel between two hosts, for processes
 * that move much and wait for little else (the movers of migd).
 *
 * The same handshake and sealed frames as rpc.h, without a loop.  The
 * accepting side gets its chan from rpc_accept_chan: the daemon's one port
 * serves both.  A chan may be handed over a fork; only one process may use it
 * then.  No call goes on for longer than the time-out without a byte moving.
 */
#include <stddef.h>
#include <stdint.h>

#include "rpc.h"

struct chan;

/* Connect to the service and introduce ourselves with token.  0 or -errno. */
int chan_connect(const struct rpc_identity *self, uint32_t host,
		 enum rpc_service s, const uint8_t host_key[32],
		 const char *addr, uint16_t port, uint64_t token,
		 unsigned timeout_ms, struct chan **ret);
/* Buffered; flushed by chan_flush and before every read. */
int chan_write(struct chan *c, const void *p, size_t n);
int chan_flush(struct chan *c);
/* All n bytes, or -EPIPE at the end, -ETIMEDOUT, -EBADMSG. */
int chan_read(struct chan *c, void *p, size_t n);
/* At least one byte and at most n: how many, or as above. */
ssize_t chan_read_some(struct chan *c, void *p, size_t n);
void chan_set_timeout(struct chan *c, unsigned timeout_ms);
/* For poll: the socket, and whether decrypted bytes already wait here. */
int chan_fd(const struct chan *c);
size_t chan_pending(const struct chan *c);
void chan_close(struct chan *c);

/* For client.c: connected, sealed, nothing said yet. */
struct secure_conf;
int chan_open(const struct secure_conf *conf, const char *addr, uint16_t port,
	      unsigned timeout_ms, struct chan **ret);
/* For rpc.c: a session that is agreed already.  On success fd and s are its. */
struct secure;
int chan_adopt(int fd, struct secure *s, struct chan **ret);

#endif
