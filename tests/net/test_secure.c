/*
 * test_secure.c -- the handshake and the records, bytes in and bytes out:
 * who is let in, and that nothing changed on the way goes unnoticed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "secure.h"

static uint8_t keys[3][2][32]; /* of hosts 1 and 2, and of a stranger */
static uint8_t psk[32];
static struct secure *a, *b; /* initiator, responder */
static struct buf to_b, to_a;

static int key_of(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	if (host < 1 || host > 2)
		return -ENOENT;
	memcpy(ret, keys[host - 1][1], 32);
	return 0;
}

static int psk_of(void *arg, uint64_t token, uint8_t ret[32])
{
	(void)arg;
	memcpy(ret, psk, 32);
	return token == 77 ? 0 : -ENOENT;
}

static struct secure_conf conf_a(void)
{
	struct secure_conf c = {
		.host = 1, .service = 3, .to_host = 2, .to_service = 2};

	memcpy(c.secret, keys[0][0], 32);
	memcpy(c.public_key, keys[0][1], 32);
	memcpy(c.to_key, keys[1][1], 32);
	return c;
}

static struct secure_conf conf_b(void)
{
	struct secure_conf c = {
		.host = 2, .service = 2, .key_of = key_of, .psk_of = psk_of};

	memcpy(c.secret, keys[1][0], 32);
	memcpy(c.public_key, keys[1][1], 32);
	return c;
}

static struct secure_conf conf_join(void)
{
	struct secure_conf c = {
		.service = 5, .to_service = 2, .join = true, .token = 77};

	memcpy(c.to_key, keys[1][1], 32);
	memcpy(c.psk, psk, 32);
	return c;
}

static void start(void)
{
	cr_assert(sodium_init() >= 0);
	for (int i = 0; i < 3; i++) {
		randombytes_buf(keys[i][0], 32);
		crypto_scalarmult_base(keys[i][1], keys[i][0]);
	}
	randombytes_buf(psk, 32);
}

static void stop(void)
{
	secure_free(a);
	secure_free(b);
	buf_free(&to_a);
	buf_free(&to_b);
	a = b = NULL;
}

TestSuite(secure, .init = start, .fini = stop, .timeout = 60);

static int feed(struct secure *s, struct buf *in, struct buf *out)
{
	size_t used;
	int r = secure_feed(s, buf_data(in), buf_len(in), &used, out);

	buf_consume(in, used);
	return r;
}

static void fresh(const struct secure_conf *ca, const struct secure_conf *cb)
{
	stop();
	cr_assert_eq(secure_new(ca, true, &a), 0);
	cr_assert_eq(secure_new(cb, false, &b), 0);
	cr_assert_eq(secure_start(a, &to_b), 0);
}

/* The result of each side; 1: agreed. */
static void shake(int *ret_a, int *ret_b)
{
	*ret_b = feed(b, &to_b, &to_a);
	*ret_a = feed(a, &to_a, &to_b);
}

static void agree(const struct secure_conf *ca, const struct secure_conf *cb)
{
	int ra, rb;

	fresh(ca, cb);
	shake(&ra, &rb);
	cr_assert_eq(rb, 1);
	cr_assert_eq(ra, 1);
}

static void members(void)
{
	struct secure_conf ca = conf_a(), cb = conf_b();

	agree(&ca, &cb);
}

static void passes(struct secure *from, struct secure *to, size_t n)
{
	uint8_t *plain = malloc(n), *back = malloc(n),
		*rec = malloc(n + SECURE_OVERHEAD);

	randombytes_buf(plain, n);
	secure_seal(from, plain, n, rec);
	cr_assert_eq(secure_record(rec, n + SECURE_OVERHEAD),
		     (long)(n + SECURE_OVERHEAD));
	cr_assert_eq(secure_open(to, rec, n + SECURE_OVERHEAD, back), 0);
	cr_assert_eq(memcmp(plain, back, n), 0);
	free(plain);
	free(back);
	free(rec);
}

Test(secure, members_agree_and_know_each_other)
{
	members();
	cr_expect_eq(secure_host(b), 1);
	cr_expect_eq(secure_service(b), 3);
	cr_expect_eq(secure_host(a), 2);
	cr_expect(!secure_joiner(b));
	for (size_t n = 1; n < 2000; n += 37) {
		passes(a, b, n);
		passes(b, a, n);
	}
	passes(a, b, SECURE_RECORD);
}

Test(secure, a_joiner_with_the_secret_is_let_in_as_such)
{
	struct secure_conf ca = conf_join(), cb = conf_b();

	agree(&ca, &cb);
	cr_expect(secure_joiner(b));
	cr_expect_eq(secure_token(b), 77);
	cr_expect_eq(secure_host(b), 0);
	passes(a, b, 100);
	passes(b, a, 100);
}

