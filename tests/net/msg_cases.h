/*
 * msg_cases.h -- made from a message table: every message goes to bytes and
 * back, and no shorter or longer piece of those bytes is taken for it.
 * Included after MSG_TABLE and MSG_SUITE are defined; therefore no guard.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define CAP 2048

static const uint8_t blob_bytes[] = { 0, 1, 2, 255, 254, 0, 7 };

#define some_u8	 0x81
#define some_u16 0x8182
#define some_u32 0x81828384u
#define some_u64 0x8182838485868788u
#define some_i32 (-77)
#define some_i64 (-7777777777ll)
#define some_str "a name \xc3\xa4 with spaces"
#define some_blob ((struct wire_blob){ blob_bytes, sizeof(blob_bytes) })

#define FIELD(kind, name) m.name = some_##kind;
#define STRUCT(name, ...)                                              \
	Test(MSG_SUITE, name##_round_trips_in_a_blob)                  \
	{                                                              \
		struct msg_##name m, got;                              \
		uint8_t buf[CAP] = { 0 }, again[CAP] = { 0 };          \
		struct wire_writer w = wire_writer(buf, CAP);          \
		struct wire_writer w2 = wire_writer(again, CAP);       \
		struct wire_reader r;                                  \
		__VA_ARGS__                                            \
		msg_##name##_put(&w, &m);                              \
		cr_assert_eq(wire_write_end(&w), 0);                   \
		r = wire_reader(buf, w.len);                           \
		got = msg_##name##_get(&r);                            \
		cr_assert_eq(wire_read_end(&r), 0);                    \
		msg_##name##_put(&w2, &got);                           \
		cr_expect_eq(memcmp(buf, again, CAP), 0);              \
		for (size_t n = 0; n < w.len; n++) {                   \
			r = wire_reader(buf, n);                       \
			got = msg_##name##_get(&r);                    \
			cr_expect(r.failed, "%zu of %zu", n, w.len);   \
		}                                                      \
	}
#define REQUEST(code, name, senders, ...)                                    \
	Test(MSG_SUITE, name##_round_trips)                                  \
	{                                                                    \
		struct msg_##name m = { 0 }, got;                            \
		uint8_t buf[CAP] = { 0 }, again[CAP] = { 0 };                \
		size_t len, len2;                                            \
		__VA_ARGS__                                                  \
		cr_assert_eq(msg_##name##_encode(&m, buf, CAP, &len), 0);    \
		cr_assert_eq(msg_##name##_decode(buf, len, &got), 0);        \
		cr_assert_eq(msg_##name##_encode(&got, again, CAP, &len2), 0); \
		cr_expect_eq(len, len2);                                     \
		cr_expect_eq(memcmp(buf, again, CAP), 0);                    \
		for (size_t n = 0; n < CAP; n++)                             \
			cr_expect_eq(msg_##name##_decode(buf, n, &got),      \
				     n == len ? 0 : -EBADMSG);               \
		for (size_t n = 0; n < len; n++)                             \
			cr_expect_eq(msg_##name##_encode(&m, buf, n, &len2), \
				     -EMSGSIZE);                             \
	}
#define REPLY(code, name, ...) REQUEST(code, name, 0, __VA_ARGS__)
#define NOTE(code, name, senders, ...) REQUEST(code, name, 0, __VA_ARGS__)
#include MSG_TABLE

/* Codes are unique: a double one does not compile. */
#define STRUCT(name, ...)
#define REQUEST(code, name, senders, ...) \
	case MSG_##name:                  \
		return #name;
#define REPLY(code, name, ...)		REQUEST(code, name, 0)
#define NOTE(code, name, senders, ...)	REQUEST(code, name, 0)
#define FIELD(kind, name)
static const char *name_of(unsigned code)
{
	switch (code) {
#include MSG_TABLE
	}
	return "";
}

Test(MSG_SUITE, every_code_has_one_name)
{
	unsigned n = 0;

	for (unsigned code = 0; code < 0x10000; code++)
		n += *name_of(code) != 0;
	cr_expect_gt(n, 0);
}
