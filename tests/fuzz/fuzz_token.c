/* fuzz_token.c -- a word that somebody typed: what is taken reads back alike.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), again[TOKEN_TEXT_MAX];
	struct token t, u;

	memcpy(text, data, size);
	text[size] = 0;
	if (token_parse(text, &t) == 0 &&
	    (token_format(&t, again, sizeof(again)) || token_parse(again, &u) ||
	     strcmp(t.addr, u.addr) != 0))
		abort();
	free(text);
	return 0;
}
