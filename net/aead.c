/*
 * aead.c -- see aead.h; and which of the two is faster here, measured at the
 * first use.  That answer cannot change during a process's life, and it is
 * the one thing this file remembers.
 */
#include "aead.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define TRIAL_BYTES 16384u
#define TRIALS	    8

void aead_init(struct aead *a, enum secure_aead kind, const uint8_t key[32])
{
	a->kind = kind;
	memcpy(a->key, key, sizeof(a->key));
	if (kind == AEAD_AES)
		crypto_aead_aes256gcm_beforenm(&a->aes, key);
}

/* Both ciphers take 12 bytes; each has its own customary order (Noise, 12.3).
 */
static void nonce_of(const struct aead *a, uint64_t n, uint8_t ret[12])
{
	memset(ret, 0, 12);
	for (unsigned i = 0; i < 8; i++)
		ret[4 + i] =
			(uint8_t)(n >> (8 * (a->kind == AEAD_AES ? 7 - i : i)));
}

void aead_seal(struct aead *a, uint64_t nonce, const void *plain, size_t n,
	       uint8_t *out)
{
	uint8_t npub[12];

	nonce_of(a, nonce, npub);
	if (a->kind == AEAD_AES)
		crypto_aead_aes256gcm_encrypt_afternm(out, NULL, plain, n, NULL,
						      0, NULL, npub, &a->aes);
	else
		crypto_aead_chacha20poly1305_ietf_encrypt(
			out, NULL, plain, n, NULL, 0, NULL, npub, a->key);
}

int aead_open(struct aead *a, uint64_t nonce, const uint8_t *sealed, size_t n,
	      uint8_t *out)
{
	uint8_t npub[12];
	int r;

	nonce_of(a, nonce, npub);
	if (a->kind == AEAD_AES)
		r = crypto_aead_aes256gcm_decrypt_afternm(
			out, NULL, NULL, sealed, n, NULL, 0, npub, &a->aes);
	else
		r = crypto_aead_chacha20poly1305_ietf_decrypt(
			out, NULL, NULL, sealed, n, NULL, 0, npub, a->key);
	return r ? -EBADMSG : 0;
}

void aead_rekey(struct aead *a)
{
	static const uint8_t zeros[32];
	uint8_t out[32 + SECURE_TAG];

	aead_seal(a, UINT64_MAX, zeros, sizeof(zeros), out);
	aead_init(a, a->kind, out);
	sodium_memzero(out, sizeof(out));
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The best of a few: a trial that was interrupted says nothing. */
static uint64_t trial(enum secure_aead kind)
{
	uint8_t buf[TRIAL_BYTES + SECURE_TAG] = {0};
	static const uint8_t key[32] = {1};
	uint64_t best = UINT64_MAX;
	struct aead a;

	aead_init(&a, kind, key);
	for (unsigned i = 0; i < TRIALS; i++) {
		uint64_t begin = now_ns(), took;

		aead_seal(&a, i, buf, TRIAL_BYTES, buf);
		took = now_ns() - begin;
		best = took < best ? took : best;
	}
	return best;
}

static enum secure_aead fastest;

static void measure(void)
{
	fastest = secure_aeads() & AEAD_AES &&
				  trial(AEAD_AES) < trial(AEAD_CHACHA)
			  ? AEAD_AES
			  : AEAD_CHACHA;
}

unsigned secure_aeads(void)
{
	return AEAD_CHACHA |
	       (crypto_aead_aes256gcm_is_available() ? AEAD_AES : 0u);
}

enum secure_aead secure_fastest(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, measure);
	return fastest;
}
