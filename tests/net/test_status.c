/* test_status.c -- errors that cross the wire; the join token's word. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "status.h"
#include "token.h"

Test(status, every_number_is_its_place_in_the_table_and_goes_both_ways)
{
	uint32_t next = 1;

#define STATUS(number, err, text)                                              \
	cr_expect_eq(number, next, #err " has number %d", number);             \
	next++;                                                                \
	cr_expect_eq(status_to_wire(-(err)), (uint32_t)(number));              \
	cr_expect_eq(status_from_wire(number), -(err));                        \
	cr_expect_str_eq(status_text(-(err)), text);
#include "status.def"
	cr_expect_eq(status_from_wire(next), -EIO);
	cr_expect_eq(status_from_wire(UINT32_MAX), -EIO);
	cr_expect_eq(status_to_wire(0), 0);
	cr_expect_eq(status_from_wire(0), 0);
	cr_expect_eq(status_from_wire(status_to_wire(-100000)), -EIO);
}

Test(status, a_sentence_is_taken_only_if_it_is_one)
{
	cr_expect_str_eq(status_sentence(-ENOENT, "no host h9", 11),
			 "no host h9");
	cr_expect_str_eq(status_sentence(-ENOENT, "ab\0d", 5),
			 status_text(-ENOENT));
	cr_expect_str_eq(status_sentence(-ENOENT, "abc", 3),
			 status_text(-ENOENT));
	cr_expect_str_eq(status_sentence(-ENOENT, NULL, 0),
			 status_text(-ENOENT));
	cr_expect_str_eq(status_sentence(-ENOENT, "", 1), status_text(-ENOENT));
}

static struct token some(void)
{
	struct token t = {
		.addr = "10.83.0.1", .port = 7710, .id = 0x1122334455667788u};

	for (int i = 0; i < 32; i++) {
		t.host_key[i] = (uint8_t)i;
		t.psk[i] = (uint8_t)(255 - i);
	}
	return t;
}

Test(token, is_one_word_that_reads_back)
{
	struct token t = some(), got = {0};
	char text[TOKEN_TEXT_MAX];

	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	cr_expect_eq(strspn(text, "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
		     strlen(text), "%s", text);
	cr_assert_eq(token_parse(text, &got), 0);
	cr_expect_str_eq(got.addr, t.addr);
	cr_expect_eq(got.port, t.port);
	cr_expect_eq(got.id, t.id);
	cr_expect_eq(memcmp(got.host_key, t.host_key, 32), 0);
	cr_expect_eq(memcmp(got.psk, t.psk, 32), 0);
}

Test(token, long_addresses_fit)
{
	struct token t = some(), got;
	char text[TOKEN_TEXT_MAX];

	strcpy(t.addr, "2001:0db8:85a3:1234:5678:8a2e:0370:7334");
	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	cr_assert_eq(token_parse(text, &got), 0);
	cr_expect_str_eq(got.addr, t.addr);
	strcpy(t.addr, "localhost");
	cr_expect_eq(token_format(&t, text, sizeof(text)), -EINVAL);
}

Test(token, cut_or_changed_anywhere_it_is_none)
{
	struct token t = some(), got;
	char text[TOKEN_TEXT_MAX], bad[TOKEN_TEXT_MAX + 8];

	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	for (size_t n = 0; n < strlen(text); n++) {
		snprintf(bad, sizeof(bad), "%.*s", (int)n, text);
		cr_expect_eq(token_parse(bad, &got), -EINVAL);
		strcpy(bad, text);
		bad[n] = bad[n] == 'A' ? 'B' : 'A';
		cr_expect_eq(token_parse(bad, &got), -EINVAL, "at %zu", n);
	}
	snprintf(bad, sizeof(bad), "%sAAAA", text);
	cr_expect_eq(token_parse(bad, &got), -EINVAL);
}
