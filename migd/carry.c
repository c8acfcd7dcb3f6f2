/*
 * carry.c -- see carry.h.
 *
 * By name: files and directories in the namespace, where the other host opens
 * the same path.  Only those whose position nobody else can be interested in:
 * opened for reading, for appending, or for both reading and writing.  A
 * file that is only written has a position that its other holders continue
 * from (a shell's redirection of several commands), so it is written from
 * here.  Nothing that asks the file service is called: /proc tells enough.
 */
#include "carry.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"
#include "streams.h"
#include "tty.h"
#include "world.h"

struct seen {
	int fd;
	uint64_t stream;
	uint8_t kind;
};

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

static int fdinfo(int fd, uint64_t *ret_pos, unsigned *ret_flags,
		  uint64_t *ret_ino)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[64];
	const char *at;
	int r;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	r = fd_read_file(path, 65536, &b);
	if (r)
		return r;
	*ret_pos = *ret_ino = 0;
	*ret_flags = 0;
	if ((at = strstr((char *)buf_data(&b), "pos:")))
		*ret_pos = strtoull(at + 4, NULL, 10);
	if ((at = strstr((char *)buf_data(&b), "flags:")))
		*ret_flags = (unsigned)strtoul(at + 6, NULL, 8);
	if ((at = strstr((char *)buf_data(&b), "ino:")))
		*ret_ino = strtoull(at + 4, NULL, 10);
	return 0;
}

static bool is_device(const char *path)
{
	static const char *const same[] = { "/dev/null", "/dev/zero",
					    "/dev/full", "/dev/random",
					    "/dev/urandom" };

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (strcmp(path, same[i]) == 0)
			return true;
	return false;
}

static bool in_namespace(const struct migd *m, const char *path, bool in_world)
{
	if (strcmp(path, m->conf.mount) == 0 ||
	    (starts(path, m->conf.mount) &&
	     path[strlen(m->conf.mount)] == '/'))
		return true;
	return in_world && world_has_tmp(m) &&
	       (starts(path, "/tmp/") || starts(path, "/var/tmp/"));
}

/*
 * The path of a descriptor is that of the name space it was opened in: a file
 * of the machine's own /tmp reads like one of ours.  The device tells them
 * apart, without asking the file server, which may be down.
 */
static bool on_device_of(int fd, const char *mount)
{
	struct statx a, b;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &a) == 0 &&
	       statx(AT_FDCWD, mount, AT_STATX_DONT_SYNC, 0, &b) == 0 &&
	       a.stx_dev_major == b.stx_dev_major &&
	       a.stx_dev_minor == b.stx_dev_minor;
}

/* What to do with it: a kind of migd_carry, or -EOPNOTSUPP. */
static int decide(const struct migd *m, int fd, const char *path,
		  unsigned flags, bool in_world)
{
	size_t n = strlen(path);
	bool deleted = n > 10 && strcmp(path + n - 10, " (deleted)") == 0;
	unsigned mode = flags & O_ACCMODE;

	if (starts(path, "anon_inode:") || flags & O_PATH)
		return -EOPNOTSUPP;
	if (is_device(path))
		return MIGD_DEVICE;
	if (starts(path, "/dev/pts/") || starts(path, "/dev/tty") ||
	    strcmp(path, "/dev/console") == 0)
		return MIGD_RELAY_TTY;
	if (path[0] == '/' && !deleted && in_namespace(m, path, in_world) &&
	    on_device_of(fd, m->conf.mount) &&
	    (mode != O_WRONLY || flags & O_APPEND))
		return MIGD_BY_NAME;
	return MIGD_RELAY;
}

static int relay(struct migd *m, const struct carry_to *to, int fd,
		 struct seen *seen, size_t n, struct msg_migd_carry_fd *c,
		 uint8_t tty[TTY_STATE_MAX])
{
	struct hstream *h;
	pid_t self = getpid();
	size_t len;
	int dup;

	for (size_t i = 0; i < n; i++)
		if (seen[i].stream && seen[i].kind == c->kind &&
		    syscall(SYS_kcmp, self, self, KCMP_FILE, fd, seen[i].fd) == 0)
			c->stream = seen[i].stream;
	h = c->stream ? hstream_find(m, c->stream) : NULL;
	if (!h) {
		dup = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		h = dup < 0 ? NULL : hstream_new(m, dup, to->pid);
		if (!h) {
			close_ptr(&dup);
			return -EOPNOTSUPP;
		}
		hstream_expect(h, to->host);
		c->stream = hstream_id(h);
	}
	hstream_tty(h, tty, &len);
	if (c->kind == MIGD_RELAY_TTY && !len)
		c->kind = MIGD_RELAY;
	c->tty = (wire_blob){ tty, len };
	return 0;
}

int carry_plan(struct migd *m, const struct carry_to *to, wire_blob numbers,
	       const int *fds, size_t nfds, struct wire_writer *out, char *why,
	       size_t cap)
{
	struct wire_reader r = wire_reader(numbers.p, numbers.len);
	struct seen seen[RPC_FDS_MAX] = { 0 };

	for (size_t i = 0; i < nfds; i++) {
		struct msg_migd_fd f = msg_migd_fd_get(&r);
		struct msg_migd_carry_fd c = { .fd = f.fd,
					       .cloexec = f.cloexec };
		uint8_t tty[TTY_STATE_MAX];
		char path[PATH_MAX], link[64];
		unsigned flags = 0;
		ssize_t n;
		int kind;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[i]);
		n = readlink(link, path, sizeof(path) - 1);
		if (r.failed || n < 0 ||
		    fdinfo(fds[i], &c.pos, &flags, &c.ino))
			return -EBADMSG;
		path[n] = 0;
		kind = decide(m, fds[i], path, flags, to->in_world);
		c.kind = (uint8_t)kind;
		c.flags = flags & ~(unsigned)O_CLOEXEC;
		c.path = kind == MIGD_BY_NAME || kind == MIGD_DEVICE ? path : "";
		if (kind == MIGD_DEVICE)
			c.ino = c.pos = 0;
		if (kind == MIGD_RELAY || kind == MIGD_RELAY_TTY)
			kind = relay(m, to, fds[i], seen, i, &c, tty);
		if (kind < 0) {
			snprintf(why, cap, "descriptor %d (%s) is of a kind "
				 "that cannot be carried to another host; "
				 "close it first", f.fd, path);
			return kind;
		}
		seen[i] = (struct seen){ fds[i], c.stream, c.kind };
		msg_migd_carry_fd_put(out, &c);
	}
	return wire_read_end(&r) || wire_write_end(out) ? -EBADMSG : 0;
}

static void each(struct migd *m, uint32_t pid, uint32_t host)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->hstreams, NULL); n; n = next) {
		next = map_next(&m->hstreams, n);
		hstream_settle(n, pid, host);
	}
}

void carry_undo(struct migd *m, uint32_t pid)
{
	each(m, pid, 0);
}

void carry_attach(struct migd *m, uint32_t pid, uint32_t host)
{
	each(m, pid, host);
}
