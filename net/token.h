#ifndef NET_TOKEN_H
#define NET_TOKEN_H
/*
 * token.h -- the one-time token that lets a host join: where named is, the
 * key that proves it, and a secret that proves the joiner.  As text it is one
 * word without spaces, safe in a shell.
 */
#include <stddef.h>
#include <stdint.h>

#define TOKEN_TEXT_MAX 256

struct token {
	char addr[64]; /* of named, numeric */
	uint16_t port;
	uint8_t host_key[32];
	uint64_t id;
	uint8_t psk[32];
};

/* -EINVAL if addr is not numeric or cap is below TOKEN_TEXT_MAX. */
int token_format(const struct token *t, char *buf, size_t cap);
/* -EINVAL: not a token, or damaged on the way (it carries a checksum). */
int token_parse(const char *text, struct token *ret);

#endif
