/*
 * test_broker.c -- the broker between fake programs and fake clients, in
 * virtual time: every request ends, whatever programs and hosts do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "broker.h"
#include "failalloc.h"
#include "fake.h"
#include "log.h"
#include "sprite/pdev.h"

static struct broker *b;
static struct rpc_conn program, client, other;
static unsigned releases;
static int claim_fails;
static struct rpc_req reqs[4096];
static unsigned nreqs;

static int claim(void *arg, const struct msg_pdev_claim *m, rpc_done_fn *done,
		 void *done_arg, struct rpc_call **ret)
{
	uint8_t body[600];
	struct rpc_out o = { .code = MSG_pdev_claim, .body = body };

	(void)arg;
	if (claim_fails)
		return claim_fails;
	cr_assert_eq(msg_pdev_claim_encode(m, body, sizeof(body), &o.len), 0);
	return fake_make_call(NULL, &o, 0, done, done_arg, ret);
}

static void release(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	releases++;
}

static const char *host_name(void *arg, uint32_t host)
{
	(void)arg;
	return host == 1 ? "h1" : "h2";
}

static void start(void)
{
	struct broker_conf c = { .env = fake_env,
				 .port = &fake_port,
				 .host = 1,
				 .name = "h1",
				 .mount = "/sprite",
				 .claim = claim,
				 .release = release,
				 .host_name = host_name };

	log_level = LOG_ERROR;
	fake_reset();
	nreqs = releases = 0;
	claim_fails = 0;
	program = (struct rpc_conn){ .service = SVC_TOOL,
				     .pid = 4711,
				     .open = true };
	client = (struct rpc_conn){ .service = SVC_FSD,
				    .host = 2,
				    .epoch = 7,
				    .open = true };
	other = (struct rpc_conn){ .service = SVC_FSD,
				   .host = 3,
				   .epoch = 9,
				   .open = true };
	cr_assert_eq(broker_new(&c, &b), 0);
}

static void stop(void)
{
	broker_free(b);
	b = NULL;
	cr_expect_eq(fake_timers(), 0, "timers are left");
	for (unsigned i = 0; i < nreqs; i++)
		cr_expect_eq(reqs[i].answers, 1, "request %u: %u answers", i,
			     reqs[i].answers);
}

TestSuite(broker, .init = start, .fini = stop, .timeout = 10);

static struct rpc_req *req(struct rpc_conn *c)
{
	reqs[nreqs] = (struct rpc_req){ .conn = c };
	return &reqs[nreqs++];
}

static struct rpc_req *serve_as(struct rpc_conn *c, const char *name)
{
	struct msg_pdev_serve m = { .name = name,
				    .mode = 0660,
				    .timeout_ms = 10000 };
	struct rpc_req *q = req(c);

	broker_serve(b, q, &m);
	return q;
}

static void claim_answered(int status)
{
	struct rpc_call *c = fake_call(NULL, MSG_pdev_claim);

	cr_assert_not_null(c, "no claim was made");
	fake_answer(c, status, 0, NULL, 0, NULL, 0);
}

static void serve(void)
{
	struct rpc_req *q = serve_as(&program, "/sprite/svc/echo");

	claim_answered(0);
	cr_assert_eq(q->status, 0);
}

static struct rpc_req *ask_open(struct rpc_conn *c, uint32_t uid)
{
	struct msg_pdev_open m = { .name = "svc/echo",
				   .host_name = "liar",
				   .host = 99,
				   .pid = 12,
				   .uid = uid,
				   .gid = uid,
				   .flags = O_RDWR };
	struct rpc_req *q = req(c);

	broker_open(b, q, &m);
	return q;
}

static void opened(uint32_t ready)
{
	struct rpc_call *c = fake_call(&program, MSG_pdev_open);
	struct msg_pdev_opened m = { .ready = ready };
	uint8_t body[32];
	size_t len;

	cr_assert_not_null(c, "the program was not asked");
	cr_assert_eq(msg_pdev_opened_encode(&m, body, sizeof(body), &len), 0);
	fake_answer(c, 0, MSG_pdev_opened, body, len, NULL, 0);
}

static uint64_t open_by(struct rpc_conn *c)
{
	struct rpc_req *q = ask_open(c, 0);
	struct msg_pdev_opened m;

	opened(SPRITE_PDEV_IN | SPRITE_PDEV_OUT);
	cr_assert_eq(q->status, 0);
	cr_assert_eq(msg_pdev_opened_decode(q->body, q->len, &m), 0);
	return m.stream;
}

static struct rpc_req *read_from(struct rpc_conn *c, uint64_t s, uint64_t n)
{
	struct msg_pdev_read m = { .stream = s, .req = n, .size = 100 };
	struct rpc_req *q = req(c);

	broker_read(b, q, &m);
	return q;
}

static void done(uint16_t code, int64_t result, const void *data, size_t n)
{
	struct rpc_call *c = fake_call(&program, code);
	struct msg_pdev_done m = { .result = result };
	uint8_t body[16];
	size_t len;

	cr_assert_not_null(c, "the program was not asked");
	cr_assert_eq(msg_pdev_done_encode(&m, body, sizeof(body), &len), 0);
	fake_answer(c, 0, MSG_pdev_done, body, len, data, n);
}

/* As rpc does it: calls end, then the connection's end is told. */
static void dies(struct rpc_conn *c)
{
	c->open = false;
	for (unsigned i = 0; i < ncalls; i++)
		if (calls[i].conn == c && !calls[i].ended)
			fake_answer(&calls[i], -ECONNRESET, 0, NULL, 0, NULL, 0);
	broker_conn_close(b, c);
}

