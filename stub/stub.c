/*
 * stub.c -- the loop of the stub: commands from the control socket, signals
 * from the kernel, reports to the control socket.
 *
 * All signals are blocked for good and taken one by one with rt_sigtimedwait:
 * signalfd only wakes the poll, because its records lack parts of siginfo_t.
 * A blocked signal is queued even when it is ignored, so the relay sees
 * all.  Nothing is taken from the kernel before the previous report has been
 * sent; that is why losing the controller loses nothing.
 *
 * Signals of timers that died with the program this stub was made from
 * (stub_proto.h, "@PATH") went along in its image and are dropped here.
 */
#include "stub.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "sys.h"

#define ALL_SIGNALS 0xffffffffffffffffull

struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static void put_stamp(struct stub_msg *m, const struct stub_msg *cmd)
{
	m->to = cmd->type;
	m->seq = cmd->seq;
}

static void lost(struct stub *s)
{
	SYS(SYS_close, s->ctl);
	s->ctl = -1;
}

/* Send, or keep as pending and mark the controller as lost. */
static void report(struct stub *s, const struct stub_msg *m)
{
	long r;

	do {
		r = SYS(SYS_sendto, s->ctl, P(m), sizeof(*m), MSG_NOSIGNAL, 0,
			0);
	} while (r == -EINTR);
	if (r == sizeof(*m))
		return;
	s->pending = *m;
	s->unsent = true;
	lost(s);
}

static void answer(struct stub *s, const struct stub_msg *cmd, long err)
{
	struct stub_msg m = { .type = err ? STUB_ERR : STUB_OK,
			      .err = (int32_t)err };

	put_stamp(&m, cmd);
	report(s, &m);
	/* An answer is for the controller that asked: no other wants it. */
	s->unsent = false;
}

static void hello(struct stub *s)
{
	struct stub_msg m = { .type = STUB_HELLO, .flags = s->hello };
	bool had = s->unsent;
	struct stub_msg old = s->pending;

	m.pid = (int32_t)SYS(SYS_getpid);
	m.u.hello.proto = STUB_PROTO;
	m.u.hello.ppid = (int32_t)SYS(SYS_getppid);
	m.u.hello.pgid = (int32_t)SYS(SYS_getpgid, 0);
	m.u.hello.sid = (int32_t)SYS(SYS_getsid, 0);
	report(s, &m);
	s->unsent = had;
	s->pending = old;
	if (s->ctl < 0)
		return;
	s->hello |= STUB_HELLO_AGAIN;
	if (s->unsent) {
		s->unsent = false;
		report(s, &s->pending);
	}
}

/* A stub with more rights than its user obeys only root. */
static bool trusted(int ctl)
{
	struct ucred c = { .uid = (uid_t)-1 };
	uint32_t len = sizeof(c);
	long uid = SYS(SYS_getuid);

	if (SYS(SYS_getsockopt, ctl, SOL_SOCKET, SO_PEERCRED, P(&c), P(&len)))
		return false;
	if (c.uid == 0)
		return true;
	return SYS(SYS_geteuid) == uid && (long)c.uid == uid;
}

/* Get s->ctl to be a connected socket at number STUB_CTL; 0 or -errno. */
static long connect_path(struct stub *s)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	unsigned n = 0;
	long fd, r;

	while (s->path[n] && n < sizeof(un.sun_path) - 1) {
		un.sun_path[n] = s->path[n];
		n++;
	}
	fd = SYS(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	r = SYS(SYS_connect, fd, P(&un), sizeof(un));
	if (r == 0 && !trusted((int)fd))
		r = -EPERM;
	if (r == 0 && fd != STUB_CTL) {
		r = SYS(SYS_dup3, fd, STUB_CTL, O_CLOEXEC);
		if (r >= 0)
			r = 0;
		SYS(SYS_close, fd);
		fd = STUB_CTL;
	}
	if (r < 0)
		SYS(SYS_close, fd);
	else
		s->ctl = STUB_CTL;
	return r;
}

