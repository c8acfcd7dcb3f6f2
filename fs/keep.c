/*
 * keep.c -- see keep.h.
 *
 * The keeper is a child that does nothing but wait at a socket: 'g' is
 * answered with the two descriptors, 'q' ends it.  It is a child of a process
 * with threads, so it only makes system calls.
 */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd.h"

#define MAGIC	0x3253444b45455053u /* changes with the layout */
#define ASK_SECS 5

_Static_assert(sizeof(struct keep_slot) == 256, "slots are of 256 bytes");

void keep_init(struct keep *k)
{
	*k = (struct keep){ .sock = -1, .dev_fd = -1, .mem_fd = -1 };
}

static int map_memory(struct keep *k)
{
	void *p = mmap(NULL, sizeof(*k->mem), PROT_READ | PROT_WRITE, MAP_SHARED,
		       k->mem_fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	k->mem = p;
	return 0;
}

static int ask(const char *path, char what, int *fds, size_t *nfds)
{
	struct timeval t = { .tv_sec = ASK_SECS };
	int sock = unix_connect(path, SOCK_SEQPACKET);
	char answer;
	ssize_t n;

	if (sock < 0)
		return sock == -ECONNREFUSED ? -ENOENT : sock;
	(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	n = fd_send(sock, &what, 1, NULL, 0);
	if (n == 1)
		n = fd_recv(sock, &answer, 1, 0, fds, nfds);
	close(sock);
	return n == 1 ? 0 : n < 0 ? (int)n : -EPIPE;
}

int keep_take(struct keep *k, const char *path)
{
	int fds[2] = { -1, -1 };
	size_t nfds = 2;
	int r;

	if (strlen(path) >= sizeof(k->path))
		return -ENAMETOOLONG;
	memcpy(k->path, path, strlen(path) + 1);
	r = ask(path, 'g', fds, &nfds);
	if (r)
		return r;
	k->dev_fd = fds[0];
	k->mem_fd = fds[1];
	r = nfds == 2 ? map_memory(k) : -EPROTO;
	if (!r && k->mem->magic != MAGIC)
		r = -EPROTO;
	return r;
}

static void close_from(int sock, int dev_fd, int mem_fd)
{
	int keep[3] = { sock, dev_fd, mem_fd };

	/* 5, 6, 7 are above all that we are given at start. */
	for (int i = 0; i < 3; i++)
		keep[i] = fcntl(keep[i], F_DUPFD, 100);
	for (int i = 0; i < 3; i++)
		dup2(keep[i], 5 + i);
	close(0);
	close(3);
	close(4);
	close_range(8, ~0u, 0);
}

static _Noreturn void keeper(int listener, int dev_fd, int mem_fd)
{
	const int fds[2] = { 6, 7 };
	char what;

	close_from(listener, dev_fd, mem_fd);
	setsid();
	prctl(PR_SET_NAME, "sprite-fsd-keep");
	for (int s = 1; s <= SIGRTMAX; s++)
		signal(s, s == SIGPIPE || s == SIGHUP ? SIG_IGN : SIG_DFL);
	/* It has nothing else to do than to wait for who asks. */
	fd_nonblock(5, 0);
	for (;;) {
		int c = accept(5, NULL, NULL);
		ssize_t n = c < 0 ? -1 : recv(c, &what, 1, 0);

		if (n == 1 && what == 'g')
			(void)fd_send(c, "g", 1, fds, 2);
		if (n == 1 && what == 'q') {
			(void)fd_send(c, "q", 1, NULL, 0);
			_exit(0);
		}
		if (c >= 0)
			close(c);
	}
}

static int make_memory(struct keep *k)
{
	int r;

	k->mem_fd = memfd_create("sprite-fsd", MFD_CLOEXEC);
	if (k->mem_fd < 0 || ftruncate(k->mem_fd, sizeof(*k->mem)))
		return -errno;
	r = map_memory(k);
	if (!r) {
		k->mem->magic = MAGIC;
		k->mem->nslots = 1;
	}
	return r;
}

int keep_start(struct keep *k, const char *path, int dev_fd)
{
	int listener, r;
	pid_t pid;

	if (strlen(path) >= sizeof(k->path))
		return -ENAMETOOLONG;
	memcpy(k->path, path, strlen(path) + 1);
	r = make_memory(k);
	if (r)
		return r;
	listener = unix_listen(path, SOCK_SEQPACKET, 0600);
	if (listener < 0)
		return listener;
	/* Twice, so that it is nobody's child to wait for. */
	pid = fork();
	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			keeper(listener, dev_fd, k->mem_fd);
		_exit(pid < 0 ? 1 : 0);
	}
	close(listener);
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &r, 0) < 0 && errno == EINTR)
		;
	return r ? -EAGAIN : 0;
}

void keep_end(struct keep *k)
{
	size_t none = 0;

	if (*k->path)
		(void)ask(k->path, 'q', NULL, &none);
	keep_fini(k);
}

void keep_fini(struct keep *k)
{
	if (k->mem)
		munmap(k->mem, sizeof(*k->mem));
	if (k->mem_fd >= 0)
		close(k->mem_fd);
	keep_init(k);
}

uint32_t keep_slot_new(struct keep *k)
{
	uint32_t i = k->free;

	if (!k->mem)
		return 0;
	if (i) {
		k->free = k->mem->slots[i].next_free;
		return i;
	}
	return k->mem->nslots < KEEP_SLOTS ? k->mem->nslots++ : 0;
}

void keep_slot_free(struct keep *k, uint32_t i)
{
	if (!i || !k->mem)
		return;
	k->mem->slots[i].id = 0;
	k->mem->slots[i].next_free = k->free;
	k->free = i;
}
