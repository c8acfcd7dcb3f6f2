/* test_client.c -- the synchronous client against a daemon in a thread. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "client.h"
#include "pair.h"
#include "token.h"

static struct node b;
static pthread_t thread;
static struct ev_async wake;
static uint8_t psk[32];
static void (*job)(void);
static sem_t job_done;

static void on_wake(struct ev_loop *l, struct ev_async *w, int revents)
{
	(void)w;
	(void)revents;
	if (!job) {
		ev_break(l, EVBREAK_ALL);
		return;
	}
	job();
	job = NULL;
	sem_post(&job_done);
}

static void *run_loop(void *arg)
{
	(void)arg;
	ev_run(loop, 0);
	return NULL;
}

/* In the daemon's thread. */
static void there(void (*fn)(void))
{
	job = fn;
	ev_async_send(loop, &wake);
	while (sem_wait(&job_done))
		continue;
}

static int psk_of(void *arg, uint64_t token, uint8_t ret[32])
{
	(void)arg;
	memcpy(ret, psk, 32);
	return token == 5 ? 0 : -ENOENT;
}

static void start(void)
{
	pair_init();
	b = (struct node){0};
	node_start(&b, 2, SVC_NAMED, 0);
	node_listen(&b);
	memset(psk, 7, sizeof(psk));
	rpc_admit_joiners(b.r, psk_of, NULL);
	sem_init(&job_done, 0, 0);
	ev_async_init(&wake, on_wake);
	ev_async_start(loop, &wake);
	cr_assert_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
}

static void stop(void)
{
	ev_async_send(loop, &wake);
	pthread_join(thread, NULL);
	ev_async_stop(loop, &wake);
	node_stop(&b);
	pair_fini();
}

TestSuite(client, .init = start, .fini = stop, .timeout = 20);

static struct client *open_it(void)
{
	struct client *c = NULL;

	cr_assert_eq(client_open(b.path, 3000, &c), 0);
	return c;
}

static void echo(struct client *c, size_t len, size_t payload)
{
	static uint8_t data[RPC_PAYLOAD_MAX];
	struct rpc_out o = {.code = CODE_ECHO,
			    .body = data,
			    .len = len,
			    .payload = data,
			    .payload_len = payload};
	struct client_reply r;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 3 + (i >> 10));
	cr_assert_eq(client_call(c, &o, 0, &r), 0);
	cr_expect_eq(r.status, 0);
	cr_assert_eq(buf_len(&r.body), len);
	cr_assert_eq(buf_len(&r.payload), payload);
	cr_expect(!len || !memcmp(buf_data(&r.body), data, len));
	cr_expect(!payload || !memcmp(buf_data(&r.payload), data, payload));
	client_reply_free(&r);
}

Test(client, calls_are_answered)
{
	struct client *c = open_it();

	echo(c, 0, 0);
	echo(c, 10, 0);
	echo(c, 0, 100000);
	echo(c, RPC_BODY_MAX, RPC_PAYLOAD_MAX);
	cr_expect_eq(b.roles, getuid() ? ROLE_TOOL : ROLE_TOOL | ROLE_ROOT);
	client_close(c);
}

Test(client, no_daemon_is_said_at_once)
{
	struct client *c;

	cr_expect_eq(client_open("/nonexistent/x.sock", 1000, &c), -ENOENT);
}

Test(client, an_error_has_a_sentence)
{
	struct client *c = open_it();
	struct rpc_out o = {.code = 0x7999};
	struct client_reply r;

	cr_assert_eq(client_call(c, &o, 0, &r), 0);
	cr_expect_eq(r.status, -EPROTO);
	cr_expect_str_eq(client_sentence(&r), "there is no such request");
	client_reply_free(&r);
	client_close(c);
}

