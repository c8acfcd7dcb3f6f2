/*
 * test_library.c -- a program with libsprite, its fsd's broker and registry,
 * and the fsd of another host: real sockets, sealed between the hosts, all in
 * one process.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ev.h>
#include <sodium.h>

#include "log.h"
#include "pdev_hooks.h"
#include "sprite/pdev.h"

#define WAIT_SECS 10.0

static char dir[64];
static struct ev_loop *loop;
static struct env *env;
static uint8_t keys[3][2][32];
static struct rpc *server_rpc, *client_rpc;
static struct pdev *server;
static struct hostconf conf;
static struct roster *roster;
static uint16_t port;
static struct rpc_peer *peer;
static struct sprite_pdev *dev;
static struct ev_io dev_io;
static int dev_end;

/* What the program saw and shall do. */
static struct {
	int served_status;
	bool served, opened, closed, cancelled;
	char sentence[256];
	struct sprite_pdev_client who;
	struct sprite_pdev_stream *s;
	struct sprite_pdev_request *held;
	char data[256];
	size_t len;
	bool hold;
	int refuse;
} seen;

/* What the other host's fsd heard. */
static struct {
	bool done, ready;
	int status;
	uint16_t code;
	uint8_t body[256];
	size_t len;
	uint8_t payload[512];
	size_t payload_len;
	uint32_t bits;
} heard;

/* ---- the world ---- */

static int key_of(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	if (host < 1 || host > 2)
		return -ENOENT;
	memcpy(ret, keys[host][1], 32);
	return 0;
}

static void on_request(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	(void)arg;
	if (server)
		pdev_request(server, q, m);
	else
		rpc_reply(q, -EIO, NULL);
}

static void on_note(void *arg, struct rpc_conn *c, const struct rpc_msg *m)
{
	(void)arg;
	if (server)
		pdev_note(server, c, m);
}

static void on_open(void *arg, struct rpc_conn *c)
{
	(void)arg;
	pdev_conn_open(server, c);
}

static void on_close(void *arg, struct rpc_conn *c)
{
	(void)arg;
	pdev_conn_close(server, c);
}

static void on_client_note(void *arg, struct rpc_conn *c, const struct rpc_msg *m)
{
	struct msg_pdev_ready rd;

	(void)arg;
	(void)c;
	if (m->code != MSG_pdev_ready ||
	    msg_pdev_ready_decode(m->body, m->len, &rd))
		return;
	heard.ready = true;
	heard.bits = rd.bits;
}

static struct rpc *rpc_of(uint32_t host, const struct rpc_handler *h)
{
	struct rpc_identity id = { .host = host, .service = SVC_FSD };
	struct rpc *r;

	memcpy(id.secret, keys[host][0], 32);
	memcpy(id.public_key, keys[host][1], 32);
	r = rpc_new(env, &id, key_of, NULL, h);
	cr_assert_not_null(r);
	return r;
}

static void no_wake(void *arg, struct fuse_pollhandle *ph)
{
	(void)arg;
	(void)ph;
}

