#ifndef FS_KEEP_H
#define FS_KEEP_H
/*
 * keep.h -- what outlives a killed fsd: the mount.
 *
 * The kernel ends a FUSE mount when the last descriptor of its session is
 * closed.  A tiny process, the keeper, holds that descriptor and a piece of
 * shared memory in which fsd notes which objects the kernel knows by which
 * number.  The next fsd asks the keeper for both and goes on: programs with
 * open files or working directories there only notice a pause.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto.h"

#define KEEP_SLOTS   (1u << 20)
#define KEEP_INIT_MAX 512
#define KEEP_LOG      (512u << 20) /* only what is used takes memory */

struct keep_slot {
	uint64_t id; /* 0: free */
	uint64_t nlookup;
	uint32_t nopen, nwrite;
	uint32_t mode;
	uint32_t len;
	uint8_t fh[FS_HANDLE_MAX];
	uint8_t room[256 - 36 - FS_HANDLE_MAX - 4];
	uint32_t next_free; /* of this life only */
};

struct keep_mem {
	uint64_t magic;
	uint64_t dev;	  /* of the mount */
	uint64_t next_id; /* numbers below were given out */
	uint32_t nslots;  /* ever used */
	uint32_t init_len;
	uint8_t init[KEEP_INIT_MAX]; /* the kernel's first request */
	struct keep_slot slots[KEEP_SLOTS];
	uint64_t log_end; /* journal.h */
	_Alignas(4096) uint8_t log[KEEP_LOG];
};

struct keep {
	int sock; /* the keeper's, while we are about to ask it something */
	int dev_fd, mem_fd;
	struct keep_mem *mem;
	uint32_t free; /* first free slot, 0: none (slot 0 is not used) */
	char path[108];
};

void keep_init(struct keep *k);
/* Is there a keeper, and what has it got?  -ENOENT: no.  dev_fd is the
 * caller's to close. */
int keep_take(struct keep *k, const char *path);
/* Make one for a new mount's descriptor. */
int keep_start(struct keep *k, const char *path, int dev_fd);
/* The mount is over: the keeper ends. */
void keep_end(struct keep *k);
/* Just let go: the next fsd will ask. */
void keep_fini(struct keep *k);

/* 0: none free (then the object is not kept). */
uint32_t keep_slot_new(struct keep *k);
void keep_slot_free(struct keep *k, uint32_t i);

#endif
