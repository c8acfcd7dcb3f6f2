#ifndef NET_NOISE_H
#define NET_NOISE_H
/*
 * noise.h -- the two Noise handshakes we use, as states over byte strings:
 *
 *   KK      both sides know the other's static key (members of a cell)
 *   NKpsk0  the initiator is a stranger who knows the responder's static key
 *           and a pre-shared secret (joining)
 *
 * X25519, ChaCha20-Poly1305, BLAKE2b, as in the Noise specification, rev. 34.
 * No sockets, no negotiation: that is secure.c.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOISE_MSG 48u /* an ephemeral key and the tag of an empty payload */

struct noise {
	bool initiator;
	bool psk;
	uint8_t s[32], s_pub[32]; /* ours; unused by the initiator of NKpsk0 */
	uint8_t e[32], e_pub[32];
	uint8_t rs[32]; /* theirs; unused by the responder of NKpsk0 */
	uint8_t re[32];
	uint8_t pre[32];
	uint8_t ck[64], h[64];
	uint8_t k[32];
	uint64_t n;
	bool has_k;
};

struct noise_keys {
	uint8_t secret[32], public_key[32]; /* ours */
	uint8_t remote[32];
	uint8_t psk[32];
};

/* keys are copied.  prologue is bound into the transcript. */
void noise_init(struct noise *s, bool initiator, bool psk,
		const struct noise_keys *keys, const void *prologue,
		size_t len);
/* More bytes that both sides must have seen alike. */
void noise_bind(struct noise *s, const void *p, size_t len);
/* The two messages, in the order: initiator writes 1, responder writes 2.
 * 0 or -EBADMSG (forged, or a weak key). */
int noise_write_1(struct noise *s, uint8_t ret_msg[NOISE_MSG]);
int noise_read_1(struct noise *s, const uint8_t msg[NOISE_MSG]);
int noise_write_2(struct noise *s, uint8_t ret_msg[NOISE_MSG]);
int noise_read_2(struct noise *s, const uint8_t msg[NOISE_MSG]);
/* Keys of the two directions; then s holds nothing secret any more. */
void noise_split(struct noise *s, uint8_t ret_send[32], uint8_t ret_recv[32]);
void noise_wipe(struct noise *s);

#endif
