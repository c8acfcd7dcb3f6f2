/*
 * mover_target.c -- the mover where the process is to run: builds it in the
 * stub of its PID, one step before running, and lets it go when migd has
 * home's word.
 */
#include "mover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chan.h"
#include "cleanup.h"
#include "log.h"
#include "stub_proto.h"

#define IO_MS 15000

struct target {
	struct mover_self *self;
	struct eng_new *eng;
	struct eng_report rep;
	struct mover_msg *msg;
};

static int fd_open(void *arg, const struct eng_fd_info *in, const void *blob,
		   size_t len, int *ret_fd)
{
	struct target *t = arg;

	memset(t->msg, 0, offsetof(struct mover_msg, blob));
	t->msg->op = MV_FD_OPEN;
	t->msg->u.fd.kind = in->kind;
	t->msg->u.fd.flags = in->flags;
	if (len > sizeof(t->msg->blob))
		return -EMSGSIZE;
	memcpy(t->msg->blob, blob, len);
	t->msg->blob_len = (uint32_t)len;
	return mover_ask(t->self, t->msg, -1, ret_fd);
}

static int pid_space(void *arg, bool open)
{
	struct target *t = arg;

	/* migd closes it again by itself. */
	if (!open)
		return 0;
	*t->msg = (struct mover_msg){ .op = MV_WIDEN };
	return mover_ask(t->self, t->msg, -1, NULL);
}

static int find_stub(void *arg, pid_t pid, int *ret_ctl)
{
	struct target *t = arg;

	if (!t->self->job.home)
		return -ENOENT;
	*t->msg = (struct mover_msg){ .op = MV_FIND_STUB,
				      .pid = (uint32_t)pid };
	return mover_ask(t->self, t->msg, -1, ret_ctl);
}

/* A signal that the stub had taken already. */
static void on_report(void *arg, const struct stub_msg *m)
{
	struct target *t = arg;
	struct mover_msg *msg = m->type == STUB_SIGNAL ? calloc(1, sizeof(*msg)) :
							 NULL;

	if (!msg)
		return;
	msg->op = MV_SIGNAL;
	msg->n = (uint32_t)m->sig;
	msg->blob_len = sizeof(m->u.siginfo);
	memcpy(msg->blob, m->u.siginfo, sizeof(m->u.siginfo));
	mover_say(t->self, msg, -1);
	free(msg);
}

static int tell(struct target *t, uint32_t op, int err)
{
	*t->msg = (struct mover_msg){ .op = op, .err = err };
	if (t->eng)
		t->msg->u.times = *eng_new_times(t->eng);
	if (err)
		mover_report_text(&t->rep, err, t->msg->text);
	return mover_say(t->self, t->msg, -1);
}

static int read_members(struct target *t)
{
	struct chan *c = t->self->job.chan[0];
	uint32_t n;
	int r = chan_read(c, &n, sizeof(n));

	if (!r && n > MOVER_PIDS)
		r = -E2BIG;
	*t->msg = (struct mover_msg){ .op = MV_MEMBERS };
	for (uint32_t i = 0; !r && i < n; i++)
		r = chan_read(c, &t->msg->u.pids[i], sizeof(uint32_t));
	t->msg->n = n;
	return r ? r : mover_ask(t->self, t->msg, -1, NULL);
}

static int build(struct target *t)
{
	const struct mover_job *j = &t->self->job;
	struct eng_io io = mover_io(j->chan[0]);
	struct eng_fd_ops ops = { .arg = t, .fd_open = fd_open };
	struct eng_stub root = { (pid_t)j->pid, j->ctl };
	struct eng_new_opts o = {
		.fds = &ops, .pid_space = pid_space, .find_stub = find_stub,
		.on_report = on_report, .arg = t,
		.stub_exe = j->home ? t->self->m->stub_exe : NULL,
		.ctl_path = j->home ? t->self->m->rejoin + 1 : NULL,
	};
	uint64_t end = 0;
	int r = read_members(t);

	if (!r)
		r = eng_restore(&io, &root, &o, &t->rep, &t->eng);
	if (!r)
		r = chan_read(j->chan[0], &end, sizeof(end));
	if (!r && end != MOVER_TRAILER)
		r = -EBADMSG;
	return r;
}

static int run(struct target *t)
{
	const struct mover_job *j = &t->self->job;
	struct eng_io req = { 0 }, push = { 0 };
	bool lazy = j->chan[1] && eng_new_lazy(t->eng);
	int r = 0;

	if (lazy) {
		req = mover_io_prompt(j->chan[1]);
		push = mover_io_prompt(j->chan[2]);
		r = eng_lazy_start(t->eng, &req, &push);
	}
	if (!r)
		r = eng_resume(t->eng);
	tell(t, MV_RUNNING, r);
	if (!r && lazy)
		r = eng_lazy_wait(t->eng);
	return tell(t, MV_DONE, r);
}

int mover_target_main(struct mover_self *self)
{
	struct target t = { .self = self };
	int r;

	t.msg = calloc(1, sizeof(*t.msg));
	if (!t.msg)
		return 1;
	for (int i = 0; i < 3; i++)
		if (self->job.chan[i])
			chan_set_timeout(self->job.chan[i], IO_MS);
	r = build(&t);
	if (r) {
		if (t.eng)
			eng_abort(t.eng);
		tell(&t, MV_DONE, r);
		return 0;
	}
	r = tell(&t, MV_READY, 0);
	if (!r)
		r = mover_hear(self, t.msg, NULL);
	if (!r && t.msg->op == MV_GO) {
		run(&t);
	} else {
		eng_abort(t.eng);
		tell(&t, MV_DONE, -ECANCELED);
	}
	eng_new_free(t.eng);
	for (int i = 0; i < 3; i++)
		chan_close(self->job.chan[i]);
	free(t.msg);
	return 0;
}