static void reconnect(struct stub *s)
{
	struct timespec nap = { .tv_nsec = 100 * 1000 * 1000 };

	while (!s->path)
		SYS(SYS_pause);
	while (s->ctl < 0) {
		if (connect_path(s) == 0)
			hello(s);
		if (s->ctl < 0)
			SYS(SYS_nanosleep, P(&nap), 0);
	}
}

/* One change of one child, if there is any. */
static bool report_child(struct stub *s)
{
	struct rusage ru = { 0 };
	siginfo_t si;
	struct stub_msg m = { .type = STUB_CHILD };
	int st;

	si.si_pid = 0;
	if (SYS(SYS_waitid, P_ALL, 0, P(&si),
		WEXITED | WSTOPPED | WCONTINUED | WNOHANG | __WALL, P(&ru)) ||
	    si.si_pid == 0)
		return false;
	st = si.si_status;
	switch (si.si_code) {
	case CLD_EXITED:
		m.status = (st & 0xff) << 8;
		break;
	case CLD_DUMPED:
		m.status = st | 0x80;
		break;
	case CLD_KILLED:
		m.status = st;
		break;
	case CLD_CONTINUED:
		m.status = 0xffff;
		break;
	default:
		m.status = (st & 0xff) << 8 | 0x7f;
	}
	m.pid = si.si_pid;
	m.u.child.code = si.si_code;
	m.u.child.uid = (int32_t)si.si_uid;
	m.u.child.utime_us =
		ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec;
	m.u.child.stime_us =
		ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec;
	m.u.child.maxrss_kb = ru.ru_maxrss;
	m.u.child.minflt = ru.ru_minflt;
	m.u.child.majflt = ru.ru_majflt;
	report(s, &m);
	return true;
}

static bool stale_timer(const struct stub *s, const siginfo_t *si)
{
	if (!(s->hello & STUB_HELLO_EXECD))
		return false;
	if (si->si_code == SI_TIMER)
		return true;
	return si->si_code == SI_KERNEL &&
	       (si->si_signo == SIGALRM || si->si_signo == SIGVTALRM ||
		si->si_signo == SIGPROF);
}

static void take_signals(struct stub *s)
{
	const uint64_t all = ALL_SIGNALS;
	struct timespec zero = { 0 };
	struct stub_msg m = { .type = STUB_SIGNAL };
	siginfo_t si;

	while (s->ctl >= 0) {
		long sig = SYS(SYS_rt_sigtimedwait, P(&all), P(&si), P(&zero),
			       sizeof(all));
		if (sig == -EINTR)
			continue;
		if (sig <= 0)
			return;
		if (sig == SIGCHLD && si.si_code > 0) {
			while (s->ctl >= 0 && report_child(s))
				;
			continue;
		}
		if (stale_timer(s, &si))
			continue;
		m.sig = (int32_t)sig;
		memcpy(m.u.siginfo, &si, sizeof(m.u.siginfo));
		report(s, &m);
	}
}