static void start(void)
{
	static const struct rpc_handler h = { .on_request = on_request,
					      .on_note = on_note,
					      .on_open = on_open,
					      .on_close = on_close };
	static const struct rpc_handler ch = { .on_note = on_client_note };
	char path[128];
	int r;

	log_level = LOG_ERROR;
	cr_assert(sodium_init() >= 0);
	strcpy(dir, "/tmp/sprite-pdev-test.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	setenv("SPRITE_RUN", dir, 1);
	setenv("SPRITE_STATE", dir, 1);
	for (int i = 1; i <= 2; i++) {
		randombytes_buf(keys[i][0], 32);
		crypto_scalarmult_base(keys[i][1], keys[i][0]);
	}
	memset(&seen, 0, sizeof(seen));
	memset(&heard, 0, sizeof(heard));
	loop = ev_loop_new(EVFLAG_AUTO);
	env = env_ev_new(loop);
	hostconf_init(&conf);
	conf.host = 1;
	strcpy(conf.name, "h1");
	strcpy(conf.mount, "/sprite");
	roster = roster_new(&conf, NULL, NULL);
	cr_assert_not_null(roster);
	server_rpc = rpc_of(1, &h);
	client_rpc = rpc_of(2, &ch);
	r = pdev_new(&(struct pdev_conf){ .env = env,
					  .rpc = server_rpc,
					  .roster = roster,
					  .host = &conf,
					  .wake = no_wake },
		     &server);
	cr_assert_eq(r, 0);
	snprintf(path, sizeof(path), "%s/fsd.sock", dir);
	cr_assert_eq(rpc_listen_unix(server_rpc, path, 0666), 0);
	for (port = (uint16_t)(20000 + getpid() % 20000);; port++) {
		r = rpc_listen_tcp(server_rpc, "127.0.0.1", port);
		if (r != -EADDRINUSE)
			break;
	}
	cr_assert_eq(r, 0);
	peer = rpc_peer_get(client_rpc, 1, SVC_FSD, "127.0.0.1", port);
}

static void leave(void)
{
	if (!dev)
		return;
	ev_io_stop(loop, &dev_io);
	sprite_pdev_close(dev);
	dev = NULL;
}

static void stop(void)
{
	struct pdev *p = server;
	char path[128];

	leave();
	server = NULL;
	pdev_free(p);
	rpc_free(client_rpc);
	if (server_rpc)
		rpc_free(server_rpc);
	roster_free(roster);
	env_ev_free(env);
	ev_loop_destroy(loop);
	client_rpc = server_rpc = NULL;
	roster = NULL;
	env = NULL;
	loop = NULL;
	snprintf(path, sizeof(path), "%s/fsd.sock", dir);
	unlink(path);
	rmdir(dir);
}

TestSuite(library, .init = start, .fini = stop, .timeout = 30);

static void on_late(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)revents;
	w->data = w;
	ev_break(l, EVBREAK_ALL);
}

static void until(const bool *flag)
{
	ev_timer late;

	ev_timer_init(&late, on_late, WAIT_SECS, 0);
	late.data = NULL;
	ev_timer_start(loop, &late);
	while (!*flag && !late.data)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &late);
	cr_assert(*flag, "it did not happen in time");
}

/* ---- the program ---- */

static void on_dev(struct ev_loop *l, ev_io *w, int revents)
{
	int events;

	(void)revents;
	dev_end = sprite_pdev_dispatch(dev);
	ev_io_stop(l, w);
	if (dev_end)
		return;
	events = sprite_pdev_events(dev) & POLLOUT ? EV_READ | EV_WRITE :
						     EV_READ;
	ev_io_set(w, sprite_pdev_fd(dev), events);
	ev_io_start(l, w);
}

static void p_served(void *arg, int status, const char *sentence)
{
	(void)arg;
	seen.served = true;
	seen.served_status = status;
	snprintf(seen.sentence, sizeof(seen.sentence), "%s", sentence);
}

static int p_open(void *arg, struct sprite_pdev_stream *s,
		  struct sprite_pdev_request *q)
{
	(void)arg;
	(void)q;
	seen.opened = true;
	seen.s = s;
	seen.who = *sprite_pdev_stream_client(s);
	return seen.refuse;
}

static ssize_t p_read(void *arg, struct sprite_pdev_stream *s,
		      struct sprite_pdev_request *q, void *buf, size_t size)
{
	size_t n = seen.len < size ? seen.len : size;

	(void)arg;
	(void)s;
	if (seen.hold) {
		seen.held = q;
		return SPRITE_PDEV_LATER;
	}
	if (!n)
		return -EAGAIN;
	memcpy(buf, seen.data, n);
	seen.len = 0;
	return (ssize_t)n;
}

static ssize_t p_write(void *arg, struct sprite_pdev_stream *s,
		       struct sprite_pdev_request *q, const void *data,
		       size_t size)
{
	(void)arg;
	(void)s;
	(void)q;
	if (size > sizeof(seen.data))
		size = sizeof(seen.data);
	memcpy(seen.data, data, size);
	seen.len = size;
	return (ssize_t)size;
}

