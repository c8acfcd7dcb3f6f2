#ifndef LIB_FD_H
#define LIB_FD_H
/*
 * fd.h -- reads and writes that finish or fail, descriptors over unix
 * sockets, small files.  All return 0 or a negative errno unless said
 * otherwise; all descriptors made here are close-on-exec.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"

#define FD_PASS_MAX 64

/* -EPIPE: the other side ended before n bytes. */
int fd_read_full(int fd, void *p, size_t n);
int fd_write_full(int fd, const void *p, size_t n);

/* Whole file, at most max bytes (-EFBIG beyond), NUL added behind the end. */
int fd_read_file(const char *path, size_t max, struct buf *ret);
/* Write path.PID.new, fsync, rename over path, fsync the folder. */
int fd_write_file(const char *path, const void *p, size_t n, mode_t mode);
/* For /proc and cgroup files: one write(2). */
int fd_write_str(const char *path, const char *s);

/* One message with descriptors; returns bytes moved or -errno. */
ssize_t fd_send(int sock, const void *p, size_t n, const int *fds, size_t nfds);
/* *nfds is the room in fds on entry, the number received on return. */
ssize_t fd_recv(int sock, void *p, size_t n, int flags, int *fds, size_t *nfds);

int fd_nonblock(int fd, int on);
int mkdir_p(const char *path, mode_t mode);

/* Unix sockets.  type is SOCK_STREAM or SOCK_SEQPACKET. */
int unix_listen(const char *path, int type, mode_t mode);
int unix_connect(const char *path, int type);

#endif
