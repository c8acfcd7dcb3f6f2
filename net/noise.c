/*
 * noise.c -- see noise.h.  The names are the specification's: ck is the
 * chaining key, h the transcript hash, k and n the key and nonce of the
 * handshake's own cipher; es is the secret of the initiator's ephemeral and
 * the responder's static key, and so on.
 *
 * The cipher of the handshake is ChaCha20-Poly1305 on every machine; the one
 * that seals the session afterwards is negotiated by secure.c.
 */
#include "noise.h"

#include <errno.h>
#include <string.h>

#include <sodium.h>

#define HASH  64u
#define BLOCK 128u

static void hash2(uint8_t out[HASH], const void *a, size_t alen, const void *b,
		  size_t blen)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, HASH);
	crypto_generichash_update(&st, a, alen);
	if (blen)
		crypto_generichash_update(&st, b, blen);
	crypto_generichash_final(&st, out, HASH);
	sodium_memzero(&st, sizeof(st));
}

/* HMAC-BLAKE2b of a then b; the key is a chaining key or a hash: HASH long. */
static void hmac(uint8_t out[HASH], const uint8_t key[HASH], const void *a,
		 size_t alen, const void *b, size_t blen)
{
	crypto_generichash_state st;
	uint8_t pad[BLOCK], inner[HASH];

	memset(pad, 0x36, sizeof(pad));
	for (size_t i = 0; i < HASH; i++)
		pad[i] ^= key[i];
	crypto_generichash_init(&st, NULL, 0, HASH);
	crypto_generichash_update(&st, pad, sizeof(pad));
	if (alen)
		crypto_generichash_update(&st, a, alen);
	if (blen)
		crypto_generichash_update(&st, b, blen);
	crypto_generichash_final(&st, inner, HASH);
	for (size_t i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash2(out, pad, sizeof(pad), inner, sizeof(inner));
	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
	sodium_memzero(&st, sizeof(st));
}

/* HKDF with up to three outputs; c may be NULL. */
static void hkdf(const uint8_t ck[HASH], const void *in, size_t len,
		 uint8_t a[HASH], uint8_t b[HASH], uint8_t *c)
{
	uint8_t temp[HASH], n = 1;

	hmac(temp, ck, in, len, NULL, 0);
	hmac(a, temp, &n, 1, NULL, 0);
	n = 2;
	hmac(b, temp, a, HASH, &n, 1);
	n = 3;
	if (c)
		hmac(c, temp, b, HASH, &n, 1);
	sodium_memzero(temp, sizeof(temp));
}

void noise_bind(struct noise *s, const void *p, size_t len)
{
	uint8_t h[HASH];

	hash2(h, s->h, HASH, p, len);
	memcpy(s->h, h, HASH);
}

static void mix_key(struct noise *s, const uint8_t *in, size_t len)
{
	uint8_t ck[HASH], k[HASH];

	hkdf(s->ck, in, len, ck, k, NULL);
	memcpy(s->ck, ck, HASH);
	memcpy(s->k, k, sizeof(s->k));
	s->n = 0;
	s->has_k = true;
	sodium_memzero(ck, sizeof(ck));
	sodium_memzero(k, sizeof(k));
}

static void mix_psk(struct noise *s)
{
	uint8_t ck[HASH], h[HASH], k[HASH];

	hkdf(s->ck, s->pre, sizeof(s->pre), ck, h, k);
	memcpy(s->ck, ck, HASH);
	noise_bind(s, h, HASH);
	memcpy(s->k, k, sizeof(s->k));
	s->n = 0;
	s->has_k = true;
	sodium_memzero(ck, sizeof(ck));
	sodium_memzero(h, sizeof(h));
	sodium_memzero(k, sizeof(k));
}

static int mix_dh(struct noise *s, const uint8_t secret[32],
		  const uint8_t public_key[32])
{
	uint8_t shared[32];

	/* Refuses the points of small order. */
	if (crypto_scalarmult(shared, secret, public_key))
		return -EBADMSG;
	mix_key(s, shared, sizeof(shared));
	sodium_memzero(shared, sizeof(shared));
	return 0;
}

static void nonce_of(uint64_t n, uint8_t ret[12])
{
	memset(ret, 0, 12);
	for (unsigned i = 0; i < 8; i++)
		ret[4 + i] = (uint8_t)(n >> (8 * i));
}

/* Seal the empty payload: its tag vouches for the transcript so far. */
static void seal_empty(struct noise *s, uint8_t tag[16])
{
	uint8_t nonce[12];

	nonce_of(s->n++, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(tag, NULL, NULL, 0, s->h,
						  HASH, NULL, nonce, s->k);
	noise_bind(s, tag, 16);
}

static int open_empty(struct noise *s, const uint8_t tag[16])
{
	uint8_t nonce[12], none[1];

	nonce_of(s->n++, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(none, NULL, NULL, tag, 16,
						      s->h, HASH, nonce, s->k))
		return -EBADMSG;
	noise_bind(s, tag, 16);
	return 0;
}

static void make_e(struct noise *s)
{
	randombytes_buf(s->e, sizeof(s->e));
	crypto_scalarmult_base(s->e_pub, s->e);
}

static void mix_e(struct noise *s, const uint8_t e_pub[32])
{
	noise_bind(s, e_pub, 32);
	if (s->psk)
		mix_key(s, e_pub, 32);
}

void noise_init(struct noise *s, bool initiator, bool psk,
		const struct noise_keys *keys, const void *prologue, size_t len)
{
	static const char kk[HASH] = "Noise_KK_25519_ChaChaPoly_BLAKE2b";
	static const char nk[HASH] = "Noise_NKpsk0_25519_ChaChaPoly_BLAKE2b";

	*s = (struct noise){.initiator = initiator, .psk = psk};
	memcpy(s->s, keys->secret, 32);
	memcpy(s->s_pub, keys->public_key, 32);
	memcpy(s->rs, keys->remote, 32);
	memcpy(s->pre, keys->psk, 32);
	/* Names shorter than the hash are padded with zeros, not hashed. */
	memcpy(s->h, psk ? nk : kk, HASH);
	memcpy(s->ck, s->h, HASH);
	noise_bind(s, prologue, len);
	if (!psk)
		noise_bind(s, initiator ? s->s_pub : s->rs, 32);
	noise_bind(s, initiator ? s->rs : s->s_pub, 32);
	if (psk)
		mix_psk(s);
}

int noise_write_1(struct noise *s, uint8_t ret_msg[NOISE_MSG])
{
	make_e(s);
	memcpy(ret_msg, s->e_pub, 32);
	mix_e(s, s->e_pub);
	if (mix_dh(s, s->e, s->rs)) /* es */
		return -EBADMSG;
	if (!s->psk && mix_dh(s, s->s, s->rs)) /* ss */
		return -EBADMSG;
	seal_empty(s, ret_msg + 32);
	return 0;
}

int noise_read_1(struct noise *s, const uint8_t msg[NOISE_MSG])
{
	memcpy(s->re, msg, 32);
	mix_e(s, s->re);
	if (mix_dh(s, s->s, s->re)) /* es */
		return -EBADMSG;
	if (!s->psk && mix_dh(s, s->s, s->rs)) /* ss */
		return -EBADMSG;
	return open_empty(s, msg + 32);
}

int noise_write_2(struct noise *s, uint8_t ret_msg[NOISE_MSG])
{
	make_e(s);
	memcpy(ret_msg, s->e_pub, 32);
	mix_e(s, s->e_pub);
	if (mix_dh(s, s->e, s->re)) /* ee */
		return -EBADMSG;
	if (!s->psk && mix_dh(s, s->e, s->rs)) /* se */
		return -EBADMSG;
	seal_empty(s, ret_msg + 32);
	return 0;
}

int noise_read_2(struct noise *s, const uint8_t msg[NOISE_MSG])
{
	memcpy(s->re, msg, 32);
	mix_e(s, s->re);
	if (mix_dh(s, s->e, s->re)) /* ee */
		return -EBADMSG;
	if (!s->psk && mix_dh(s, s->s, s->re)) /* se */
		return -EBADMSG;
	return open_empty(s, msg + 32);
}

void noise_split(struct noise *s, uint8_t ret_send[32], uint8_t ret_recv[32])
{
	uint8_t a[HASH], b[HASH];

	hkdf(s->ck, NULL, 0, a, b, NULL);
	memcpy(ret_send, s->initiator ? a : b, 32);
	memcpy(ret_recv, s->initiator ? b : a, 32);
	sodium_memzero(a, sizeof(a));
	sodium_memzero(b, sizeof(b));
	noise_wipe(s);
}

void noise_wipe(struct noise *s)
{
	sodium_memzero(s, sizeof(*s));
}