static int p_ioctl(void *arg, struct sprite_pdev_stream *s,
		   struct sprite_pdev_request *q, unsigned int cmd,
		   const void *in, size_t in_size, void *out, size_t out_size)
{
	(void)arg;
	(void)s;
	if (cmd == 1)
		return (int)sprite_pdev_ioctl_arg(q);
	if (cmd == 2) /* answers by itself */
		return sprite_pdev_answer(q, 5, in, in_size),
		       SPRITE_PDEV_LATER;
	if (cmd != 3 || in_size > out_size)
		return -ENOTTY;
	for (size_t i = 0; i < in_size; i++)
		((uint8_t *)out)[i] = (uint8_t)(((const uint8_t *)in)[i] + 1);
	return 7;
}

static unsigned p_poll(void *arg, struct sprite_pdev_stream *s)
{
	(void)arg;
	(void)s;
	return SPRITE_PDEV_OUT | (seen.len ? SPRITE_PDEV_IN : 0);
}

static void p_close(void *arg, struct sprite_pdev_stream *s)
{
	(void)arg;
	cr_expect_eq(s, seen.s);
	seen.closed = true;
}

static void p_cancel(void *arg, struct sprite_pdev_stream *s,
		     struct sprite_pdev_request *q)
{
	(void)arg;
	(void)s;
	cr_expect_eq(q, seen.held);
	seen.cancelled = true;
}

static const struct sprite_pdev_ops ops = { .open = p_open,
					    .read = p_read,
					    .write = p_write,
					    .ioctl = p_ioctl,
					    .poll = p_poll,
					    .close = p_close,
					    .cancel = p_cancel,
					    .served = p_served };

static void begin(const char *name)
{
	cr_assert_eq(sprite_pdev_serve(name, &ops, NULL, NULL, &dev), 0);
	ev_io_init(&dev_io, on_dev, sprite_pdev_fd(dev), EV_READ | EV_WRITE);
	ev_io_start(loop, &dev_io);
	until(&seen.served);
}

/* ---- the other host ---- */

static void on_heard(void *arg, int status, const struct rpc_msg *m)
{
	(void)arg;
	heard.done = true;
	heard.status = status;
	heard.len = heard.payload_len = 0;
	if (!m)
		return;
	heard.code = m->code;
	heard.len = m->len < 256 ? m->len : 256;
	memcpy(heard.body, m->body, heard.len);
	heard.payload_len = m->payload_len < 512 ? m->payload_len : 512;
	if (heard.payload_len)
		memcpy(heard.payload, m->payload, heard.payload_len);
}

static void ask(uint16_t code, const void *body, size_t len,
		const void *payload, size_t n)
{
	struct rpc_out o = { .code = code,
			     .body = body,
			     .len = len,
			     .payload = payload,
			     .payload_len = n };

	heard.done = false;
	cr_assert_eq(rpc_call(peer, &o, 20000, 0, on_heard, NULL, NULL), 0);
}

#define ASK(name, payload, n, ...)                                         \
	do {                                                               \
		struct msg_##name ask_m = { __VA_ARGS__ };                 \
		uint8_t ask_b[512];                                        \
		size_t ask_n;                                              \
		cr_assert_eq(msg_##name##_encode(&ask_m, ask_b,            \
						 sizeof(ask_b), &ask_n),   \
			     0);                                           \
		ask(MSG_##name, ask_b, ask_n, payload, n);                 \
	} while (0)

static uint64_t open_it(void)
{
	struct msg_pdev_opened m;

	ASK(pdev_open, NULL, 0, .name = "hosts/h1/echo", .host_name = "",
	    .pid = 77, .uid = 3, .gid = 4, .flags = O_RDWR);
	until(&heard.done);
	if (heard.status)
		return 0;
	cr_assert_eq(msg_pdev_opened_decode(heard.body, heard.len, &m), 0);
	heard.bits = m.ready;
	return m.stream;
}

static int64_t result(void)
{
	struct msg_pdev_done m;

	until(&heard.done);
	if (heard.status)
		return heard.status;
	cr_assert_eq(msg_pdev_done_decode(heard.body, heard.len, &m), 0);
	return m.result;
}

/* ---- what is promised ---- */

