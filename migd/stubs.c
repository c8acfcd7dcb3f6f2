/* stubs.c -- see stubs.h. */
#include "stubs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "away.h"
#include "cleanup.h"
#include "fd.h"
#include "log.h"
#include "proc.h"
#include "prog.h"
#include "subs.h"
#include "world.h"

static void finish(struct stubc *s)
{
	if (s->gone)
		return;
	s->gone = true;
	ev_io_stop(s->m->loop, &s->io);
	list_del(&s->link);
	s->hooks->on_gone(s);
}

static void on_ctl(struct ev_loop *loop, ev_io *io, int revents)
{
	struct stubc *s = io->data;
	struct stub_msg msg;
	ssize_t n;

	(void)revents;
	n = recv(s->ctl, &msg, sizeof(msg), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(msg)) {
		if (!s->hello && !s->err && s->awaited) {
			/* The reason is still to come. */
			ev_io_stop(loop, io);
			return;
		}
		if (!s->hello && !s->err)
			s->err = -ECHILD;
		finish(s);
		return;
	}
	if (msg.type == STUB_HELLO) {
		if (msg.u.hello.proto != STUB_PROTO) {
			log_error("a stub speaks version %u, not %u: programs "
				  "of two builds are mixed",
				  msg.u.hello.proto, STUB_PROTO);
			s->err = -EPROTONOSUPPORT;
			finish(s);
			return;
		}
		s->hello = true;
		s->awaited = false;
		s->pid = (uint32_t)msg.pid;
		list_del(&s->link);
	} else if (msg.type == STUB_SPAWNED) {
		stubs_spawned(s->m, msg.seq, msg.pid, msg.err);
	} else if (msg.type == STUB_ERR && !s->hello) {
		s->err = msg.err;
	}
	s->hooks->on_msg(s, &msg);
}

struct stubc *stubc_adopt(struct migd *m, int ctl, const struct stub_hooks *h,
			  void *data)
{
	struct stubc *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->m = m;
	s->ctl = ctl;
	s->hooks = h;
	s->data = data;
	list_init(&s->link);
	ev_io_init(&s->io, on_ctl, ctl, EV_READ);
	s->io.data = s;
	ev_io_start(m->loop, &s->io);
	return s;
}

struct stubc *stubc_new(struct migd *m, const struct stub_hooks *h, void *data,
			int *ret_child)
{
	struct stubc *s;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return NULL;
	s = stubc_adopt(m, sv[0], h, data);
	if (!s) {
		close(sv[0]);
		close(sv[1]);
		return NULL;
	}
	list_add_tail(&m->stubs, &s->link);
	*ret_child = sv[1];
	return s;
}

void stubc_free(struct stubc *s)
{
	if (!s)
		return;
	ev_io_stop(s->m->loop, &s->io);
	list_del(&s->link);
	if (s->ctl >= 0)
		close(s->ctl);
	free(s);
}

void stubc_resume(struct stubc *s)
{
	ev_io_start(s->m->loop, &s->io);
}

int stubc_take(struct stubc *s)
{
	int fd = s->ctl;

	ev_io_stop(s->m->loop, &s->io);
	s->ctl = -1;
	return fd;
}

