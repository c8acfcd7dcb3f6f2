/*
 * exec.c -- the target's half of exec-time migration: a request with all
 * that a program needs becomes a process with its PID from home.
 *
 * Files are opened first (by another thread), everything else is sent to the
 * stubs in one go, and then there are only two things to wait for: the stub's
 * socket closes (it became the program) or it reports why it could not.
 */
#include "guests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "evict.h"
#include "log.h"
#include "opener.h"
#include "proc.h"
#include "streams.h"
#include "world.h"

#define FDS_MAX 128
#define STRINGS_MAX 200000

/* One request under way. */
struct start {
	struct migd *m;
	struct rpc_req *req;
	struct guest *g;
	struct stubc *stub;
	uint8_t *copy; /* of body and payload: what b points into */
	struct msg_migd_exec b;
	char **argv, **envp;
	unsigned nfds;
	struct {
		int fd, number;
		bool cloexec, file;
	} fds[FDS_MAX];
	struct msg_migd_carry_fd carry[FDS_MAX];
	struct open_job *job;
	int tty;
	unsigned step; /* of exec that failed */
};

int strings_split(const struct rpc_msg *msg, uint32_t argc, uint32_t envc,
		  char ***ret_argv, char ***ret_envp)
{
	const char *at = msg->payload, *end = at + msg->payload_len;
	size_t n = (size_t)argc + envc;
	char **v;

	if (argc < 1 || n > STRINGS_MAX)
		return -EBADMSG;
	v = malloc((n + 2) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0, o = 0; i < n; i++, o++) {
		const char *nul = at < end ? memchr(at, 0, (size_t)(end - at)) :
					     NULL;

		if (!nul) {
			free(v);
			return -EBADMSG;
		}
		if (i == argc)
			v[o++] = NULL;
		v[o] = (char *)(uintptr_t)at;
		at = nul + 1;
	}
	if (!envc)
		v[argc] = NULL;
	v[n + 1] = NULL;
	*ret_argv = v;
	*ret_envp = v + argc + 1;
	return at == end ? 0 : (free(v), -EBADMSG);
}

int limits_split(wire_blob limits, struct eng_exec *x)
{
	struct wire_reader r = wire_reader(limits.p, limits.len);

	while (r.left && !r.failed) {
		struct msg_migd_limit l = msg_migd_limit_get(&r);

		if (r.failed || l.resource >= 16)
			return -EBADMSG;
		x->rlimit_set |= 1u << l.resource;
		x->rlimit[l.resource].cur = l.cur;
		x->rlimit[l.resource].max = l.max;
	}
	return r.failed ? -EBADMSG : 0;
}

static void start_free(struct start *s)
{
	for (unsigned i = 0; i < s->nfds; i++)
		if (s->fds[i].fd >= 0)
			close(s->fds[i].fd);
	stubc_free(s->stub);
	free(s->argv);
	free(s->copy);
	free(s);
}

/* It will not be: answer and undo. */
static void give_up(struct start *s, int status, const char *why)
{
	struct guest *g = s->g;

	reply_say(s->req, status, "%s", why);
	stubc_end(s->stub, 127 << 8);
	s->stub = NULL;
	if (g) {
		/* Its relays end with the descriptors; the stub is a child of
		 * a mirror that must live until it has died. */
		gstreams_of_free(s->m, g->pid);
		guest_free(g);
	}
	start_free(s);
}

static void started(struct start *s)
{
	rpc_reply(s->req, 0, NULL);
	s->g->dir = proc_open(s->m, s->g->pid);
	guest_runs(s->g);
	start_free(s);
}

/* ---- the stub's answers -------------------------------------------------------------- */

static void on_msg(struct stubc *stub, const struct stub_msg *msg)
{
	struct start *s = stub->data;

	if (msg->type == STUB_ERR && msg->to == STUB_EXEC) {
		stub->err = msg->err;
		s->step = msg->flags;
	}
	if (stub->err) {
		char why[PATH_MAX + 200];

		snprintf(why, sizeof(why), "%s on %s: %s",
			 s->step == 3 ? s->b.cwd : s->b.path, s->m->conf.name,
			 strerror(-stub->err));
		give_up(s, stub->err, why);
	}
}

static void on_gone(struct stubc *stub)
{
	struct start *s = stub->data;
	char why[200];

	if (stub->hello && !stub->err) {
		started(s);
		return;
	}
	snprintf(why, sizeof(why), "process %u cannot be made on %s: %s",
		 s->g->pid, s->m->conf.name, strerror(-stub->err));
	give_up(s, stub->err ? stub->err : -EIO, why);
}

static const struct stub_hooks hooks = { on_msg, on_gone };

/* ---- building -------------------------------------------------------------------------- */

