/*
 * hstream.c -- home's end of a relayed descriptor; see streams.h.
 *
 * The original's flags belong to everybody who shares it, so it cannot be
 * made non-blocking: pipes and terminals are opened again through
 * /proc/self/fd, which gives a description of our own; sockets have
 * MSG_DONTWAIT; ordinary files do not block for long and keep sharing their
 * position.
 *
 * A terminal is read only while the process's group is in its foreground,
 * because what we read ahead is lost to others.
 *
 * After a move, the new host's bytes wait until the old one has said that it
 * has sent its last (wait_for).
 */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "away.h"
#include "buf.h"
#include "cleanup.h"
#include "log.h"
#include "proc.h"
#include "tty.h"
#include "world.h"

#define FOREGROUND_MS 200
#define BACK_MAX (4u << 20)
/* Refused as "not here any more" so often in a row: it is nowhere. */
#define STALE_MAX 8

struct hstream {
	struct map_node node;
	struct migd *m;
	uint64_t id;
	uint32_t pid, host, wait_for;
	unsigned flags;
	int fd;	  /* the original */
	int pump; /* ours to read and write */
	ev_io rio, wio;
	bool active, paused, read_done, write_done;
	unsigned under_way, stale;
	struct buf back;   /* given back unread: goes out first */
	struct buf nacked; /* sent to a host that the process had left */
	struct list out; /* blocks to be written to the original */
	struct timer foreground;
	unsigned refs; /* calls under way */
	bool dead;
};

static void pump(struct hstream *h);

uint64_t hstream_id(const struct hstream *h) { return h->id; }
unsigned hstream_flags(const struct hstream *h) { return h->flags; }

struct hstream *hstream_find(struct migd *m, uint64_t id)
{
	return map_entry(map_get(&m->hstreams, id), struct hstream, node);
}

static void release(struct hstream *h)
{
	if (!h->dead || h->refs)
		return;
	buf_free(&h->back);
	buf_free(&h->nacked);
	free(h);
}

void hstream_free(struct hstream *h)
{
	if (!h || h->dead)
		return;
	h->dead = true;
	ev_io_stop(h->m->loop, &h->rio);
	ev_io_stop(h->m->loop, &h->wio);
	env_cancel(h->m->env, &h->foreground);
	blocks_drop(&h->out, -EPIPE);
	map_del(&h->m->hstreams, &h->node);
	world_forget(h->m, KEEP_KEY(KEEP_HSTREAM, h->id & 0xffffffffffffff));
	if (h->pump >= 0 && h->pump != h->fd)
		close(h->pump);
	if (h->fd >= 0)
		close(h->fd);
	release(h);
}

static void keep(struct hstream *h)
{
	uint64_t v[6] = { h->id, h->pid, h->host, h->flags, h->read_done,
			  h->write_done };

	world_keep(h->m, KEEP_KEY(KEEP_HSTREAM, h->id & 0xffffffffffffff), v,
		   sizeof(v), &h->fd, 1);
}

/* Nothing goes either way any more. */
static bool close_if_done(struct hstream *h)
{
	bool r = !(h->flags & STREAM_READ) || h->read_done;
	bool w = !(h->flags & STREAM_WRITE) || h->write_done;

	if (!r || !w)
		return false;
	hstream_free(h);
	return true;
}

/* ---- towards the process ------------------------------------------------------ */

/* A block under way.  Its bytes are kept until they have arrived. */
struct sent {
	struct hstream *h;
	size_t len;
	bool end;
	uint8_t data[];
};

/* The host that the process left is done with: what it did not take goes to
 * the new one, first. */
static void regather(struct hstream *h)
{
	struct buf all = { .max = BACK_MAX };

	if (h->wait_for || h->under_way)
		return;
	if (buf_len(&h->nacked)) {
		buf_add(&all, buf_data(&h->back), buf_len(&h->back));
		buf_add(&all, buf_data(&h->nacked), buf_len(&h->nacked));
		buf_free(&h->back);
		buf_free(&h->nacked);
		h->nacked.max = BACK_MAX;
		h->back = all;
	}
	pump(h);
}

static void on_sent(void *arg, int status, const struct rpc_msg *msg)
{
	struct sent *s = arg;
	struct hstream *h = s->h;

	(void)msg;
	h->refs--;
	h->under_way--;
	if (h->dead) {
		free(s);
		release(h);
		return;
	}
	if (status == 0)
		h->stale = 0;
	if (status == -ESTALE && ++h->stale < STALE_MAX) {
		buf_add(&h->nacked, s->data, s->len);
		if (s->end)
			h->read_done = false;
	} else if (status < 0 && status != -ECANCELED) {
		h->read_done = true;
	}
	free(s);
	if (!close_if_done(h))
		regather(h);
}

