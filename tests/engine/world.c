/* world.c -- see world.h. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "fd.h"
#include "prog.h"

/* A plain condition. */
#define MUST(cond, ...) cr_assert(eq(int, (cond) ? 1 : 0, 1), ##__VA_ARGS__)

#define SOON 20000
#define FDS  12

struct eng_kernel *kernel;
char stub_path[64], stub_file[512];

struct command {
	job *fn;
	uint8_t arg[6144];
};

static void init_loop(int cmd)
{
	struct command c;

	signal(SIGCHLD, SIG_IGN); /* orphans need no waiting for */
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fds[FDS];
		size_t nfds = FDS;
		ssize_t n = fd_recv(cmd, &c, sizeof(c), 0, fds, &nfds);

		if (n != sizeof(c))
			_exit(0);
		if (fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			close(cmd);
			_exit(c.fn(c.arg, fds, (unsigned)nfds));
		}
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
	}
}

static void enter_world(int cmd, int first_pid)
{
	char text[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		_exit(1);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (mount("proc", "/proc", "proc", 0, NULL))
			_exit(2);
		fd_write_str("/proc/sys/kernel/pid_max", "65536");
		snprintf(text, sizeof(text), "%d", first_pid);
		if (fd_write_str("/proc/sys/kernel/ns_last_pid", text))
			_exit(3);
		init_loop(cmd);
	}
	close(cmd);
	wait(NULL);
	_exit(0);
}

static int root_job(void *arg, const int *fds, unsigned nfds)
{
	char exe[512], number[16];

	(void)arg;
	(void)nfds;
	fcntl(fds[0], F_SETFD, 0);
	snprintf(number, sizeof(number), "%d", fds[0]);
	if (prog_path("sprite-stub", exe, sizeof(exe)) == 0)
		execl(exe, exe, number, (char *)NULL);
	return 127;
}

void world_open(struct world *w, int first_pid)
{
	struct stub_msg m;
	int sv[2];

	cr_assert(zero(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC,
				       0, sv)));
	w->outer = fork();
	if (w->outer == 0) {
		close(sv[0]);
		enter_world(sv[1], first_pid);
	}
	close(sv[1]);
	w->cmd = sv[0];
	w->root = world_run(w, root_job, NULL, 0, NULL, 0);
	cr_assert(zero(int, stub_recv(w->root, &m, SOON)));
	cr_assert(eq(u32, m.type, STUB_HELLO));
	w->root_pid = m.pid;
}

void world_close(struct world *w)
{
	close(w->cmd);
	close(w->root);
	kill(w->outer, SIGKILL);
	waitpid(w->outer, NULL, 0);
}

int world_run(struct world *w, job *fn, const void *arg, size_t len,
	      const int *fds, unsigned nfds)
{
	struct command c = { .fn = fn };
	int all[FDS], sv[2];

	cr_assert(zero(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC,
				       0, sv)));
	MUST(len <= sizeof(c.arg));
	if (len)
		memcpy(c.arg, arg, len);
	all[0] = sv[1];
	for (unsigned i = 0; i < nfds; i++)
		all[i + 1] = fds[i];
	MUST(fd_send(w->cmd, &c, sizeof(c), all, nfds + 1) == sizeof(c));
	close(sv[1]);
	return sv[0];
}

/* ---- guests ---- */

struct start {
	char argv[16][96];
	int argc;
};

static int guest_job(void *arg, const int *fds, unsigned nfds)
{
	struct start *s = arg;
	char *argv[17] = { NULL };
	int st;
	pid_t pid;

	(void)nfds;
	for (int i = 0; i < s->argc; i++)
		argv[i] = s->argv[i];
	pid = fork();
	if (pid == 0) {
		setsid();
		for (int i = 0; i < 3; i++)
			dup2(fds[1 + i], i);
		dup2(fds[4], 9);
		for (int i = 3; i < 64; i++)
			if (i != 9)
				close(i);
		execv(argv[0], argv);
		_exit(127);
	}
	for (unsigned i = 1; i < nfds; i++)
		close(fds[i]);
	send(fds[0], &pid, sizeof(pid), 0);
	waitpid(pid, &st, 0);
	send(fds[0], &st, sizeof(st), 0);
	return 0;
}

