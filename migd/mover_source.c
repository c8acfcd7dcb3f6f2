/*
 * mover_source.c -- the mover where the process runs.
 *
 * check, wait for the word, connect, freeze, save; then the tree's control
 * group is frozen too, and only then is the trailer sent without which the
 * target does not stand up.  So if this mover is killed at any moment after,
 * the processes stay where they are until migd knows from home which copy
 * lives.
 */
#include "mover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "chan.h"
#include "cleanup.h"
#include "fd.h"
#include "freezer.h"
#include "log.h"

#define CONNECT_MS 5000
#define IO_MS 15000
#define THAW_TRIES 500

struct source {
	struct mover_self *self;
	struct chan *chan[3];
	struct eng *eng;
	struct eng_report rep;
	struct mover_msg *msg; /* scratch, too large for the stack */
	bool grouped;
	uint64_t sprite_dev;
};

static int give_up(struct source *s, uint32_t op, int err, const char *text)
{
	*s->msg = (struct mover_msg){ .op = op, .err = err };
	snprintf(s->msg->text, MOVER_TEXT, "%s", text);
	if (s->eng)
		s->msg->u.times = *eng_times(s->eng);
	return mover_say(s->self, s->msg, -1);
}

/* ---- descriptors ---------------------------------------------------------------------- */

