/*
 * fuzz_secure.c -- strangers' bytes to both roles of the handshake and to the
 * records behind it.  The first byte chooses: which role, and whether the
 * bytes replace the other side's messages or change them.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "secure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t secret[2][32], public_key[2][32], psk[32];

static int key_of(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	if (host != 1 && host != 2)
		return -ENOENT;
	memcpy(ret, public_key[host - 1], 32);
	return 0;
}

static int psk_of(void *arg, uint64_t token, uint8_t ret[32])
{
	(void)arg;
	memcpy(ret, psk, 32);
	return token == 1 ? 0 : -ENOENT;
}

static void setup(void)
{
	if (sodium_init() < 0)
		abort();
	for (int i = 0; i < 2; i++) {
		memset(secret[i], 17 + i, 32);
		crypto_scalarmult_base(public_key[i], secret[i]);
	}
}

static struct secure *make(int initiator, int join)
{
	struct secure_conf c = {.host = initiator ? 1 : 2,
				.service = initiator ? 3 : 2,
				.key_of = key_of,
				.psk_of = psk_of,
				.to_host = 2,
				.to_service = 2,
				.join = join != 0,
				.token = 1};
	struct secure *s;

	memcpy(c.secret, secret[!initiator], 32);
	memcpy(c.public_key, public_key[!initiator], 32);
	memcpy(c.to_key, public_key[1], 32);
	if (secure_new(&c, initiator != 0, &s))
		abort();
	return s;
}

static void records(struct secure *s, uint8_t *p, size_t n)
{
	while (n) {
		long len = secure_record(p, n);

		if (len <= 0 || (size_t)len > n)
			return;
		/* Nobody can make one without the keys. */
		if (secure_open(s, p, (size_t)len, p + SECURE_HEAD) == 0)
			abort();
		return;
	}
}

/* Feed all of it, in pieces; then what is left as records. */
static int feed(struct secure *s, const uint8_t *p, size_t n, size_t step,
		struct buf *out)
{
	int r = 0;

	while (n && r == 0) {
		size_t part = n < step ? n : step, used;

		r = secure_feed(s, p, part, &used, out);
		if (used > part)
			abort();
		p += used;
		n -= used;
	}
	if (r == 1 && n) {
		uint8_t *copy = malloc(n);

		memcpy(copy, p, n);
		records(s, copy, n);
		free(copy);
	}
	return r;
}

/* The other side's honest message with bytes of ours over it. */
static void spoil(struct buf *b, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 2 <= n; i += 2)
		buf_data(b)[p[i] % buf_len(b)] ^= p[i + 1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int ready;
	struct buf to_b = {0}, to_a = {0};
	struct secure *a, *b;
	size_t step;
	int mode;

	if (size < 2)
		return 0;
	if (!ready++)
		setup();
	mode = data[0];
	step = (size_t)data[1] + 1;
	data += 2;
	size -= 2;
	a = make(1, mode & 1);
	b = make(0, 0);
	if (secure_start(a, &to_b))
		abort();
	if (mode & 2) {
		/* An agreement may only come of messages left alone. */
		struct buf honest = {0};

		buf_add(&honest, buf_data(&to_b), buf_len(&to_b));
		spoil(&to_b, data, size);
		if (feed(b, buf_data(&to_b), buf_len(&to_b), step, &to_a) ==
			    1 &&
		    memcmp(buf_data(&honest), buf_data(&to_b), buf_len(&to_b)))
			abort();
		buf_free(&honest);
	} else if (mode & 4) {
		feed(b, buf_data(&to_b), buf_len(&to_b), SIZE_MAX, &to_a);
		spoil(&to_a, data, size);
		feed(a, buf_data(&to_a), buf_len(&to_a), step, &to_b);
	} else if (mode & 8) {
		feed(a, data, size, step, &to_b);
	} else {
		feed(b, data, size, step, &to_a);
	}
	secure_free(a);
	secure_free(b);
	buf_free(&to_a);
	buf_free(&to_b);
	return 0;
}