int stubc_send(struct stubc *s, const struct stub_msg *msg, const int *fds,
	       unsigned nfds)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * STUB_FDS_MAX)];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { (void *)(uintptr_t)msg, sizeof(*msg) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds > STUB_FDS_MAX)
		return -E2BIG;
	if (nfds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	if (sendmsg(s->ctl, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

struct stubc *stubc_spawn(struct migd *m, struct stubc *parent, uint32_t pid,
			  bool setsid, int pgid,
			  const struct stub_hooks *h, void *data)
{
	int child = -1, r;
	struct stubc *s = stubc_new(m, h, data, &child);
	struct stub_msg msg = { .type = STUB_SPAWN, .pid = (int32_t)pid,
				.sid = setsid, .pgid = pgid };

	if (!s)
		return NULL;
	s->pid = pid;
	if (parent) {
		/* Apart from the numbers of the first process. */
		msg.seq = ++m->stub_seq | 0x80000000u;
		stubs_await(s, msg.seq);
		r = stubc_send(parent, &msg, &child, 1);
	} else {
		r = world_spawn(m, pid,
				(setsid ? KEEP_SPAWN_SETSID : 0) | WORLD_GUEST,
				false,
				child, s);
		if (!r && !setsid && pgid >= 0) {
			msg = (struct stub_msg){ .type = STUB_SETPGID,
						 .pgid = pgid };
			r = stubc_send(s, &msg, NULL, 0);
		}
	}
	close(child);
	if (r) {
		stubc_free(s);
		return NULL;
	}
	return s;
}

static void ending_msg(struct stubc *s, const struct stub_msg *msg)
{
	(void)s;
	(void)msg;
}

static const struct stub_hooks ending = { ending_msg, stubc_free };

void stubc_end(struct stubc *s, int status)
{
	struct stub_msg msg = { .type = STUB_EXIT, .status = status };

	if (!s)
		return;
	if (s->gone || s->ctl < 0) {
		stubc_free(s);
		return;
	}
	/* The socket stays open until it is dead: a report that finds it
	 * closed would make the stub forget what it was told.  It may be
	 * stopped, and would not hear. */
	s->hooks = &ending;
	stubc_send(s, &msg, NULL, 0);
	if (s->pid)
		proc_signal(s->m, s->pid, SIGCONT);
}

void stubs_await(struct stubc *s, uint32_t seq)
{
	s->awaited = true;
	s->spawn_seq = seq;
}

void stubs_spawned(struct migd *m, uint32_t seq, int32_t pid, int err)
{
	list_each_safe(s, &m->stubs, struct stubc, link) {
		if (!s->awaited || s->spawn_seq != seq)
			continue;
		s->awaited = false;
		if (!err) {
			s->pid = (uint32_t)pid;
			ev_io_start(m->loop, &s->io);
			return;
		}
		s->err = err;
		finish(s);
		return;
	}
}

/* ---- stubs that come to us ------------------------------------------------------ */

/*
 * Who connects must be the sprite-stub it says it is: its PID is looked up
 * from the kernel's word.
 */
static void on_connect(struct ev_loop *loop, ev_io *io, int revents)
{
	struct migd *m = io->data;
	struct ucred cr;
	socklen_t len = sizeof(cr);
	uint32_t pid = 0;
	int fd = accept4(m->stub_listen, NULL, NULL,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)loop;
	(void)revents;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cr, &len) ||
	    !proc_is_stub(m, cr.pid) ||
	    proc_global_pid(m, cr.pid, &pid) != 0 ||
	    !(away_stub_came(m, pid, fd) || sub_came(m, pid, fd))) {
		if (pid) {
			log_warn("stub %u stands for nothing that is known "
				 "here; it is ended", pid);
			proc_signal(m, pid, SIGKILL);
		}
		close(fd);
	}
}

int stubs_listen(struct migd *m)
{
	int r = run_path("stub.sock", m->rejoin + 1, sizeof(m->rejoin) - 1);

	if (r)
		return r;
	m->rejoin[0] = '@';
	r = unix_listen(m->rejoin + 1, SOCK_SEQPACKET, 0666);
	if (r < 0)
		return r;
	m->stub_listen = r;
	ev_io_init(&m->stub_accept, on_connect, r, EV_READ);
	m->stub_accept.data = m;
	ev_io_start(m->loop, &m->stub_accept);
	return 0;
}

void stubs_close(struct migd *m)
{
	if (m->stub_listen <= 0)
		return;
	ev_io_stop(m->loop, &m->stub_accept);
	close(m->stub_listen);
	m->stub_listen = -1;
}
