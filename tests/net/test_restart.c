/*
 * test_restart.c -- calls over lost connections and restarted servers: what
 * is executed, how often, and what the caller is told.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "pair.h"

static struct node a, b;
static struct answer got;

static void start(void)
{
	pair_init();
	a = b = (struct node){0};
	node_start(&b, 2, SVC_FSD, 100);
	node_listen(&b);
	node_start(&a, 1, SVC_MIGD, 0);
	got = (struct answer){0};
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

TestSuite(restart, .init = start, .fini = stop, .timeout = 20);

static bool no_held(void *arg)
{
	return ((struct node *)arg)->nheld == 0;
}

static bool not_opened_again(void *arg)
{
	return ((struct node *)arg)->opened < 2;
}

static struct rpc_peer *held_call(unsigned flags)
{
	struct rpc_out o = {.code = CODE_HOLD, .body = "x", .len = 1};
	struct rpc_peer *p = peer_tcp(&a, &b);

	cr_assert_eq(rpc_call(p, &o, 0, flags, on_answer, &got, NULL), 0);
	cr_assert(run_while(no_held, &b));
	return p;
}

static void restart_b(uint64_t epoch)
{
	node_stop(&b);
	settle();
	node_start(&b, 2, SVC_FSD, epoch);
	node_listen(&b);
}

Test(restart, a_call_under_way_is_not_executed_again_on_a_new_connection)
{
	held_call(0);
	rpc_conn_close(b.last);
	cr_assert(run_while(not_opened_again, &b));
	settle();
	cr_expect_eq(b.executed, 1);
	cr_expect_eq(b.nheld, 1);
	cr_assert_not_null(rpc_req_conn(b.held[0]), "it moved to the new one");
	rpc_reply(b.held[0], -EEXIST, NULL);
	b.nheld = 0;
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -EEXIST);
	cr_expect_eq(got.times, 1);
}

Test(restart, an_answer_that_was_lost_is_given_from_the_record)
{
	held_call(0);
	/* The answer is made while there is nobody to send it to. */
	rpc_conn_close(b.last);
	rpc_reply(b.held[0], -ENOTEMPTY, NULL);
	b.nheld = 0;
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -ENOTEMPTY);
	cr_expect_eq(b.executed, 1);
	cr_expect_eq(b.opened, 2);
}

Test(restart, an_idempotent_call_is_executed_again)
{
	held_call(RPC_IDEMPOTENT);
	rpc_conn_close(b.last);
	rpc_reply(b.held[0], -ENOTEMPTY, NULL);
	b.nheld = 0;
	cr_assert(run_while(no_held, &b));
	cr_expect_eq(b.executed, 2);
	cr_expect_eq(b.replayed, 1);
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, 0);
}

Test(restart, a_new_epoch_fails_what_may_have_been_executed)
{
	held_call(0);
	restart_b(101);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, -ECONNRESET);
	settle();
	cr_expect_eq(b.executed, 1, "and nothing was executed again");
}

Test(restart, a_new_epoch_repeats_what_may_be_repeated)
{
	held_call(RPC_IDEMPOTENT);
	restart_b(101);
	cr_assert(run_while(no_held, &b));
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, 0);
}

Test(restart, a_call_never_sent_goes_to_the_new_epoch)
{
	struct rpc_out o = {.code = CODE_COUNT};
	struct rpc_peer *p;
	struct answer first = {0};

	p = peer_tcp(&a, &b);
	cr_assert_eq(rpc_call(p, &o, 2000, 0, on_answer, &first, NULL), 0);
	cr_assert(run_until(&first.done));
	answer_free(&first);
	node_stop(&b);
	while (rpc_peer_up(p))
		ev_run(loop, EVRUN_ONCE);
	cr_assert_eq(rpc_call(p, &o, 4000, 0, on_answer, &got, NULL), 0);
	node_start(&b, 2, SVC_FSD, 102);
	node_listen(&b);
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, 0);
}

struct seen {
	unsigned ups, downs;
	bool restarted, again;
	struct answer claim;
};

static void on_up(void *arg, struct rpc_peer *p, bool restarted)
{
	struct rpc_out o = {.code = CODE_ECHO, .body = "claim", .len = 5};
	struct seen *s = arg;

	s->ups++;
	s->restarted = restarted;
	if (!restarted)
		return;
	s->again = true;
	cr_assert_eq(rpc_conn_call(rpc_peer_conn(p), &o, 1000, on_answer,
				   &s->claim, NULL),
		     0);
}

