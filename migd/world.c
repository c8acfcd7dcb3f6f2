/*
 * world.c -- make, adopt and end the world; the wire to its first process.
 *
 * The first process is this program again (--world-init, world_init.c), made
 * with new PID and mount namespaces.  It is found again by its socket; which
 * process answers there is told by the kernel (SO_PEERCRED), not by a file.
 *
 * /tmp.  The world's /tmp is /sprite/tmp, which exists only once the file
 * service runs; mounting may block on it, so it is done by a child process
 * that is given TMP_PATIENCE_MS and tried again.
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "freezer.h"
#include "log.h"
#include "prog.h"
#include "stubs.h"

#define INIT_MS 5000
#define TMP_RETRY_MS 300
#define TMP_PATIENCE_MS 10000
#define WIDE_LINGER_MS 1000
#define FUSE_MAGIC 0x65735546

struct waiter {
	struct list link;
	void (*then)(void *);
	void *arg;
};

struct world {
	int sock, proc_fd, pidns, mntns;
	pid_t pid;
	ev_io io;
	uint32_t seq;
	world_exit_fn *on_exit;
	bool wide;
	struct list wide_waiters;
	struct timer narrow, tmp_timer;
	bool has_tmp;
	pid_t tmp_child;
	ev_child tmp_end;
};

pid_t world_pid(const struct migd *m) { return m->world->pid; }
int world_proc(const struct migd *m) { return m->world->proc_fd; }
int world_pidns(const struct migd *m) { return m->world->pidns; }
int world_mntns(const struct migd *m) { return m->world->mntns; }
bool world_has_tmp(const struct migd *m) { return m->world->has_tmp; }

/* ---- making it ---------------------------------------------------------------- */

/* Mounts made later on the host (/sprite) reach a world only from a shared
 * tree; where the host's is private, as in a virtual host, we share it. */
static void share_root(void)
{
	SCOPED(buf_free) struct buf b = { 0 };
	const char *at;

	if (fd_read_file("/proc/self/mountinfo", 4u << 20, &b))
		return;
	for (at = (const char *)buf_data(&b); at && *at;
	     at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
		char root[16], where[16];
		int end = 0;

		if (sscanf(at, "%*d %*d %*s %15s %15s %*s%n", root, where,
			   &end) != 2 || strcmp(where, "/") != 0)
			continue;
		if (strncmp(at + end, " shared:", 8) == 0)
			return;
	}
	if (mount(NULL, "/", NULL, MS_SHARED, NULL))
		log_warn("cannot share /: %s; what is mounted later does not "
			 "reach the world", strerror(errno));
}

static void exec_init(const char *sock, int ready)
{
	char number[16];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(number, sizeof(number), "%d", dup(ready));
	execl("/proc/self/exe", "sprite-world", "--world-init", sock, number,
	      (char *)NULL);
	_exit(127);
}

static int make_world(const char *sock)
{
	int p[2], r;
	char answer[16] = "";
	ssize_t n;
	pid_t pid;

	share_root();
	if (pipe2(p, O_CLOEXEC))
		return -errno;
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD,
			     0, 0, 0, 0);
	if (pid == 0)
		exec_init(sock, p[1]);
	r = pid < 0 ? -errno : 0;
	close(p[1]);
	if (!r) {
		n = read(p[0], answer, sizeof(answer) - 1);
		r = n > 0 ? atoi(answer) : -EIO;
	}
	close(p[0]);
	return r;
}