static void send_block(struct hstream *h, uint8_t *p, size_t n, bool end)
{
	struct msg_migd_stream_data d = { .stream = h->id, .end = end };
	struct rpc_out o = { .code = MSG_migd_stream_data,
			     .payload_len = n };
	struct sent *s = malloc(sizeof(*s) + n);
	struct body b;

	if (!s || BODY(migd_stream_data, &d, &b)) {
		free(s);
		free(p);
		return;
	}
	*s = (struct sent){ .h = h, .len = n, .end = end };
	if (n)
		memcpy(s->data, p, n);
	free(p);
	o.payload = s->data;
	o.body = b.b;
	o.len = b.len;
	h->under_way++;
	h->refs++;
	if (end)
		h->read_done = true;
	call_host_out(h->m, h->host, &o, 0, RPC_IDEMPOTENT, on_sent, s);
}

static bool may_read(struct hstream *h)
{
	struct proc_stat st;

	if (!(h->flags & STREAM_TTY))
		return true;
	/* Once it has ended the input is somebody else's. */
	if (proc_stat(h->m, h->pid, &st) || st.state == 'Z')
		return false;
	if (st.tty_pgid <= 0)
		return true;
	return st.tty_pgid == (int32_t)st.pgid;
}

static void send_back(struct hstream *h)
{
	size_t n = buf_len(&h->back);
	uint8_t *p;

	if (n > STREAM_CHUNK)
		n = STREAM_CHUNK;
	p = malloc(n);
	if (!p)
		return;
	memcpy(p, buf_data(&h->back), n);
	buf_consume(&h->back, n);
	send_block(h, p, n, false);
}

static void read_and_send(struct hstream *h)
{
	uint8_t *p = malloc(STREAM_CHUNK);
	ssize_t n;

	if (!p)
		return;
	n = h->flags & STREAM_SOCK ?
		    recv(h->pump, p, STREAM_CHUNK, MSG_DONTWAIT) :
		    read(h->pump, p, STREAM_CHUNK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		free(p);
		return;
	}
	if (n > 0) {
		send_block(h, p, (size_t)n, false);
		return;
	}
	free(p);
	/* A terminal's end of file is the user's, not the terminal's. */
	if (n == 0 && h->flags & STREAM_TTY) {
		p = malloc(1);
		if (p) {
			p[0] = tty_eof_char(h->pump);
			send_block(h, p, 1, false);
		}
		return;
	}
	send_block(h, NULL, 0, true);
}

static void pump(struct hstream *h)
{
	bool want = h->active && !h->paused && !h->wait_for && !h->read_done &&
		    h->flags & STREAM_READ && h->under_way < STREAM_AHEAD;

	if (want && buf_len(&h->back)) {
		send_back(h);
		want = h->under_way < STREAM_AHEAD;
	}
	if (want)
		ev_io_start(h->m->loop, &h->rio);
	else
		ev_io_stop(h->m->loop, &h->rio);
}

static void on_foreground(struct timer *t)
{
	pump(t->data);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct hstream *h = io->data;

	(void)revents;
	if (!may_read(h)) {
		ev_io_stop(loop, io);
		env_after(h->m->env, &h->foreground, FOREGROUND_MS);
		return;
	}
	read_and_send(h);
	pump(h);
}

/* ---- from the process ------------------------------------------------------------ */

static void end_writing(struct hstream *h)
{
	h->write_done = true;
	ev_io_stop(h->m->loop, &h->wio);
	if (h->flags & STREAM_SOCK)
		shutdown(h->fd, SHUT_WR);
	close_if_done(h);
}

static void write_out(struct hstream *h)
{
	while (!list_empty(&h->out)) {
		struct block *b = list_first(&h->out, struct block, link);
		int r = block_write(b, h->pump, h->flags & STREAM_SOCK);
		bool end = b->end;

		if (r == 0) {
			ev_io_start(h->m->loop, &h->wio);
			return;
		}
		block_answer(b, r < 0 ? r : 0);
		if (r < 0) {
			struct migd *m = h->m;
			uint32_t pid = h->pid;

			blocks_drop(&h->out, r);
			end_writing(h);
			away_flushed(m, pid);
			return;
		}
		if (end) {
			struct migd *m = h->m;
			uint32_t pid = h->pid;

			end_writing(h);
			away_flushed(m, pid);
			return;
		}
	}
	ev_io_stop(h->m->loop, &h->wio);
	away_flushed(h->m, h->pid);
}

static void on_writable(struct ev_loop *loop, ev_io *io, int revents)
{
	(void)loop;
	(void)revents;
	write_out(io->data);
}