void guest_start(struct world *w, struct guest *g, char *const *argv,
		 const int stdio[3])
{
	struct start s = { 0 };
	int p[2], fds[4];
	char c;

	for (; argv[s.argc]; s.argc++)
		snprintf(s.argv[s.argc], sizeof(s.argv[0]), "%s",
			 argv[s.argc]);
	cr_assert(zero(int, pipe2(p, O_CLOEXEC)));
	memcpy(fds, stdio, 3 * sizeof(int));
	fds[3] = p[1];
	g->parent = world_run(w, guest_job, &s, sizeof(s), fds, 4);
	close(p[1]);
	MUST(recv(g->parent, &g->pid, sizeof(g->pid), 0) ==
		  sizeof(g->pid));
	MUST(read(p[0], &c, 1) == 1, "the guest did not begin");
	close(p[0]);
}

int guest_status(struct guest *g)
{
	struct pollfd p = { .fd = g->parent, .events = POLLIN };
	int st = -1;

	MUST(poll(&p, 1, 90000) == 1, "the guest did not end");
	MUST(recv(g->parent, &st, sizeof(st), 0) == sizeof(st));
	close(g->parent);
	return st;
}

/* ---- movers ---- */

struct stream {
	int fd;
	long left; /* -1: no end */
	long flip;
	long at;
};

static int stream_write(void *arg, const void *p, size_t n)
{
	struct stream *s = arg;

	s->at += (long)n;
	return fd_write_full(s->fd, p, n);
}

static int stream_read(void *arg, void *p, size_t n)
{
	struct stream *s = arg;
	int r;

	if (s->left >= 0 && s->at + (long)n > s->left)
		return -EPIPE;
	r = fd_read_full(s->fd, p, n);
	if (r == 0 && s->flip >= s->at && s->flip < s->at + (long)n)
		((uint8_t *)p)[s->flip - s->at] ^= 0x10;
	s->at += (long)n;
	return r;
}

static int no_read(void *arg, void *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return -EBADF;
}

/* Descriptors that lead to the test stay there: both worlds may have them. */
static int keep_check(void *arg, const struct eng_fd_info *i, char *d, size_t c)
{
	(void)arg;
	(void)d;
	(void)c;
	return i->kind == ENG_FD_PIPE || i->kind == ENG_FD_SOCKET;
}

/* The description itself is handed to the target's mover. */
static int keep_save(void *arg, const struct eng_fd_info *i, int copy,
		     void *blob, size_t cap, size_t *ret_len)
{
	int sock = *(int *)arg;

	(void)cap;
	memcpy(blob, &i->ino, 8);
	*ret_len = 8;
	return fd_send(sock, &i->ino, 8, &copy, 1) == 8 ? 0 : -EPIPE;
}

static int keep_open(void *arg, const struct eng_fd_info *i, const void *blob,
		     size_t len, int *ret_fd)
{
	uint64_t ino;
	size_t nfds = 1;

	(void)i;
	if (fd_recv(*(int *)arg, &ino, 8, 0, ret_fd, &nfds) != 8 ||
	    nfds != 1 || len != 8 || memcmp(&ino, blob, 8))
		return -EBADMSG;
	return 0;
}

enum { A_TEST, A_IMAGE, A_FDS, A_REQ, A_PUSH, A_STUB };

static int verdict(int test)
{
	char c = 'n';

	return recv(test, &c, 1, 0) == 1 && c == 'y';
}

static void tell(int test, const struct move *m)
{
	send(test, m, sizeof(*m), 0);
}

