/*
 * test_alloc.c -- the n-th allocation refused, all the way through a call:
 * whatever fails, the call ends or is made good, and nothing leaks.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "failalloc.h"
#include "pair.h"

static struct node a, b;

static void start(void)
{
	pair_init();
	a = b = (struct node){0};
	node_start(&b, 2, SVC_FSD, 0);
	node_listen(&b);
	node_start(&a, 1, SVC_MIGD, 0);
	rpc_limits(a.r)->backoff_min_ms = 1;
}

static void stop(void)
{
	node_stop(&a);
	node_stop(&b);
	pair_fini();
}

TestSuite(alloc, .init = start, .fini = stop, .timeout = 60);

static int one_call(struct rpc_peer *p, unsigned n, bool *ret_refused)
{
	static uint8_t pay[100000];
	struct rpc_out o = {.code = CODE_ECHO,
			    .body = "body",
			    .len = 4,
			    .payload = pay,
			    .payload_len = sizeof(pay)};
	struct answer got = {0};
	int r;

	failalloc_nth(n);
	r = rpc_call(p, &o, 4000, 0, on_answer, &got, NULL);
	while (r == 0 && !got.done) {
		ev_run(loop, EVRUN_ONCE);
		/* The answer's copy is the test's own. */
	}
	*ret_refused = failalloc_stop();
	if (r == 0)
		r = got.status;
	answer_free(&got);
	return r;
}

static void every_allocation(struct rpc_peer *(*make)(void))
{
	bool refused = true;
	unsigned n;
	int r = 0;

	for (n = 1; refused && n < 300; n++) {
		struct rpc_peer *p = make();

		r = one_call(p, n, &refused);
		cr_assert(r == 0 || r == -ENOMEM, "allocation %u: %d", n, r);
		rpc_peer_free(p);
		settle();
	}
	cr_expect_eq(r, 0);
	cr_expect_gt(n, 5);
}

static struct rpc_peer *sealed(void)
{
	return peer_tcp(&a, &b);
}

static struct rpc_peer *local(void)
{
	return rpc_peer_unix(a.r, SVC_FSD, b.path);
}

Test(alloc, a_sealed_call_survives_any_failed_allocation)
{
	every_allocation(sealed);
}

Test(alloc, a_local_call_survives_any_failed_allocation)
{
	every_allocation(local);
}

Test(alloc, rpc_new_says_no)
{
	unsigned n = 0;
	struct rpc *r;

	do {
		failalloc_nth(++n);
		r = rpc_new(env, &a.id, key_of_test, NULL, NULL);
		cr_expect(r || n == 1);
	} while (failalloc_stop());
	rpc_free(r);
	cr_expect_gt(n, 1);
}