void hstream_data(struct hstream *h, struct rpc_req *q,
		  const struct msg_migd_stream_data *d,
		  const struct rpc_msg *msg)
{
	uint32_t from = rpc_req_host(q);
	struct block *b;

	if (h->write_done || (from != h->host && from != h->wait_for)) {
		rpc_reply_err(q, -EPIPE, NULL);
		return;
	}
	b = block_new(q, msg, d->end);
	if (!b) {
		rpc_reply_busy(q);
		return;
	}
	if (h->wait_for && from == h->wait_for) {
		struct list *at = &h->out;

		/* Before everything that the new host has sent. */
		list_each(o, &h->out, struct block, link) {
			if (!o->req || rpc_req_host(o->req) != from)
				break;
			at = &o->link;
		}
		list_add_head(at, &b->link);
		write_out(h);
		return;
	}
	list_add_tail(&h->out, &b->link);
	if (!h->wait_for)
		write_out(h);
}

void hstream_left(struct hstream *h, struct rpc_req *q,
		  const struct msg_migd_stream_left *b,
		  const struct rpc_msg *msg)
{
	uint32_t from = rpc_req_host(q);

	if (b->moved) {
		struct buf rest = { .max = BACK_MAX };

		buf_add(&rest, msg->payload, msg->payload_len);
		buf_add(&rest, buf_data(&h->back), buf_len(&h->back));
		buf_free(&h->back);
		h->back = rest;
		if (h->wait_for == from)
			h->wait_for = 0;
		rpc_reply(q, 0, NULL);
		h->refs++;
		write_out(h);
		h->refs--;
		if (!h->dead)
			regather(h);
		release(h);
		return;
	}
	rpc_reply(q, 0, NULL);
	if (from != h->host)
		return;
	h->read_done = true;
	ev_io_stop(h->m->loop, &h->rio);
	close_if_done(h);
}

/* ---- terminals --------------------------------------------------------------------- */

void hstream_tty(const struct hstream *h, uint8_t state[TTY_STATE_MAX],
		 size_t *ret_len)
{
	*ret_len = 0;
	if (h->flags & STREAM_TTY)
		tty_state_get(h->fd, state, ret_len);
}

void hstreams_winch(struct migd *m, uint32_t pid)
{
	struct msg_migd_stream_tty t = { 0 };
	uint8_t state[TTY_STATE_MAX];
	size_t len;
	struct body b;

	for (struct map_node *n = map_next(&m->hstreams, NULL); n;
	     n = map_next(&m->hstreams, n)) {
		struct hstream *h = map_entry(n, struct hstream, node);

		if (h->pid != pid || !(h->flags & STREAM_TTY))
			continue;
		hstream_tty(h, state, &len);
		t.stream = h->id;
		t.tty = (wire_blob){ state, len };
		if (BODY(migd_stream_tty, &t, &b) == 0)
			call_host(m, h->host, MSG_migd_stream_tty, &b, CALL_MS,
				  0, call_done_nothing, NULL);
	}
}

void on_migd_stream_tty(struct migd *m, struct rpc_req *q,
			const struct msg_migd_stream_tty *b)
{
	struct hstream *h = b->home ? hstream_find(m, b->stream) : NULL;
	struct gstream *g = b->home ? NULL : gstream_find(m, b->stream);
	int r = -EPIPE;

	if (h && h->flags & STREAM_TTY && rpc_req_host(q) == h->host)
		r = tty_state_put(h->fd, b->tty.p, b->tty.len);
	else if (g)
		r = gstream_resize(g, b->tty.p, b->tty.len);
	rpc_reply(q, r, NULL);
}

/* ---- life ----------------------------------------------------------------------------- */

static unsigned flags_of(int fd)
{
	int fl = fcntl(fd, F_GETFL);
	unsigned f = 0;
	struct stat st;

	if (fl < 0 || fstat(fd, &st))
		return 0;
	if ((fl & O_ACCMODE) != O_WRONLY)
		f |= STREAM_READ;
	if ((fl & O_ACCMODE) != O_RDONLY)
		f |= STREAM_WRITE;
	if (S_ISSOCK(st.st_mode))
		f |= STREAM_SOCK;
	if (S_ISREG(st.st_mode))
		f |= STREAM_FILE;
	if (isatty(fd))
		f |= STREAM_TTY;
	return f;
}

