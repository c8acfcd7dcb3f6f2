#ifndef NET_SECURE_H
#define NET_SECURE_H
/*
 * secure.h -- a session between two hosts as a pure state machine: bytes in,
 * bytes out, no sockets and no clock.  rpc.c drives it without blocking,
 * chan.c with.
 *
 * First two messages in clear that agree on keys (hello, answer), then sealed
 * records: a length and that many bytes.  A responder must not believe who
 * the initiator is before it has opened one record: only that proves that
 * the hello was not a recording.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define SECURE_VERSION_MIN 1u
#define SECURE_VERSION_MAX 1u

#define SECURE_RECORD	65536u /* plain bytes in one */
#define SECURE_HEAD	4u
#define SECURE_TAG	16u
#define SECURE_OVERHEAD (SECURE_HEAD + SECURE_TAG)

enum secure_aead { AEAD_CHACHA = 1, AEAD_AES = 2 };

struct secure_conf {
	uint32_t host; /* ours */
	uint8_t service;
	uint8_t secret[32], public_key[32];
	/* Of an initiator: with whom, and the token if it joins. */
	uint32_t to_host;
	uint8_t to_service;
	uint8_t to_key[32];
	bool join;
	uint64_t token;
	uint8_t psk[32];
	/* Of a responder; psk_of NULL: no strangers. */
	int (*key_of)(void *arg, uint32_t host, uint8_t ret_key[32]);
	void *key_arg;
	int (*psk_of)(void *arg, uint64_t token, uint8_t ret_psk[32]);
	void *psk_arg;
	/* AEADs to offer; 0: those of this machine. */
	unsigned aeads;
	/* Versions to offer; 0: ours. */
	uint16_t version_min, version_max;
};

struct secure;

int secure_new(const struct secure_conf *c, bool initiator,
	       struct secure **ret);
/* Wipes the keys.  NULL is fine. */
void secure_free(struct secure *s);

/* The initiator's first message, appended to out. */
int secure_start(struct secure *s, struct buf *out);
/*
 * Bytes of the handshake.  What is to be sent (also a refusal) is appended to
 * out.  1: keys agreed, the bytes after *ret_used are records; 0: more needed.
 * -EPROTONOSUPPORT no common version, -EKEYREJECTED we do not know each other
 * or the token, -ECONNREFUSED it is not the service or host we mean,
 * -EBADMSG anything else.
 */
int secure_feed(struct secure *s, const uint8_t *p, size_t n, size_t *ret_used,
		struct buf *out);
bool secure_ready(const struct secure *s);

/* The other side, once ready. */
uint32_t secure_host(const struct secure *s);
uint8_t secure_service(const struct secure *s);
bool secure_joiner(const struct secure *s);
uint64_t secure_token(const struct secure *s);
enum secure_aead secure_aead(const struct secure *s);

/* Seal n <= SECURE_RECORD bytes into n + SECURE_OVERHEAD at out.  plain may be
 * out + SECURE_HEAD. */
void secure_seal(struct secure *s, const void *plain, size_t n, uint8_t *out);
/* Length of the record beginning at p including head and tag; 0 if its head is
 * not there yet; -EBADMSG. */
long secure_record(const uint8_t *p, size_t n);
/* Open a whole record; the plain bytes, len - SECURE_OVERHEAD of them, go to
 * out, which may be rec + SECURE_HEAD.  -EBADMSG: forged, replayed, reordered.
 */
int secure_open(struct secure *s, const uint8_t *rec, size_t len, uint8_t *out);

/* The AEADs this machine has, as bits, and the faster one (measured once). */
unsigned secure_aeads(void);
enum secure_aead secure_fastest(void);

#endif
