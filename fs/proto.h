#ifndef FS_PROTO_H
#define FS_PROTO_H
/*
 * proto.h -- what both sides of fs.def share beyond the table: numbers inside
 * fields, and attributes as struct stat.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "wire.h"

/* Bits of fs_setattr.valid. */
enum fs_set {
	SET_MODE = 1,
	SET_UID = 2,
	SET_GID = 4,
	SET_SIZE = 8,
	SET_ATIME = 16,
	SET_MTIME = 32,
	SET_ATIME_NOW = 64,
	SET_MTIME_NOW = 128,
};

/* Bits of fs_write.flags. */
enum fs_write_flag {
	WR_APPEND = 1, /* at the server's end of file */
	WR_MTIME = 2,  /* the message says when it was written */
	WR_KILL = 4,   /* set-uid and set-gid bits go */
};

enum fs_xattr_op { XATTR_GET, XATTR_SET, XATTR_LIST, XATTR_REMOVE };

#define FS_HANDLE_MAX 160 /* longest fh on the wire */
#define FS_NAME_MAX   255
#define FS_IO_MAX     (1u << 20)
#define FS_BODY_MAX   65536 /* longest body of any message but readdir's payload */
#define FS_ATTR_MAX   96
#define FS_GROUPS_MAX 1024
#define FS_LEVEL_GONE 0xff

/* Who asks.  groups: u32 little-endian each, as on the wire. */
struct fs_cred {
	uint32_t uid, gid;
	wire_blob groups;
};

/* Into buf of FS_ATTR_MAX bytes; the blob points there. */
wire_blob attr_put(const struct stat *st, uint8_t *buf);
/* 0 or -EBADMSG.  An empty blob is -EBADMSG too. */
int attr_get(wire_blob b, struct stat *ret);

#endif