static int pump_of(int fd, unsigned flags)
{
	static const int modes[] = { [STREAM_READ] = O_RDONLY,
				     [STREAM_WRITE] = O_WRONLY,
				     [STREAM_READ | STREAM_WRITE] = O_RDWR };
	char path[32];
	int p;

	if (flags & (STREAM_SOCK | STREAM_FILE))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	p = open(path, modes[flags & 3] | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return p < 0 ? -errno : p;
}

static struct hstream *make(struct migd *m, uint64_t id, int fd, uint32_t pid,
			    unsigned flags)
{
	struct hstream *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	*h = (struct hstream){ .m = m, .id = id, .pid = pid, .fd = fd,
			       .flags = flags };
	h->back.max = h->nacked.max = BACK_MAX;
	h->pump = pump_of(fd, flags);
	list_init(&h->out);
	h->foreground = (struct timer){ .fire = on_foreground, .data = h };
	ev_io_init(&h->rio, on_readable, h->pump, EV_READ);
	ev_io_init(&h->wio, on_writable, h->pump, EV_WRITE);
	h->rio.data = h->wio.data = h;
	if (h->pump < 0 || map_put(&m->hstreams, id, &h->node)) {
		log_warn("a descriptor cannot be relayed: %s",
			 strerror(h->pump < 0 ? -h->pump : ENOMEM));
		if (h->pump >= 0 && h->pump != fd)
			close(h->pump);
		free(h);
		return NULL;
	}
	return h;
}

struct hstream *hstream_new(struct migd *m, int fd, uint32_t pid)
{
	unsigned flags = flags_of(fd);

	if (!(flags & (STREAM_READ | STREAM_WRITE)))
		return NULL;
	return make(m, ++m->stream_seq, fd, pid, flags);
}

void hstream_expect(struct hstream *h, uint32_t host)
{
	h->host = host;
}

void hstream_attach(struct hstream *h, uint32_t host, uint32_t from)
{
	h->host = host;
	h->wait_for = from;
	h->active = true;
	h->paused = false;
	keep(h);
	pump(h);
}

void hstream_settle(struct map_node *n, uint32_t pid, uint32_t host)
{
	struct hstream *h = map_entry(n, struct hstream, node);

	if (h->pid != pid || h->active)
		return;
	if (host)
		hstream_attach(h, host, 0);
	else
		hstream_free(h);
}

void hstream_pause(struct hstream *h, bool pause)
{
	h->paused = pause;
	pump(h);
}

bool hstream_pending(const struct hstream *h)
{
	return h->under_way || buf_len(&h->back) || buf_len(&h->nacked);
}

void hstreams_move(struct migd *m, uint32_t pid, uint32_t from, uint32_t to)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->hstreams, NULL); n; n = next) {
		struct hstream *h = map_entry(n, struct hstream, node);

		next = map_next(&m->hstreams, n);
		if (h->pid == pid && h->active && h->host == from)
			hstream_attach(h, to, from);
	}
}

bool hstreams_busy(struct migd *m, uint32_t pid)
{
	for (struct map_node *n = map_next(&m->hstreams, NULL); n;
	     n = map_next(&m->hstreams, n)) {
		struct hstream *h = map_entry(n, struct hstream, node);

		if (h->pid == pid && !list_empty(&h->out))
			return true;
	}
	return false;
}

void hstreams_set_pid(struct migd *m, uint32_t from, uint32_t to)
{
	for (struct map_node *n = map_next(&m->hstreams, NULL); n;
	     n = map_next(&m->hstreams, n)) {
		struct hstream *h = map_entry(n, struct hstream, node);

		if (h->pid == from)
			h->pid = to;
	}
}

int hstream_take(struct hstream *h)
{
	int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
}

void hstreams_lost(struct migd *m, uint32_t host)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->hstreams, NULL); n; n = next) {
		struct hstream *h = map_entry(n, struct hstream, node);

		next = map_next(&m->hstreams, n);
		if (h->wait_for == host) {
			h->wait_for = 0;
			write_out(h);
		} else if (h->host == host) {
			hstream_free(h);
		}
	}
}

void hstream_adopt(struct migd *m, const void *data, size_t len, int *fds,
		   size_t nfds)
{
	uint64_t v[6];
	struct hstream *h = NULL;

	if (len == sizeof(v) && nfds == 1) {
		memcpy(v, data, sizeof(v));
		h = make(m, v[0], fds[0], (uint32_t)v[1], (unsigned)v[3]);
	}
	if (!h) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return;
	}
	h->host = (uint32_t)v[2];
	h->read_done = v[4] != 0;
	h->write_done = v[5] != 0;
	h->active = true;
	if (v[0] > m->stream_seq)
		m->stream_seq = v[0];
}

void hstreams_adopted(struct migd *m)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->hstreams, NULL); n; n = next) {
		next = map_next(&m->hstreams, n);
		pump(map_entry(n, struct hstream, node));
	}
}

void hstreams_free_all(struct migd *m)
{
	struct map_node *n;

	/* Their descriptors stay with the keeper. */
	while ((n = map_next(&m->hstreams, NULL))) {
		struct hstream *h = map_entry(n, struct hstream, node);

		map_del(&m->hstreams, n);
		h->dead = true;
		ev_io_stop(m->loop, &h->rio);
		ev_io_stop(m->loop, &h->wio);
		env_cancel(m->env, &h->foreground);
		blocks_drop(&h->out, -EPIPE);
		if (h->pump != h->fd)
			close(h->pump);
		close(h->fd);
		release(h);
	}
	map_fini(&m->hstreams);
}