static int send_exec(struct start *s)
{
	int fds[FDS_MAX + 1], numbers[FDS_MAX], image, r;
	bool cloexec[FDS_MAX];
	uint32_t groups[256];
	struct wire_reader gr = wire_reader(s->b.groups.p, s->b.groups.len);
	struct stub_msg go = { .type = STUB_EXEC };
	struct eng_exec x = {
		.path = s->b.path, .argv = s->argv, .envp = s->envp,
		.cwd = s->b.cwd, .set_ids = true,
		.ruid = s->b.uid, .euid = s->b.uid, .suid = s->b.uid,
		.rgid = s->b.gid, .egid = s->b.gid, .sgid = s->b.gid,
		.groups = groups, .umask = s->b.umask,
		.set_nice = s->b.nice != 0, .nice = s->b.nice,
		.sigmask = s->b.sigmask, .sigign = s->b.sigign,
		.fds = numbers, .cloexec = cloexec,
	};

	while (gr.left >= 4 && x.ngroups < 256)
		groups[x.ngroups++] = wire_get_u32(&gr);
	r = limits_split(s->b.limits, &x);
	if (r)
		return r;
	for (unsigned i = 0; i < s->nfds; i++) {
		fds[i + 1] = s->fds[i].fd;
		numbers[i] = s->fds[i].number;
		cloexec[i] = s->fds[i].cloexec;
	}
	x.nfds = s->nfds;
	r = eng_exec_image_build(&x, &image);
	if (r)
		return r;
	fds[0] = image;
	if (s->tty >= 0) {
		struct stub_msg tty = { .type = STUB_CTTY };

		r = stubc_send(s->stub, &tty, &s->tty, 1);
	}
	if (!r)
		r = stubc_send(s->stub, &go, fds, s->nfds + 1);
	close(image);
	return r;
}

static void build(void *arg)
{
	struct start *s = arg;
	struct guest *g = s->g;
	int r = mirror_place(s->m, g->home, s->b.uid, s->b.gid, &g->at_home,
			     g->has_tty, &g->place);

	if (!r && g->place.parent)
		s->stub = stubc_spawn(s->m, g->place.parent->stub, g->pid,
				      g->place.setsid, g->place.pgid, &hooks, s);
	else if (!r)
		s->stub = stubc_spawn(s->m, NULL, g->pid, true, -1, &hooks, s);
	if (!r && !s->stub)
		r = -EAGAIN;
	if (!r)
		r = send_exec(s);
	for (unsigned i = 0; i < s->nfds; i++) {
		close(s->fds[i].fd);
		s->fds[i].fd = -1;
	}
	if (r) {
		char why[160];

		snprintf(why, sizeof(why),
			 "process %u cannot be made on %s: %s", g->pid,
			 s->m->conf.name, strerror(-r));
		give_up(s, r, why);
	}
}

