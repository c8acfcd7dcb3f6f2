/*
 * world_init.c -- the first process of a world: PID 1 of its namespace.
 *
 * It outlives migd, because when it dies everything in the world dies.  So it
 * does little: it mounts /proc, buries orphans and remembers their ends
 * until migd has acknowledged them, keeps bytes and descriptors for the next
 * migd, makes its own children on request, and steers the allocation of PIDs.
 * It allocates memory only for what it keeps, and survives without.
 *
 * PIDs.  The kernel allocates upwards from ns_last_pid and wraps at pid_max to
 * 300, never to the beginning of our block: whoever wants to stay inside has
 * to put ns_last_pid back before the end is reached.  Numbers in use are
 * skipped by the kernel.  Both files mean the namespace of the writer, which
 * is why this is done here.  The check runs every CHECK_MS and after each
 * child made: the last quarter of a block of 16,384 lasts half a second at
 * the highest rate of forks ever measured.
 */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd.h"
#include "list.h"
#include "map.h"

#define CHECK_MS 100
#define PID_LIMIT 4194304

struct item {
	struct map_node node;
	uint64_t key;
	int fds[KEEP_FDS];
	size_t nfds;
	uint32_t len;
	uint8_t data[];
};

struct ended {
	struct list link;
	struct keep_msg m;
};

struct init {
	int listen_fd, sig_fd, conn;
	struct map items;
	struct list ended;
	uint32_t seq;
	uint32_t first, size; /* of the PID block; size 0: not steered */
	uint32_t last;	      /* last ns_last_pid seen */
};

static void lose(struct init *w)
{
	if (w->conn >= 0)
		close(w->conn);
	w->conn = -1;
}

/* False: migd is gone, or so slow that it had better connect again. */
static bool tell(struct init *w, const struct keep_msg *m, const int *fds,
		 size_t nfds)
{
	if (w->conn < 0)
		return false;
	if (fd_send(w->conn, m, KEEP_HEAD + m->len, fds, nfds) >= 0)
		return true;
	lose(w);
	return false;
}

/* ---- PIDs ------------------------------------------------------------------- */

static void write_number(const char *path, uint32_t n)
{
	char s[16];

	snprintf(s, sizeof(s), "%u", n);
	(void)fd_write_str(path, s);
}

static uint32_t read_number(const char *path)
{
	char s[16] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, s, sizeof(s) - 1) < 0)
		s[0] = 0;
	close(fd);
	return (uint32_t)strtoul(s, NULL, 10);
}

static void steer(struct init *w)
{
	if (!w->size)
		return;
	w->last = read_number("/proc/sys/kernel/ns_last_pid");
	if (w->last + 1 >= w->first && w->last < w->first + w->size / 4 * 3)
		return;
	write_number("/proc/sys/kernel/ns_last_pid", w->first - 1);
}

static void set_block(struct init *w, const struct keep_msg *m)
{
	if (m->pid <= 300 || m->status < 1024 ||
	    m->pid > PID_LIMIT - m->status)
		return;
	w->first = (uint32_t)m->pid;
	w->size = (uint32_t)m->status;
	write_number("/proc/sys/kernel/pid_max", w->first + w->size);
	steer(w);
}

static void widen(struct init *w, const struct keep_msg *m)
{
	struct keep_msg a = { .op = KEEP_WIDE, .seq = m->seq };

	write_number("/proc/sys/kernel/pid_max",
		     m->flags || !w->size ? PID_LIMIT : w->first + w->size);
	tell(w, &a, NULL, 0);
}

/* ---- children ----------------------------------------------------------------- */

