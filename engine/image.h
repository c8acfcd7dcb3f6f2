#ifndef ENGINE_IMAGE_H
#define ENGINE_IMAGE_H
/*
 * image.h -- the image of a process tree: a sequence of records.
 *
 * A record is a head of 32 bytes (magic, tag, version, process, length,
 * checksum of body, checksum of the head) and a body.  The same bytes go down a
 * connection or into a file.  Bodies are written with lib/wire.h; pages
 * are raw.  The first record is IMG_START, the last IMG_END, which carries the
 * number of records, so a truncated image is never taken for a whole one.
 *
 * A reader refuses a tag or version it does not know: both sides of a
 * move speak the same migration version or do not move (design section 4).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "engine.h"
#include "wire.h"

#define IMG_VERSION  1u
#define IMG_BODY_MAX (2u << 20)
/* Pages in one record. */
#define IMG_PAGES_MAX 256u

/* tag, name: numbers are for ever */
#define IMG_TAGS(T)                                                         \
	T(1, START) /* version, kernel, processor */                        \
	T(2, PROC)  /* one member of the tree */                            \
	T(3, FILE)  /* a file that is mapped, or exe, or cwd */             \
	T(4, SHM)   /* an object of shared memory */                        \
	T(5, DESC)  /* an open file description */                          \
	T(6, PIPE)  /* contents of a pipe inside the tree */                \
	T(7, MEM)   /* memory map of a process */                           \
	T(8, THREAD)                                                        \
	T(9, SIGNALS)                                                       \
	T(10, TIMERS)                                                       \
	T(11, IDS) /* umask, limits, prctl state, ... of the whole process */ \
	T(12, FDS) /* its descriptors */                                    \
	T(13, BUILD) /* all but memory contents has been said */            \
	T(14, PAGES)                                                        \
	T(15, LAZY) /* pages that stay at the source for now */             \
	T(16, END)

enum img_tag {
#define T(num, name) IMG_##name = num,
	IMG_TAGS(T)
#undef T
};

struct img_writer {
	const struct eng_io *io;
	struct buf body; /* of the record under construction */
	uint32_t records;
	uint64_t bytes;
};

/* Begin a body, add to it with img_put_*, send it. */
void img_begin(struct img_writer *w);
int img_send(struct img_writer *w, enum img_tag tag, uint32_t proc);
void img_writer_fini(struct img_writer *w);

/* Sticky: a failed allocation shows at img_send as -ENOMEM. */
void img_u32(struct img_writer *w, uint32_t v);
void img_u64(struct img_writer *w, uint64_t v);
void img_i32(struct img_writer *w, int32_t v);
void img_str(struct img_writer *w, const char *s);
void img_blob(struct img_writer *w, const void *p, size_t n);
/* Room for n raw bytes, to be filled before img_send.  NULL: no memory. */
void *img_raw(struct img_writer *w, size_t n);

struct img_rec {
	enum img_tag tag;
	uint32_t proc;
	struct wire_reader body;
};

struct img_reader {
	const struct eng_io *io;
	struct buf body;
	uint32_t records;
	uint64_t bytes;
	bool ended;
};

/*
 * The next record; its body lives until the next call.  -EBADMSG for anything
 * that a writer would not have written, else what io->read said.
 * After IMG_END: -ENODATA.
 */
int img_next(struct img_reader *r, struct img_rec *ret);
void img_reader_fini(struct img_reader *r);

uint32_t img_crc(uint32_t crc, const void *p, size_t n);

#endif
