/*
 * front_req.c -- requests of the kernel on their way to a program elsewhere.
 *
 * The calls have no deadline: the broker answers in time, a program may take
 * long if it says so, and the watch of front.c ends what can not be answered.
 * A signal to the client becomes a cancel; the answer that comes for it is
 * used whatever it is, since the program may have acted already, and after
 * INTR_MS without one the client is let go.
 */
#include "front_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fd.h"
#include "sprite/pdev.h"

static void on_done(void *arg, int status, const struct rpc_msg *m);
static void on_timer(struct timer *t);
static void on_interrupt(fuse_req_t req, void *arg);

/* The PID that a process of this host's world has in the whole cell. */
pid_t world_pid(struct fstream *s, pid_t pid)
{
	SCOPED(buf_free) struct buf b = {0};
	const char *line, *end, *last = NULL;
	char path[64];

	if (pid <= 0)
		return 0;
	if (pid == s->seen)
		return s->world_pid;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (fd_read_file(path, 65536, &b))
		return 0;
	line = strstr((const char *)buf_data(&b), "\nNSpid:");
	if (!line)
		return 0;
	end = strchrnul(line + 1, '\n');
	for (const char *p = line; p < end; p++)
		if (*p == '\t' || *p == ' ')
			last = p + 1;
	s->seen = pid;
	s->world_pid = last ? (pid_t)strtol(last, NULL, 10) : 0;
	return s->world_pid;
}

struct freq *freq_new(struct fstream *s, fuse_req_t req, uint16_t code,
		      const void *data, size_t len)
{
	struct freq *q = calloc(1, sizeof(*q));

	if (q && len) {
		q->data = malloc(len);
		if (!q->data) {
			free(q);
			q = NULL;
		}
	}
	if (!q) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	if (len)
		memcpy(q->data, data, len);
	q->len = len;
	q->s = s;
	q->req = req;
	q->id = s->f->next_req++;
	q->code = code;
	q->flags = s->flags;
	q->pid = world_pid(s, fuse_req_ctx(req)->pid);
	q->timer = (struct timer){.fire = on_timer, .data = q};
	list_add_tail(&s->reqs, &q->link);
	fuse_req_interrupt_func(req, on_interrupt, q);
	return q;
}

/* q->req must have been answered, or be about to be. */
void freq_free(struct freq *q)
{
	env_cancel(q->s->f->c.env, &q->timer);
	list_del(&q->link);
	free(q->data);
	free(q);
}

/* ---- answers ---- */

static void end(struct freq *q, int status)
{
	fuse_req_t req = q->req;

	freq_free(q);
	fuse_reply_err(req, -status);
}

void freq_fail(struct freq *q, int status)
{
	/* An open is gone from the kernel's view, but may have to be undone. */
	if (q->code == MSG_pdev_open && q->req) {
		fuse_reply_err(q->req, -status);
		q->req = NULL;
	}
	q->ended = status;
	if (q->call)
		rpc_call_cancel(q->call);
	else
		on_done(q, status, NULL);
}

static void succeed(struct freq *q, const struct rpc_msg *m)
{
	struct msg_pdev_done done;
	fuse_req_t req = q->req;
	uint16_t code = q->code;
	size_t size = q->size;

	if (!m || m->code != MSG_pdev_done ||
	    msg_pdev_done_decode(m->body, m->len, &done) || done.result < 0 ||
	    m->payload_len > size ||
	    (code != MSG_pdev_ioctl && (uint64_t)done.result > size)) {
		end(q, -EIO);
		return;
	}
	freq_free(q);
	if (code == MSG_pdev_read)
		fuse_reply_buf(req, m->payload, m->payload_len);
	else if (code == MSG_pdev_write)
		fuse_reply_write(req, (size_t)done.result);
	else
		fuse_reply_ioctl(req, (int)done.result, m->payload,
				 m->payload_len);
}

/* Not now.  Wait, go again at once (it has become ready meanwhile), or say so.
 */
static void would_block(struct freq *q)
{
	uint32_t bit =
		q->code == MSG_pdev_read ? SPRITE_PDEV_IN : SPRITE_PDEV_OUT;

	if (q->interrupted)
		end(q, -EINTR);
	else if (q->code == MSG_pdev_ioctl || q->flags & O_NONBLOCK)
		end(q, -EAGAIN);
	else if (q->s->s.bits & bit)
		freq_send(q);
}

static void on_done(void *arg, int status, const struct rpc_msg *m)
{
	struct freq *q = arg;
	struct fstream *s = q->s;

	q->call = NULL;
	if (q->ended)
		status = q->ended;
	else if (status == -ECANCELED || status == -ECONNRESET)
		status = -EIO;
	if (q->code == MSG_pdev_open) {
		fstream_opened(q, status, m);
	} else if (q->ended) {
		end(q, status);
	} else if (status == -EBADF) {
		/* The broker does not know the stream any more. */
		end(q, -EIO);
		fstream_cut(s);
	} else if (status == -EAGAIN) {
		would_block(q);
	} else if (status) {
		end(q, status);
	} else {
		succeed(q, m);
	}
}

/* ---- on the way ---- */

