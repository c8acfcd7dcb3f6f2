/*
 * execimg.c -- the exec image: everything a stub needs to become a program,
 * laid out so that it can be used in place (stub_proto.h, struct stub_exec).
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"
#include "stub_proto.h"

#define EXEC_IMAGE_MAX (32u << 20)

static unsigned count(char *const *v)
{
	unsigned n = 0;

	while (v && v[n])
		n++;
	return n;
}

static void align(struct buf *b)
{
	static const char zero[8];

	buf_add(b, zero, (8 - buf_len(b) % 8) % 8);
}

/* Append a string, return its offset. */
static uint32_t put_string(struct buf *b, const char *s)
{
	uint32_t off = (uint32_t)buf_len(b);

	return buf_add(b, s, strlen(s) + 1) ? 0 : off;
}

/* Room for n + 1 offsets, then the strings; offsets are filled in. */
static uint32_t put_vector(struct buf *b, char *const *v, unsigned n)
{
	uint32_t off;
	uint8_t *room;

	align(b);
	off = (uint32_t)buf_len(b);
	room = buf_room(b, ((size_t)n + 1) * 8);
	if (!room)
		return 0;
	memset(room, 0, ((size_t)n + 1) * 8);
	buf_filled(b, ((size_t)n + 1) * 8);
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = put_string(b, v[i]);

		if (!at)
			return 0;
		memcpy(buf_data(b) + off + (size_t)i * 8, &at, 8);
	}
	return off;
}

static int fill(const struct eng_exec *x, struct buf *b, struct stub_exec *h)
{
	h->magic = STUB_EXEC_MAGIC;
	h->flags = (x->cwd_fd ? STUB_EXEC_CWD_FD : 0) |
		   (x->set_nice ? STUB_EXEC_NICE : 0) |
		   (x->set_ids ? STUB_EXEC_IDS : 0) |
		   (x->no_new_privs ? STUB_EXEC_NNP : 0);
	h->umask = x->umask;
	h->sigmask = x->sigmask;
	h->sigign = x->sigign;
	h->ruid = x->ruid, h->euid = x->euid, h->suid = x->suid;
	h->rgid = x->rgid, h->egid = x->egid, h->sgid = x->sgid;
	h->nice = x->nice;
	h->rlimit_set = x->rlimit_set;
	for (int i = 0; i < STUB_RLIMITS; i++) {
		h->rlimit[i].cur = x->rlimit[i].cur;
		h->rlimit[i].max = x->rlimit[i].max;
	}
	h->argc = count(x->argv);
	h->envc = count(x->envp);
	h->ngroups = x->ngroups;
	h->nfds = x->nfds;
	h->groups_off = (uint32_t)buf_len(b);
	if (buf_add(b, x->groups, x->ngroups * sizeof(*x->groups)))
		return -ENOMEM;
	h->fds_off = (uint32_t)buf_len(b);
	for (unsigned i = 0; i < x->nfds; i++) {
		struct stub_exec_fd f = { x->fds[i],
					  x->cloexec && x->cloexec[i] };
		if (buf_add(b, &f, sizeof(f)))
			return -ENOMEM;
	}
	h->path_off = put_string(b, x->path);
	h->cwd_off = x->cwd ? put_string(b, x->cwd) : 0;
	h->argv_off = put_vector(b, x->argv, h->argc);
	h->envp_off = put_vector(b, x->envp, h->envc);
	h->size = (uint32_t)buf_len(b);
	if (!h->path_off || !h->argv_off || !h->envp_off ||
	    (x->cwd && !h->cwd_off))
		return -E2BIG;
	return 0;
}

int eng_exec_image_build(const struct eng_exec *x, int *ret_memfd)
{
	SCOPED(buf_free) struct buf b = { .max = EXEC_IMAGE_MAX };
	struct stub_exec h = { 0 };
	int r, fd;

	if (!x->path || x->nfds > STUB_FDS_MAX - 2)
		return -EINVAL;
	if (buf_add(&b, &h, sizeof(h)))
		return -ENOMEM;
	r = fill(x, &b, &h);
	if (r)
		return r;
	memcpy(buf_data(&b), &h, sizeof(h));
	fd = memfd_create("sprite-exec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = fd_write_full(fd, buf_data(&b), buf_len(&b));
	if (r == 0 && fcntl(fd, F_ADD_SEALS,
			    F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW))
		r = -errno;
	if (r) {
		close(fd);
		return r;
	}
	*ret_memfd = fd;
	return 0;
}
