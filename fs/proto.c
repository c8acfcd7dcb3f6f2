/* proto.c -- see proto.h. */
#include "proto.h"

#include <errno.h>

#include "fs_msg.h"

wire_blob attr_put(const struct stat *st, uint8_t *buf)
{
	struct wire_writer w = wire_writer(buf, FS_ATTR_MAX);
	struct msg_fs_attr a = {
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.atime = st->st_atim.tv_sec,
		.atime_ns = (uint32_t)st->st_atim.tv_nsec,
		.mtime = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.ctime = st->st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st->st_ctim.tv_nsec,
	};

	msg_fs_attr_put(&w, &a);
	return (wire_blob){ .p = buf, .len = w.len };
}

int attr_get(wire_blob b, struct stat *ret)
{
	struct wire_reader r = wire_reader(b.p, b.len);
	struct msg_fs_attr a = msg_fs_attr_get(&r);

	if (wire_read_end(&r) || a.size > INT64_MAX)
		return -EBADMSG;
	*ret = (struct stat){
		.st_ino = a.ino,
		.st_size = (off_t)a.size,
		.st_blocks = (blkcnt_t)a.blocks,
		.st_blksize = 4096,
		.st_mode = a.mode,
		.st_nlink = a.nlink,
		.st_uid = a.uid,
		.st_gid = a.gid,
		.st_rdev = a.rdev,
		.st_atim = { a.atime, (long)(a.atime_ns % 1000000000) },
		.st_mtim = { a.mtime, (long)(a.mtime_ns % 1000000000) },
		.st_ctim = { a.ctime, (long)(a.ctime_ns % 1000000000) },
	};
	return 0;
}
