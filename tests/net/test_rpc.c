/* test_rpc.c -- calls over real sockets of the loopback, both kinds. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pair.h"

static struct node a, b;
static struct answer got;

static void start(void)
{
	pair_init();
	a = b = (struct node){0};
	node_start(&b, 2, SVC_FSD, 0);
	node_listen(&b);
	node_start(&a, 1, SVC_MIGD, 0);
}

static void stop(void)
{
	answer_free(&got);
	if (a.r)
		node_stop(&a);
	if (b.r)
		node_stop(&b);
	pair_fini();
}

TestSuite(rpc, .init = start, .fini = stop, .timeout = 20);

static void call(struct rpc_peer *p, const struct rpc_out *o, uint32_t ms,
		 unsigned flags)
{
	got = (struct answer){0};
	cr_assert_eq(rpc_call(p, o, ms, flags, on_answer, &got, NULL), 0);
}

static void echo(struct rpc_peer *p, size_t len, size_t payload)
{
	char *body = malloc(len + 1), *pay = malloc(payload + 1);
	struct rpc_out o = {CODE_ECHO, body, len, pay, payload, 0, 0, 0, 0};

	for (size_t i = 0; i < len; i++)
		body[i] = (char)(i * 7);
	for (size_t i = 0; i < payload; i++)
		pay[i] = (char)(i * 13 + (i >> 8));
	call(p, &o, 5000, 0);
	cr_assert(run_until(&got.done));
	cr_assert_eq(got.status, 0, "%s", got.sentence);
	cr_assert_eq(buf_len(&got.body), len);
	cr_assert_eq(buf_len(&got.payload), payload);
	cr_assert(!len || !memcmp(buf_data(&got.body), body, len));
	cr_assert(!payload || !memcmp(buf_data(&got.payload), pay, payload));
	answer_free(&got);
	free(body);
	free(pay);
}

static const size_t sizes[] = {0, 1, 64, 4095, 16384, 65536, 65537, 300000};

static void echo_all_sizes(struct rpc_peer *p)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t j = 0; j < sizeof(sizes) / sizeof(*sizes); j++)
			echo(p, sizes[i], sizes[j]);
	echo(p, RPC_BODY_MAX, RPC_PAYLOAD_MAX);
}

Test(rpc, sealed_call_is_answered_at_every_size)
{
	echo_all_sizes(peer_tcp(&a, &b));
	cr_expect_eq(b.opened, 1);
	cr_expect_eq(b.roles, ROLE_MIGD);
	cr_expect_eq(rpc_conn_host(b.last), 1);
	cr_expect_eq(rpc_conn_epoch(b.last), rpc_epoch(a.r));
}

Test(rpc, unix_call_is_answered_at_every_size)
{
	echo_all_sizes(rpc_peer_unix(a.r, SVC_FSD, b.path));
	cr_expect_eq(b.opened, 1);
	cr_expect_eq(rpc_conn_uid(b.last), getuid());
	cr_expect_eq(rpc_conn_pid(b.last), getpid());
	if (getuid() == 0)
		cr_expect_eq(b.roles, ROLE_MIGD | ROLE_TOOL | ROLE_ROOT);
}

Test(rpc, too_long_a_body_is_refused_before_it_is_sent)
{
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct rpc_out o = {
		.code = CODE_ECHO, .body = "", .len = RPC_BODY_MAX + 1};

	cr_expect_eq(rpc_call(p, &o, 0, 0, on_answer, &got, NULL), -EMSGSIZE);
	o.len = 0;
	o.payload_len = RPC_PAYLOAD_MAX + 1;
	cr_expect_eq(rpc_call(p, &o, 0, 0, on_answer, &got, NULL), -EMSGSIZE);
	cr_expect(!got.done);
}

Test(rpc, an_error_carries_its_sentence)
{
	struct rpc_out o = {.code = 0x7777};

	call(peer_tcp(&a, &b), &o, 1000, 0);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -EPROTO);
	cr_expect_str_eq(got.sentence, "there is no such request");
}

struct freed {
	unsigned times;
};

static void count_free(void *arg)
{
	((struct freed *)arg)->times++;
}

Test(rpc, a_borrowed_payload_is_given_back_once)
{
	static char pay[100000];
	struct freed f = {0};
	struct rpc_out o = {.code = CODE_ECHO,
			    .payload = pay,
			    .payload_len = sizeof(pay),
			    .free_payload = count_free,
			    .free_arg = &f};

	call(peer_tcp(&a, &b), &o, 1000, 0);
	cr_expect_eq(f.times, 0);
	cr_assert(run_until(&got.done));
	cr_expect_eq(f.times, 1);
	cr_expect_eq(buf_len(&got.payload), sizeof(pay));
}

Test(rpc, many_calls_at_once_are_each_answered_once)
{
	static struct answer all[500];
	struct rpc_peer *p = peer_tcp(&a, &b);

	for (uint32_t i = 0; i < 500; i++) {
		struct rpc_out o = {
			.code = CODE_ECHO, .body = &i, .len = sizeof(i)};

		cr_assert_eq(
			rpc_call(p, &o, 5000, i & 1, on_answer, &all[i], NULL),
			0);
	}
	for (uint32_t i = 0; i < 500; i++) {
		uint32_t v;

		cr_assert(run_until(&all[i].done));
		cr_assert_eq(all[i].status, 0);
		cr_assert_eq(all[i].times, 1);
		memcpy(&v, buf_data(&all[i].body), sizeof(v));
		cr_expect_eq(v, i);
		answer_free(&all[i]);
	}
	cr_expect_eq(b.executed, 500);
}

Test(rpc, records_go_when_answers_are_acknowledged)
{
	struct rpc_out hold = {.code = CODE_HOLD};
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct answer first = {0};

	/* One call that stays keeps the lowest number for all the others. */
	cr_assert_eq(rpc_call(p, &hold, 0, 0, on_answer, &first, NULL), 0);
	for (int i = 0; i < 1000; i++)
		echo(p, 8, 0);
	cr_assert_not_null(b.last->session);
	cr_expect_leq(b.last->session->records.count, 70);
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	cr_assert(run_until(&first.done));
	echo(p, 8, 0);
	cr_expect_leq(b.last->session->records.count, 2);
}

