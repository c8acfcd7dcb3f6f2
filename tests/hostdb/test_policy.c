/* test_policy.c -- who gets which host. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "policy.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static struct policy_host open_host(uint32_t id, uint64_t since)
{
	return (struct policy_host){ .id = id, .slots = 1, .open = true,
				     .version = 7, .since_ms = since };
}

static const struct policy_ask normal = { 99, 7, PRIORITY_NORMAL };

Test(policy, prefers_the_host_idle_longest)
{
	struct policy_host h[] = { open_host(1, 300), open_host(2, 100),
				   open_host(3, 200) };
	uint32_t got[3];

	cr_assert(eq(sz, policy_pick(h, N(h), &normal, got, 3), 3));
	cr_expect(eq(u32, h[got[0]].id, 2));
	cr_expect(eq(u32, h[got[1]].id, 3));
	cr_expect(eq(u32, h[got[2]].id, 1));
}

Test(policy, keeps_the_best_when_there_are_more_than_wanted)
{
	struct policy_host h[100];
	uint32_t got[3];

	for (uint32_t i = 0; i < 100; i++)
		h[i] = open_host(i + 1, (i * 37) % 100);
	cr_assert(eq(sz, policy_pick(h, N(h), &normal, got, 3), 3));
	for (uint32_t i = 0; i < 3; i++)
		cr_expect(eq(u64, h[got[i]].since_ms, i));
}

Test(policy, puts_wholly_idle_hosts_before_lent_ones)
{
	struct policy_host h[] = { open_host(1, 100), open_host(2, 900) };
	uint32_t got[2];

	h[0].slots = h[1].slots = 2;
	h[0].lent[PRIORITY_NORMAL] = 1;
	cr_assert(eq(sz, policy_pick(h, N(h), &normal, got, 2), 2));
	cr_expect(eq(u32, h[got[0]].id, 2));
}

Test(policy, never_gives_the_askers_own_host)
{
	struct policy_host h[] = { open_host(99, 1) };
	uint32_t got[1];

	cr_expect(zero(sz, policy_pick(h, N(h), &normal, got, 1)));
}

Test(policy, never_gives_another_version)
{
	struct policy_host h[] = { open_host(1, 1) };
	uint32_t got[1];

	h[0].version = 8;
	cr_expect(zero(sz, policy_pick(h, N(h), &normal, got, 1)));
}

Test(policy, lets_a_compile_in_beside_a_background_job_but_not_the_reverse)
{
	struct policy_host low = open_host(1, 1), norm = open_host(2, 1);

	low.lent[PRIORITY_LOW] = 1;
	norm.lent[PRIORITY_NORMAL] = 1;
	cr_expect(eq(uint, policy_room(&low, PRIORITY_NORMAL), 1));
	cr_expect(zero(uint, policy_room(&low, PRIORITY_LOW)));
	cr_expect(zero(uint, policy_room(&norm, PRIORITY_LOW)));
	cr_expect(eq(uint, policy_room(&norm, PRIORITY_HIGH), 1));
}

Test(policy, names_the_states)
{
	struct policy_facts ok = { true, true, WHY_NONE };
	struct policy_facts input = { true, false, WHY_INPUT };
	struct policy_facts load = { true, false, WHY_LOAD };
	struct policy_facts refuses = { true, false, WHY_POLICY };
	struct policy_facts down = { false, true, WHY_NONE };
	struct policy_host h = open_host(1, 1);

	cr_expect(eq(int, policy_state(&ok, &h), HOST_IDLE));
	cr_expect(eq(int, policy_state(&input, &h), HOST_ACTIVE));
	cr_expect(eq(int, policy_state(&load, &h), HOST_ACTIVE));
	cr_expect(eq(int, policy_state(&refuses, &h), HOST_REFUSES));
	cr_expect(eq(int, policy_state(&down, &h), HOST_DOWN));
	h.lent[PRIORITY_LOW] = 1;
	cr_expect(eq(int, policy_state(&ok, &h), HOST_PART_USED));
	h.lent[PRIORITY_NORMAL] = 1;
	cr_expect(eq(int, policy_state(&ok, &h), HOST_FULL));
}

static struct policy_grant grant(uint32_t host, uint32_t client)
{
	return (struct policy_grant){ host, client, 7, PRIORITY_NORMAL, true };
}

Test(policy, reclaims_the_last_host_of_the_richest_client)
{
	struct policy_grant g[] = { grant(1, 1), grant(2, 2), grant(3, 2),
				    grant(4, 2), grant(5, 1) };
	uint32_t held[] = { 0, 2, 3 };

	cr_expect(eq(long, policy_reclaim(g, N(g), held, 0, &normal), 3));
}

Test(policy, leaves_a_client_that_has_only_one_more)
{
	struct policy_grant g[] = { grant(1, 1), grant(2, 1) };
	uint32_t held[] = { 1, 2 };

	cr_expect(eq(long, policy_reclaim(g, N(g), held, 0, &normal), -1));
}

Test(policy, does_not_reclaim_what_the_asker_cannot_use)
{
	struct policy_grant g[] = { grant(99, 1), grant(2, 1), grant(3, 1) };
	uint32_t held[] = { 0, 3 };

	g[1].takable = false;
	g[2].priority = PRIORITY_LOW;
	cr_expect(eq(long, policy_reclaim(g, N(g), held, 0, &normal), -1));
}