static int relay(struct start *s, unsigned i)
{
	const struct msg_migd_carry_fd *c = &s->carry[i];
	struct gstream *g;
	unsigned flags = (c->flags & O_ACCMODE) == O_RDONLY ? STREAM_READ :
			 (c->flags & O_ACCMODE) == O_WRONLY ? STREAM_WRITE :
							      STREAM_READ | STREAM_WRITE;
	int r, fd;

	/* One description, several numbers: one relay. */
	for (unsigned k = 0; k < i; k++)
		if (s->carry[k].kind == c->kind && s->carry[k].stream == c->stream) {
			fd = fcntl(s->fds[k].fd, F_DUPFD_CLOEXEC, 3);
			return fd < 0 ? -errno : fd;
		}
	if (c->kind == MIGD_RELAY_TTY)
		flags |= STREAM_TTY;
	r = gstream_new(s->m, c->stream, s->g->home, s->g->pid, flags, c->tty.p,
			c->tty.len, &fd, &g);
	if (r)
		return r;
	if (c->kind == MIGD_RELAY_TTY && s->tty < 0)
		s->tty = fd;
	if (c->flags & O_NONBLOCK)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

static void on_opened(struct open_job *j)
{
	struct start *s = j->arg;
	unsigned at = 0;

	for (unsigned i = 0; i < s->nfds; i++) {
		int fd = -EINVAL;

		if (s->fds[i].file) {
			fd = j->files[at].fd;
			j->files[at++].fd = -1;
		} else if (s->carry[i].kind == MIGD_RELAY ||
			   s->carry[i].kind == MIGD_RELAY_TTY) {
			fd = relay(s, i);
		}
		s->fds[i].fd = fd;
		if (fd < 0) {
			char why[PATH_MAX + 160];

			snprintf(why, sizeof(why),
				 "descriptor %d (%s) cannot be had on %s: %s",
				 s->fds[i].number, s->carry[i].path,
				 s->m->conf.name, strerror(-fd));
			open_job_free(j);
			give_up(s, fd, why);
			return;
		}
	}
	open_job_free(j);
	{
		uint32_t high = s->g->pid;

		if (s->g->at_home.ppid > high)
			high = s->g->at_home.ppid;
		if (s->g->at_home.parent_sid > high)
			high = s->g->at_home.parent_sid;
		if (s->g->at_home.pgid > high)
			high = s->g->at_home.pgid;
		world_when_wide(s->m, high, build, s);
	}
}

/* Parse the descriptors and collect those to be opened by name. */
static int plan_fds(struct start *s)
{
	struct wire_reader r = wire_reader(s->b.fds.p, s->b.fds.len);
	struct wire_reader gr = wire_reader(s->b.groups.p, s->b.groups.len);
	struct open_job *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	s->job = j;
	*j = (struct open_job){ .uid = s->b.uid, .gid = s->b.gid,
				.done = on_opened, .arg = s };
	while (gr.left >= 4 && j->ngroups < 256)
		j->groups[j->ngroups++] = wire_get_u32(&gr);
	j->files = calloc(FDS_MAX, sizeof(*j->files));
	while (j->files && r.left && !r.failed && s->nfds < FDS_MAX) {
		struct msg_migd_carry_fd c = msg_migd_carry_fd_get(&r);
		unsigned i = s->nfds++;

		s->carry[i] = c;
		s->fds[i].fd = -1;
		s->fds[i].number = c.fd;
		s->fds[i].cloexec = c.cloexec != 0;
		s->fds[i].file = c.kind == MIGD_BY_NAME || c.kind == MIGD_DEVICE;
		if (!s->fds[i].file)
			continue;
		if (strlen(c.path) >= PATH_MAX || c.path[0] != '/')
			return -EBADMSG;
		strcpy(j->files[j->n].path, c.path);
		j->files[j->n].flags = (int)c.flags;
		j->files[j->n].pos = c.pos;
		j->files[j->n].ino = c.ino;
		j->files[j->n++].fd = -1;
	}
	return !j->files ? -ENOMEM : r.failed || r.left ? -EBADMSG : 0;
}

static const char *refusal(struct migd *m, const struct msg_migd_exec *b,
			   uint32_t home)
{
	if (m->ending)
		return "is being stopped";
	if (evict_active(m))
		return "is in use by its owner";
	if (strcmp(m->conf.import_policy, "none") == 0)
		return "takes no guests (import_policy in host.conf)";
	if (strcmp(m->conf.import_policy, "root") == 0 && b->uid)
		return "takes guests of root only (import_policy in host.conf)";
	if (home == m->conf.host)
		return "is its own home";
	return NULL;
}

static struct start *start_new(struct migd *m, struct rpc_req *q,
			       const struct rpc_msg *msg)
{
	struct start *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->m = m;
	s->req = q;
	s->tty = -1;
	s->copy = malloc(msg->len + msg->payload_len + 1);
	if (!s->copy) {
		free(s);
		return NULL;
	}
	memcpy(s->copy, msg->body, msg->len);
	if (msg->payload_len)
		memcpy(s->copy + msg->len, msg->payload, msg->payload_len);
	return s;
}

static int set_up(struct start *s, const struct rpc_msg *msg,
		  const struct msg_migd_place *at)
{
	struct rpc_msg copied = { .payload = s->copy + msg->len,
				  .payload_len = msg->payload_len };
	const char *base;
	int r = msg_migd_exec_decode(s->copy, msg->len, &s->b);

	if (!r)
		r = strings_split(&copied, s->b.argc, s->b.envc, &s->argv,
				  &s->envp);
	if (r)
		return r;
	if (guest_find(s->m, at->pid) || mirror_find(s->m, at->pid))
		return -EEXIST;
	s->g = guest_new(s->m, at->pid, rpc_req_host(s->req));
	if (!s->g)
		return -ENOMEM;
	s->g->at_home = *at;
	s->g->uid = s->b.uid;
	s->g->gid = s->b.gid;
	s->g->flags = s->b.flags;
	s->g->job = s->b.job;
	base = strrchr(s->argv[0], '/');
	snprintf(s->g->command, sizeof(s->g->command), "%s",
		 base ? base + 1 : s->argv[0]);
	r = plan_fds(s);
	for (unsigned i = 0; i < s->nfds; i++)
		s->g->has_tty |= s->carry[i].kind == MIGD_RELAY_TTY;
	return r;
}

void on_migd_exec(struct migd *m, struct rpc_req *q,
		  const struct msg_migd_exec *b, const struct rpc_msg *msg)
{
	struct wire_reader pr = wire_reader(b->place.p, b->place.len);
	struct msg_migd_place at = msg_migd_place_get(&pr);
	const char *no = refusal(m, b, rpc_req_host(q));
	struct start *s;
	int r;

	if (no) {
		reply_say(q, -EAGAIN, "host %s %s", m->conf.name, no);
		return;
	}
	if (wire_read_end(&pr) || at.pid < 2) {
		rpc_reply(q, -EBADMSG, NULL);
		return;
	}
	s = start_new(m, q, msg);
	if (!s) {
		rpc_reply(q, -ENOMEM, NULL);
		return;
	}
	r = set_up(s, msg, &at);
	if (r) {
		struct open_job *j = s->job;

		if (j && j->files)
			open_job_free(j);
		else
			free(j);
		give_up(s, r, r == -EEXIST ?
				      "a process of this number runs there already" :
				      rpc_sentence(r, NULL));
		return;
	}
	opener_submit(m, s->job);
}