Test(library, data_goes_both_ways)
{
	uint64_t s;

	begin("/sprite/hosts/h1/echo");
	s = open_it();
	cr_assert(s);
	cr_expect_eq(heard.bits, SPRITE_PDEV_OUT, "asked of the poll callback");
	cr_expect_eq(seen.who.host, 2);
	cr_expect_eq(seen.who.pid, 77);
	cr_expect_eq(seen.who.uid, 3);
	cr_expect_eq(seen.who.flags, O_RDWR);
	ASK(pdev_write, "hello", 5, .stream = s, .req = 1);
	cr_expect_eq(result(), 5);
	cr_expect(heard.ready, "told before the answer");
	cr_expect_eq(heard.bits, SPRITE_PDEV_OUT | SPRITE_PDEV_IN);
	ASK(pdev_read, NULL, 0, .stream = s, .req = 2, .size = 100);
	cr_expect_eq(result(), 5);
	cr_expect_eq(heard.payload_len, 5);
	cr_expect_eq(memcmp(heard.payload, "hello", 5), 0);
	cr_expect_eq(heard.bits, SPRITE_PDEV_OUT);
	ASK(pdev_read, NULL, 0, .stream = s, .req = 3, .size = 100);
	cr_expect_eq(result(), -EAGAIN);
	ASK(pdev_close, NULL, 0, .stream = s);
	until(&heard.done);
	until(&seen.closed);
	cr_expect_eq(pdev_counts(server).streams_served, 0);
}

Test(library, ioctl_has_data_arguments_and_a_result)
{
	uint64_t s;

	begin("hosts/h1/echo");
	s = open_it();
	ASK(pdev_ioctl, "abc", 3, .stream = s, .cmd = 3, .out_size = 4);
	cr_expect_eq(result(), 7);
	cr_expect_eq(heard.payload_len, 4);
	cr_expect_eq(memcmp(heard.payload, "bcd\0", 4), 0);
	ASK(pdev_ioctl, NULL, 0, .stream = s, .cmd = 1, .arg = 42);
	cr_expect_eq(result(), 42);
	ASK(pdev_ioctl, "xy", 2, .stream = s, .cmd = 2, .out_size = 2);
	cr_expect_eq(result(), 5);
	cr_expect_eq(memcmp(heard.payload, "xy", 2), 0);
	ASK(pdev_ioctl, NULL, 0, .stream = s, .cmd = 9);
	cr_expect_eq(result(), -ENOTTY);
}

Test(library, an_answer_may_come_later)
{
	uint64_t s;

	begin("hosts/h1/echo");
	s = open_it();
	seen.hold = true;
	ASK(pdev_read, NULL, 0, .stream = s, .req = 1, .size = 10);
	while (!seen.held)
		ev_run(loop, EVRUN_ONCE);
	cr_expect_eq(sprite_pdev_answer(seen.held, 20, "x", 20), -EMSGSIZE);
	cr_expect_eq(sprite_pdev_answer(seen.held, 4, "late", 4), 0);
	cr_expect_eq(result(), 4);
	cr_expect_eq(memcmp(heard.payload, "late", 4), 0);
}

Test(library, a_cancelled_request_comes_back)
{
	struct msg_pdev_cancel m = { .req = 1 };
	uint8_t body[32];
	size_t len;

	begin("hosts/h1/echo");
	m.stream = open_it();
	seen.hold = true;
	ASK(pdev_read, NULL, 0, .stream = m.stream, .req = 1, .size = 10);
	while (!seen.held)
		ev_run(loop, EVRUN_ONCE);
	cr_assert_eq(msg_pdev_cancel_encode(&m, body, sizeof(body), &len), 0);
	cr_assert_eq(rpc_peer_note(peer, &(struct rpc_out){
						 .code = MSG_pdev_cancel,
						 .body = body,
						 .len = len }),
		     0);
	cr_expect_eq(result(), -EINTR);
	cr_expect(seen.cancelled);
}