static uint64_t asked_req(uint16_t code)
{
	struct rpc_call *c = fake_call(&program, code);
	struct msg_pdev_read m;

	cr_assert_not_null(c);
	cr_assert_eq(msg_pdev_read_decode(c->body, c->len, &m), 0);
	return m.req;
}

/* ---- names ---- */

Test(broker, a_name_has_one_server)
{
	struct rpc_conn second = program;
	struct rpc_req *q;

	serve();
	q = serve_as(&second, "svc/echo");
	cr_expect_eq(q->status, -EBUSY);
	cr_expect_not_null(strstr(q->sentence, "4711"), "%s", q->sentence);
}

Test(broker, a_name_taken_elsewhere_is_busy)
{
	struct rpc_req *q = serve_as(&program, "svc/echo");

	claim_answered(-EBUSY);
	cr_expect_eq(q->status, -EBUSY);
	cr_expect_eq(broker_devices(b), 0);
}

Test(broker, a_name_is_free_when_its_program_ends)
{
	struct rpc_conn second = program;

	serve();
	dies(&program);
	cr_expect_eq(releases, 1);
	serve_as(&second, "svc/echo");
	claim_answered(0);
	cr_expect_eq(reqs[1].status, 0);
}

Test(broker, a_program_that_ends_while_it_asks_leaves_no_claim)
{
	struct rpc_req *q = serve_as(&program, "svc/echo");

	dies(&program);
	cr_expect_eq(q->answers, 1);
	claim_answered(0);
	cr_expect_eq(releases, 1);
	cr_expect_eq(broker_devices(b), 0);
}

Test(broker, names_of_other_hosts_are_refused_with_a_sentence)
{
	struct rpc_req *q = serve_as(&program, "/sprite/hosts/h2/status");

	cr_expect_eq(q->status, -EINVAL);
	cr_expect_not_null(strstr(q->sentence, "h2"));
}

Test(broker, names_of_the_host_are_for_root)
{
	program.uid = 1000;
	cr_expect_eq(serve_as(&program, "hosts/h1/x")->status, -EACCES);
	program.uid = 0;
	serve_as(&program, "hosts/h1/x");
	claim_answered(0);
	cr_expect_eq(reqs[1].status, 0);
}

Test(broker, a_registry_that_is_unknown_is_said)
{
	claim_fails = -EHOSTUNREACH;
	cr_expect_eq(serve_as(&program, "svc/echo")->status, -EHOSTUNREACH);
	cr_expect_eq(broker_devices(b), 0);
}

Test(broker, claims_are_renewed_and_a_lost_name_ends_the_service)
{
	serve();
	fake_advance(5000);
	claim_answered(0);
	fake_advance(5000);
	claim_answered(-ETIMEDOUT); /* out of touch: goes on */
	cr_expect_eq(broker_devices(b), 1);
	fake_advance(5000);
	claim_answered(-EBUSY);
	cr_expect_eq(broker_devices(b), 0);
	cr_expect(program.closed_by_us);
}

/* ---- opening ---- */

Test(broker, without_a_program_there_is_no_device)
{
	cr_expect_eq(ask_open(&client, 0)->status, -ENXIO);
}

Test(broker, permissions_are_checked)
{
	serve(); /* 0660 root */
	cr_expect_eq(ask_open(&client, 1000)->status, -EACCES);
}

