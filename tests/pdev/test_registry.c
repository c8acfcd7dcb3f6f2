/* test_registry.c -- who serves which name, over the lives of hosts. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "failalloc.h"
#include "fake.h"
#include "registry.h"

static struct registry *g;
static struct rpc_conn h2, h3;

static const char *host_name(void *arg, uint32_t host)
{
	(void)arg;
	return host == 2 ? "h2" : "h3";
}

static void start(void)
{
	fake_reset();
	h2 = (struct rpc_conn){ .service = SVC_FSD,
				.host = 2,
				.epoch = 1,
				.open = true };
	h3 = (struct rpc_conn){ .service = SVC_FSD,
				.host = 3,
				.epoch = 1,
				.open = true };
	cr_assert_eq(registry_new(fake_env, &fake_port, host_name, NULL, &g), 0);
}

static void stop(void)
{
	registry_free(g);
	g = NULL;
	cr_expect_eq(fake_timers(), 0, "timers are left");
}

TestSuite(registry, .init = start, .fini = stop, .timeout = 10);

static struct rpc_req claim(struct rpc_conn *c, const char *name)
{
	struct msg_pdev_claim m = { .name = name, .mode = 0600, .uid = 5 };
	struct rpc_req q = { .conn = c };

	registry_claim(g, &q, &m);
	cr_assert_eq(q.answers, 1);
	return q;
}

static int release(struct rpc_conn *c, const char *name)
{
	struct msg_pdev_release m = { .name = name };
	struct rpc_req q = { .conn = c };

	registry_release(g, &q, &m);
	cr_assert_eq(q.answers, 1);
	return q.status;
}

/* The host that serves name, or a negative errno. */
static int found(const char *name, struct msg_pdev_found *ret)
{
	struct msg_pdev_find m = { .name = name };
	struct msg_pdev_found f;
	struct rpc_req q = { .conn = &h2 };

	registry_find(g, &q, &m);
	cr_assert_eq(q.answers, 1);
	if (q.status)
		return q.status;
	cr_assert_eq(msg_pdev_found_decode(q.body, q.len, &f), 0);
	if (ret)
		*ret = f;
	return (int)f.host;
}

Test(registry, finds_who_claimed)
{
	struct msg_pdev_found f, other;

	cr_expect_eq(found("svc/a", NULL), -ENOENT);
	cr_expect_eq(claim(&h2, "svc/a").status, 0);
	cr_expect_eq(claim(&h3, "svc/b").status, 0);
	cr_expect_eq(found("svc/a", &f), 2);
	cr_expect_eq(f.mode, 0600);
	cr_expect_eq(f.uid, 5);
	cr_expect_eq(found("svc/b", &other), 3);
	cr_expect_neq(f.number, other.number);
}

Test(registry, lets_nobody_else_in)
{
	struct rpc_req q;

	claim(&h2, "svc/a");
	q = claim(&h3, "svc/a");
	cr_expect_eq(q.status, -EBUSY);
	cr_expect_not_null(strstr(q.sentence, "h2"), "%s", q.sentence);
	cr_expect_eq(claim(&h2, "svc/a").status, 0, "the same may again");
	release(&h3, "svc/a");
	cr_expect_eq(found("svc/a", NULL), 2, "nobody else releases it");
	release(&h2, "svc/a");
	cr_expect_eq(claim(&h3, "svc/a").status, 0);
	cr_expect_eq(release(&h3, "svc/nothing"), 0);
}

Test(registry, keeps_claims_over_a_short_cut_only)
{
	struct rpc_conn again = h2;

	claim(&h2, "svc/a");
	registry_conn_close(g, &h2);
	fake_advance(19000);
	registry_conn_open(g, &again);
	fake_advance(60000);
	cr_expect_eq(found("svc/a", NULL), 2);
	registry_conn_close(g, &again);
	fake_advance(20000);
	cr_expect_eq(found("svc/a", NULL), -ENOENT);
}

Test(registry, another_life_has_no_claims)
{
	struct rpc_conn again = h2;

	claim(&h2, "svc/a");
	again.epoch = 2;
	registry_conn_open(g, &again);
	cr_expect_eq(found("svc/a", NULL), -ENOENT);
}

Test(registry, takes_only_names_of_devices)
{
	cr_expect_eq(claim(&h2, "etc/passwd").status, -EINVAL);
	cr_expect_eq(claim(&h2, "svc/../x").status, -EINVAL);
}

Test(registry, lists_what_comes_behind_in_order)
{
	struct msg_pdev_list m = { .dir = "svc", .after = "b" };
	struct msg_pdev_listed l;
	struct wire_reader r;
	struct rpc_req q = { .conn = &h2 };

	claim(&h2, "svc/c");
	claim(&h3, "svc/a");
	claim(&h2, "svc/d");
	claim(&h2, "hosts/h2/zz");
	registry_list(g, &q, &m);
	cr_assert_eq(q.status, 0);
	cr_assert_eq(msg_pdev_listed_decode(q.body, q.len, &l), 0);
	cr_expect_eq(l.more, 0);
	r = wire_reader(l.names.p, l.names.len);
	cr_expect_str_eq(msg_pdev_name_get(&r).name, "c");
	cr_expect_str_eq(msg_pdev_name_get(&r).name, "d");
	cr_expect_eq(r.left, 0);
}

Test(registry, survives_any_failed_allocation)
{
	unsigned n = 0;
	int r;

	do {
		failalloc_nth(++n);
		r = claim(&h2, "svc/a").status;
		cr_assert(r == 0 || r == -ENOMEM);
	} while (failalloc_stop());
	cr_expect_gt(n, 1);
	cr_expect_eq(found("svc/a", NULL), 2);
}