static void on_down(void *arg, struct rpc_peer *p)
{
	(void)p;
	((struct seen *)arg)->downs++;
}

Test(restart, a_holder_reclaims_before_its_calls_are_sent_again)
{
	struct seen s = {0};
	struct rpc_peer_hooks h = {
		.on_up = on_up, .on_down = on_down, .hold = true, .arg = &s};
	struct rpc_out o = {.code = CODE_COUNT};
	struct answer late = {0};
	struct rpc_peer *p = peer_tcp(&a, &b);

	rpc_peer_set_hooks(p, &h);
	held_call(0);
	restart_b(101);
	cr_assert(run_until(&s.claim.done));
	cr_expect_eq(s.ups, 2);
	cr_expect_eq(s.downs, 1);
	cr_assert_eq(rpc_call(p, &o, 2000, 0, on_answer, &late, NULL), 0);
	settle();
	cr_expect_eq(b.executed, 2, "only the claim, not the call");
	rpc_peer_resume(p);
	cr_assert(run_while(no_held, &b));
	cr_assert(run_until(&late.done));
	cr_expect_eq(b.replayed, 1);
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	cr_assert(run_until(&got.done));
	cr_expect_eq(got.status, 0);
	answer_free(&s.claim);
	answer_free(&late);
}

Test(restart, the_client_restarted_its_old_epoch_is_refused)
{
	struct rpc_out o = {.code = CODE_ECHO};
	uint64_t old = rpc_epoch(a.r);
	static struct node again, ghost;
	static struct answer of_again, of_ghost;

	held_call(0);
	/* The same host and service in a new life. */
	node_start(&again, 1, SVC_MIGD, old + 1);
	cr_assert_eq(rpc_call(peer_tcp(&again, &b), &o, 2000, 0, on_answer,
			      &of_again, NULL),
		     0);
	cr_assert(run_while(not_opened_again, &b));
	settle();
	cr_expect_eq(b.closed, 1, "the old connection is over");
	rpc_reply(b.held[0], 0, NULL);
	b.nheld = 0;
	/* The old life comes back. */
	node_start(&ghost, 1, SVC_MIGD, old);
	cr_assert_eq(rpc_call(peer_tcp(&ghost, &b), &o, 300, 0, on_answer,
			      &of_ghost, NULL),
		     0);
	cr_assert(run_until(&of_ghost.done));
	cr_expect_eq(of_ghost.status, -EHOSTUNREACH);
	cr_expect(strstr(rpc_peer_trouble(peer_tcp(&ghost, &b)), "no longer"),
		  "%s", rpc_peer_trouble(peer_tcp(&ghost, &b)));
	cr_expect_eq(b.closed, 1, "the new life is not disturbed");
	answer_free(&of_again);
	node_stop(&ghost);
	node_stop(&again);
}

Test(restart, connections_lost_at_random_lose_and_double_nothing)
{
	static struct answer all[300];
	struct rpc_peer *p = peer_tcp(&a, &b);
	unsigned done = 0, sent = 0;
	uint64_t dice = 12345;

	rpc_limits(a.r)->backoff_min_ms = 1;
	rpc_limits(a.r)->backoff_max_ms = 4;
	while (done < 300) {
		struct rpc_out o = {.code = CODE_COUNT};

		if (sent < 300) {
			cr_assert_eq(rpc_call(p, &o, 0, 0, on_answer,
					      &all[sent++], NULL),
				     0);
		}
		ev_run(loop, sent < 300 ? EVRUN_NOWAIT : EVRUN_ONCE);
		dice = dice * 6364136223846793005u + 1442695040888963407u;
		if (dice >> 60 == 0 && b.last)
			rpc_conn_close(b.last);
		if (dice >> 60 == 1 && p->conn)
			rpc_conn_close(p->conn);
		done = 0;
		for (unsigned i = 0; i < sent; i++)
			done += all[i].done;
	}
	cr_expect_eq(b.executed, 300, "executed %u", b.executed);
	for (int i = 0; i < 300; i++) {
		cr_expect_eq(all[i].times, 1);
		cr_expect_eq(all[i].status, 0);
		answer_free(&all[i]);
	}
	cr_expect_gt(b.opened, 3);
}
