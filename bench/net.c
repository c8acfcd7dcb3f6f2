/*
 * net.c -- what the sealed wire costs, as ratios measured in one run: a 64 B
 * call against a raw TCP ping-pong, bulk data against the AEAD alone and raw
 * TCP.  One process at each end, over the loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>
#include <sodium.h>

#include "aead.h"
#include "chan.h"
#include "fd.h"
#include "rpc.h"

#define MSG	64u
#define WARM	2000
#define CALLS	20000
#define ROUNDS	5
#define BULK	(256u << 20)
#define PAYLOAD (1u << 20)

static uint8_t keys[3][2][32];
static char payload[PAYLOAD];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what, int r)
{
	fprintf(stderr, "bench net: %s: %s\n", what, strerror(-r));
	exit(1);
}

/* ---- raw TCP ---- */

static int tcp_pair(int ret[2])
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	ret[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(l, (struct sockaddr *)&sa, len) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&sa, &len) ||
	    connect(ret[0], (struct sockaddr *)&sa, len))
		return -errno;
	ret[1] = accept(l, NULL, NULL);
	close(l);
	for (int i = 0; i < 2; i++)
		setsockopt(ret[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return ret[1] < 0 ? -errno : 0;
}

static void raw_server(int fd)
{
	uint8_t msg[MSG];

	while (fd_read_full(fd, msg, sizeof(msg)) == 0)
		if (fd_write_full(fd, msg, sizeof(msg)))
			break;
	_exit(0);
}

static double raw_ping(int fd)
{
	uint8_t msg[MSG] = {0};
	double begin = 0;

	for (int i = -WARM; i < CALLS; i++) {
		if (i == 0)
			begin = now();
		if (fd_write_full(fd, msg, sizeof(msg)) ||
		    fd_read_full(fd, msg, sizeof(msg)))
			die("raw ping", -EIO);
	}
	return (now() - begin) / CALLS * 1e6;
}

static double raw_bulk(void)
{
	int fd[2], r = tcp_pair(fd);
	double begin;
	pid_t pid;

	if (r)
		die("raw bulk", r);
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		for (size_t n = 0; n < BULK; n += PAYLOAD)
			if (fd_read_full(fd[1], payload, PAYLOAD))
				_exit(1);
		_exit(write(fd[1], "k", 1) != 1);
	}
	close(fd[1]);
	begin = now();
	for (size_t n = 0; n < BULK; n += PAYLOAD)
		if (fd_write_full(fd[0], payload, PAYLOAD))
			die("raw bulk", -EIO);
	if (fd_read_full(fd[0], payload, 1))
		die("raw bulk", -EIO);
	begin = now() - begin;
	close(fd[0]);
	waitpid(pid, NULL, 0);
	return BULK / begin / 1e6;
}

/* The slower of sealing and opening, as a connection's two ends do both. */
static double aead_alone(void)
{
	static uint8_t plain[65536], sealed[65536 + SECURE_TAG];
	double begin, seal, open;
	struct aead a;

	aead_init(&a, secure_fastest(), keys[1][0]);
	begin = now();
	for (uint64_t n = 0; n < BULK / sizeof(plain); n++)
		aead_seal(&a, 0, plain, sizeof(plain), sealed);
	seal = now() - begin;
	begin = now();
	for (uint64_t n = 0; n < BULK / sizeof(plain); n++)
		if (aead_open(&a, 0, sealed, sizeof(sealed), plain))
			die("aead", -EBADMSG);
	open = now() - begin;
	return BULK / (seal > open ? seal : open) / 1e6;
}

/* ---- sealed ---- */

static int key_of(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	memcpy(ret, keys[host][1], 32);
	return 0;
}

static void echo(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	struct rpc_out o = {.code = m->code, .body = m->body, .len = m->len};

	(void)arg;
	rpc_reply(q, 0, &o);
}

static void sink(void *arg, uint32_t host, uint64_t token, struct chan *c)
{
	static uint8_t buf[PAYLOAD];

	(void)arg;
	(void)host;
	(void)token;
	for (size_t n = 0; n < BULK; n += PAYLOAD)
		if (chan_read(c, buf, sizeof(buf)))
			_exit(1);
	(void)chan_write(c, "k", 1);
	chan_close(c);
}

static struct rpc *make_rpc(struct ev_loop *loop, uint32_t host,
			    enum rpc_service s)
{
	struct rpc_identity id = {.host = host, .service = s};
	struct rpc_handler h = {.on_request = echo};

	memcpy(id.secret, keys[host][0], 32);
	memcpy(id.public_key, keys[host][1], 32);
	return rpc_new(env_ev_new(loop), &id, key_of, NULL, &h);
}

static pid_t sealed_server(uint16_t *ret_port, const char *path)
{
	int ready[2];
	pid_t pid;

	if (pipe(ready))
		die("pipe", -errno);
	pid = fork();
	if (pid == 0) {
		struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
		struct rpc *r = make_rpc(loop, 2, SVC_FSD);
		uint16_t port = (uint16_t)(30000 + getpid() % 10000);

		while (rpc_listen_tcp(r, "127.0.0.1", port))
			port++;
		rpc_listen_unix(r, path, 0600);
		rpc_accept_chan(r, sink, NULL);
		if (write(ready[1], &port, sizeof(port)) < 0)
			_exit(1);
		ev_run(loop, 0);
	}
	if (fd_read_full(ready[0], ret_port, sizeof(*ret_port)))
		die("server", -EIO);
	return pid;
}