static void exec_stub(const struct keep_msg *m, int ctl)
{
	const char *exe = (const char *)m->data;
	const char *rejoin = exe + strlen(exe) + 1;
	const char *group = rejoin + strlen(rejoin) + 1;
	sigset_t none;
	char number[16];
	char *argv[4] = { (char *)"sprite-stub", number,
			  *rejoin ? (char *)(uintptr_t)rejoin : NULL, NULL };
	char *envp[1] = { NULL };
	int fd;

	if (m->flags & KEEP_SPAWN_SETSID)
		setsid();
	if (*group)
		(void)fd_write_str(group, "0");
	fd = fcntl(ctl, F_DUPFD, 3);
	if (fd < 0)
		_exit(126);
	snprintf(number, sizeof(number), "%d", fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(exe, argv, envp);
	_exit(127);
}

static void spawn(struct init *w, const struct keep_msg *m, const int *fds,
		  size_t nfds)
{
	struct keep_msg a = { .op = KEEP_SPAWNED, .seq = m->seq };
	pid_t want = m->pid;
	struct clone_args ca = { .exit_signal = SIGCHLD };
	unsigned strings = 0;
	long pid;

	for (uint32_t i = 0; i < m->len; i++)
		strings += !m->data[i];
	if (nfds != 1 || strings != 3 || !m->data[0] || m->data[m->len - 1]) {
		a.err = -EINVAL;
		tell(w, &a, NULL, 0);
		return;
	}
	if (want) {
		ca.set_tid = (uintptr_t)&want;
		ca.set_tid_size = 1;
	}
	pid = syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid == 0)
		exec_stub(m, fds[0]);
	a.pid = pid > 0 ? (int32_t)pid : want;
	a.err = pid > 0 ? 0 : -errno;
	tell(w, &a, NULL, 0);
	steer(w);
}

static void bury(struct init *w)
{
	struct signalfd_siginfo si;
	struct rusage ru;
	struct ended *e;
	int status;
	pid_t pid;

	while (read(w->sig_fd, &si, sizeof(si)) > 0)
		;
	while ((pid = wait4(-1, &status, WNOHANG | __WALL, &ru)) > 0) {
		e = malloc(sizeof(*e));
		if (!e)
			continue;
		memset(&e->m, 0, KEEP_HEAD);
		e->m.op = KEEP_EXIT;
		e->m.seq = ++w->seq;
		e->m.pid = pid;
		e->m.status = status;
		e->m.utime_us = ru.ru_utime.tv_sec * 1000000 +
				ru.ru_utime.tv_usec;
		e->m.stime_us = ru.ru_stime.tv_sec * 1000000 +
				ru.ru_stime.tv_usec;
		e->m.maxrss_kb = ru.ru_maxrss;
		list_add_tail(&w->ended, &e->link);
		tell(w, &e->m, NULL, 0);
	}
}

static void acknowledge(struct init *w, uint32_t seq)
{
	list_each_safe(e, &w->ended, struct ended, link) {
		if (e->m.seq != seq)
			continue;
		list_del(&e->link);
		free(e);
		return;
	}
}

/* ---- the store ------------------------------------------------------------------ */

static void drop(struct init *w, uint64_t key)
{
	struct item *i = map_entry(map_get(&w->items, key), struct item, node);

	if (!i)
		return;
	map_del(&w->items, &i->node);
	for (size_t k = 0; k < i->nfds; k++)
		close(i->fds[k]);
	free(i);
}

/* Takes the descriptors over. */
static bool store(struct init *w, const struct keep_msg *m, const int *fds,
		  size_t nfds)
{
	struct item *i;

	drop(w, m->key);
	if (w->items.count >= KEEP_ITEMS_MAX)
		return false;
	i = malloc(sizeof(*i) + m->len);
	if (!i)
		return false;
	*i = (struct item){ .key = m->key, .nfds = nfds, .len = m->len };
	memcpy(i->data, m->data, m->len);
	for (size_t k = 0; k < nfds; k++)
		i->fds[k] = fds[k];
	if (map_put(&w->items, i->key, &i->node)) {
		free(i);
		return false;
	}
	return true;
}