static int source_job(void *arg, const int *fds, unsigned nfds)
{
	struct move *m = arg;
	struct stream img = { fds[A_IMAGE], -1, -1, 0 };
	struct stream req = { fds[A_REQ], -1, -1, 0 };
	struct stream push = { fds[A_PUSH], -1, -1, 0 };
	struct eng_io io = { &img, no_read, stream_write };
	struct eng_io rio = { &req, stream_read, stream_write };
	struct eng_io pio = { &push, stream_read, stream_write };
	int sock = fds[A_FDS];
	struct eng_fd_ops ops = { .arg = &sock,
				  .fd_check = keep_check,
				  .fd_save = keep_save };
	struct eng_opts o = { .fds = &ops,
			      .kernel = kernel,
			      .memory = m->memory,
			      .lazy_min = m->lazy_min };
	const struct eng_member *mem;
	char exe[512];
	struct eng *e = NULL;

	(void)nfds;
	prog_path("sprite-stub", exe, sizeof(exe));
	if (*stub_file)
		strcpy(exe, stub_file);
	do {
		m->source = eng_freeze(m->pid, &o, &m->srep, &e);
	} while (m->source == -EBUSY);
	if (m->source == 0)
		m->source = eng_save(e, &io, &m->srep);
	m->image_bytes = (int)img.at;
	for (unsigned i = 0; e && i < eng_members(e, &mem); i++)
		m->zombies += mem[i].zombie;
	shutdown(fds[A_IMAGE], SHUT_WR);
	shutdown(sock, SHUT_WR);
	tell(fds[A_TEST], m);
	if (!e)
		return 1;
	if (!verdict(fds[A_TEST])) {
		m->source = eng_thaw(e);
	} else {
		eng_frozen_end(e);
		if (m->memory == ENG_LAZY)
			m->source = eng_lazy_serve(e, &rio, &pio);
		if (m->source == 0)
			m->source = m->ending == END_STUB
					    ? eng_become_stub(e, exe, stub_path)
					    : eng_kill(e);
	}
	m->stimes = *eng_times(e);
	tell(fds[A_TEST], m);
	eng_free(e);
	return 0;
}

struct target_arg {
	struct move *m;
	const int *fds;
};

static int find_stub(void *arg, pid_t pid, int *ret_ctl)
{
	struct target_arg *t = arg;

	for (int i = 0; i < t->m->nhave; i++)
		if (t->m->have_pid[i] == pid) {
			*ret_ctl = t->fds[A_STUB + 1 + i];
			return 0;
		}
	return -ENOENT;
}

static int target_job(void *arg, const int *fds, unsigned nfds)
{
	struct move *m = arg;
	struct stream img = { fds[A_IMAGE], m->cut, m->flip, 0 };
	struct stream req = { fds[A_REQ], -1, -1, 0 };
	struct stream push = { fds[A_PUSH], -1, -1, 0 };
	struct eng_io io = { &img, stream_read, stream_write };
	struct eng_io rio = { &req, stream_read, stream_write };
	struct eng_io pio = { &push, stream_read, stream_write };
	int sock = fds[A_FDS];
	struct eng_fd_ops ops = { .arg = &sock, .fd_open = keep_open };
	struct target_arg ta = { m, fds };
	struct eng_new_opts o = { .fds = &ops,
				  .find_stub = find_stub,
				  .arg = &ta };
	struct eng_stub root = { m->pid, fds[A_STUB] };
	struct eng_new *n = NULL;
	char exe[512];

	(void)nfds;
	if (m->abort_target) {
		prog_path("sprite-stub", exe, sizeof(exe));
		o.stub_exe = exe;
		o.ctl_path = stub_path;
	}
	m->target = eng_restore(&io, &root, &o, &m->trep, &n);
	tell(fds[A_TEST], m);
	if (!n)
		return 1;
	if (!verdict(fds[A_TEST])) {
		m->target = eng_abort(n);
	} else {
		if (eng_new_lazy(n))
			m->target = eng_lazy_start(n, &rio, &pio);
		if (m->target == 0)
			m->target = eng_resume(n);
		if (m->target == 0 && eng_new_lazy(n))
			m->target = eng_lazy_wait(n);
		else
			close(fds[A_REQ]);
	}
	m->ttimes = *eng_new_times(n);
	tell(fds[A_TEST], m);
	eng_new_free(n);
	return 0;
}