void freq_call(struct freq *q, int encoded, const struct rpc_out *o)
{
	struct front *f = q->s->f;
	struct rpc_peer *p = f->c.peer(f->c.arg, q->s->host);
	int r = encoded;

	if (!r && !p)
		r = -ENXIO;
	if (!r)
		rpc_peer_keep(p, true); /* readiness comes unasked */
	if (!r)
		r = rpc_call(p, o, 0, 0, on_done, q, &q->call);
	if (r)
		on_done(q, r, NULL);
}

void freq_send(struct freq *q)
{
	uint8_t body[96];
	struct rpc_out o = {.code = q->code,
			    .body = body,
			    .payload = q->data,
			    .payload_len = q->len};
	struct msg_pdev_read rd = {q->s->id, q->id, q->pid, q->flags,
				   (uint32_t)q->size};
	struct msg_pdev_write wr = {q->s->id, q->id, q->pid, q->flags};
	struct msg_pdev_ioctl io = {q->s->id,	      q->id,  q->pid,
				    q->flags,	      q->cmd, q->arg,
				    (uint32_t)q->size};
	int r;

	if (q->code == MSG_pdev_read)
		r = msg_pdev_read_encode(&rd, body, sizeof(body), &o.len);
	else if (q->code == MSG_pdev_write)
		r = msg_pdev_write_encode(&wr, body, sizeof(body), &o.len);
	else
		r = msg_pdev_ioctl_encode(&io, body, sizeof(body), &o.len);
	freq_call(q, r, &o);
}

void freqs_resume(struct fstream *s, uint32_t bits)
{
	/* Sending may end requests, but only the one that is sent. */
	list_each_safe(q, &s->reqs, struct freq, link)
	{
		uint32_t wants = SPRITE_PDEV_HUP |
				 (q->code == MSG_pdev_read ? SPRITE_PDEV_IN
							   : SPRITE_PDEV_OUT);

		if (!q->call && bits & wants)
			freq_send(q);
	}
}

/* ---- signals to the client ---- */

/* Called with a lock of libfuse held: what is to be done is done later. */
static void on_interrupt(fuse_req_t req, void *arg)
{
	struct freq *q = arg;

	(void)req;
	if (q->interrupted)
		return;
	q->interrupted = true;
	env_after(q->s->f->c.env, &q->timer, 0);
}

static void tell_cancel(const struct freq *q)
{
	struct rpc_peer *p = q->s->f->c.peer(q->s->f->c.arg, q->s->host);
	struct msg_pdev_cancel m = {.stream = q->s->id, .req = q->id};
	uint8_t body[32];
	size_t len;

	if (p && msg_pdev_cancel_encode(&m, body, sizeof(body), &len) == 0)
		(void)rpc_peer_note(p,
				    &(struct rpc_out){.code = MSG_pdev_cancel,
						      .body = body,
						      .len = len});
}

/* First it asks for an answer, the second time it does without. */
static void on_timer(struct timer *t)
{
	struct freq *q = t->data;

	if (q->code == MSG_pdev_open) {
		/* Undone when the answer comes. */
		if (q->req)
			fuse_reply_err(q->req, EINTR);
		q->req = NULL;
	} else if (!q->call || q->cancelled) {
		freq_fail(q, -EINTR);
	} else {
		tell_cancel(q);
		q->cancelled = true;
		env_after(q->s->f->c.env, t, INTR_MS);
	}
}

/* ---- what the kernel asks ---- */

static struct fstream *begin(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct fstream *s = (struct fstream *)(uintptr_t)fi->fh;
	int r = pdev_stream_may(&s->s);

	if (r)
		fuse_reply_err(req, -r);
	return r ? NULL : s;
}

void front_read(fuse_req_t req, size_t size, const struct fuse_file_info *fi)
{
	struct fstream *s = begin(req, fi);
	struct freq *q = s ? freq_new(s, req, MSG_pdev_read, NULL, 0) : NULL;

	if (!q)
		return;
	q->flags = (uint32_t)fi->flags;
	q->size = size < PDEV_IO_MAX ? size : PDEV_IO_MAX;
	freq_send(q);
}

void front_write(fuse_req_t req, const void *p, size_t size,
		 const struct fuse_file_info *fi)
{
	struct fstream *s = begin(req, fi);
	struct freq *q;

	if (size > PDEV_IO_MAX)
		size = PDEV_IO_MAX; /* a short write: the client goes on */
	q = s ? freq_new(s, req, MSG_pdev_write, p, size) : NULL;
	if (!q)
		return;
	q->flags = (uint32_t)fi->flags;
	q->size = size;
	freq_send(q);
}

void front_ioctl(fuse_req_t req, unsigned cmd, const void *arg,
		 const struct fuse_file_info *fi, unsigned flags,
		 const void *in, size_t in_size, size_t out_size)
{
	struct fstream *s;
	struct freq *q;

	/* The kernel sizes commands by their number; others bring no data. */
	if (flags & (FUSE_IOCTL_UNRESTRICTED | FUSE_IOCTL_DIR) ||
	    in_size > PDEV_IOCTL_MAX || out_size > PDEV_IOCTL_MAX) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	s = begin(req, fi);
	q = s ? freq_new(s, req, MSG_pdev_ioctl, in, in_size) : NULL;
	if (!q)
		return;
	q->cmd = cmd;
	/* An address means nothing elsewhere. */
	q->arg = in_size || out_size ? 0 : (uintptr_t)arg;
	q->size = out_size;
	freq_send(q);
}