struct run {
	struct ev_loop *loop;
	struct rpc_peer *peer;
	int left;
	size_t payload;
	int window;
	double begin;
};

static void next(struct run *run);

static void answered(void *arg, int status, const struct rpc_msg *m)
{
	struct run *run = arg;

	(void)m;
	if (status)
		die("call", status);
	if (--run->left <= 0)
		ev_break(run->loop, EVBREAK_ALL);
	else
		next(run);
}

static void next(struct run *run)
{
	static const uint8_t body[MSG];
	struct rpc_out o = {.code = 0x7001, .body = body, .len = MSG};
	static void (*const keep)(void *) = free;
	int r;

	if (run->payload) {
		o.payload = payload;
		o.payload_len = run->payload;
		o.free_payload = keep;
		o.free_arg = NULL;
	}
	r = rpc_call(run->peer, &o, 30000, 0, answered, run, NULL);
	if (r)
		die("call", r);
}

static void calls(struct run *run, int n, size_t bytes, int window)
{
	run->left = n;
	run->payload = bytes;
	for (int i = 0; i < window; i++)
		next(run);
	ev_run(run->loop, 0);
	/* The rest of the window. */
	while (run->left > 1 - window)
		ev_run(run->loop, EVRUN_ONCE);
}

static double sealed_ping(struct run *run)
{
	double begin;

	calls(run, WARM, 0, 1);
	begin = now();
	calls(run, CALLS, 0, 1);
	return (now() - begin) / CALLS * 1e6;
}

static double sealed_bulk(struct run *run)
{
	double begin = now();

	calls(run, BULK / PAYLOAD, PAYLOAD, 8);
	return BULK / (now() - begin) / 1e6;
}

static double chan_bulk(uint16_t port)
{
	struct rpc_identity id = {.host = 1, .service = SVC_MIGD};
	struct chan *c;
	double begin;
	int r;

	memcpy(id.secret, keys[1][0], 32);
	memcpy(id.public_key, keys[1][1], 32);
	r = chan_connect(&id, 2, SVC_FSD, keys[2][1], "127.0.0.1", port, 1,
			 5000, &c);
	if (r)
		die("chan", r);
	begin = now();
	for (size_t n = 0; n < BULK && !r; n += PAYLOAD)
		r = chan_write(c, payload, PAYLOAD);
	if (!r)
		r = chan_read(c, payload, 1);
	if (r)
		die("chan", r);
	begin = now() - begin;
	chan_close(c);
	return BULK / begin / 1e6;
}

static double best(double a, double b, int lower)
{
	return a == 0 || (lower ? b < a : b > a) ? b : a;
}

int main(void)
{
	char path[64];
	struct ev_loop *loop;
	struct rpc *r;
	struct run tcp, local;
	double raw = 0, call = 0, unix_call = 0, aead = 0, wire = 0, bulk = 0,
	       chan = 0, bound;
	int fd[2];
	uint16_t port;
	pid_t server, raw_pid;

	if (sodium_init() < 0 || tcp_pair(fd))
		die("start", -EIO);
	for (int i = 1; i <= 2; i++) {
		randombytes_buf(keys[i][0], 32);
		crypto_scalarmult_base(keys[i][1], keys[i][0]);
	}
	snprintf(path, sizeof(path), "/tmp/sprite-bench-net.%d", getpid());
	server = sealed_server(&port, path);
	raw_pid = fork();
	if (raw_pid == 0) {
		close(fd[0]);
		raw_server(fd[1]);
	}
	close(fd[1]);
	loop = ev_loop_new(EVFLAG_AUTO);
	r = make_rpc(loop, 1, SVC_MIGD);
	tcp = (struct run){.loop = loop};
	local = tcp;
	tcp.peer = rpc_peer_get(r, 2, SVC_FSD, "127.0.0.1", port);
	/* As a daemon of the server's own host. */
	local.peer = rpc_peer_unix(make_rpc(loop, 2, SVC_MIGD), SVC_FSD, path);
	for (int i = 0; i < ROUNDS; i++) {
		unix_call = best(unix_call, sealed_ping(&local), 1);
		raw = best(raw, raw_ping(fd[0]), 1);
		call = best(call, sealed_ping(&tcp), 1);
		aead = best(aead, aead_alone(), 0);
		wire = best(wire, raw_bulk(), 0);
		bulk = best(bulk, sealed_bulk(&tcp), 0);
		chan = best(chan, chan_bulk(port), 0);
	}
	kill(server, SIGTERM);
	close(fd[0]);
	waitpid(server, NULL, 0);
	waitpid(raw_pid, NULL, 0);
	unlink(path);
	bound = aead < wire ? aead : wire;
	printf("net: sealed 64 B call %.1f us, raw TCP %.1f us: %.2fx (budget "
	       "2.00x)\n",
	       call, raw, call / raw);
	printf("net: local 64 B call %.1f us: %.2fx raw TCP\n", unix_call,
	       unix_call / raw);
	printf("net: bulk calls %.0f MB/s, bound %.0f (AEAD %.0f, TCP %.0f): "
	       "%.0f %% (budget 80 %%)\n",
	       bulk, bound, aead, wire, 100 * bulk / bound);
	printf("net: channel %.0f MB/s: %.0f %% of the bound (budget 80 %%)\n",
	       chan, 100 * chan / bound);
	return 0;
}