static bool starts(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* Of the namespace, by whatever path it is seen (/tmp is in it too). */
static bool in_sprite(const struct source *s, const struct eng_fd_info *in)
{
	return s->sprite_dev && in->dev == s->sprite_dev;
}

/* Part of the system, and taken to be the same on every host; the engine
 * compares what is mapped. */
static bool is_system(const char *path)
{
	static const char *const dirs[] = { "/usr/", "/lib", "/bin/", "/sbin/",
					    "/etc/", "/opt/", "/proc/",
					    "/sys/", "/run/sprite/bin/" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		if (starts(path, dirs[i]))
			return true;
	return false;
}

static bool is_stream_socket(pid_t pid, int fd)
{
	int pf = pidfd_open(pid, 0), type = 0;
	SCOPED(close) int copy = pf < 0 ? -1 : pidfd_getfd(pf, fd, 0);
	socklen_t len = sizeof(type);

	close_ptr(&pf);
	return copy >= 0 &&
	       getsockopt(copy, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	       type == SOCK_STREAM;
}

static void describe(struct source *s, const struct eng_fd_info *in)
{
	struct mover_fd *f = &s->msg->u.fd;

	memset(s->msg, 0, offsetof(struct mover_msg, blob));
	*f = (struct mover_fd){ .kind = in->kind, .flags = in->flags,
				.desc = in->desc, .holders = in->holders,
				.dev = in->dev, .ino = in->ino,
				.rdev = in->rdev, .pos = in->pos,
				.deleted = in->deleted };
	snprintf(f->path, sizeof(f->path), "%s", in->path ? in->path : "");
}

/* 1: relayed, 0: the engine opens it by name over there. */
static int fd_check(void *arg, const struct eng_fd_info *in, char *detail,
		    size_t cap)
{
	struct source *s = arg;
	int r;

	if (in->kind == ENG_FD_DIR || in->kind == ENG_FD_CHAR ||
	    in->kind == ENG_FD_PIPE_IN)
		return 0;
	if (in->kind == ENG_FD_FILE && !in->deleted &&
	    (in_sprite(s, in) ||
	     ((in->flags & O_ACCMODE) == O_RDONLY && is_system(in->path))))
		return 0;
	if (in->kind != ENG_FD_FILE && in->kind != ENG_FD_PIPE &&
	    in->kind != ENG_FD_TTY && in->kind != ENG_FD_SOCKET)
		return 0;
	describe(s, in);
	s->msg->op = MV_FD_CHECK;
	s->msg->u.fd.sock_stream = in->kind == ENG_FD_SOCKET &&
				   is_stream_socket(in->pid, in->fd);
	r = mover_ask(s->self, s->msg, -1, NULL);
	if (r < 0)
		snprintf(detail, cap, "%.150s", s->msg->text);
	return r;
}

static int fd_save(void *arg, const struct eng_fd_info *in, int copy,
		   void *blob, size_t cap, size_t *ret_len)
{
	struct source *s = arg;
	int r;

	describe(s, in);
	s->msg->op = MV_FD_SAVE;
	r = mover_ask(s->self, s->msg, copy, NULL);
	if (r)
		return r;
	if (s->msg->blob_len > cap)
		return -EMSGSIZE;
	memcpy(blob, s->msg->blob, s->msg->blob_len);
	*ret_len = s->msg->blob_len;
	return 0;
}

/* The children of a process, from all its threads, appended to pids. */
static size_t add_children(uint32_t pid, uint32_t *pids, size_t n, size_t max)
{
	char path[96], tasks[32];
	struct dirent *e;
	DIR *d;

	snprintf(tasks, sizeof(tasks), "/proc/%u/task", pid);
	d = opendir(tasks);
	while (d && (e = readdir(d))) {
		SCOPED(buf_free) struct buf b = { 0 };
		char *at, *end;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%.12s/children", tasks,
			 e->d_name);
		if (fd_read_file(path, 1u << 20, &b) || !buf_len(&b))
			continue;
		for (at = (char *)buf_data(&b); n < max; at = end) {
			unsigned long v = strtoul(at, &end, 10);

			if (end == at)
				break;
			pids[n++] = (uint32_t)v;
		}
	}
	if (d)
		closedir(d);
	return n;
}

/* The tree as far as it can be seen; parents first. */
static size_t tree_pids(struct source *s, uint32_t pids[MOVER_PIDS])
{
	size_t n = 1;

	pids[0] = s->self->job.pid;
	for (size_t i = 0; i < n; i++)
		n = add_children(pids[i], pids, n, MOVER_PIDS);
	return n;
}

/*
 * The tree gets a control group of its own: in the guests' group it may be
 * frozen, and then ptrace cannot stop it, nor can a vfork go on.
 */
static int group(struct source *s, bool frozen)
{
	uint32_t *pids = calloc(MOVER_PIDS, sizeof(*pids));
	int r;

	if (!pids)
		return -ENOMEM;
	r = freezer_tree(freezer_guests(s->self->m), s->self->job.pid, frozen,
			 pids, tree_pids(s, pids));
	free(pids);
	s->grouped = r == 0;
	return r == -ENOSYS ? 0 : r;
}

static bool thread_seized(uint32_t pid, const char *tid)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%u/task/%.12s/status", pid, tid);
	if (fd_read_file(path, 65536, &b) || !buf_len(&b))
		return true; /* it ended */
	at = strstr((char *)buf_data(&b), "TracerPid:");
	return at && atoi(at + 10) > 0;
}

static bool seized(uint32_t pid)
{
	char tasks[32];
	struct dirent *e;
	bool all = true;
	DIR *d;

	snprintf(tasks, sizeof(tasks), "/proc/%u/task", pid);
	d = opendir(tasks);
	while (d && all && (e = readdir(d)))
		if (e->d_name[0] != '.')
			all = thread_seized(pid, e->d_name);
	if (d)
		closedir(d);
	return all;
}

/*
 * A frozen tree must fall from the freezer right into ptrace's stop, or else
 * its interrupted calls return EINTR to the program.  So the engine
 * attaches while all is frozen, and a helper thaws when it sees that it has.
 */
static pid_t thaw_when_seized(struct source *s)
{
	uint32_t *pids;
	pid_t helper = fork();
	size_t n;

	if (helper != 0)
		return helper;
	pids = calloc(MOVER_PIDS, sizeof(*pids));
	n = pids ? tree_pids(s, pids) : 0;
	for (int tries = 0; tries < THAW_TRIES; tries++) {
		bool all = true;

		for (size_t i = 0; i < n && all; i++)
			all = seized(pids[i]);
		if (all)
			break;
		poll(NULL, 0, 1);
	}
	/* Between attaching and the request to stop. */
	poll(NULL, 0, 1);
	freezer_tree_freeze(freezer_guests(s->self->m), s->self->job.pid, false);
	_exit(0);
}

/*
 * Worth another look: a child that was born while we looked shares its
 * parent's pipes and was taken for a stranger.
 */
static bool passing(const struct source *s, int r)
{
	if (r != -EOPNOTSUPP || !s->rep.n)
		return r == -EBUSY;
	for (unsigned i = 0; i < s->rep.n && i < ENG_REASONS_MAX; i++)
		if (s->rep.item[i].reason != ENG_FD_OUTSIDE &&
		    s->rep.item[i].reason != ENG_GONE &&
		    s->rep.item[i].reason != ENG_SHARED_VM &&
		    s->rep.item[i].reason != ENG_VFORK)
			return false;
	return true;
}

static int stop(struct source *s, struct eng_opts *o)
{
	bool frozen = !s->grouped && freezer_on(freezer_guests(s->self->m));
	int r = s->grouped ? 0 : group(s, frozen);
	pid_t helper = -1;

	if (r)
		return r;
	if (frozen && s->grouped)
		helper = thaw_when_seized(s);
	r = eng_freeze((pid_t)s->self->job.pid, o, &s->rep, &s->eng);
	if (helper > 0)
		waitpid(helper, NULL, 0);
	for (int i = 0; passing(s, r) && i < 20; i++) {
		poll(NULL, 0, 2);
		memset(&s->rep, 0, sizeof(s->rep));
		r = eng_freeze((pid_t)s->self->job.pid, o, &s->rep, &s->eng);
	}
	return r;
}

static void ungroup(struct source *s)
{
	if (s->grouped)
		freezer_tree_done(freezer_guests(s->self->m), s->self->job.pid,
				  !s->self->job.home);
	s->grouped = false;
}

/* ---- steps -------------------------------------------------------------------------------- */

static int check(struct source *s, struct eng_opts *o)
{
	int r = eng_check((pid_t)s->self->job.pid, o, &s->rep);

	for (int i = 0; passing(s, r) && i < 20; i++) {
		if (!s->grouped)
			group(s, false);
		poll(NULL, 0, 5);
		memset(&s->rep, 0, sizeof(s->rep));
		r = eng_check((pid_t)s->self->job.pid, o, &s->rep);
	}
	if (r)
		ungroup(s);
	*s->msg = (struct mover_msg){ .op = MV_CHECKED, .err = r };
	if (r)
		mover_report_text(&s->rep, r, s->msg->text);
	return mover_say(s->self, s->msg, -1) ? -EPIPE : r;
}

static int connect_all(struct source *s, const struct mover_msg *go)
{
	unsigned n = s->self->job.lazy ? 3 : 1;

	for (unsigned i = 0; i < n; i++) {
		int r = chan_connect(&s->self->m->self, go->u.go.host, SVC_MIGD,
				     go->u.go.key, go->u.go.addr,
				     (uint16_t)go->u.go.port,
				     go->u.go.token + i, CONNECT_MS,
				     &s->chan[i]);

		if (r)
			return r;
		chan_set_timeout(s->chan[i], IO_MS);
	}
	return 0;
}

/* Which processes come: the target ends the stubs of those that do not. */
static int send_members(struct source *s)
{
	const struct eng_member *m;
	uint32_t n = eng_members(s->eng, &m);
	int r = chan_write(s->chan[0], &n, sizeof(n));

	for (uint32_t i = 0; i < n && !r; i++) {
		uint32_t pid = (uint32_t)m[i].pid;

		r = chan_write(s->chan[0], &pid, sizeof(pid));
	}
	return r;
}

static int send_image(struct source *s)
{
	struct eng_io io = mover_io(s->chan[0]);
	int r = send_members(s);

	if (!r)
		r = eng_save(s->eng, &io, &s->rep);
	if (!r && s->grouped)
		r = freezer_tree_freeze(freezer_guests(s->self->m),
					s->self->job.pid, true);
	return r;
}

static void put_back(struct source *s)
{
	if (s->grouped)
		freezer_tree_freeze(freezer_guests(s->self->m),
				    s->self->job.pid, false);
	if (s->eng)
		eng_thaw(s->eng);
	ungroup(s);
}

/* It is theirs.  Pages first, then what is left here. */
static int hand_over(struct source *s)
{
	struct eng_io req = mover_io_prompt(s->chan[1]);
	struct eng_io push = mover_io_prompt(s->chan[2]);
	int lazy = 0, r;

	eng_frozen_end(s->eng);
	if (s->self->job.lazy)
		lazy = eng_lazy_serve(s->eng, &req, &push);
	if (s->grouped)
		freezer_tree_done(freezer_guests(s->self->m), s->self->job.pid,
				  false);
	r = s->self->job.home ? eng_become_stub(s->eng, s->self->m->stub_exe,
						s->self->m->rejoin + 1) :
				eng_kill(s->eng);
	return lazy ? lazy : r;
}

static int decide(struct source *s)
{
	int r = mover_hear(s->self, s->msg, NULL);

	if (r == -EPIPE) {
		/* No migd: the group stays frozen, the next one settles it. */
		_exit(3);
	}
	if (!r && s->msg->op == MV_COMMIT) {
		r = hand_over(s);
		return give_up(s, MV_DONE, r, r ? strerror(-r) : "");
	}
	put_back(s);
	return give_up(s, MV_DONE, -ECANCELED, "called off");
}

/*
 * migd is told first: the target's answers come to it by other ways, and must
 * not find it ignorant.  Whether the trailer got through, home alone knows.
 */
static int send_trailer(struct source *s)
{
	const uint64_t end = MOVER_TRAILER;

	*s->msg = (struct mover_msg){ .op = MV_SENT };
	s->msg->u.times = *eng_times(s->eng);
	if (mover_say(s->self, s->msg, -1))
		_exit(3);
	if (chan_write(s->chan[0], &end, sizeof(end)) == 0)
		(void)chan_flush(s->chan[0]);
	return decide(s);
}

static int move(struct source *s, struct eng_opts *o)
{
	char why[MOVER_TEXT];
	int r = stop(s, o);

	if (!r) {
		*s->msg = (struct mover_msg){ .op = MV_FROZEN };
		r = mover_say(s->self, s->msg, -1);
	}
	if (!r)
		r = send_image(s);
	if (!r)
		return send_trailer(s);
	put_back(s);
	mover_report_text(&s->rep, r, why);
	return give_up(s, MV_DONE, r, why);
}

int mover_source_main(struct mover_self *self)
{
	struct source s = { .self = self };
	struct eng_fd_ops ops = { .arg = &s, .fd_check = fd_check,
				  .fd_save = fd_save };
	struct eng_opts o = { .fds = &ops, .kernel = self->m->kernel,
			      .single = self->job.alone,
			      .memory = self->job.lazy ? ENG_LAZY : ENG_DIRECT };
	struct stat st;
	int r;

	s.msg = calloc(1, sizeof(*s.msg));
	if (!s.msg)
		return 1;
	if (stat(self->m->conf.mount, &st) == 0)
		s.sprite_dev = st.st_dev;
	r = check(&s, &o);
	if (!r)
		r = mover_hear(self, s.msg, NULL);
	if (r || s.msg->op != MV_GO) {
		ungroup(&s);
		return 0;
	}
	r = connect_all(&s, s.msg);
	if (r) {
		ungroup(&s);
		give_up(&s, MV_DONE, r, "the other host cannot be reached");
	} else {
		move(&s, &o);
	}
	eng_free(s.eng);
	for (int i = 0; i < 3; i++)
		chan_close(s.chan[i]);
	free(s.msg);
	return 0;
}