static void expect_refusal(const struct secure_conf *ca,
			   const struct secure_conf *cb, int want)
{
	int ra, rb;

	fresh(ca, cb);
	shake(&ra, &rb);
	cr_expect_eq(rb, want, "responder says %d", rb);
	cr_expect_eq(ra, want, "initiator says %d", ra);
	cr_expect(!secure_ready(a) && !secure_ready(b));
}

Test(secure, wrong_keys_are_rejected)
{
	struct secure_conf ca = conf_a(), cb = conf_b();

	/* Says it is host 1 without its key. */
	memcpy(ca.secret, keys[2][0], 32);
	memcpy(ca.public_key, keys[2][1], 32);
	expect_refusal(&ca, &cb, -EKEYREJECTED);
	/* The same, but it knows what the public key is. */
	memcpy(ca.public_key, keys[0][1], 32);
	expect_refusal(&ca, &cb, -EKEYREJECTED);
	/* Expects another key of host 2. */
	ca = conf_a();
	memcpy(ca.to_key, keys[2][1], 32);
	expect_refusal(&ca, &cb, -EKEYREJECTED);
	/* A host that is not in the roster. */
	ca = conf_a();
	ca.host = 9;
	expect_refusal(&ca, &cb, -EKEYREJECTED);
}

Test(secure, wrong_tokens_are_rejected)
{
	struct secure_conf ca = conf_join(), cb = conf_b();

	ca.psk[5] ^= 1;
	expect_refusal(&ca, &cb, -EKEYREJECTED);
	ca = conf_join();
	ca.token = 78;
	expect_refusal(&ca, &cb, -EKEYREJECTED);
	ca = conf_join();
	memcpy(ca.to_key, keys[2][1], 32);
	expect_refusal(&ca, &cb, -EKEYREJECTED);
	ca = conf_join();
	cb.psk_of = NULL;
	expect_refusal(&ca, &cb, -EKEYREJECTED);
}

Test(secure, another_host_or_service_than_meant_is_refused)
{
	struct secure_conf ca = conf_a(), cb = conf_b();

	ca.to_service = 1;
	expect_refusal(&ca, &cb, -ECONNREFUSED);
	ca = conf_a();
	ca.to_host = 1;
	expect_refusal(&ca, &cb, -ECONNREFUSED);
}

Test(secure, versions_are_negotiated)
{
	struct secure_conf ca = conf_a(), cb = conf_b();

	ca.version_min = 2;
	ca.version_max = 5;
	expect_refusal(&ca, &cb, -EPROTONOSUPPORT);
	ca.version_min = 1;
	agree(&ca, &cb);
}

Test(secure, the_aead_is_one_that_both_have)
{
	struct secure_conf ca = conf_a(), cb = conf_b();

	ca.aeads = AEAD_CHACHA;
	agree(&ca, &cb);
	cr_expect_eq(secure_aead(a), AEAD_CHACHA);
	cr_expect_eq(secure_aead(b), AEAD_CHACHA);
	passes(a, b, 1000);
	if (!(secure_aeads() & AEAD_AES))
		return;
	cb.aeads = AEAD_AES;
	expect_refusal(&ca, &cb, -EPROTONOSUPPORT);
	ca.aeads = AEAD_AES;
	agree(&ca, &cb);
	cr_expect_eq(secure_aead(b), AEAD_AES);
	passes(a, b, 1000);
}

/* Every bit of both messages: the handshake must not go through. */
static void flip_each(const struct secure_conf *ca,
		      const struct secure_conf *cb)
{
	size_t hello, answer;
	int ra, rb;

	fresh(ca, cb);
	hello = buf_len(&to_b);
	shake(&ra, &rb);
	fresh(ca, cb);
	cr_assert_eq(feed(b, &to_b, &to_a), 1);
	answer = buf_len(&to_a);
	for (size_t bit = 0; bit < hello * 8; bit++) {
		fresh(ca, cb);
		buf_data(&to_b)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		shake(&ra, &rb);
		cr_expect(rb != 1 && ra != 1, "bit %zu of the hello", bit);
	}
	for (size_t bit = 0; bit < answer * 8; bit++) {
		fresh(ca, cb);
		cr_assert_eq(feed(b, &to_b, &to_a), 1);
		buf_data(&to_a)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_expect(feed(a, &to_a, &to_b) != 1, "bit %zu of the answer",
			  bit);
	}
}

Test(secure, a_flipped_bit_ends_a_members_handshake)
{
	struct secure_conf ca = conf_a(), cb = conf_b();

	flip_each(&ca, &cb);
}

Test(secure, a_flipped_bit_ends_a_joiners_handshake)
{
	struct secure_conf ca = conf_join(), cb = conf_b();

	flip_each(&ca, &cb);
}

