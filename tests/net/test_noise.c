/*
 * test_noise.c -- the handshake against a published test vector of
 * Noise_KK_25519_ChaChaPoly_BLAKE2b, so that both our ends cannot be wrong in
 * the same way.  Its messages carry payloads and ours none; what is compared
 * is all that does not depend on them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "noise.h"

#define INIT_PUBLIC \
	"6bc3822a2aa7f4e6981d6538692b3cdf3e6df9eea6ed269eb41d93c22757b75a"
#define RESP_STATIC \
	"4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"
#define RESP_EPHEMERAL \
	"bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"
#define MESSAGE_1                                                          \
	"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944" \
	"f79a1d4b21fc3ea4a0c87213b8b4f05921228879fb74ea0d39ffc64619dc9658"
#define MESSAGE_2_KEY \
	"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
#define MESSAGE_3 "25bfaa58833b07cdd6af7c07f2c51daac681a8ac0a02dd373259bd"
#define MESSAGE_4 "ef586cff556dec8ef0053871ff0d4bf3f2c72e842487ec6d1da69f"

static void hex(const char *s, uint8_t *ret, size_t n)
{
	size_t len;

	cr_assert_eq(sodium_hex2bin(ret, n, s, strlen(s), NULL, &len, NULL), 0);
	cr_assert_eq(len, n);
}

/* The dice of this test. */
static void fixed(void *const buf, const size_t n)
{
	cr_assert_eq(n, 32);
	hex(RESP_EPHEMERAL, buf, n);
}

static const char *dice_name(void)
{
	return "fixed";
}

static void opens(const char *sealed, size_t n, const uint8_t *key,
		  const uint8_t *ad, size_t adlen, const char *want)
{
	static const uint8_t nonce[12];
	uint8_t c[64], plain[64];

	hex(sealed, c, n);
	cr_assert_eq(crypto_aead_chacha20poly1305_ietf_decrypt(
			     plain, NULL, NULL, c, n, ad, adlen, nonce, key),
		     0, "%s", want);
	cr_expect_eq(memcmp(plain, want, n - 16), 0);
}

Test(noise, kk_agrees_with_the_published_vector)
{
	struct randombytes_implementation dice = {
		.implementation_name = dice_name,
		.buf = fixed};
	uint8_t msg[64], out[NOISE_MSG], want[32], send[32], recv[32];
	struct noise_keys k = {0};
	struct noise s;

	cr_assert(sodium_init() >= 0);
	hex(RESP_STATIC, k.secret, 32);
	crypto_scalarmult_base(k.public_key, k.secret);
	hex(INIT_PUBLIC, k.remote, 32);
	noise_init(&s, false, false, &k, "Prologue123", 11);

	/* Ours would be the tag of nothing; theirs seals a name. */
	hex(MESSAGE_1, msg, 64);
	cr_expect_eq(noise_read_1(&s, msg), -EBADMSG);
	opens(MESSAGE_1 + 64, 32, s.k, s.h, 64, "Ludwig von Mises");
	noise_bind(&s, msg + 32, 32);

	randombytes_set_implementation(&dice);
	cr_assert_eq(noise_write_2(&s, out), 0);
	hex(MESSAGE_2_KEY, want, 32);
	cr_expect_eq(memcmp(out, want, 32), 0);

	noise_split(&s, send, recv);
	opens(MESSAGE_3, 27, recv, NULL, 0, "F. A. Hayek");
	opens(MESSAGE_4, 27, send, NULL, 0, "Carl Menger");
}

Test(noise, points_of_small_order_are_refused)
{
	struct noise_keys k = {.secret = {1}};
	uint8_t msg[NOISE_MSG] = {0};
	struct noise s;

	cr_assert(sodium_init() >= 0);
	crypto_scalarmult_base(k.public_key, k.secret);
	crypto_scalarmult_base(k.remote, k.secret);
	noise_init(&s, false, false, &k, "", 0);
	cr_expect_eq(noise_read_1(&s, msg), -EBADMSG);
	msg[0] = 1;
	noise_init(&s, false, true, &k, "", 0);
	cr_expect_eq(noise_read_1(&s, msg), -EBADMSG);
}

Test(noise, nothing_secret_is_left_after_the_split)
{
	uint8_t send[32], recv[32];
	struct noise_keys k = {.secret = {1}, .psk = {2}};
	static const struct noise zero;
	struct noise s;

	cr_assert(sodium_init() >= 0);
	noise_init(&s, true, true, &k, "", 0);
	noise_split(&s, send, recv);
	cr_expect_eq(memcmp(&s, &zero, sizeof(s)), 0);
}
