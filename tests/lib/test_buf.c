/* test_buf.c -- the growable buffer and JSON written into it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "failalloc.h"
#include "json.h"

Test(buf, is_a_queue_of_bytes)
{
	struct buf b = {0};
	uint8_t next_in = 0, next_out = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint8_t piece[37];
		size_t in = (i * 7) % 38, out = (i * 5) % 38;

		for (size_t j = 0; j < in; j++)
			piece[j] = next_in++;
		cr_assert_eq(buf_add(&b, piece, in), 0);
		for (size_t j = 0; j < out && buf_len(&b); j++) {
			cr_assert_eq(*buf_data(&b), next_out++);
			buf_consume(&b, 1);
		}
	}
	cr_expect_lt(b.cap, 64u << 10, "a steady stream does not grow it");
	buf_free(&b);
	cr_expect_eq(buf_len(&b), 0);
}

Test(buf, has_a_hard_maximum)
{
	struct buf b = {.max = 10};

	cr_expect_eq(buf_add(&b, "123456", 6), 0);
	cr_expect_eq(buf_add(&b, "12345", 5), -ENOBUFS);
	cr_expect_eq(buf_add(&b, "1234", 4), 0);
	cr_expect_eq(buf_len(&b), 10);
	cr_expect_null(buf_room(&b, SIZE_MAX));
	buf_free(&b);
}

Test(buf, formats)
{
	struct buf b = {0};

	cr_expect_eq(buf_addf(&b, "%d-%s", 7, "seven"), 0);
	cr_expect_eq(buf_addf(&b, "%300d", 1), 0);
	cr_expect_eq(buf_len(&b), 307);
	cr_expect_eq(memcmp(buf_data(&b), "7-seven", 7), 0);
	buf_free(&b);
}

Test(buf, survives_any_failed_allocation)
{
	unsigned n = 0;
	int r;

	do {
		struct buf b = {0};

		failalloc_nth(++n);
		r = buf_add(&b, "kept", 4);
		for (int i = 0; r == 0 && i < 1000; i++)
			r = buf_addf(&b, "%d", i);
		cr_expect(r == 0 || r == -ENOMEM);
		if (buf_len(&b))
			cr_expect_eq(memcmp(buf_data(&b), "kept", 4), 0);
		buf_free(&b);
	} while (failalloc_stop());
	cr_expect_eq(r, 0);
	cr_expect_gt(n, 2);
}

Test(json, puts_commas_and_escapes)
{
	struct buf b = {0};
	struct json j = {.out = &b};

	json_open(&j, NULL, '{');
	json_str(&j, "name", "a\"b\\c\n\x01\xc3\xa4");
	json_u64(&j, "big", UINT64_MAX);
	json_i64(&j, "small", INT64_MIN);
	json_f64(&j, "load", 0.25);
	json_bool(&j, "up", true);
	json_str(&j, "none", NULL);
	json_open(&j, "list", '[');
	json_u64(&j, NULL, 1);
	json_open(&j, NULL, '{');
	json_close(&j, '}');
	json_u64(&j, NULL, 2);
	json_close(&j, ']');
	json_bool(&j, "end", false);
	json_close(&j, '}');
	cr_assert(!j.failed);
	cr_assert_eq(buf_add(&b, "", 1), 0);
	cr_expect_str_eq((char *)buf_data(&b),
			 "{\"name\":\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa4\","
			 "\"big\":18446744073709551615,"
			 "\"small\":-9223372036854775808,\"load\":0.25,"
			 "\"up\":true,\"none\":null,\"list\":[1,{},2],"
			 "\"end\":false}");
	buf_free(&b);
}

Test(json, an_overflow_sticks)
{
	struct buf b = {.max = 4};
	struct json j = {.out = &b};

	json_str(&j, NULL, "too long for it");
	cr_expect(j.failed);
	buf_free(&b);
}
