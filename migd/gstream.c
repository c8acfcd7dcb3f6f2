/*
 * gstream.c -- the visited host's end of a relayed descriptor; see streams.h.
 *
 * "Near" is our end.  A guest that has died or closed everything shows by end
 * of file (it was the writer) or by an error on a pipe that nobody reads.
 */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"
#include "log.h"
#include "tty.h"
#include "world.h"

#define LEFT_MAX (1u << 20)

struct gstream {
	struct map_node node;
	struct migd *m;
	uint64_t id;
	uint32_t home, pid;
	unsigned flags;
	int near;
	uint64_t dev, ino, rdev; /* of the guest's end */
	ev_io rio, wio;
	bool frozen;	 /* a move is under way */
	bool read_done;	 /* the guest writes no more */
	bool write_done; /* the guest reads no more */
	bool carry;	 /* a '\r' was kept back (tty_unmap) */
	unsigned under_way;
	struct list in;	 /* blocks for the guest */
	struct buf left; /* taken back unread */
	unsigned refs;
	bool dead;
};

static void pump(struct gstream *g);

uint64_t gstream_id(const struct gstream *g) { return g->id; }
unsigned gstream_flags(const struct gstream *g) { return g->flags; }

struct gstream *gstream_find(struct migd *m, uint64_t id)
{
	return map_entry(map_get(&m->gstreams, id), struct gstream, node);
}

struct gstream *gstream_by_inode(struct migd *m, uint64_t dev, uint64_t ino,
				 uint64_t rdev)
{
	for (struct map_node *n = map_next(&m->gstreams, NULL); n;
	     n = map_next(&m->gstreams, n)) {
		struct gstream *g = map_entry(n, struct gstream, node);

		if (g->flags & STREAM_TTY ? rdev && g->rdev == rdev :
					    g->dev == dev && g->ino == ino)
			return g;
	}
	return NULL;
}

static void release(struct gstream *g)
{
	if (!g->dead || g->refs)
		return;
	buf_free(&g->left);
	free(g);
}

void gstream_free(struct gstream *g)
{
	if (!g || g->dead)
		return;
	g->dead = true;
	ev_io_stop(g->m->loop, &g->rio);
	ev_io_stop(g->m->loop, &g->wio);
	blocks_drop(&g->in, -EPIPE);
	map_del(&g->m->gstreams, &g->node);
	world_forget(g->m, KEEP_KEY(KEEP_GSTREAM, g->id & 0xffffffffffffff));
	close(g->near);
	release(g);
}

static void keep(struct gstream *g)
{
	uint64_t v[9] = { g->id, g->home, g->pid, g->flags, g->dev, g->ino,
			  g->rdev, g->read_done, g->write_done };

	world_keep(g->m, KEEP_KEY(KEEP_GSTREAM, g->id & 0xffffffffffffff), v,
		   sizeof(v), &g->near, 1);
}

static bool close_if_done(struct gstream *g)
{
	bool r = !(g->flags & STREAM_READ) || g->write_done;
	bool w = !(g->flags & STREAM_WRITE) || (g->read_done && !g->under_way);

	if (!r || !w)
		return false;
	gstream_free(g);
	return true;
}

static void tell_left(struct gstream *g, bool moved, const void *p, size_t n)
{
	struct msg_migd_stream_left l = { .stream = g->id, .moved = moved };
	struct rpc_out o = { .code = MSG_migd_stream_left, .payload = p,
			     .payload_len = n };
	struct body b;

	if (BODY(migd_stream_left, &l, &b))
		return;
	o.body = b.b;
	o.len = b.len;
	call_host_out(g->m, g->home, &o, 0, RPC_IDEMPOTENT, call_done_nothing,
		      NULL);
}

/* The guest (all that had it) closed the reading side. */
static void end_reading(struct gstream *g)
{
	if (!g->write_done) {
		g->write_done = true;
		ev_io_stop(g->m->loop, &g->wio);
		if (g->flags & STREAM_READ)
			tell_left(g, false, NULL, 0);
	}
	blocks_drop(&g->in, -EPIPE);
	close_if_done(g);
}

/* ---- what the guest writes -------------------------------------------------------- */