Test(client, descriptors_come_back)
{
	struct client *c = open_it();
	int fds[2] = {0, 1};
	struct rpc_out o = {.code = CODE_FDS, .fds = fds, .nfds = 2};
	struct client_reply r;

	for (int i = 0; i < 5; i++) {
		cr_assert_eq(client_call(c, &o, 0, &r), 0);
		cr_expect_eq(r.nfds, 2);
		cr_expect_gt(r.fds[0], 2);
		client_reply_free(&r);
	}
	client_close(c);
}

static void answer_held(void)
{
	for (unsigned i = 0; i < b.nheld; i++)
		rpc_reply(b.held[i], 0, NULL);
	b.nheld = 0;
}

Test(client, after_a_timeout_the_next_call_gets_its_own_answer)
{
	struct client *c = open_it();
	struct rpc_out o = {.code = CODE_HOLD};
	struct client_reply r;

	cr_expect_eq(client_call(c, &o, 50, &r), -ETIMEDOUT);
	there(answer_held);
	echo(c, 9, 9);
	client_close(c);
}

static void say(void)
{
	struct rpc_out o = {.code = 0x7100, .body = "hi", .len = 2};

	rpc_conn_note(b.last, &o);
	rpc_conn_note(b.last, &o);
}

Test(client, notes_are_kept_for_when_they_are_asked_for)
{
	struct client *c = open_it();
	struct client_reply r;

	echo(c, 1, 0);
	there(say);
	echo(c, 1, 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(client_note(c, 1000, &r), 0);
		cr_expect_eq(r.code, 0x7100);
		cr_expect_eq(buf_len(&r.body), 2);
		client_reply_free(&r);
	}
	cr_expect_eq(client_note(c, 20, &r), -ETIMEDOUT);
	client_close(c);
}

static void hang_up(void)
{
	rpc_conn_close(b.last);
}

Test(client, a_daemon_that_went_is_EPIPE)
{
	struct client *c = open_it();
	struct rpc_out o = {.code = CODE_ECHO};
	struct client_reply r;

	echo(c, 1, 0);
	there(hang_up);
	cr_expect_eq(client_call(c, &o, 0, &r), -EPIPE);
	cr_expect_eq(client_call(c, &o, 0, &r), -EPIPE);
	client_close(c);
}

static void on_alarm(int sig)
{
	(void)sig;
}

Test(client, waiting_for_ever_can_be_interrupted)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct itimerval it = {.it_value = {0, 50000},
			       .it_interval = {0, 50000}};
	struct client *c = open_it();
	struct rpc_out o = {.code = CODE_HOLD};
	struct client_reply r;
	sigset_t set;

	/* To this thread, not to the daemon's. */
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	cr_expect_eq(client_call(c, &o, UINT_MAX, &r), -EINTR);
	memset(&it, 0, sizeof(it));
	setitimer(ITIMER_REAL, &it, NULL);
	there(answer_held);
	echo(c, 5, 5);
	client_close(c);
}

static struct token good_token(void)
{
	struct token t = {.addr = "127.0.0.1", .port = b.port, .id = 5};

	memcpy(t.host_key, keys[2][1], 32);
	memcpy(t.psk, psk, 32);
	return t;
}

Test(client, a_joiner_speaks_sealed_and_has_only_that_role)
{
	struct token t = good_token();
	struct client *c;

	cr_assert_eq(client_open_join(&t, 3000, &c), 0);
	echo(c, 100, 200000);
	cr_expect_eq(b.roles, ROLE_JOINER);
	cr_expect_eq(rpc_conn_token(b.last), 5);
	cr_expect_eq(rpc_conn_host(b.last), 0);
	client_close(c);
}

Test(client, a_bad_token_is_rejected)
{
	struct token t = good_token();
	struct client *c;

	t.psk[0] ^= 1;
	cr_expect_eq(client_open_join(&t, 3000, &c), -EKEYREJECTED);
	t = good_token();
	t.id = 6;
	cr_expect_eq(client_open_join(&t, 3000, &c), -EKEYREJECTED);
	t = good_token();
	t.host_key[0] ^= 1;
	cr_expect_eq(client_open_join(&t, 3000, &c), -EKEYREJECTED);
}