static void die(int status)
{
	struct kernel_action dfl = { 0 };
	struct rlimit none = { 0 };
	uint64_t set;
	int sig = status & 0x7f;

	if (sig == 0)
		SYS(SYS_exit_group, status >> 8 & 0xff);
	SYS(SYS_prlimit64, 0, RLIMIT_CORE, P(&none), 0);
	SYS(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	SYS(SYS_rt_sigaction, sig, P(&dfl), 0, 8);
	SYS(SYS_kill, SYS(SYS_getpid), sig);
	set = 1ull << (sig - 1);
	SYS(SYS_rt_sigprocmask, SIG_UNBLOCK, P(&set), 0, 8);
	SYS(SYS_exit_group, 128 + sig);
}

/* In the new child: its own socket instead of its parent's. */
static void become_child(struct stub *s, const struct stub_msg *cmd, int fd)
{
	struct stub_msg err = { .type = STUB_ERR };
	long r = 0;

	SYS(SYS_dup3, fd, STUB_CTL, O_CLOEXEC);
	SYS(SYS_close, fd);
	s->ctl = STUB_CTL;
	s->unsent = false;
	s->path = 0;
	s->hello = 0;
	if (cmd->sid) {
		r = SYS(SYS_setsid);
		if (r > 0)
			r = 0;
	}
	if (r == 0 && cmd->pgid >= 0)
		r = SYS(SYS_setpgid, 0, cmd->pgid);
	if (r == 0) {
		hello(s);
		return;
	}
	put_stamp(&err, cmd);
	err.err = (int32_t)r;
	report(s, &err);
	SYS(SYS_exit_group, 126);
}

static void spawn(struct stub *s, const struct stub_msg *cmd, const int *fds,
		  unsigned nfds)
{
	int32_t want = cmd->pid;
	struct clone_args ca = { .exit_signal = SIGCHLD };
	struct stub_msg m = { .type = STUB_SPAWNED };
	long pid;

	if (nfds != 1) {
		answer(s, cmd, -EINVAL);
		return;
	}
	if (want) {
		ca.set_tid = (uintptr_t)&want;
		ca.set_tid_size = 1;
	}
	pid = SYS(SYS_clone3, P(&ca), sizeof(ca));
	if (pid == 0) {
		become_child(s, cmd, fds[0]);
		return;
	}
	/* As shells do: whoever is spawned next may have to join this group
	 * before the child gets to make it.  The child reports if it fails. */
	if (pid > 0 && !cmd->sid && cmd->pgid >= 0)
		SYS(SYS_setpgid, pid, cmd->pgid ? cmd->pgid : pid);
	/* Before the answer: only the child may keep its socket open. */
	SYS(SYS_close, fds[0]);
	put_stamp(&m, cmd);
	m.pid = (int32_t)(pid > 0 ? pid : want);
	m.err = (int32_t)(pid > 0 ? 0 : pid);
	report(s, &m);
	s->unsent = false;
}

static long set_ids(const struct stub_msg *m)
{
	long r = SYS(SYS_setresgid, m->u.ids.gid, -1, -1);

	if (r == 0)
		r = SYS(SYS_setresuid, m->u.ids.uid, -1, -1);
	return r;
}

static void obey(struct stub *s, const struct stub_msg *m, const int *fds,
		 unsigned nfds)
{
	struct stub_msg err = { .type = STUB_ERR };
	long r = -EINVAL;
	long tty = nfds ? fds[0] : -1;

	switch (m->type) {
	case STUB_SPAWN:
		spawn(s, m, fds, nfds);
		return;
	case STUB_SETSID:
		r = SYS(SYS_setsid);
		break;
	case STUB_SETPGID:
		r = SYS(SYS_setpgid, m->pid, m->pgid);
		break;
	case STUB_CTTY:
		r = SYS(SYS_ioctl, tty, TIOCSCTTY, 1);
		break;
	case STUB_TCSETPGRP:
		r = SYS(SYS_ioctl, tty, TIOCSPGRP, P(&m->pgid));
		break;
	case STUB_IDS:
		r = set_ids(m);
		break;
	case STUB_NAME:
		r = SYS(SYS_prctl, PR_SET_NAME, P(m->u.name), 0, 0, 0);
		break;
	case STUB_KILL:
		r = SYS(SYS_kill, m->pid, m->sig);
		break;
	case STUB_STOP:
		answer(s, m, 0);
		SYS(SYS_kill, SYS(SYS_getpid), SIGSTOP);
		return;
	case STUB_EXEC:
		err.err = stub_exec(s, fds, nfds, &err.flags);
		put_stamp(&err, m);
		report(s, &err);
		s->unsent = false;
		return;
	case STUB_EXIT:
		die(m->status);
		return;
	case STUB_PING:
		r = 0;
		break;
	}
	answer(s, m, r > 0 ? 0 : r);
}

/* One packet; its descriptors are closed again unless EXEC used them. */
static void take_command(struct stub *s)
{
	union {
		char b[CMSG_SPACE(STUB_FDS_MAX * sizeof(int))];
		struct cmsghdr h;
	} ctl;
	int fds[STUB_FDS_MAX];
	struct stub_msg m;
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &ctl,
			     .msg_controllen = sizeof(ctl) };
	unsigned nfds = 0;
	long r = SYS(SYS_recvmsg, s->ctl, P(&mh),
		     MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (r == -EINTR || r == -EAGAIN)
		return;
	if (r <= 0) {
		lost(s);
		return;
	}
	if (mh.msg_controllen >= sizeof(ctl.h) &&
	    ctl.h.cmsg_level == SOL_SOCKET && ctl.h.cmsg_type == SCM_RIGHTS) {
		nfds = (unsigned)((ctl.h.cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, ctl.b + CMSG_LEN(0), nfds * sizeof(int));
	}
	if (r == sizeof(m) && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		obey(s, &m, fds, nfds);
	else
		answer(s, &(struct stub_msg){ .type = 0 }, -EBADMSG);
	if (s->ctl == STUB_CTL || s->ctl < 0)
		SYS(SYS_close_range, STUB_SIGFD + 1, ~0u, 0);
}

static void loop(struct stub *s) __attribute__((noreturn));
static void loop(struct stub *s)
{
	struct pollfd p[2] = { { .events = POLLIN },
			       { .fd = STUB_SIGFD, .events = POLLIN } };

	bool fresh = true;

	for (;;) {
		if (s->ctl < 0) {
			reconnect(s);
			fresh = true;
		}
		/* Children that ended before: their signal is gone. */
		while (fresh && s->ctl >= 0 && report_child(s))
			;
		fresh = false;
		if (s->ctl < 0)
			continue;
		p[0].fd = s->ctl;
		if (SYS(SYS_ppoll, P(p), 2, 0, 0, 8) <= 0)
			continue;
		if (p[1].revents)
			take_signals(s);
		if (s->ctl >= 0 && p[0].revents)
			take_command(s);
	}
}

static long to_number(const char *s)
{
	long n = 0;

	if (!*s)
		return -1;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || n > 1000000)
			return -1;
		n = n * 10 + (*s - '0');
	}
	return n;
}

/* Quiet everything a program may have left behind that could end a stub. */
static void calm(void)
{
	const uint64_t all = ALL_SIGNALS;
	struct kernel_action dfl = { 0 };
	struct itimerval off = { 0 };

	SYS(SYS_rt_sigprocmask, SIG_SETMASK, P(&all), 0, 8);
	SYS(SYS_rt_sigaction, SIGCHLD, P(&dfl), 0, 8);
	for (int i = 0; i < 3; i++)
		SYS(SYS_setitimer, i, P(&off), 0);
	SYS(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

void stub_main(long *sp)
{
	const uint64_t all = ALL_SIGNALS;
	const char **argv = (const char **)(sp + 1);
	struct stub s = { .ctl = -1 };
	long fd = -1;

	calm();
	for (long i = 1; i < *sp; i++) {
		if (argv[i][0] == '@')
			s.path = argv[i] + 1;
		else if ((fd = to_number(argv[i])) < 0)
			SYS(SYS_exit_group, 64);
	}
	if (fd > STUB_CTL)
		SYS(SYS_dup3, fd, STUB_CTL, O_CLOEXEC);
	else if (fd == STUB_CTL)
		SYS(SYS_fcntl, STUB_CTL, F_SETFD, FD_CLOEXEC);
	SYS(SYS_close_range, fd < 0 ? STUB_CTL : STUB_CTL + 1, ~0u, 0);
	if (fd < 0 && !s.path)
		SYS(SYS_exit_group, 64);
	if (fd >= 0) {
		if (!trusted(STUB_CTL))
			SYS(SYS_exit_group, 77);
		s.ctl = STUB_CTL;
	} else {
		s.hello = STUB_HELLO_EXECD;
		/* Number 0 stays free for the socket. */
		SYS(SYS_socket, AF_UNIX, SOCK_SEQPACKET, 0);
	}
	if (SYS(SYS_signalfd4, -1, P(&all), 8, O_CLOEXEC) != STUB_SIGFD)
		SYS(SYS_exit_group, 71);
	if (s.ctl >= 0)
		hello(&s);
	loop(&s);
}