Test(rpc, nobody_listening_is_unreachable_at_the_deadline)
{
	struct rpc_out o = {.code = CODE_ECHO};
	struct rpc_peer *p = rpc_peer_get(a.r, 3, SVC_FSD, "127.0.0.1", 1);

	call(p, &o, 200, 0);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -EHOSTUNREACH);
	cr_expect(strstr(rpc_peer_trouble(p), "refused") != NULL, "%s",
		  rpc_peer_trouble(p));
}

Test(rpc, no_answer_in_time_is_a_timeout_and_the_late_one_is_dropped)
{
	struct rpc_out o = {.code = CODE_HOLD};
	struct rpc_peer *p = peer_tcp(&a, &b);

	echo(p, 1, 0);
	call(p, &o, 50, 0);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -ETIMEDOUT);
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	settle();
	cr_expect_eq(got.times, 1);
	echo(p, 1, 0);
}

Test(rpc, cancel_ends_a_call_at_once)
{
	struct rpc_out o = {.code = CODE_HOLD};
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct rpc_call *c;

	echo(p, 1, 0);
	cr_assert_eq(rpc_call(p, &o, 0, 0, on_answer, &got, &c), 0);
	settle();
	rpc_call_cancel(c);
	cr_expect(got.done);
	cr_expect_eq(got.status, -ECANCELED);
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	settle();
	cr_expect_eq(got.times, 1);
	echo(p, 1, 0);
	cr_expect_leq(b.last->session->records.count, 2);
}