Test(broker, the_program_hears_the_truth_about_the_host)
{
	struct msg_pdev_open m;
	struct rpc_call *c;

	serve();
	ask_open(&client, 0);
	c = fake_call(&program, MSG_pdev_open);
	cr_assert_eq(msg_pdev_open_decode(c->body, c->len, &m), 0);
	cr_expect_eq(m.host, 2);
	cr_expect_str_eq(m.host_name, "h2");
	opened(0);
}

Test(broker, a_refused_open_leaves_nothing)
{
	struct rpc_req *q;

	serve();
	q = ask_open(&client, 0);
	fake_answer(fake_call(&program, MSG_pdev_open), -EPERM, 0, NULL, 0,
		    NULL, 0);
	cr_expect_eq(q->status, -EPERM);
	cr_expect_eq(broker_streams(b), 0);
}

Test(broker, an_answer_of_another_kind_is_an_error)
{
	struct rpc_req *q;

	serve();
	q = ask_open(&client, 0);
	fake_answer(fake_call(&program, MSG_pdev_open), 0, MSG_pdev_done, "x", 1,
		    NULL, 0);
	cr_expect_eq(q->status, -EIO);
}

/* ---- requests ---- */

Test(broker, data_comes_back)
{
	struct rpc_req *q;
	uint64_t s;

	serve();
	s = open_by(&client);
	q = read_from(&client, s, 1);
	done(MSG_pdev_read, 5, "hello", 5);
	cr_expect_eq(q->status, 0);
	cr_expect_eq(q->payload_len, 5);
	cr_expect_eq(memcmp(q->payload, "hello", 5), 0);
}

Test(broker, a_program_cannot_answer_more_than_was_asked)
{
	char big[200] = { 0 };
	struct rpc_req *q;
	uint64_t s;

	serve();
	s = open_by(&client);
	q = read_from(&client, s, 1);
	done(MSG_pdev_read, 200, big, 200);
	cr_expect_eq(q->status, -EIO);
	q = read_from(&client, s, 2);
	done(MSG_pdev_read, 7, "abc", 3);
	cr_expect_eq(q->status, -EIO);
}

Test(broker, streams_belong_to_their_host)
{
	uint64_t s;

	serve();
	s = open_by(&client);
	cr_expect_eq(read_from(&other, s, 1)->status, -EBADF);
	cr_expect_eq(read_from(&client, s + 1, 1)->status, -EBADF);
}

Test(broker, a_program_that_hangs_costs_its_timeout)
{
	struct rpc_req *q;
	uint64_t s;

	serve();
	s = open_by(&client);
	q = read_from(&client, s, 1);
	fake_advance(9999);
	cr_expect_eq(q->answers, 0);
	fake_advance(1);
	cr_expect_eq(q->status, -ETIMEDOUT);
	cr_expect_eq(fake_notes(&program, MSG_pdev_cancel, NULL), 1);
	q = ask_open(&client, 0);
	fake_advance(10000);
	cr_expect_eq(q->status, -ETIMEDOUT);
	cr_expect_eq(broker_streams(b), 1);
}

Test(broker, a_program_may_say_that_it_answers_later)
{
	struct msg_pdev_later m;
	struct rpc_req *q;
	uint64_t s;

	serve();
	s = open_by(&client);
	q = read_from(&client, s, 1);
	m.req = asked_req(MSG_pdev_read);
	broker_later(b, &program, &m);
	fake_advance(3600000);
	cr_expect_eq(q->answers, 0);
	done(MSG_pdev_read, 0, NULL, 0);
	cr_expect_eq(q->status, 0);
}

Test(broker, another_program_cannot_speak_for_it)
{
	struct rpc_conn liar = program;
	struct msg_pdev_later m;
	struct msg_pdev_ready rd;
	struct rpc_req *q;

	serve();
	rd.stream = open_by(&client);
	rd.bits = 0;
	q = read_from(&client, rd.stream, 1);
	m.req = asked_req(MSG_pdev_read);
	broker_later(b, &liar, &m);
	broker_ready(b, &liar, &rd);
	cr_expect_eq(fake_notes(&client, MSG_pdev_ready, NULL), 0);
	fake_advance(10000);
	cr_expect_eq(q->status, -ETIMEDOUT);
}

