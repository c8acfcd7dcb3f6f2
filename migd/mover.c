/*
 * mover.c -- see mover.h: making movers, and both ends of their socket.
 *
 * setns(CLONE_NEWPID) means the children to come, so migd joins the world for
 * one fork and comes back.
 */
#include "mover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chan.h"
#include "cleanup.h"
#include "fd.h"
#include "log.h"
#include "world.h"

struct mover {
	struct migd *m;
	pid_t pid;
	int sock;
	ev_io io;
	ev_child end;
	bool ended;
	const struct mover_hooks *hooks;
	void *arg;
};

static size_t msg_len(const struct mover_msg *m)
{
	return offsetof(struct mover_msg, blob) + m->blob_len;
}

static int put(int sock, const struct mover_msg *m, int fd)
{
	ssize_t n = fd_send(sock, m, msg_len(m), &fd, fd >= 0 ? 1 : 0);

	return n < 0 ? (int)n : 0;
}

static int get(int sock, struct mover_msg *ret, int *ret_fd, int flags)
{
	size_t nfds = 1;
	int fd = -1;
	ssize_t n = fd_recv(sock, ret, sizeof(*ret), flags, &fd, &nfds);

	*ret_fd = n > 0 && nfds ? fd : -1;
	if (n <= 0)
		return n ? (int)n : -EPIPE;
	if ((size_t)n < offsetof(struct mover_msg, blob) ||
	    ret->blob_len > sizeof(ret->blob) || (size_t)n != msg_len(ret)) {
		close_ptr(ret_fd);
		return -EBADMSG;
	}
	ret->text[MOVER_TEXT - 1] = 0;
	return 0;
}

/* ---- migd's end --------------------------------------------------------------------- */

/* It is over when the process is dead too: until then it may hold
 * descriptors of what it moved. */
static void gone(struct mover *v)
{
	if (!v->ended) {
		v->ended = true;
		ev_io_stop(v->m->loop, &v->io);
	}
	if (!v->pid)
		v->hooks->on_gone(v->arg);
}

/* One message; true if there was one.  v may be gone afterwards. */
static bool take(struct mover *v)
{
	struct mover_msg *msg = malloc(sizeof(*msg));
	int fd = -1, r;

	if (!msg)
		return false;
	r = get(v->sock, msg, &fd, MSG_DONTWAIT);
	if (r == 0) {
		v->hooks->on_msg(v->arg, msg, &fd);
		close_ptr(&fd);
	} else if (r != -EAGAIN) {
		gone(v);
	}
	free(msg);
	return r == 0;
}

static void on_sock(struct ev_loop *loop, ev_io *io, int revents)
{
	(void)loop;
	(void)revents;
	take(io->data);
}

bool mover_take(struct mover *v)
{
	return v && !v->ended && take(v);
}

static void on_end(struct ev_loop *loop, ev_child *c, int revents)
{
	struct mover *v = c->data;

	(void)revents;
	ev_child_stop(loop, c);
	v->pid = 0;
	if (WIFSIGNALED(c->rstatus) && !v->m->ending)
		log_warn("a mover was killed by signal %d",
			 WTERMSIG(c->rstatus));
	if (v->ended)
		gone(v);
}

int mover_tell(struct mover *v, const struct mover_msg *m, int fd)
{
	return v && !v->ended ? put(v->sock, m, fd) : -EPIPE;
}

void mover_kill(struct mover *v)
{
	if (v && v->pid)
		kill(v->pid, SIGKILL);
}

void mover_free(struct mover *v)
{
	if (!v)
		return;
	ev_io_stop(v->m->loop, &v->io);
	ev_child_stop(v->m->loop, &v->end);
	close(v->sock);
	free(v);
}

/* ---- the child ------------------------------------------------------------------------ */

/* What eng_kernel_open got: descriptors that only the engine knows. */
static bool is_kernel_reader(int fd)
{
	char link[40], what[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, what, sizeof(what) - 1);
	what[n > 0 ? n : 0] = 0;
	return strncmp(what, "anon_inode:bpf", 14) == 0;
}

/* A pipe end of migd's that stayed open here would keep a guest waiting. */
static void close_others(const int *keep, size_t n)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int fd = atoi(e->d_name);
		bool mine = fd <= 2 || fd == dirfd(d) || is_kernel_reader(fd);

		for (size_t i = 0; i < n; i++)
			mine |= fd == keep[i];
		if (!mine)
			close(fd);
	}
	if (d)
		closedir(d);
}