Test(rpc, freeing_the_rpc_ends_its_calls)
{
	struct rpc_out o = {.code = CODE_HOLD};

	call(peer_tcp(&a, &b), &o, 0, 0);
	settle();
	node_stop(&a);
	cr_expect(got.done);
	cr_expect_eq(got.status, -ECANCELED);
	settle();
	cr_expect_eq(b.closed, 1);
	cr_expect_null(rpc_req_conn(b.held[0]));
	cr_expect_eq(rpc_req_host(b.held[0]), 1);
}

static struct answer back;

static void call_back(void *arg, struct rpc_peer *p, bool restarted)
{
	(void)arg;
	(void)p;
	(void)restarted;
}

Test(rpc, a_server_calls_its_client_back)
{
	struct rpc_out o = {.code = CODE_ECHO, .body = "back", .len = 4};
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct rpc_peer_hooks h = {.on_up = call_back};

	rpc_peer_set_hooks(p, &h);
	rpc_peer_keep(p, true);
	while (!rpc_peer_up(p) || !b.last)
		ev_run(loop, EVRUN_ONCE);
	cr_assert_eq(rpc_conn_call(b.last, &o, 1000, on_answer, &back, NULL),
		     0);
	cr_assert(run_until(&back.done));
	cr_expect_eq(back.status, 0);
	cr_expect_eq(buf_len(&back.body), 4);
	cr_expect_eq(a.executed, 1);
	answer_free(&back);
}

Test(rpc, a_call_back_dies_with_its_connection)
{
	struct rpc_out o = {.code = CODE_HOLD};
	struct rpc_peer *p = peer_tcp(&a, &b);

	echo(p, 1, 0);
	cr_assert_eq(rpc_conn_call(b.last, &o, 0, on_answer, &got, NULL), 0);
	settle();
	rpc_conn_close(b.last);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -ECONNRESET);
}

Test(rpc, notes_go_both_ways)
{
	struct rpc_out o = {.code = 0x7100};
	struct rpc_peer *p = peer_tcp(&a, &b);

	cr_expect_eq(rpc_peer_note(p, &o), -ENOTCONN);
	echo(p, 1, 0);
	cr_expect_eq(rpc_peer_note(p, &o), 0);
	cr_expect_eq(rpc_conn_note(b.last, &o), 0);
	settle();
	cr_expect_eq(b.notes, 1);
	cr_expect_eq(a.notes, 1);
	cr_expect_eq(a.note_code, 0x7100);
}

Test(rpc, descriptors_travel_over_unix)
{
	struct rpc_peer *p = rpc_peer_unix(a.r, SVC_FSD, b.path);
	int fds[RPC_FDS_MAX];
	struct rpc_out o = {.code = CODE_FDS, .fds = fds, .nfds = RPC_FDS_MAX};
	struct stat want, is;
	int pipefd[2];

	cr_assert_eq(pipe(pipefd), 0);
	for (int i = 0; i < RPC_FDS_MAX; i++)
		fds[i] = pipefd[i & 1];
	for (int round = 0; round < 3; round++) {
		call(p, &o, 1000, 0);
		cr_assert(run_until(&got.done));
		cr_assert_eq(got.status, 0);
		cr_assert_eq(got.nfds, RPC_FDS_MAX);
		for (int i = 0; i < RPC_FDS_MAX; i++) {
			fstat(pipefd[i & 1], &want);
			fstat(got.fds[i], &is);
			cr_expect_eq(want.st_ino, is.st_ino);
		}
		answer_free(&got);
	}
	close(pipefd[0]);
	close(pipefd[1]);
}

Test(rpc, descriptors_are_refused_on_tcp)
{
	int fd = 0;
	struct rpc_out o = {.code = CODE_FDS, .fds = &fd, .nfds = 1};

	cr_expect_eq(rpc_call(peer_tcp(&a, &b), &o, 0, 0, NULL, NULL, NULL),
		     -EINVAL);
}