Test(broker, a_dead_program_is_an_error_at_once)
{
	struct rpc_req *rd, *op;
	struct sent_note n;
	struct msg_pdev_ready m;
	uint64_t s;

	serve();
	s = open_by(&client);
	rd = read_from(&client, s, 1);
	op = ask_open(&client, 0);
	dies(&program);
	cr_expect_eq(rd->status, -EIO);
	cr_expect_eq(op->status, -EIO);
	cr_expect_eq(read_from(&client, s, 2)->status, -EIO);
	cr_expect_eq(fake_notes(&client, MSG_pdev_ready, &n), 1);
	cr_assert_eq(msg_pdev_ready_decode(n.body, n.len, &m), 0);
	cr_expect(m.bits & SPRITE_PDEV_HUP);
	cr_expect_eq(broker_streams(b), 1, "the client has it open still");
}

Test(broker, a_cancelled_request_ends_soon)
{
	struct msg_pdev_cancel m = { .req = 1 };
	struct msg_pdev_later later;
	struct rpc_req *q;

	serve();
	m.stream = open_by(&client);
	q = read_from(&client, m.stream, 1);
	later.req = asked_req(MSG_pdev_read);
	broker_later(b, &program, &later);
	broker_cancel(b, &other, &m);
	cr_expect_eq(fake_notes(&program, MSG_pdev_cancel, NULL), 0);
	broker_cancel(b, &client, &m);
	cr_expect_eq(fake_notes(&program, MSG_pdev_cancel, NULL), 1);
	fake_advance(1000);
	cr_expect_eq(q->status, -EINTR);
}

/* ---- readiness ---- */

Test(broker, readiness_goes_to_the_clients_host)
{
	struct msg_pdev_ready m = { .bits = SPRITE_PDEV_OUT }, got;
	struct sent_note n;

	serve();
	m.stream = open_by(&client);
	broker_ready(b, &program, &m);
	cr_expect_eq(fake_notes(&client, MSG_pdev_ready, &n), 1);
	cr_assert_eq(msg_pdev_ready_decode(n.body, n.len, &got), 0);
	cr_expect_eq(got.stream, m.stream);
	cr_expect_eq(got.bits, SPRITE_PDEV_OUT);
}

Test(broker, would_block_means_not_ready)
{
	struct msg_pdev_ready got;
	struct sent_note n;
	struct rpc_req *q;
	uint64_t s;

	serve();
	s = open_by(&client);
	q = read_from(&client, s, 1);
	fake_answer(fake_call(&program, MSG_pdev_read), -EAGAIN, 0, NULL, 0,
		    NULL, 0);
	cr_expect_eq(q->status, -EAGAIN);
	cr_expect_eq(fake_notes(&client, MSG_pdev_ready, &n), 1);
	cr_assert_eq(msg_pdev_ready_decode(n.body, n.len, &got), 0);
	cr_expect_eq(got.bits, SPRITE_PDEV_OUT);
}

/* ---- ends ---- */

Test(broker, closing_tells_the_program_and_is_idempotent)
{
	struct msg_pdev_close m;

	serve();
	m.stream = open_by(&client);
	broker_close(b, req(&other), &m);
	cr_expect_eq(broker_streams(b), 1);
	broker_close(b, req(&client), &m);
	cr_expect_eq(fake_notes(&program, MSG_pdev_closed, NULL), 1);
	broker_close(b, req(&client), &m);
	cr_expect_eq(reqs[nreqs - 1].status, 0);
	cr_expect_eq(broker_streams(b), 0);
}

Test(broker, a_client_host_out_of_touch_keeps_its_streams_for_a_while)
{
	struct rpc_conn again = client;

	serve();
	open_by(&client);
	dies(&client);
	fake_advance(19000);
	cr_expect_eq(broker_streams(b), 1);
	broker_conn_open(b, &again);
	cr_expect_eq(fake_notes(&again, MSG_pdev_ready, NULL), 1,
		     "notes may have been lost");
	fake_advance(60000);
	claim_answered(0);
	cr_expect_eq(broker_streams(b), 1);
	dies(&again);
	fake_advance(20000);
	cr_expect_eq(broker_streams(b), 0);
	cr_expect_eq(fake_notes(&program, MSG_pdev_closed, NULL), 1);
}

Test(broker, a_client_host_that_began_anew_has_no_streams)
{
	struct rpc_conn again = client;

	serve();
	open_by(&client);
	again.epoch++;
	broker_conn_open(b, &again);
	cr_expect_eq(broker_streams(b), 0);
}

Test(broker, ends_with_everything_under_way)
{
	uint64_t s;

	serve();
	s = open_by(&client);
	read_from(&client, s, 1);
	ask_open(&other, 0);
}