static void on_sent(void *arg, int status, const struct rpc_msg *msg)
{
	struct gstream *g = arg;

	(void)msg;
	g->refs--;
	g->under_way--;
	if (g->dead) {
		release(g);
		return;
	}
	if (status < 0 && !g->read_done) {
		/* Nobody at home takes it: the guest's next write says so. */
		g->read_done = true;
		ev_io_stop(g->m->loop, &g->rio);
		if (!(g->flags & STREAM_READ)) {
			gstream_free(g);
			return;
		}
		if (!(g->flags & STREAM_TTY))
			shutdown(g->near, SHUT_RD);
	}
	if (!close_if_done(g))
		pump(g);
}

static void send_block(struct gstream *g, uint8_t *p, size_t n, bool end)
{
	struct msg_migd_stream_data d = { .stream = g->id, .home = 1,
					  .end = end };
	struct rpc_out o = { .code = MSG_migd_stream_data,
			     .payload = p, .payload_len = n,
			     .free_payload = p ? free : NULL, .free_arg = p };
	struct body b;

	if (BODY(migd_stream_data, &d, &b))
		return;
	o.body = b.b;
	o.len = b.len;
	if (end) {
		g->read_done = true;
		ev_io_stop(g->m->loop, &g->rio);
	}
	g->under_way++;
	g->refs++;
	call_host_out(g->m, g->home, &o, 0, RPC_IDEMPOTENT, on_sent, g);
}

static void tell_settings(struct gstream *g)
{
	struct msg_migd_stream_tty t = { .stream = g->id, .home = 1 };
	uint8_t state[TTY_STATE_MAX];
	size_t len;
	struct body b;

	if (tty_state_get(g->near, state, &len))
		return;
	t.tty = (wire_blob){ state, len };
	if (BODY(migd_stream_tty, &t, &b) == 0)
		call_host(g->m, g->home, MSG_migd_stream_tty, &b, CALL_MS, 0,
			  call_done_nothing, NULL);
}

/* One read of the near end.  1: sent, 0: nothing there, -EPIPE: the end. */
static int take_one(struct gstream *g)
{
	uint8_t *p = malloc(STREAM_CHUNK + 1), *at = p;
	size_t len;
	ssize_t n;

	if (!p)
		return 0;
	/* One byte of room in front, for a '\r' that was kept back. */
	n = read(g->near, p + 1, STREAM_CHUNK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		free(p);
		return 0;
	}
	if (n <= 0) {
		free(p);
		send_block(g, NULL, 0, true);
		return -EPIPE;
	}
	len = (size_t)n;
	at = p + 1;
	if (g->flags & STREAM_TTY) {
		/* In packet mode the first byte tells what follows. */
		if (p[1] != TIOCPKT_DATA) {
			if (p[1] & TIOCPKT_IOCTL)
				tell_settings(g);
			free(p);
			return 1;
		}
		at++;
		len--;
		if (g->carry) {
			*--at = '\r';
			len++;
		}
		len = tty_unmap(g->near, at, len, n == STREAM_CHUNK,
				&g->carry);
	}
	memmove(p, at, len);
	send_block(g, p, len, false);
	return 1;
}

static void pump(struct gstream *g)
{
	bool want = !g->frozen && !g->read_done &&
		    g->under_way < STREAM_AHEAD;

	/* A pipe that we only write to is watched for the error. */
	if (!(g->flags & STREAM_WRITE))
		want = !g->frozen && !g->write_done;
	if (want)
		ev_io_start(g->m->loop, &g->rio);
	else
		ev_io_stop(g->m->loop, &g->rio);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct gstream *g = io->data;

	(void)loop;
	(void)revents;
	if (!(g->flags & STREAM_WRITE)) {
		end_reading(g);
		return;
	}
	if (take_one(g) < 0 && g->flags & STREAM_READ) {
		/* All ends are closed; a socket may be closed one way only,
		 * but then the guest still holds it. */
		if (g->flags & STREAM_TTY ||
		    send(g->near, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
			end_reading(g);
			return;
		}
	}
	pump(g);
}

void gstreams_flush(struct migd *m, uint32_t pid)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->gstreams, NULL); n; n = next) {
		struct gstream *g = map_entry(n, struct gstream, node);

		next = map_next(&m->gstreams, n);
		if (g->pid != pid || !(g->flags & STREAM_WRITE))
			continue;
		while (!g->read_done && take_one(g) > 0)
			;
	}
}

