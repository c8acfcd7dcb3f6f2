#ifndef LIB_WIRE_H
#define LIB_WIRE_H
/*
 * wire.h -- bounded cursors over bytes, with a sticky error.
 *
 * Integers are little-endian, one at a time: a struct is never copied to the
 * wire.  A reader that fails once gives zeros from then on, and one check of
 * wire_read_end() at the end is enough; the same holds for a writer and
 * wire_write_end().
 *
 * str and blob are a u32 length and the bytes; a str holds no NUL and is
 * NUL-terminated on the wire as well, so that what a reader returns can be
 * used as a C string in place.  Both point into the buffer read: they are
 * borrowed and live as long as it does.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest str and blob accepted or sent, in bytes. */
#define WIRE_STR_MAX 65535u
#define WIRE_BLOB_MAX (4u << 20)

struct wire_reader {
	const uint8_t *p;
	size_t left;
	bool failed;
};

struct wire_writer {
	uint8_t *p;
	size_t left;
	size_t len; /* written so far */
	bool failed;
};

struct wire_blob {
	const void *p;
	size_t len;
};

typedef uint8_t wire_u8;
typedef uint16_t wire_u16;
typedef uint32_t wire_u32;
typedef uint64_t wire_u64;
typedef int32_t wire_i32;
typedef int64_t wire_i64;
typedef const char *wire_str; /* never NULL once read; NULL is sent as "" */
typedef struct wire_blob wire_blob;

wire_u8 wire_get_u8(struct wire_reader *r);
wire_u16 wire_get_u16(struct wire_reader *r);
wire_u32 wire_get_u32(struct wire_reader *r);
wire_u64 wire_get_u64(struct wire_reader *r);
wire_i32 wire_get_i32(struct wire_reader *r);
wire_i64 wire_get_i64(struct wire_reader *r);
wire_str wire_get_str(struct wire_reader *r);
wire_blob wire_get_blob(struct wire_reader *r);

void wire_put_u8(struct wire_writer *w, wire_u8 v);
void wire_put_u16(struct wire_writer *w, wire_u16 v);
void wire_put_u32(struct wire_writer *w, wire_u32 v);
void wire_put_u64(struct wire_writer *w, wire_u64 v);
void wire_put_i32(struct wire_writer *w, wire_i32 v);
void wire_put_i64(struct wire_writer *w, wire_i64 v);
void wire_put_str(struct wire_writer *w, wire_str v);
void wire_put_blob(struct wire_writer *w, wire_blob v);
void wire_put_raw(struct wire_writer *w, const void *p, size_t len);

/* 0, or -EBADMSG if anything failed or bytes are left over. */
int wire_read_end(const struct wire_reader *r);
/* 0, or -EMSGSIZE if the buffer was too small or a length over its limit. */
int wire_write_end(const struct wire_writer *w);

static inline struct wire_reader wire_reader(const void *p, size_t len)
{
	return (struct wire_reader){ .p = p, .left = len };
}

static inline struct wire_writer wire_writer(void *p, size_t cap)
{
	return (struct wire_writer){ .p = p, .left = cap };
}

#endif
