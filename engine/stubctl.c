/*
 * stubctl.c -- the controller's side of stub_proto.h.
 *
 * A stub answers within microseconds, but it may be stopped by SIGSTOP or
 * dead; every wait therefore has an end or the caller's word that it has
 * none.
 */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "fd.h"
#include "stub_proto.h"

#define START_MS 5000

int stub_send(int ctl, const struct stub_msg *m, const int *fds, unsigned nfds)
{
	union {
		char b[CMSG_SPACE(STUB_FDS_MAX * sizeof(int))];
		struct cmsghdr h;
	} c;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m,
			     .iov_len = sizeof(*m) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > STUB_FDS_MAX)
		return -E2BIG;
	if (nfds) {
		c.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(nfds * sizeof(int)),
					.cmsg_level = SOL_SOCKET,
					.cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&c.h), fds, nfds * sizeof(int));
		mh.msg_control = &c;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	do {
		n = sendmsg(ctl, &mh, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int stub_recv(int ctl, struct stub_msg *ret, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;
	struct pollfd p = { .fd = ctl, .events = POLLIN };
	ssize_t n;

	for (;;) {
		int64_t left = end - now_ms();
		int r = poll(&p, 1, timeout_ms < 0 ? -1 : left < 0 ? 0 : (int)left);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		n = recv(ctl, ret, sizeof(*ret), MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return errno == ECONNRESET ? -EPIPE : -errno;
		if (n == 0)
			return -EPIPE;
		return n == sizeof(*ret) ? 0 : -EBADMSG;
	}
}

static bool answers(const struct stub_msg *m, const struct stub_msg *cmd)
{
	return (m->type == STUB_OK || m->type == STUB_ERR ||
		m->type == STUB_SPAWNED) &&
	       m->to == cmd->type && m->seq == cmd->seq;
}

int stub_call(int ctl, const struct stub_msg *m, const int *fds, unsigned nfds,
	      int timeout_ms,
	      void (*on_report)(void *arg, const struct stub_msg *m), void *arg,
	      struct stub_msg *ret)
{
	int64_t end = now_ms() + timeout_ms;
	struct stub_msg got;
	int r = stub_send(ctl, m, fds, nfds);

	while (r == 0) {
		int64_t left = end - now_ms();

		r = stub_recv(ctl, &got,
			      timeout_ms < 0 ? -1 : left < 0 ? 0 : (int)left);
		if (r)
			break;
		if (answers(&got, m)) {
			if (ret)
				*ret = got;
			return got.err;
		}
		if (on_report)
			on_report(arg, &got);
	}
	return r;
}

static int wait_hello(int ctl, pid_t pid)
{
	struct stub_msg m;
	int r = stub_recv(ctl, &m, START_MS);

	if (r)
		return r;
	if (m.type == STUB_ERR)
		return m.err ? m.err : -EPROTO;
	if (m.type != STUB_HELLO || m.u.hello.proto != STUB_PROTO)
		return -EPROTO;
	/* In another PID namespace the stub has another number. */
	(void)pid;
	return 0;
}

int stub_start(const char *stub_exe, pid_t *ret_pid, int *ret_ctl)
{
	char number[16];
	int sv[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	pid = fork();
	if (pid == 0) {
		int fd = dup(sv[1]);

		snprintf(number, sizeof(number), "%d", fd);
		execl(stub_exe, stub_exe, number, (char *)NULL);
		_exit(127);
	}
	r = pid < 0 ? -errno : 0;
	close(sv[1]);
	if (r == 0)
		r = wait_hello(sv[0], pid);
	if (r) {
		close(sv[0]);
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		return r;
	}
	*ret_pid = pid;
	*ret_ctl = sv[0];
	return 0;
}

int stub_spawn(int ctl, pid_t pid, bool setsid, int pgid, pid_t *ret_pid,
	       int *ret_ctl)
{
	struct stub_msg m = { .type = STUB_SPAWN,
			      .pid = pid,
			      .sid = setsid,
			      .pgid = pgid };
	struct stub_msg got;
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	r = stub_call(ctl, &m, &sv[1], 1, START_MS, NULL, NULL, &got);
	close(sv[1]);
	if (r == 0)
		r = wait_hello(sv[0], got.pid);
	if (r) {
		close(sv[0]);
		return r;
	}
	*ret_pid = got.pid;
	*ret_ctl = sv[0];
	return 0;
}
