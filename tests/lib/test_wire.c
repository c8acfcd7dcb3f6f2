/* test_wire.c -- cursors over bytes: limits, sticky errors, byte order. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

Test(wire, integers_are_little_endian)
{
	uint8_t b[8] = {0};
	struct wire_writer w = wire_writer(b, sizeof(b));

	wire_put_u64(&w, 0x0102030405060708u);
	cr_expect_eq(memcmp(b, "\x08\x07\x06\x05\x04\x03\x02\x01", 8), 0);
	cr_expect_eq(wire_write_end(&w), 0);
	wire_put_u8(&w, 1);
	cr_expect_eq(wire_write_end(&w), -EMSGSIZE);
}

Test(wire, negative_numbers_come_back)
{
	uint8_t b[12];
	struct wire_writer w = wire_writer(b, sizeof(b));
	struct wire_reader r = wire_reader(b, sizeof(b));

	wire_put_i32(&w, -5);
	wire_put_i64(&w, INT64_MIN);
	cr_expect_eq(wire_get_i32(&r), -5);
	cr_expect_eq(wire_get_i64(&r), INT64_MIN);
	cr_expect_eq(wire_read_end(&r), 0);
}

Test(wire, a_failed_reader_gives_zeros_from_then_on)
{
	uint8_t b[5] = {1, 1, 1, 1, 1};
	struct wire_reader r = wire_reader(b, sizeof(b));

	cr_expect_eq(wire_get_u64(&r), 0);
	cr_expect_eq(wire_get_u8(&r), 0, "although a byte is there");
	cr_expect_str_eq(wire_get_str(&r), "");
	cr_expect_null(wire_get_blob(&r).p);
	cr_expect_eq(wire_read_end(&r), -EBADMSG);
}

Test(wire, bytes_left_over_are_an_error)
{
	struct wire_reader r = wire_reader("ab", 2);

	wire_get_u8(&r);
	cr_expect_eq(wire_read_end(&r), -EBADMSG);
	wire_get_u8(&r);
	cr_expect_eq(wire_read_end(&r), 0);
}

static int read_str(const uint8_t *p, size_t n)
{
	struct wire_reader r = wire_reader(p, n);

	wire_get_str(&r);
	return wire_read_end(&r);
}

Test(wire, a_string_is_ended_and_holds_no_zero)
{
	cr_expect_eq(read_str((uint8_t *)"\2\0\0\0ab", 7), 0);
	cr_expect_eq(read_str((uint8_t *)"\2\0\0\0abc", 7), -EBADMSG);
	cr_expect_eq(read_str((uint8_t *)"\2\0\0\0a\0", 7), -EBADMSG);
	cr_expect_eq(read_str((uint8_t *)"\xff\xff\xff\xff", 4), -EBADMSG);
}

Test(wire, lengths_have_their_limits)
{
	static uint8_t big[WIRE_BLOB_MAX + 16];
	struct wire_writer w = wire_writer(big, sizeof(big));
	struct wire_blob blob = {big, WIRE_BLOB_MAX + 1};
	char *s = malloc(WIRE_STR_MAX + 2);

	wire_put_blob(&w, blob);
	cr_expect_eq(wire_write_end(&w), -EMSGSIZE);
	memset(s, 'x', WIRE_STR_MAX + 1);
	s[WIRE_STR_MAX + 1] = 0;
	w = wire_writer(big, sizeof(big));
	wire_put_str(&w, s);
	cr_expect_eq(wire_write_end(&w), -EMSGSIZE);
	s[WIRE_STR_MAX] = 0;
	w = wire_writer(big, sizeof(big));
	wire_put_str(&w, s);
	cr_expect_eq(wire_write_end(&w), 0);
	cr_expect_eq(read_str(big, w.len), 0);
	free(s);
}

Test(wire, null_is_sent_as_the_empty_string)
{
	uint8_t b[5];
	struct wire_writer w = wire_writer(b, sizeof(b));

	wire_put_str(&w, NULL);
	cr_expect_eq(wire_write_end(&w), 0);
	cr_expect_eq(read_str(b, 5), 0);
}