/* ---- what the guest reads ------------------------------------------------------------ */

static void write_in(struct gstream *g)
{
	while (!list_empty(&g->in) && !g->frozen) {
		struct block *b = list_first(&g->in, struct block, link);
		int r = block_write(b, g->near,
				    (g->flags & 3) == 3 &&
					    !(g->flags & STREAM_TTY));
		bool end = b->end;

		if (r == 0) {
			ev_io_start(g->m->loop, &g->wio);
			return;
		}
		block_answer(b, r < 0 ? -EPIPE : 0);
		if (r < 0) {
			end_reading(g);
			return;
		}
		if (!end)
			continue;
		/* The guest's end of file. */
		g->write_done = true;
		if ((g->flags & 3) == 3 && !(g->flags & STREAM_TTY))
			shutdown(g->near, SHUT_WR);
		close_if_done(g);
		return;
	}
	ev_io_stop(g->m->loop, &g->wio);
}

static void on_writable(struct ev_loop *loop, ev_io *io, int revents)
{
	(void)loop;
	(void)revents;
	write_in(io->data);
}

void gstream_data(struct gstream *g, struct rpc_req *q,
		  const struct msg_migd_stream_data *d,
		  const struct rpc_msg *msg)
{
	struct block *b;

	if (g->write_done || rpc_req_host(q) != g->home) {
		rpc_reply_err(q, -EPIPE, NULL);
		return;
	}
	b = block_new(q, msg, d->end);
	if (!b) {
		rpc_reply_busy(q);
		return;
	}
	list_add_tail(&g->in, &b->link);
	write_in(g);
}

int gstream_resize(struct gstream *g, const void *state, size_t len)
{
	return g->flags & STREAM_TTY ? tty_size_put(g->near, state, len) :
				       -ENOTTY;
}

void gstream_tty(const struct gstream *g, uint8_t state[TTY_STATE_MAX],
		 size_t *ret_len)
{
	*ret_len = 0;
	if (g->flags & STREAM_TTY)
		tty_state_get(g->near, state, ret_len);
}

/* ---- moving on -------------------------------------------------------------------------- */

void gstream_drain(struct gstream *g, int guest_fd, bool *ret_pending)
{
	uint8_t buf[4096];
	ssize_t n;

	g->frozen = true;
	ev_io_stop(g->m->loop, &g->rio);
	ev_io_stop(g->m->loop, &g->wio);
	if (g->flags & STREAM_WRITE)
		while (!g->read_done && take_one(g) > 0)
			;
	/* The guest's own end is read here; it is made non-blocking for as
	 * long as its holders stand still. */
	if (g->flags & STREAM_READ && !(g->flags & STREAM_TTY)) {
		int fl = fcntl(guest_fd, F_GETFL);

		g->left.max = LEFT_MAX;
		fcntl(guest_fd, F_SETFL, fl | O_NONBLOCK);
		while ((n = read(guest_fd, buf, sizeof(buf))) > 0)
			buf_add(&g->left, buf, (size_t)n);
		fcntl(guest_fd, F_SETFL, fl);
	}
	*ret_pending = buf_len(&g->left) > 0 || !list_empty(&g->in);
}

void gstream_return(struct gstream *g)
{
	struct block *b;
	struct rpc_msg msg = { .payload = buf_data(&g->left),
			       .payload_len = buf_len(&g->left) };

	g->frozen = false;
	if (msg.payload_len) {
		b = block_new(NULL, &msg, false);
		if (b)
			list_add_head(&g->in, &b->link);
		buf_free(&g->left);
	}
	write_in(g);
	if (!g->dead)
		pump(g);
}

void gstream_leave(struct gstream *g)
{
	struct buf rest = { .max = LEFT_MAX };

	buf_add(&rest, buf_data(&g->left), buf_len(&g->left));
	/* Part of a block may have been written: that part is in `left`. */
	list_each_safe(b, &g->in, struct block, link) {
		if (b->at) {
			buf_add(&rest, b->data + b->at, b->len - b->at);
			block_answer(b, 0);
		} else {
			block_answer(b, -ESTALE);
		}
	}
	tell_left(g, true, buf_data(&rest), buf_len(&rest));
	buf_free(&rest);
	gstream_free(g);
}