Test(library, a_second_server_is_told_who_has_the_name)
{
	struct sprite_pdev *second = NULL;
	int r = 0;

	begin("hosts/h1/echo");
	seen.served = false;
	cr_assert_eq(sprite_pdev_serve("hosts/h1/echo", &ops, NULL, NULL,
				       &second),
		     0);
	while (!seen.served) {
		ev_run(loop, EVRUN_NOWAIT);
		r = sprite_pdev_dispatch(second);
	}
	cr_expect_eq(seen.served_status, -EBUSY);
	cr_expect_eq(r, -EBUSY);
	cr_expect_not_null(strstr(seen.sentence, "already"), "%s",
			   seen.sentence);
	sprite_pdev_close(second);
}

Test(library, what_is_not_allowed_is_refused)
{
	struct sprite_pdev_options o = { .timeout_ms = 5 };
	struct sprite_pdev *d;

	cr_expect_eq(sprite_pdev_serve("svc/a", &ops, &o, NULL, &d), -EINVAL);
	o = (struct sprite_pdev_options){ .socket = "/nowhere/fsd.sock" };
	cr_expect_eq(sprite_pdev_serve("svc/a", &ops, &o, NULL, &d), -ENOENT);
	begin("/tmp/echo");
	cr_expect_eq(seen.served_status, -EINVAL);
}

Test(library, a_program_that_leaves_is_an_error_and_its_name_is_free)
{
	uint64_t s;

	begin("hosts/h1/echo");
	s = open_it();
	seen.hold = true;
	ASK(pdev_read, NULL, 0, .stream = s, .req = 1, .size = 10);
	while (!seen.held)
		ev_run(loop, EVRUN_ONCE);
	heard.ready = false;
	leave();
	cr_expect(seen.closed);
	cr_expect_eq(result(), -EIO);
	until(&heard.ready);
	cr_expect(heard.bits & SPRITE_PDEV_HUP);
	ASK(pdev_read, NULL, 0, .stream = s, .req = 2, .size = 10);
	cr_expect_eq(result(), -EIO);
	seen.hold = seen.served = false;
	cr_expect_eq(open_it(), 0);
	cr_expect_eq(heard.status, -ENXIO);
	begin("hosts/h1/echo");
	cr_expect_eq(seen.served_status, 0);
	cr_expect_neq(open_it(), 0);
}

Test(library, a_refused_open_has_the_programs_errno)
{
	begin("hosts/h1/echo");
	seen.refuse = -EDQUOT;
	cr_expect_eq(open_it(), 0);
	cr_expect_eq(heard.status, -EDQUOT);
	cr_expect_null(sprite_pdev_stream_next(dev, NULL));
}

Test(library, names_are_found_and_listed)
{
	struct msg_pdev_found f;
	struct msg_pdev_listed l;
	struct wire_reader r;
	struct msg_pdev_name one;

	begin("hosts/h1/echo");
	ASK(pdev_find, NULL, 0, .name = "hosts/h1/echo");
	until(&heard.done);
	cr_assert_eq(msg_pdev_found_decode(heard.body, heard.len, &f), 0);
	cr_expect_eq(f.host, 1);
	cr_expect_eq(f.mode, 0666);
	ASK(pdev_find, NULL, 0, .name = "hosts/h1/other");
	until(&heard.done);
	cr_expect_eq(heard.status, -ENOENT);
	ASK(pdev_list, NULL, 0, .dir = "hosts/h1", .after = "");
	until(&heard.done);
	cr_assert_eq(msg_pdev_listed_decode(heard.body, heard.len, &l), 0);
	r = wire_reader(l.names.p, l.names.len);
	one = msg_pdev_name_get(&r);
	cr_expect_str_eq(one.name, "echo");
	cr_expect_eq(r.left, 0);
}

Test(library, the_end_of_fsd_ends_the_service)
{
	struct pdev *p;

	begin("hosts/h1/echo");
	cr_assert_neq(open_it(), 0);
	p = server;
	server = NULL;
	pdev_free(p);
	rpc_free(server_rpc);
	server_rpc = NULL;
	while (!dev_end)
		ev_run(loop, EVRUN_ONCE);
	cr_expect_eq(dev_end, -EPIPE);
	cr_expect(seen.closed);
}