static void hear(int fd, struct move *m)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	MUST(poll(&p, 1, 60000) == 1, "a mover hangs");
	MUST(recv(fd, m, sizeof(*m), 0) == sizeof(*m), "a mover died");
}

void move(struct world *from, struct world *to, int ctl, struct move *m)
{
	int img[2], fdp[2], req[2], push[2], src, dst, fds[FDS];
	struct move s = *m, t = *m;
	bool go;

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, img));
	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, req));
	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, push));
	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fdp));
	src = world_run(from, source_job, m, sizeof(*m),
			(int[]){ img[0], fdp[0], req[0], push[0] }, 4);
	memcpy(fds, (int[]){ img[1], fdp[1], req[1], push[1], ctl },
	       5 * sizeof(int));
	memcpy(fds + 5, m->have_ctl, (size_t)m->nhave * sizeof(int));
	dst = world_run(to, target_job, m, sizeof(*m), fds,
			5 + (unsigned)m->nhave);
	for (int i = 0; i < 2; i++) {
		close(img[i]);
		close(fdp[i]);
		close(req[i]);
		close(push[i]);
	}
	hear(dst, &t);
	hear(src, &s);
	go = s.source == 0 && t.target == 0 && m->ending != END_THAW;
	m->source = s.source;
	m->target = t.target;
	m->srep = s.srep;
	m->trep = t.trep;
	m->image_bytes = s.image_bytes;
	m->zombies = s.zombies;
	if (t.target == 0) {
		send(dst, go ? "y" : "n", 1, MSG_NOSIGNAL);
	}
	if (s.source == 0 || s.stimes.procs == 0)
		send(src, go ? "y" : "n", 1, MSG_NOSIGNAL);
	if (t.target == 0) {
		hear(dst, &t);
		m->target = t.target;
		m->ttimes = t.ttimes;
	}
	if (s.source == 0) {
		hear(src, &s);
		m->source = s.source;
		m->stimes = s.stimes;
	}
	close(src);
	close(dst);
}

int nursery(struct world *w, pid_t pid)
{
	pid_t got;
	time_t end = time(NULL) + 10;
	int ctl, r;

	/* The last of an old session may still be dying. */
	while ((r = stub_spawn(w->root, pid, true, -1, &got, &ctl)) == -EEXIST &&
	       time(NULL) < end)
		sched_yield();
	cr_assert(zero(int, r));
	cr_assert(eq(int, got, pid));
	return ctl;
}

int stub_listen(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(stub_path, sizeof(stub_path), "/tmp/sprite-stubs-%d.sock",
		 getpid());
	strcpy(un.sun_path, stub_path);
	unlink(stub_path);
	cr_assert(zero(int, bind(l, (void *)&un, sizeof(un))));
	cr_assert(zero(int, listen(l, 16)));
	return l;
}

int stub_accept_any(int l, pid_t *ret_pid)
{
	struct pollfd p = { .fd = l, .events = POLLIN };
	struct stub_msg m;
	int fd;

	MUST(poll(&p, 1, SOON) == 1, "no stub came");
	fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(zero(int, stub_recv(fd, &m, SOON)));
	cr_assert(eq(u32, m.type, STUB_HELLO));
	*ret_pid = m.pid;
	return fd;
}

int stub_accept(int l, pid_t pid)
{
	pid_t got;
	int fd = stub_accept_any(l, &got);

	cr_assert(eq(int, got, pid));
	return fd;
}

int end_of_child(int ctl, pid_t pid)
{
	struct stub_msg m;

	for (;;) {
		cr_assert(zero(int, stub_recv(ctl, &m, 90000)));
		if (m.type == STUB_CHILD && m.pid == pid &&
		    (m.u.child.code == CLD_EXITED ||
		     m.u.child.code == CLD_KILLED ||
		     m.u.child.code == CLD_DUMPED))
			return m.status;
	}
}
