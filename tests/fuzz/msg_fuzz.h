/*
 * msg_fuzz.h -- made from a message table: every decoder gets the bytes; what
 * one accepts must encode to the same bytes again.  Included after MSG_TABLE
 * is defined; therefore no guard.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
	if (alen != blen || memcmp(a, b, alen) != 0)
		abort();
}

#define FIELD(kind, name)
#define STRUCT(name, ...)                                     \
	static void try_##name(const uint8_t *data, size_t size) \
	{                                                     \
		struct wire_reader r = wire_reader(data, size); \
                                                              \
		while (r.left && !r.failed)                   \
			(void)msg_##name##_get(&r);           \
	}
#define REQUEST(code, name, senders, ...)                                   \
	static void try_##name(const uint8_t *data, size_t size)            \
	{                                                                   \
		uint8_t *again = malloc(size + 1);                          \
		struct msg_##name m;                                        \
		size_t len;                                                 \
                                                                            \
		if (msg_##name##_decode(data, size, &m) == 0) {             \
			if (msg_##name##_encode(&m, again, size, &len) != 0) \
				abort();                                    \
			same(data, size, again, len);                       \
		}                                                           \
		free(again);                                                \
	}
#define REPLY(code, name, ...) REQUEST(code, name, 0)
#define NOTE(code, name, senders, ...) REQUEST(code, name, 0)
#include MSG_TABLE

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
#define FIELD(kind, name)
#define STRUCT(name, ...) try_##name(data, size);
#define REQUEST(code, name, senders, ...) try_##name(data, size);
#define REPLY(code, name, ...) try_##name(data, size);
#define NOTE(code, name, senders, ...) try_##name(data, size);
#include MSG_TABLE
	return 0;
}
