/*
 * token.c -- see token.h.  "sprite1-" and the fields as URL-safe base64 with
 * four bytes of checksum behind them, so that a word cut by a terminal is
 * told apart from a token that was refused.
 */
#include "token.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "wire.h"

#define PREFIX	"sprite1-"
#define SUM_LEN 4
#define RAW_MAX 160
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

static int addr_ok(const char *addr)
{
	struct in6_addr any;

	return inet_pton(AF_INET, addr, &any) == 1 ||
	       inet_pton(AF_INET6, addr, &any) == 1;
}

static void sum_of(const uint8_t *raw, size_t len, uint8_t ret[SUM_LEN])
{
	uint8_t h[crypto_generichash_BYTES];

	crypto_generichash(h, sizeof(h), raw, len, NULL, 0);
	memcpy(ret, h, SUM_LEN);
}

int token_format(const struct token *t, char *buf, size_t cap)
{
	uint8_t raw[RAW_MAX];
	struct wire_writer w = wire_writer(raw, sizeof(raw) - SUM_LEN);

	if (cap < TOKEN_TEXT_MAX || !addr_ok(t->addr))
		return -EINVAL;
	wire_put_str(&w, t->addr);
	wire_put_u16(&w, t->port);
	wire_put_raw(&w, t->host_key, sizeof(t->host_key));
	wire_put_u64(&w, t->id);
	wire_put_raw(&w, t->psk, sizeof(t->psk));
	if (wire_write_end(&w))
		return -EINVAL;
	sum_of(raw, w.len, raw + w.len);
	memcpy(buf, PREFIX, sizeof(PREFIX));
	sodium_bin2base64(buf + sizeof(PREFIX) - 1, cap - sizeof(PREFIX) + 1,
			  raw, w.len + SUM_LEN, VARIANT);
	sodium_memzero(raw, sizeof(raw));
	return 0;
}

static int parse_raw(const uint8_t *raw, size_t len, struct token *ret)
{
	struct wire_reader r = wire_reader(raw, len);
	const char *addr = wire_get_str(&r);
	struct token t = {.port = wire_get_u16(&r)};

	for (size_t i = 0; i < sizeof(t.host_key); i++)
		t.host_key[i] = wire_get_u8(&r);
	t.id = wire_get_u64(&r);
	for (size_t i = 0; i < sizeof(t.psk); i++)
		t.psk[i] = wire_get_u8(&r);
	if (wire_read_end(&r) || strlen(addr) >= sizeof(t.addr) ||
	    !addr_ok(addr) || !t.port)
		return -EINVAL;
	memcpy(t.addr, addr, strlen(addr) + 1);
	*ret = t;
	sodium_memzero(&t, sizeof(t));
	return 0;
}

int token_parse(const char *text, struct token *ret)
{
	uint8_t raw[RAW_MAX], sum[SUM_LEN];
	const char *end;
	size_t len;
	int r;

	if (strncmp(text, PREFIX, sizeof(PREFIX) - 1) != 0)
		return -EINVAL;
	text += sizeof(PREFIX) - 1;
	if (sodium_base642bin(raw, sizeof(raw), text, strlen(text), " \t\r\n",
			      &len, &end, VARIANT) ||
	    *end || len <= SUM_LEN)
		return -EINVAL;
	sum_of(raw, len - SUM_LEN, sum);
	if (memcmp(sum, raw + len - SUM_LEN, SUM_LEN) != 0)
		return -EINVAL;
	r = parse_raw(raw, len - SUM_LEN, ret);
	sodium_memzero(raw, sizeof(raw));
	return r;
}