static void child_main(struct migd *m, const struct mover_job *j, int sock)
{
	struct mover_self s = { .m = m, .job = *j, .sock = sock };
	int keep[5] = { sock, j->ctl, -1, -1, -1 };
	sigset_t none;
	int ns = world_mntns(m);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	for (int i = 0; i < 3; i++)
		if (j->chan[i])
			keep[2 + i] = chan_fd(j->chan[i]);
	if (setns(ns, CLONE_NEWNS) || chdir("/")) {
		log_error("a mover cannot enter the world: %s",
			  strerror(errno));
		_exit(1);
	}
	close_others(keep, 5);
	prctl(PR_SET_NAME, "sprite-mover", 0, 0, 0);
	_exit(j->target ? mover_target_main(&s) : mover_source_main(&s));
}

static pid_t fork_in_world(struct migd *m, const struct mover_job *j, int sv[2])
{
	SCOPED(close) int back = open("/proc/self/ns/pid_for_children",
				      O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (back < 0 || setns(world_pidns(m), CLONE_NEWPID))
		return -1;
	pid = fork();
	if (pid == 0) {
		close(sv[0]);
		child_main(m, j, sv[1]);
	}
	if (setns(back, CLONE_NEWPID))
		log_error("cannot leave the world: %s", strerror(errno));
	return pid;
}

struct mover *mover_start(struct migd *m, const struct mover_job *j,
			  const struct mover_hooks *h, void *arg)
{
	struct mover *v = calloc(1, sizeof(*v));
	int sv[2], room = 1 << 20;

	if (!v)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv)) {
		free(v);
		return NULL;
	}
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	v->pid = fork_in_world(m, j, sv);
	close(sv[1]);
	if (v->pid < 0) {
		close(sv[0]);
		free(v);
		return NULL;
	}
	v->m = m;
	v->sock = sv[0];
	v->hooks = h;
	v->arg = arg;
	ev_io_init(&v->io, on_sock, v->sock, EV_READ);
	ev_child_init(&v->end, on_end, v->pid, 0);
	v->io.data = v->end.data = v;
	ev_io_start(m->loop, &v->io);
	ev_child_start(m->loop, &v->end);
	return v;
}

int mover_say(const struct mover_self *s, const struct mover_msg *m, int fd)
{
	return put(s->sock, m, fd);
}

int mover_hear(const struct mover_self *s, struct mover_msg *ret, int *ret_fd)
{
	int fd, r = get(s->sock, ret, &fd, 0);

	if (ret_fd)
		*ret_fd = fd;
	else
		close_ptr(&fd);
	return r;
}

int mover_ask(const struct mover_self *s, struct mover_msg *m, int fd,
	      int *ret_fd)
{
	uint32_t op = m->op;
	int r = put(s->sock, m, fd);

	if (!r)
		r = mover_hear(s, m, ret_fd);
	if (!r && m->op != op)
		r = -ECANCELED;
	return r ? r : m->err;
}

void mover_report_text(const struct eng_report *rep, int err, char *text)
{
	size_t at = 0;

	text[0] = 0;
	for (unsigned i = 0; i < rep->n && i < ENG_REASONS_MAX; i++) {
		char one[300];

		eng_reason_text(rep, i, one, sizeof(one));
		if (at + strlen(one) + 3 > MOVER_TEXT)
			break;
		at += (size_t)snprintf(text + at, MOVER_TEXT - at, "%s%s",
				       at ? "; " : "", one);
	}
	if (!at)
		snprintf(text, MOVER_TEXT, "%s", strerror(-err));
}

static int io_read(void *arg, void *p, size_t n)
{
	return chan_read(arg, p, n);
}

static int io_write(void *arg, const void *p, size_t n)
{
	return chan_write(arg, p, n);
}

static int io_write_prompt(void *arg, const void *p, size_t n)
{
	int r = chan_write(arg, p, n);

	return r ? r : chan_flush(arg);
}

struct eng_io mover_io(struct chan *c)
{
	return (struct eng_io){ .arg = c, .read = io_read, .write = io_write };
}

struct eng_io mover_io_prompt(struct chan *c)
{
	return (struct eng_io){ .arg = c, .read = io_read,
				.write = io_write_prompt };
}