static bool not_gone(void *arg)
{
	return ((struct node *)arg)->closed == 0;
}

Test(rpc, a_client_that_does_not_read_is_dropped)
{
	static char pay[1 << 20];
	struct rpc_out o = {
		.code = 0x7100, .payload = pay, .payload_len = sizeof(pay)};
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct rpc_conn *c;
	int n = 0;

	rpc_limits(b.r)->backlog_max = 8u << 20;
	echo(p, 1, 0);
	c = b.last;
	ev_io_stop(loop, &p->conn->rd);
	while (rpc_conn_note(c, &o) == 0 && n < 100)
		n++;
	cr_expect_gt(n, 8);
	cr_expect_lt(n, 30);
	cr_expect(run_while(not_gone, &b));
}

Test(rpc, flow_control_sees_the_backlog)
{
	static char pay[1 << 20];
	struct rpc_out o = {
		.code = 0x7100, .payload = pay, .payload_len = sizeof(pay)};
	struct rpc_peer *p = peer_tcp(&a, &b);

	echo(p, 1, 0);
	ev_io_stop(loop, &p->conn->rd);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(rpc_conn_note(b.last, &o), 0);
	cr_expect_gt(rpc_conn_backlog(b.last), 1u << 20);
	ev_io_start(loop, &p->conn->rd);
	while (rpc_conn_backlog(b.last))
		ev_run(loop, EVRUN_ONCE);
	settle();
	cr_expect_eq(a.notes, 20);
}

Test(rpc, too_many_requests_are_told_busy_and_come_again)
{
	static struct answer all[40];
	struct rpc_out o = {.code = CODE_HOLD};
	struct rpc_peer *p = peer_tcp(&a, &b);
	bool none = false;

	rpc_limits(b.r)->reqs_max = 10;
	for (int i = 0; i < 40; i++)
		cr_assert_eq(rpc_call(p, &o, 4000, 0, on_answer, &all[i], NULL),
			     0);
	for (int left = 40; left > 0;) {
		ev_run(loop, EVRUN_ONCE);
		cr_assert_leq(b.nheld, 10);
		if (b.nheld < (left < 10 ? (unsigned)left : 10u))
			continue;
		for (unsigned i = 0; i < b.nheld; i++, left--)
			rpc_reply(b.held[i], 0, NULL);
		b.nheld = 0;
	}
	(void)none;
	for (int i = 0; i < 40; i++) {
		cr_assert(run_until(&all[i].done));
		cr_expect_eq(all[i].status, 0);
		cr_expect_eq(all[i].times, 1);
	}
	cr_expect_eq(b.executed, 40, "executed %u", b.executed);
}

Test(rpc, silence_is_probed_and_ends_the_connection)
{
	struct rpc_out o = {.code = CODE_HOLD};
	struct rpc_peer *p;
	bool up;

	rpc_limits(a.r)->ping_ms = 30;
	rpc_limits(a.r)->dead_ms = 100;
	p = peer_tcp(&a, &b);
	call(p, &o, 0, 0);
	while (!b.nheld)
		ev_run(loop, EVRUN_ONCE);
	/* The far side lives, it only does not answer this call. */
	got.done = false;
	{
		struct answer t = {0};
		struct rpc_out e = {.code = CODE_HOLD};

		cr_assert_eq(rpc_call(p, &e, 400, 0, on_answer, &t, NULL), 0);
		cr_assert(run_until(&t.done));
		cr_expect(rpc_peer_up(p), "pongs keep it alive");
	}
	/* Now it does not even read. */
	ev_io_stop(loop, &b.last->rd);
	up = true;
	while (up) {
		ev_run(loop, EVRUN_ONCE);
		up = rpc_peer_up(p);
	}
	cr_expect_eq(got.times, 0, "without a deadline it waits on");
}