static void fetch(struct init *w)
{
	struct keep_msg m = { .op = KEEP_ITEM };

	for (struct map_node *n = map_next(&w->items, NULL); n;
	     n = map_next(&w->items, n)) {
		struct item *i = map_entry(n, struct item, node);

		m.key = i->key;
		m.len = i->len;
		memcpy(m.data, i->data, i->len);
		if (!tell(w, &m, i->fds, i->nfds))
			return;
	}
	m = (struct keep_msg){ .op = KEEP_ITEMS_END };
	tell(w, &m, NULL, 0);
	list_each(e, &w->ended, struct ended, link) {
		if (!tell(w, &e->m, NULL, 0))
			return;
	}
}

/* ---- the connection ---------------------------------------------------------------- */

static void take_connection(struct init *w)
{
	struct keep_msg hello = { .op = KEEP_HELLO, .flags = KEEP_PROTO };
	struct timeval patience = { .tv_sec = 5 };
	struct ucred cr;
	socklen_t len = sizeof(cr);
	int room = 4 << 20;
	int fd = accept4(w->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cr, &len) || cr.uid) {
		close(fd);
		return;
	}
	/* A migd that does not read is no reason to stop burying. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	lose(w);
	w->conn = fd;
	tell(w, &hello, NULL, 0);
}

static void obey(struct init *w)
{
	static struct keep_msg m;
	int fds[KEEP_FDS];
	size_t nfds = KEEP_FDS;
	ssize_t n = fd_recv(w->conn, &m, sizeof(m), MSG_DONTWAIT, fds, &nfds);
	bool keep = false;

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		lose(w);
		return;
	}
	if ((size_t)n >= KEEP_HEAD && m.len <= KEEP_DATA_MAX &&
	    (size_t)n == KEEP_HEAD + m.len) {
		switch (m.op) {
		case KEEP_STORE:
			keep = store(w, &m, fds, nfds);
			break;
		case KEEP_DROP:
			drop(w, m.key);
			break;
		case KEEP_FETCH:
			fetch(w);
			break;
		case KEEP_ACK:
			acknowledge(w, m.seq);
			break;
		case KEEP_SPAWN:
			spawn(w, &m, fds, nfds);
			break;
		case KEEP_PIDS:
			set_block(w, &m);
			break;
		case KEEP_WIDEN:
			widen(w, &m);
			break;
		}
	}
	if (!keep)
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
}

static void loop(struct init *w)
{
	for (;;) {
		struct pollfd p[3] = { { .fd = w->sig_fd, .events = POLLIN },
				       { .fd = w->listen_fd, .events = POLLIN },
				       { .fd = w->conn, .events = POLLIN } };

		if (poll(p, 3, CHECK_MS) < 0 && errno != EINTR)
			continue;
		if (p[0].revents)
			bury(w);
		if (p[1].revents)
			take_connection(w);
		else if (p[2].revents && w->conn >= 0)
			obey(w);
		steer(w);
	}
}

static int set_up(struct init *w, const char *sock_path)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	if (chdir("/"))
		return -errno;
	prctl(PR_SET_NAME, "sprite-world", 0, 0, 0);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  NULL))
		return -errno;
	w->listen_fd = unix_listen(sock_path, SOCK_SEQPACKET, 0600);
	if (w->listen_fd < 0)
		return w->listen_fd;
	w->sig_fd = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
	return w->sig_fd < 0 ? -errno : 0;
}

int world_init_main(const char *sock_path, int ready_fd)
{
	struct init w = { .conn = -1 };
	char answer[64];
	int null, r;

	list_init(&w.ended);
	signal(SIGCHLD, SIG_DFL);
	if (ready_fd != 3)
		dup3(ready_fd, 3, O_CLOEXEC);
	close_range(4, ~0u, 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	r = null < 0 ? -errno : set_up(&w, sock_path);
	snprintf(answer, sizeof(answer), "%d\n", r);
	if (write(3, answer, strlen(answer)) < 0 || r)
		return 1;
	close(3);
	/* stderr stays: the log of the migd that made us. */
	dup2(null, 0);
	dup2(null, 1);
	loop(&w);
	return 1;
}