Test(secure, a_handshake_cut_at_every_byte_waits_for_the_rest)
{
	struct secure_conf ca = conf_a(), cb = conf_b();
	size_t used;

	fresh(&ca, &cb);
	for (size_t n = buf_len(&to_b); n > 0; n--) {
		int r = secure_feed(b, buf_data(&to_b), 1, &used, &to_a);

		cr_assert_eq(used, 1);
		buf_consume(&to_b, 1);
		cr_assert_eq(r, n == 1);
	}
	for (size_t n = buf_len(&to_a); n > 0; n--) {
		int r = secure_feed(a, buf_data(&to_a), 1, &used, &to_b);

		buf_consume(&to_a, 1);
		cr_assert_eq(r, n == 1);
	}
	passes(a, b, 10);
}

Test(secure, bytes_behind_the_handshake_are_left_alone)
{
	struct secure_conf ca = conf_a(), cb = conf_b();
	size_t used;

	fresh(&ca, &cb);
	buf_add(&to_b, "later", 5);
	cr_assert_eq(
		secure_feed(b, buf_data(&to_b), buf_len(&to_b), &used, &to_a),
		1);
	cr_expect_eq(used, buf_len(&to_b) - 5);
}

Test(secure, a_recorded_hello_opens_nothing)
{
	struct secure_conf ca = conf_a(), cb = conf_b();
	uint8_t rec[100], plain[100];
	struct buf copy = {0};

	fresh(&ca, &cb);
	buf_add(&copy, buf_data(&to_b), buf_len(&to_b));
	cr_assert_eq(feed(b, &to_b, &to_a), 1);
	cr_assert_eq(feed(a, &to_a, &to_b), 1);
	secure_seal(a, "hello", 5, rec);
	/* The same bytes to a new session of the same host. */
	secure_free(b);
	cr_assert_eq(secure_new(&cb, false, &b), 0);
	cr_assert_eq(feed(b, &copy, &to_a), 1);
	cr_expect_eq(secure_open(b, rec, 5 + SECURE_OVERHEAD, plain), -EBADMSG);
	buf_free(&copy);
}

Test(secure, records_replayed_reordered_or_reflected_do_not_open)
{
	uint8_t one[64], two[64], plain[64];
	size_t len = 5 + SECURE_OVERHEAD;

	members();
	secure_seal(a, "first", 5, one);
	cr_expect_eq(secure_open(a, one, len, plain), -EBADMSG);
	members();
	secure_seal(a, "first", 5, one);
	cr_assert_eq(secure_open(b, one, len, plain), 0);
	cr_expect_eq(secure_open(b, one, len, plain), -EBADMSG);
	members();
	secure_seal(a, "first", 5, one);
	secure_seal(a, "other", 5, two);
	cr_expect_eq(secure_open(b, two, len, plain), -EBADMSG);
	cr_expect_eq(secure_open(b, one, len, plain), -EBADMSG,
		     "a session that failed once stays failed");
}

Test(secure, a_flipped_bit_in_a_record_is_noticed)
{
	uint8_t rec[64], plain[64];
	size_t len = 10 + SECURE_OVERHEAD;

	for (size_t bit = SECURE_HEAD * 8; bit < len * 8; bit++) {
		members();
		secure_seal(a, "0123456789", 10, rec);
		rec[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_expect_eq(secure_open(b, rec, len, plain), -EBADMSG);
	}
}

Test(secure, lengths_of_records_are_bounded)
{
	uint8_t head[4] = {0};

	cr_expect_eq(secure_record(head, 3), 0);
	cr_expect_eq(secure_record(head, 4), -EBADMSG);
	head[0] = SECURE_TAG;
	cr_expect_eq(secure_record(head, 4), -EBADMSG, "an empty record");
	head[0] = SECURE_TAG + 1;
	cr_expect_eq(secure_record(head, 4), SECURE_TAG + 1 + SECURE_HEAD);
	head[2] = 1;
	cr_expect_eq(secure_record(head, 4), -EBADMSG);
	head[3] = 0xff;
	cr_expect_eq(secure_record(head, 4), -EBADMSG);
}

Test(secure, keys_change_after_a_gibibyte_or_a_million_records)
{
	static uint8_t plain[SECURE_RECORD],
		rec[SECURE_RECORD + SECURE_OVERHEAD];

	members();
	for (unsigned i = 0; i < (1u << 14) + 10; i++) {
		secure_seal(a, plain, sizeof(plain), rec);
		cr_assert_eq(secure_open(b, rec, sizeof(rec), plain), 0);
	}
	members();
	for (unsigned i = 0; i < (1u << 20) + 10; i++) {
		secure_seal(a, "x", 1, rec);
		cr_assert_eq(secure_open(b, rec, 1 + SECURE_OVERHEAD, plain),
			     0);
	}
	passes(b, a, 10);
}