Test(rpc, a_suspected_peer_is_given_up_sooner)
{
	struct rpc_peer *p = peer_tcp(&a, &b);

	rpc_limits(a.r)->probe_ms = 50;
	echo(p, 1, 0);
	rpc_peer_probe(p);
	settle();
	cr_expect(rpc_peer_up(p));
	ev_io_stop(loop, &b.last->rd);
	/* The pong of the first probe has cleared the suspicion by then. */
	while (p->conn && p->conn->suspect_ms)
		ev_run(loop, EVRUN_ONCE);
	cr_assert(rpc_peer_up(p));
	rpc_peer_probe(p);
	while (rpc_peer_up(p))
		ev_run(loop, EVRUN_ONCE);
}

Test(rpc, a_removed_host_is_disconnected_and_not_let_in_again)
{
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct rpc_out o = {.code = CODE_ECHO};

	echo(p, 1, 0);
	known[1] = false;
	rpc_drop_host(b.r, 1);
	call(p, &o, 300, 0);
	cr_assert(run_until(&got.done));
	cr_expect_neq(got.status, 0);
	cr_expect_eq(b.opened, 1);
	cr_expect(strstr(rpc_peer_trouble(p), "rejected") != NULL, "%s",
		  rpc_peer_trouble(p));
}

static void reply_and_close(void *arg, struct rpc_req *q,
			    const struct rpc_msg *m)
{
	struct rpc_conn *c = rpc_req_conn(q);
	struct rpc_out o = {.code = m->code};

	(void)arg;
	rpc_reply(q, 0, &o);
	rpc_conn_close(c);
}

Test(rpc, an_answer_given_before_closing_arrives)
{
	struct rpc_peer *p = peer_tcp(&a, &b);
	struct rpc_out o = {.code = CODE_ECHO};

	b.r->h.on_request = reply_and_close;
	call(p, &o, 2000, 0);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, 0);
}

Test(rpc, strangers_do_not_pile_up)
{
	unsigned n = 0;

	rpc_limits(b.r)->unproved_max = 5;
	rpc_limits(b.r)->handshake_ms = 100;
	for (int i = 0; i < 20; i++) {
		struct rpc_peer *p = rpc_peer_get(a.r, 2 + (i & 1),
						  (enum rpc_service)(1 + i % 4),
						  "127.0.0.1", b.port);

		rpc_peer_keep(p, true);
	}
	for (int i = 0; i < 50; i++) {
		ev_run(loop, EVRUN_NOWAIT);
		n = b.r->unproved > n ? b.r->unproved : n;
	}
	cr_expect_leq(n, 5);
}

Test(rpc, more_calls_than_the_wire_takes_wait_unsent)
{
	static struct answer all[60];
	static char pay[1 << 20];
	struct rpc_out o = {.code = CODE_ECHO,
			    .payload = pay,
			    .payload_len = sizeof(pay)};
	struct rpc_peer *p = peer_tcp(&a, &b);
	uint32_t last = 0;

	rpc_limits(a.r)->ahead_max = 4u << 20;
	rpc_limits(a.r)->backlog_max = 8u << 20;
	echo(p, 1, 0);
	for (uint32_t i = 0; i < 60; i++) {
		o.body = &i;
		o.len = sizeof(i);
		cr_assert_eq(
			rpc_call(p, &o, 0, 0, on_answer, &all[i], NULL), 0);
		cr_assert_leq(rpc_conn_backlog(p->conn), 8u << 20);
	}
	for (uint32_t i = 0; i < 60; i++) {
		cr_assert(run_until(&all[i].done));
		cr_assert_eq(all[i].status, 0);
		memcpy(&last, buf_data(&all[i].body), sizeof(last));
		cr_expect_eq(last, i);
		answer_free(&all[i]);
	}
	cr_expect_eq(b.opened, 1, "and the connection lived through it");
	cr_expect_eq(b.executed, 61);
}
