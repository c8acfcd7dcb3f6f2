#ifndef NET_AEAD_H
#define NET_AEAD_H
/*
 * aead.h -- the two ciphers that seal sessions, behind one face, with the key
 * prepared once: AES-256-GCM where the processor has it, ChaCha20-Poly1305.
 */
#include <stddef.h>
#include <stdint.h>

#include <sodium.h>

#include "secure.h"

struct aead {
	crypto_aead_aes256gcm_state aes; /* first: it wants alignment */
	enum secure_aead kind;
	uint8_t key[32];
};

void aead_init(struct aead *a, enum secure_aead kind, const uint8_t key[32]);
/* A new key from the old one, as the Noise specification does it. */
void aead_rekey(struct aead *a);
/* out gets n + SECURE_TAG bytes; in place is fine. */
void aead_seal(struct aead *a, uint64_t nonce, const void *plain, size_t n,
	       uint8_t *out);
/* n includes the tag; in place is fine.  -EBADMSG. */
int aead_open(struct aead *a, uint64_t nonce, const uint8_t *sealed, size_t n,
	      uint8_t *out);

#endif
