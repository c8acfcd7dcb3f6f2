/* test_chan.c -- blocking channels against a daemon's one port. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chan.h"
#include "pair.h"

static struct node b;
static struct chan *server;
static uint32_t server_host;
static uint64_t server_token;
static bool have_server;

static void start(void)
{
	pair_init();
	b = (struct node){0};
	node_start(&b, 2, SVC_MIGD, 0);
	node_listen(&b);
}

static void stop(void)
{
	chan_close(server);
	server = NULL;
	node_stop(&b);
	pair_fini();
}

TestSuite(chan, .init = start, .fini = stop, .timeout = 30);

static void on_chan(void *arg, uint32_t host, uint64_t token, struct chan *c)
{
	(void)arg;
	server = c;
	server_host = host;
	server_token = token;
	have_server = true;
}

struct connecting {
	struct chan *c;
	int r;
	int end[2];
	uint32_t as;
	uint16_t port;
	enum rpc_service service;
	uint8_t key[32];
};

/* chan_connect blocks, and the server's loop is ours. */
static void *connect_thread(void *arg)
{
	struct connecting *t = arg;
	struct rpc_identity id = {.host = t->as, .service = SVC_MIGD};

	memcpy(id.secret, keys[1][0], 32);
	memcpy(id.public_key, keys[1][1], 32);
	t->r = chan_connect(&id, 2, t->service, t->key, "127.0.0.1", t->port,
			    0x1122334455667788u, 3000, &t->c);
	cr_assert_eq(write(t->end[1], "x", 1), 1);
	return NULL;
}

static void on_end(struct ev_loop *l, struct ev_io *w, int revents)
{
	(void)revents;
	ev_io_stop(l, w);
	*(bool *)w->data = true;
}

static struct connecting connect_it(uint32_t as, enum rpc_service s,
				    const uint8_t key[32])
{
	struct connecting t = {.as = as, .service = s, .port = b.port};
	bool over = false;
	pthread_t th;
	struct ev_io w;

	memcpy(t.key, key, 32);
	cr_assert_eq(pipe(t.end), 0);
	ev_io_init(&w, on_end, t.end[0], EV_READ);
	w.data = &over;
	ev_io_start(loop, &w);
	cr_assert_eq(pthread_create(&th, NULL, connect_thread, &t), 0);
	cr_expect(run_until(&over));
	pthread_join(th, NULL);
	close(t.end[0]);
	close(t.end[1]);
	return t;
}

static struct chan *connected(void)
{
	struct connecting t;

	rpc_accept_chan(b.r, on_chan, NULL);
	t = connect_it(1, SVC_MIGD, keys[2][1]);
	cr_assert_eq(t.r, 0, "%s", strerror(-t.r));
	cr_assert(run_until(&have_server));
	settle();
	return t.c;
}

Test(chan, is_handed_over_with_host_and_token)
{
	struct chan *c = connected();

	cr_expect_eq(server_host, 1);
	cr_expect_eq(server_token, 0x1122334455667788u);
	cr_expect_eq(b.opened, 0);
	chan_close(c);
}

Test(chan, is_refused_where_nobody_takes_it)
{
	struct connecting t = connect_it(1, SVC_MIGD, keys[2][1]);

	cr_expect_eq(t.r, -EOPNOTSUPP, "%d", t.r);
}

Test(chan, is_refused_to_strangers_and_at_the_wrong_door)
{
	rpc_accept_chan(b.r, on_chan, NULL);
	cr_expect_eq(connect_it(3, SVC_MIGD, keys[2][1]).r, -EKEYREJECTED);
	cr_expect_eq(connect_it(1, SVC_MIGD, keys[3][1]).r, -EKEYREJECTED);
	cr_expect_eq(connect_it(1, SVC_FSD, keys[2][1]).r, -ECONNREFUSED);
	cr_expect(!have_server);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 11 + (i >> 9));
}

static const size_t sizes[] = {1,     100,    5000, 65535,  65536,
			       65537, 131072, 7,    300001, 1 << 20};

/* In a process of its own, as a mover has it. */
static int writer(struct chan *c)
{
	static uint8_t data[1 << 20];
	uint8_t ok;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (size_t j = 0; j < sizes[i]; j++)
			data[j] = byte_at(j + i);
		if (chan_write(c, data, sizes[i]))
			return 1;
		if (i % 3 == 0 && chan_flush(c))
			return 2;
	}
	if (chan_read(c, &ok, 1) || ok != 'k')
		return 3;
	chan_close(c);
	return 0;
}

Test(chan, bytes_arrive_in_order_over_a_fork)
{
	static uint8_t data[1 << 20];
	struct chan *c = connected();
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(writer(c));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size_t half = sizes[i] / 3;

		cr_assert_eq(chan_read(server, data, half), 0);
		cr_assert_eq(chan_read(server, data + half, sizes[i] - half),
			     0);
		for (size_t j = 0; j < sizes[i]; j++)
			cr_assert_eq(data[j], byte_at(j + i));
	}
	cr_assert_eq(chan_write(server, "k", 1), 0);
	cr_assert_eq(chan_flush(server), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	chan_close(c);
}

Test(chan, silence_is_a_timeout_and_not_the_end)
{
	struct chan *c = connected();
	char x;

	chan_set_timeout(server, 30);
	cr_expect_eq(chan_read(server, &x, 1), -ETIMEDOUT);
	cr_assert_eq(chan_write(c, "y", 1), 0);
	cr_assert_eq(chan_flush(c), 0);
	chan_set_timeout(server, 3000);
	cr_expect_eq(chan_read(server, &x, 1), 0);
	cr_expect_eq(x, 'y');
	chan_close(c);
}

Test(chan, the_end_is_EPIPE)
{
	struct chan *c = connected();
	char x[3];

	cr_assert_eq(chan_write(c, "ab", 2), 0);
	chan_close(c);
	cr_expect_eq(chan_read(server, x, 2), 0, "what was written arrives");
	cr_expect_eq(chan_read(server, x, 1), -EPIPE);
	cr_expect_eq(chan_read(server, x, 1), -EPIPE);
}

Test(chan, pending_says_what_poll_cannot_see)
{
	struct chan *c = connected();
	struct pollfd p = {.fd = chan_fd(server), .events = POLLIN};
	char x[10];

	cr_assert_eq(chan_write(c, "0123456789", 10), 0);
	cr_assert_eq(chan_flush(c), 0);
	cr_assert_eq(poll(&p, 1, 3000), 1);
	cr_assert_eq(chan_read(server, x, 4), 0);
	cr_expect_eq(poll(&p, 1, 0), 0);
	cr_expect_eq(chan_pending(server), 6);
	cr_assert_eq(chan_read(server, x, 6), 0);
	cr_expect_eq(chan_pending(server), 0);
	chan_close(c);
}
