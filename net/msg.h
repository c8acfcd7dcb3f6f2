/*
 * msg.h -- makes structs and codecs from a message table.  Included by
 * <service>_msg.h after defining MSG_TABLE, and by <service>_msg.c with
 * MSG_IMPLEMENT as well; therefore it has no guard.
 *
 * A table holds, each ended by the table's own #undefs (see named.def):
 *
 *   STRUCT(name, fields)                    a record used inside blobs
 *   REQUEST(code, name, senders, fields)    asks; answered by REPLY or status
 *   REPLY(code, name, fields)
 *   NOTE(code, name, senders, fields)       one-way
 *   FIELD(kind, name)                       u8 u16 u32 u64 i32 i64 str blob
 *
 * For each of them: struct msg_<name>; MSG_<name> (its code; not for STRUCT);
 *   int msg_<name>_encode(const struct msg_<name> *, void *buf, size_t cap, size_t *ret_len);
 *   int msg_<name>_decode(const void *buf, size_t len, struct msg_<name> *ret);
 * and for a STRUCT, to be put one after the other into a blob:
 *   void msg_<name>_put(struct wire_writer *, const struct msg_<name> *);
 *   struct msg_<name> msg_<name>_get(struct wire_reader *);
 *
 * Decoded str and blob fields point into the buffer decoded.
 */
#include <errno.h>

#include "wire.h"

#ifdef MSG_TABLE

#define FIELD(kind, name) wire_##kind name;
#define STRUCT(name, ...)         \
	struct msg_##name {       \
		__VA_ARGS__       \
	};
#define REQUEST(code, name, senders, ...) STRUCT(name, __VA_ARGS__)
#define REPLY(code, name, ...) STRUCT(name, __VA_ARGS__)
#define NOTE(code, name, senders, ...) STRUCT(name, __VA_ARGS__)
#include MSG_TABLE

#define FIELD(kind, name)
#define STRUCT(name, ...)                                                  \
	void msg_##name##_put(struct wire_writer *w, const struct msg_##name *m); \
	struct msg_##name msg_##name##_get(struct wire_reader *r);
#define REQUEST(code, name, senders, ...)                                \
	enum { MSG_##name = (code) };                                    \
	int msg_##name##_encode(const struct msg_##name *m, void *buf,   \
				size_t cap, size_t *ret_len);            \
	int msg_##name##_decode(const void *buf, size_t len,             \
				struct msg_##name *ret);
#define REPLY(code, name, ...) REQUEST(code, name, 0, __VA_ARGS__)
#define NOTE(code, name, senders, ...) REQUEST(code, name, 0, __VA_ARGS__)
#include MSG_TABLE

#ifdef MSG_IMPLEMENT

#define FIELD(kind, name) wire_put_##kind(w, m->name);
#define STRUCT(name, ...)                                                   \
	void msg_##name##_put(struct wire_writer *w, const struct msg_##name *m) \
	{                                                                   \
		(void)m;                                                    \
		(void)w;                                                    \
		__VA_ARGS__                                                 \
	}
#define REQUEST(code, name, senders, ...)                                   \
	int msg_##name##_encode(const struct msg_##name *m, void *buf,      \
				size_t cap, size_t *ret_len)                \
	{                                                                   \
		struct wire_writer writer = wire_writer(buf, cap);          \
		struct wire_writer *w = &writer;                            \
		(void)m;                                                    \
		__VA_ARGS__                                                 \
		*ret_len = w->len;                                          \
		return wire_write_end(w);                                   \
	}
#define REPLY(code, name, ...) REQUEST(code, name, 0, __VA_ARGS__)
#define NOTE(code, name, senders, ...) REQUEST(code, name, 0, __VA_ARGS__)
#include MSG_TABLE

#define FIELD(kind, name) m.name = wire_get_##kind(r);
#define STRUCT(name, ...)                                          \
	struct msg_##name msg_##name##_get(struct wire_reader *r)  \
	{                                                          \
		struct msg_##name m;                               \
		__VA_ARGS__                                        \
		return m;                                          \
	}
#define REQUEST(code, name, senders, ...)                              \
	int msg_##name##_decode(const void *buf, size_t len,           \
				struct msg_##name *ret)                \
	{                                                              \
		struct wire_reader reader = wire_reader(buf, len);     \
		struct wire_reader *r = &reader;                       \
		struct msg_##name m;                                   \
		int rc;                                                \
		__VA_ARGS__                                            \
		rc = wire_read_end(r);                                 \
		if (rc == 0)                                           \
			*ret = m;                                      \
		return rc;                                             \
	}
#define REPLY(code, name, ...) REQUEST(code, name, 0, __VA_ARGS__)
#define NOTE(code, name, senders, ...) REQUEST(code, name, 0, __VA_ARGS__)
#include MSG_TABLE

#endif

#endif