/* ---- life ---------------------------------------------------------------------------------- */

static int make_ends(unsigned flags, const void *tty, size_t tty_len,
		     int *ret_near, int *ret_far)
{
	int p[2], r = 0;

	if (flags & STREAM_TTY)
		return tty_open(tty, tty_len, ret_near, ret_far);
	if ((flags & 3) == 3) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p))
			return -errno;
	} else {
		if (pipe2(p, O_CLOEXEC))
			return -errno;
		if (flags & STREAM_READ) {
			r = p[0];
			p[0] = p[1];
			p[1] = r;
		}
	}
	r = fd_nonblock(p[0], 1);
	if (r) {
		close(p[0]);
		close(p[1]);
		return r;
	}
	*ret_near = p[0];
	*ret_far = p[1];
	return 0;
}

static struct gstream *make(struct migd *m, uint64_t id, int near)
{
	struct gstream *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	*g = (struct gstream){ .m = m, .id = id, .near = near };
	list_init(&g->in);
	ev_io_init(&g->rio, on_readable, near, EV_READ);
	ev_io_init(&g->wio, on_writable, near, EV_WRITE);
	g->rio.data = g->wio.data = g;
	if (map_put(&m->gstreams, id, &g->node)) {
		free(g);
		return NULL;
	}
	return g;
}

int gstream_new(struct migd *m, uint64_t id, uint32_t home, uint32_t pid,
		unsigned flags, const void *tty, size_t tty_len, int *ret_fd,
		struct gstream **ret)
{
	struct gstream *g;
	struct stat st;
	int near, far, r;

	if (!(flags & 3) || gstream_find(m, id))
		return -EINVAL;
	r = make_ends(flags, tty, tty_len, &near, &far);
	if (r)
		return r;
	g = fstat(far, &st) ? NULL : make(m, id, near);
	if (!g) {
		close(near);
		close(far);
		return -ENOMEM;
	}
	g->home = home;
	g->pid = pid;
	g->flags = flags;
	g->dev = st.st_dev;
	g->ino = st.st_ino;
	g->rdev = st.st_rdev;
	keep(g);
	pump(g);
	*ret_fd = far;
	*ret = g;
	return 0;
}

void gstream_adopt(struct migd *m, const void *data, size_t len, int *fds,
		   size_t nfds)
{
	uint64_t v[9];
	struct gstream *g = NULL;

	if (len == sizeof(v) && nfds == 1) {
		memcpy(v, data, sizeof(v));
		g = make(m, v[0], fds[0]);
	}
	if (!g) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return;
	}
	g->home = (uint32_t)v[1];
	g->pid = (uint32_t)v[2];
	g->flags = (unsigned)v[3];
	g->dev = v[4];
	g->ino = v[5];
	g->rdev = v[6];
	g->read_done = v[7] != 0;
	g->write_done = v[8] != 0;
	pump(g);
}

void gstreams_of_free(struct migd *m, uint32_t pid)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->gstreams, NULL); n; n = next) {
		struct gstream *g = map_entry(n, struct gstream, node);

		next = map_next(&m->gstreams, n);
		if (g->pid == pid)
			gstream_free(g);
	}
}

void gstreams_lost(struct migd *m, uint32_t home)
{
	struct map_node *next;

	for (struct map_node *n = map_next(&m->gstreams, NULL); n; n = next) {
		struct gstream *g = map_entry(n, struct gstream, node);

		next = map_next(&m->gstreams, n);
		if (g->home == home)
			gstream_free(g);
	}
}

void gstreams_free_all(struct migd *m)
{
	struct map_node *n;

	while ((n = map_next(&m->gstreams, NULL))) {
		struct gstream *g = map_entry(n, struct gstream, node);

		map_del(&m->gstreams, n);
		g->dead = true;
		ev_io_stop(m->loop, &g->rio);
		ev_io_stop(m->loop, &g->wio);
		blocks_drop(&g->in, -EPIPE);
		close(g->near);
		release(g);
	}
	map_fini(&m->gstreams);
}