Test(broker, survives_any_failed_allocation)
{
	unsigned n = 0;
	uint64_t s;

	serve();
	s = open_by(&client);
	do {
		nreqs = 2; /* the earlier ones are answered */
		failalloc_nth(++n);
		ask_open(&client, 0);
		read_from(&client, s, n);
		if (fake_call(&program, MSG_pdev_open))
			opened(0);
		if (fake_call(&program, MSG_pdev_read))
			done(MSG_pdev_read, 0, NULL, 0);
		cr_assert_eq(reqs[2].answers, 1);
		cr_assert_eq(reqs[3].answers, 1);
	} while (failalloc_stop());
	cr_expect_gt(n, 1);
}

/* ---- everything at once, in any order ---- */

#define STEPS 600

static uint64_t dice;

static unsigned roll(unsigned n)
{
	dice = dice * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(dice >> 33) % n;
}

/* A call to a program or the registry, not ended yet; NULL: none. */
static struct rpc_call *any_call(void)
{
	for (unsigned i = 0, at = ncalls ? roll(ncalls) : 0; i < ncalls; i++)
		if (!calls[(at + i) % ncalls].ended)
			return &calls[(at + i) % ncalls];
	return NULL;
}

static void answer_any(void)
{
	static const int errors[] = { 0, 0, 0, -EAGAIN, -EIO, -EBUSY };
	struct rpc_call *c = any_call();
	struct msg_pdev_opened opened = { .ready = roll(16) };
	struct msg_pdev_done done = { .result = roll(3) };
	uint8_t body[32];
	size_t len = 0;
	int status = errors[roll(6)];
	uint16_t code = MSG_pdev_done;

	if (!c)
		return;
	if (c->code == MSG_pdev_open) {
		code = MSG_pdev_opened;
		msg_pdev_opened_encode(&opened, body, sizeof(body), &len);
	} else {
		msg_pdev_done_encode(&done, body, sizeof(body), &len);
	}
	fake_answer(c, status, code, body, len, "xy",
		    c->code == MSG_pdev_read ? (size_t)done.result : 0);
}

static void random_step(struct rpc_conn programs[2], struct rpc_conn hosts[2],
			uint64_t *streams, unsigned *nstreams)
{
	struct rpc_conn *p = &programs[roll(2)], *h = &hosts[roll(2)];
	uint64_t s = *nstreams ? streams[roll(*nstreams)] : 1;
	struct msg_pdev_opened got;
	struct rpc_req *q;

	switch (roll(11)) {
	case 0:
		if (!p->open)
			p->open = true;
		serve_as(p, "svc/echo");
		break;
	case 1:
	case 2:
		ask_open(h, 0);
		break;
	case 3:
	case 4:
		read_from(h, s, nreqs);
		break;
	case 5:
		broker_close(b, req(h), &(struct msg_pdev_close){ s });
		break;
	case 6:
		broker_cancel(b, h, &(struct msg_pdev_cancel){ s, nreqs - 1 });
		break;
	case 7:
		broker_ready(b, p, &(struct msg_pdev_ready){ s, roll(16) });
		if (any_call())
			broker_later(b, p, &(struct msg_pdev_later){ roll(40) });
		break;
	case 8:
		if (roll(8) == 0) {
			dies(roll(2) ? p : h);
			h->open = true;
			h->epoch += roll(2);
			broker_conn_open(b, h);
		}
		break;
	case 9:
		fake_advance(roll(3000));
		break;
	default:
		answer_any();
	}
	for (unsigned i = 0; i < nreqs; i++) {
		q = &reqs[i];
		if (q->answers == 1 && q->code == MSG_pdev_opened && q->len &&
		    *nstreams < 500 &&
		    !msg_pdev_opened_decode(q->body, q->len, &got)) {
			streams[(*nstreams)++] = got.stream;
			q->len = 0;
		}
	}
}

/* Every request is answered once: stop() looks. */
Test(broker, any_order_of_events, .timeout = 60)
{
	static uint64_t streams[500];
	unsigned all = 0;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct rpc_conn programs[2] = { program, program };
		struct rpc_conn hosts[2] = { client, other };
		unsigned nstreams = 0;

		dice = seed;
		programs[0].open = programs[1].open = false;
		for (int i = 0; i < STEPS; i++)
			random_step(programs, hosts, streams, &nstreams);
		all += nstreams;
		fake_advance(30000);
		stop();
		start();
	}
	cr_expect_gt(all, 1000, "only %u streams were ever opened", all);
}