static int ns_fd(pid_t pid, const char *what, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int write_pid_file(pid_t pid)
{
	char path[PATH_MAX], s[16];
	int r = run_path("world.pid", path, sizeof(path));

	snprintf(s, sizeof(s), "%d\n", (int)pid);
	return r ? r : fd_write_file(path, s, strlen(s), 0644);
}

/* One packet, waited for; at start only. */
static int await(struct world *w, struct keep_msg *m, int *fds, size_t *nfds)
{
	ssize_t n = fd_recv(w->sock, m, sizeof(*m), 0, fds, nfds);

	if (n < 0)
		return n == -EAGAIN ? -ETIMEDOUT : (int)n;
	if ((size_t)n < KEEP_HEAD || (size_t)n != KEEP_HEAD + m->len)
		return n ? -EBADMSG : -EPIPE;
	return 0;
}

static int send_keep(struct world *w, const struct keep_msg *m, const int *fds,
		     size_t nfds)
{
	ssize_t n = fd_send(w->sock, m, KEEP_HEAD + m->len, fds, nfds);

	if (n < 0)
		log_error("the first process of the world does not listen: %s",
			  strerror((int)-n));
	return n < 0 ? (int)n : 0;
}

static int connect_init(struct world *w, const char *sock)
{
	struct timeval patience = { .tv_sec = INIT_MS / 1000 };
	struct ucred cr;
	socklen_t len = sizeof(cr);
	struct keep_msg m;
	size_t nfds = 0;
	int room = 4 << 20, r;

	w->sock = unix_connect(sock, SOCK_SEQPACKET);
	if (w->sock < 0)
		return w->sock;
	setsockopt(w->sock, SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	setsockopt(w->sock, SOL_SOCKET, SO_SNDTIMEO, &patience,
		   sizeof(patience));
	setsockopt(w->sock, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	if (getsockopt(w->sock, SOL_SOCKET, SO_PEERCRED, &cr, &len))
		return -errno;
	r = await(w, &m, NULL, &nfds);
	if (!r && (m.op != KEEP_HELLO || m.flags != KEEP_PROTO))
		r = -EPROTONOSUPPORT;
	if (r)
		return r;
	w->pid = cr.pid;
	w->proc_fd = ns_fd(w->pid, "root/proc", O_PATH | O_DIRECTORY);
	w->pidns = ns_fd(w->pid, "ns/pid", O_RDONLY);
	w->mntns = ns_fd(w->pid, "ns/mnt", O_RDONLY);
	return w->proc_fd < 0 || w->pidns < 0 || w->mntns < 0 ? -ESRCH : 0;
}

static int fetch_items(struct migd *m, world_item_fn *item)
{
	static struct keep_msg in;
	struct keep_msg ask = { .op = KEEP_FETCH };
	int r = send_keep(m->world, &ask, NULL, 0);

	while (!r) {
		int fds[KEEP_FDS];
		size_t nfds = KEEP_FDS;

		r = await(m->world, &in, fds, &nfds);
		if (r || in.op == KEEP_ITEMS_END)
			return r;
		if (in.op == KEEP_ITEM)
			item(m, in.key, in.data, in.len, fds, nfds);
	}
	return r;
}

/* ---- /tmp --------------------------------------------------------------------------- */

static bool is_sprite(void)
{
	struct statfs f;

	return statfs("/sprite", &f) == 0 && f.f_type == FUSE_MAGIC;
}

/* In a child process, since every step may block. */
static int mount_tmp(struct world *w)
{
	static const char *const where[] = { "/tmp", "/var/tmp" };
	struct stat a, b;

	if (setns(w->mntns, CLONE_NEWNS) || !is_sprite())
		return 2;
	if (mkdir("/sprite/tmp", 01777) == 0) {
		if (chmod("/sprite/tmp", 01777))
			return 1;
	} else if (errno != EEXIST) {
		return 1;
	}
	for (int i = 0; i < 2; i++) {
		if (stat("/sprite/tmp", &a) || stat(where[i], &b))
			return 1;
		if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			continue;
		if (mount("/sprite/tmp", where[i], NULL, MS_BIND, NULL))
			return 1;
	}
	return 0;
}

static void on_tmp_end(struct ev_loop *loop, ev_child *c, int revents)
{
	struct migd *m = c->data;
	struct world *w = m->world;

	(void)revents;
	ev_child_stop(loop, c);
	env_cancel(m->env, &w->tmp_timer);
	w->tmp_child = 0;
	w->has_tmp = WIFEXITED(c->rstatus) && WEXITSTATUS(c->rstatus) == 0;
	if (w->has_tmp)
		log_info("/tmp of the world is /sprite/tmp");
	else
		env_after(m->env, &w->tmp_timer, TMP_RETRY_MS);
}

static void try_tmp(struct timer *t)
{
	struct migd *m = t->data;
	struct world *w = m->world;

	if (w->tmp_child) {
		kill(w->tmp_child, SIGKILL);
		return;
	}
	w->tmp_child = fork();
	if (w->tmp_child == 0)
		_exit(mount_tmp(w));
	if (w->tmp_child < 0) {
		w->tmp_child = 0;
		env_after(m->env, t, TMP_RETRY_MS);
		return;
	}
	ev_child_init(&w->tmp_end, on_tmp_end, w->tmp_child, 0);
	w->tmp_end.data = m;
	ev_child_start(m->loop, &w->tmp_end);
	env_after(m->env, t, TMP_PATIENCE_MS);
}

/* ---- the wire ------------------------------------------------------------------------- */

static void run_waiters(struct world *w)
{
	struct list due;

	list_init(&due);
	while (!list_empty(&w->wide_waiters)) {
		struct waiter *q = list_first(&w->wide_waiters, struct waiter,
					      link);

		list_del(&q->link);
		list_add_tail(&due, &q->link);
	}
	list_each_safe(q, &due, struct waiter, link) {
		list_del(&q->link);
		q->then(q->arg);
		free(q);
	}
}

static void narrow(struct timer *t)
{
	struct migd *m = t->data;
	struct keep_msg k = { .op = KEEP_WIDEN };

	m->world->wide = false;
	send_keep(m->world, &k, NULL, 0);
}

void world_when_wide(struct migd *m, uint32_t pid, void (*then)(void *),
		     void *arg)
{
	struct world *w = m->world;
	struct keep_msg k = { .op = KEEP_WIDEN, .flags = 1, .seq = 1 };
	struct waiter *q;

	if (pid < m->conf.pid_block + m->conf.pid_block_size) {
		then(arg);
		return;
	}
	env_after(m->env, &w->narrow, WIDE_LINGER_MS);
	q = w->wide ? NULL : malloc(sizeof(*q));
	if (!q) {
		then(arg);
		return;
	}
	*q = (struct waiter){ .then = then, .arg = arg };
	list_add_tail(&w->wide_waiters, &q->link);
	send_keep(w, &k, NULL, 0);
}

static void dispatch(struct migd *m, const struct keep_msg *k)
{
	struct world *w = m->world;

	switch (k->op) {
	case KEEP_EXIT:
		w->on_exit(m, k);
		break;
	case KEEP_SPAWNED:
		stubs_spawned(m, k->seq, k->pid, k->err);
		break;
	case KEEP_WIDE:
		if (k->seq != 1)
			break;
		w->wide = true;
		run_waiters(w);
		break;
	}
}

static void on_world(struct ev_loop *loop, ev_io *io, int revents)
{
	static struct keep_msg k;
	struct migd *m = io->data;
	int fds[KEEP_FDS];
	size_t nfds;
	ssize_t n;

	(void)revents;
	for (;;) {
		nfds = KEEP_FDS;
		n = fd_recv(m->world->sock, &k, sizeof(k), MSG_DONTWAIT, fds,
			    &nfds);
		if (n == -EAGAIN)
			return;
		for (size_t i = 0; n > 0 && i < nfds; i++)
			close(fds[i]);
		if (n < (ssize_t)KEEP_HEAD) {
			log_error("the world ended; migd ends too, and makes a "
				  "new one when it is started again");
			m->ending = true;
			ev_io_stop(loop, io);
			ev_break(loop, EVBREAK_ALL);
			return;
		}
		dispatch(m, &k);
	}
}

int world_spawn(struct migd *m, uint32_t pid, unsigned flags, bool rejoin,
		int child_end, struct stubc *s)
{
	struct keep_msg k = { .op = KEEP_SPAWN, .seq = ++m->world->seq,
			      .pid = (int32_t)pid,
			      .flags = flags & KEEP_SPAWN_SETSID };
	int n = snprintf((char *)k.data, sizeof(k.data), "%s%c%s%c%s",
			 m->stub_exe, 0, rejoin ? m->rejoin : "", 0,
			 flags & WORLD_GUEST ? freezer_guests(m) : "");

	k.len = (uint32_t)n + 1;
	stubs_await(s, k.seq);
	return send_keep(m->world, &k, &child_end, 1);
}

void world_keep(struct migd *m, uint64_t key, const void *data, size_t len,
		const int *fds, size_t nfds)
{
	static struct keep_msg k;

	if (len > KEEP_DATA_MAX || nfds > KEEP_FDS) {
		log_error("item %#llx is too large to be kept",
			  (unsigned long long)key);
		return;
	}
	memset(&k, 0, KEEP_HEAD);
	k.op = KEEP_STORE;
	k.key = key;
	k.len = (uint32_t)len;
	memcpy(k.data, data, len);
	send_keep(m->world, &k, fds, nfds);
}

void world_forget(struct migd *m, uint64_t key)
{
	struct keep_msg k = { .op = KEEP_DROP, .key = key };

	send_keep(m->world, &k, NULL, 0);
}

void world_ack(struct migd *m, const struct keep_msg *end)
{
	struct keep_msg k = { .op = KEEP_ACK, .seq = end->seq,
			      .pid = end->pid };

	send_keep(m->world, &k, NULL, 0);
}

/* ---- opening and closing -------------------------------------------------------------- */

int world_open(struct migd *m, world_item_fn *item, world_exit_fn *on_exit,
	       bool *ret_adopted)
{
	struct keep_msg pids = { .op = KEEP_PIDS,
				 .pid = (int32_t)m->conf.pid_block,
				 .status = (int32_t)m->conf.pid_block_size };
	struct world *w = calloc(1, sizeof(*w));
	char sock[PATH_MAX];
	int r;

	if (!w)
		return -ENOMEM;
	m->world = w;
	w->sock = w->proc_fd = w->pidns = w->mntns = -1;
	w->on_exit = on_exit;
	list_init(&w->wide_waiters);
	r = run_path("world.sock", sock, sizeof(sock));
	if (r)
		return r;
	r = connect_init(w, sock);
	*ret_adopted = r == 0;
	if (r == -ENOENT || r == -ECONNREFUSED) {
		r = make_world(sock);
		if (!r)
			r = connect_init(w, sock);
	}
	if (!r)
		r = fetch_items(m, item);
	if (!r)
		r = send_keep(w, &pids, NULL, 0);
	if (!r)
		r = write_pid_file(w->pid);
	return r;
}

void world_start(struct migd *m)
{
	struct world *w = m->world;

	ev_io_init(&w->io, on_world, w->sock, EV_READ);
	w->io.data = m;
	ev_io_start(m->loop, &w->io);
	w->narrow = (struct timer){ .fire = narrow, .data = m };
	w->tmp_timer = (struct timer){ .fire = try_tmp, .data = m };
	try_tmp(&w->tmp_timer);
}

void world_end(struct migd *m)
{
	char path[PATH_MAX];

	if (!m->world || m->world->pid <= 1)
		return;
	kill(m->world->pid, SIGKILL);
	if (run_path("world.pid", path, sizeof(path)) == 0)
		unlink(path);
	if (run_path("world.sock", path, sizeof(path)) == 0)
		unlink(path);
}

void world_close(struct migd *m)
{
	struct world *w = m->world;

	if (!w)
		return;
	ev_io_stop(m->loop, &w->io);
	env_cancel(m->env, &w->narrow);
	env_cancel(m->env, &w->tmp_timer);
	if (w->tmp_child) {
		ev_child_stop(m->loop, &w->tmp_end);
		kill(w->tmp_child, SIGKILL);
	}
	list_each_safe(q, &w->wide_waiters, struct waiter, link)
		free(q);
	close_ptr(&w->sock);
	close_ptr(&w->proc_fd);
	close_ptr(&w->pidns);
	close_ptr(&w->mntns);
	free(w);
	m->world = NULL;
}
