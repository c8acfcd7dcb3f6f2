/* test_table.c -- lending over time; the clock is the tests'. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>

#include "failalloc.h"
#include "table.h"

#define DOWN_MS 180000
#define HOURS(n) ((uint64_t)(n) * 3600 * 1000)

static struct table *t;
static uint64_t now;

static struct {
	unsigned lost, news, evict, past;
	uint32_t home, client, host;
	uint64_t grant;
	enum hostdb_why why;
	uint32_t news_client, evict_host, evict_client;
} heard;

static void on_lost(void *arg, uint32_t home, uint32_t client, uint64_t grant,
		    uint32_t host, enum hostdb_why why)
{
	(void)arg;
	heard.lost++;
	heard.home = home;
	heard.client = client;
	heard.grant = grant;
	heard.host = host;
	heard.why = why;
}

static void on_news(void *arg, uint32_t home, uint32_t client)
{
	(void)arg;
	(void)home;
	heard.news++;
	heard.news_client = client;
}

static void on_evict(void *arg, uint32_t host, uint32_t home, uint32_t client,
		     uint64_t grant)
{
	(void)arg;
	(void)home;
	(void)grant;
	heard.evict++;
	heard.evict_host = host;
	heard.evict_client = client;
}

static void on_past(void *arg, uint32_t host, const struct past *p)
{
	(void)arg;
	(void)host;
	(void)p;
	heard.past++;
}

static const struct table_ears ears = { on_lost, on_news, on_evict, on_past, NULL };

static void report(uint32_t host, bool allow, enum hostdb_why why, uint64_t idle)
{
	struct host_report r = { .allow = allow, .why = why, .idle_secs = idle,
				 .slots = 1, .version = 1,
				 .up_secs = now / 1000 };

	cr_assert(zero(int, table_report(t, host, &r, now)));
}

static void host(uint32_t id, uint64_t idle)
{
	char name[16];

	snprintf(name, sizeof(name), "h%u", id);
	cr_assert(zero(int, table_know(t, id, name, now)));
	cr_assert(zero(int, table_session(t, id, 1000 + id, now)));
	report(id, true, WHY_NONE, idle);
}

static void begin(void)
{
	now = HOURS(10);
	cr_assert(zero(int, table_new(DOWN_MS, 100, &ears, &t)));
}

static void end(void)
{
	table_free(t);
	t = NULL;
}

TestSuite(table, .init = begin, .fini = end, .timeout = 10);

static uint32_t ask(uint32_t home, uint32_t client, uint32_t want,
		    struct slot *ret)
{
	struct client_is who = { home, client, 1000, "make" };
	uint32_t n = 0;

	cr_assert(zero(int, table_request(t, &who, PRIORITY_NORMAL, want, now, ret,
					  &n)));
	return n;
}

Test(table, lends_the_host_idle_longest_and_only_once)
{
	struct slot s[4];

	host(1, 60);
	host(2, 60);
	host(3, 600);
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	cr_expect(eq(u32, s[0].host, 3));
	cr_assert(eq(u32, ask(1, 1, 4, s), 1));
	cr_expect(eq(u32, s[0].host, 2), "never its own");
	cr_expect(eq(u32, ask(1, 1, 1, s), 0));
}

Test(table, lends_every_slot_of_a_host_spread_first)
{
	struct host_report r = { .allow = true, .slots = 2, .version = 1 };
	struct slot s[8];

	host(1, 60);
	host(2, 60);
	host(3, 50);
	cr_assert(zero(int, table_report(t, 2, &r, now)));
	cr_assert(zero(int, table_report(t, 3, &r, now)));
	cr_assert(eq(u32, ask(1, 1, 8, s), 4));
	cr_expect(ne(u32, s[0].host, s[1].host));
}

Test(table, has_nothing_for_a_host_that_did_not_report)
{
	struct client_is who = { 1, 1, 0, "x" };
	struct slot s[1];
	uint32_t n;

	cr_assert(zero(int, table_know(t, 1, "h1", now)));
	cr_expect(eq(int, table_request(t, &who, PRIORITY_NORMAL, 1, now, s, &n),
		     -ENOTCONN));
}

Test(table, takes_back_when_the_owner_comes_but_not_for_load)
{
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	cr_assert(eq(u32, ask(1, 5, 1, s), 1));
	report(2, false, WHY_LOAD, 60);
	cr_expect(zero(uint, heard.lost));
	report(2, false, WHY_INPUT, 0);
	cr_expect(eq(uint, heard.lost, 1));
	cr_expect(eq(u32, heard.client, 5));
	cr_expect(eq(u64, heard.grant, s[0].grant));
	cr_expect(eq(int, heard.why, WHY_INPUT));
	now += 40000;
	report(2, true, WHY_NONE, 40);
	cr_expect(eq(uint, heard.news, 1), "who lost one hears of a new one");
	cr_expect(eq(u32, ask(1, 5, 1, s), 1));
}

Test(table, tells_a_loser_soon_if_another_host_is_free)
{
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	host(3, 30);
	cr_assert(eq(u32, ask(1, 5, 1, s), 1));
	cr_assert(eq(u32, s[0].host, 2));
	report(2, false, WHY_INPUT, 0);
	now += 1000;
	table_tick(t, now);
	cr_expect(eq(uint, heard.news, 1));
	table_tick(t, now + 1000);
	cr_expect(eq(uint, heard.news, 1));
	cr_expect(eq(u32, ask(1, 5, 1, s), 1));
	cr_expect(eq(u32, s[0].host, 3));
}

Test(table, tells_all_who_wait_when_a_host_comes_back)
{
	struct slot s[1], none[1];

	host(1, 60);
	host(2, 60);
	host(3, 60);
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	cr_assert(eq(u32, ask(1, 2, 1, none), 1));
	cr_assert(zero(u32, ask(1, 3, 1, none)));
	cr_assert(zero(u32, ask(1, 4, 1, none)));
	table_return(t, 1, 1, &s[0].grant, 1, now);
	cr_expect(eq(uint, heard.news, 2));
	table_return(t, 1, 1, &s[0].grant, 1, now);
	cr_expect(eq(uint, heard.news, 2), "returned twice is returned once");
}

Test(table, closes_a_client_with_all_it_holds)
{
	struct slot s[4];

	for (uint32_t i = 1; i <= 4; i++)
		host(i, 60);
	cr_assert(eq(u32, ask(1, 1, 3, s), 3));
	table_close(t, 1, 1, now);
	cr_expect(eq(u32, ask(1, 2, 3, s), 3));
	cr_expect(zero(uint, heard.lost));
}

Test(table, shares_evenly_and_leaves_the_loser_alone_for_a_while)
{
	struct slot s[8];

	for (uint32_t i = 1; i <= 6; i++)
		host(i, 60);
	cr_assert(eq(u32, ask(1, 1, 8, s), 5));
	cr_assert(eq(u32, ask(1, 2, 8, s), 2));
	cr_expect(eq(uint, heard.lost, 2));
	cr_expect(eq(uint, heard.evict, 2));
	cr_expect(eq(u32, heard.evict_client, 1));
	cr_expect(eq(int, heard.why, WHY_RECLAIMED));
	/* Client 1 is not told of what client 2 gives back, but 30 s later is. */
	table_return(t, 1, 2, NULL, 0, now);
	cr_expect(zero(uint, heard.news));
	now += DEAF_MS;
	table_tick(t, now);
	cr_expect(eq(uint, heard.news, 1));
	cr_expect(eq(u32, heard.news_client, 1));
}

Test(table, calls_a_silent_host_down_and_tells_its_holders)
{
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	now += DOWN_MS - 1;
	report(1, true, WHY_NONE, 60);
	table_tick(t, now);
	cr_expect(zero(uint, heard.lost));
	now++;
	table_tick(t, now);
	cr_expect(eq(uint, heard.lost, 1));
	cr_expect(eq(int, heard.why, WHY_DOWN));
}

Test(table, gives_a_lost_session_a_grace)
{
	struct slot s[1], other[1];

	host(1, 60);
	host(2, 60);
	host(3, 30);
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	cr_assert(eq(u32, s[0].host, 2));
	table_session_lost(t, 2, now);
	table_tick(t, now + GRACE_MS - 1);
	cr_expect(zero(uint, heard.lost));
	/* It is back, even restarted: what it lent stays lent. */
	cr_assert(zero(int, table_session(t, 2, 77, now)));
	report(2, true, WHY_NONE, 60);
	table_tick(t, now + GRACE_MS);
	cr_expect(zero(uint, heard.lost));
	cr_assert(eq(u32, ask(1, 2, 1, other), 1));
	cr_expect(eq(u32, other[0].host, 3));
	table_session_lost(t, 2, now);
	table_tick(t, now + GRACE_MS);
	cr_expect(eq(uint, heard.lost, 1));
}

Test(table, does_not_lend_a_host_whose_session_is_lost)
{
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	table_session_lost(t, 2, now);
	cr_expect(zero(u32, ask(1, 1, 1, s)));
}

Test(table, ends_the_clients_of_a_restarted_migd)
{
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	host(3, 60);
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	table_session_lost(t, 1, now);
	cr_assert(zero(int, table_session(t, 1, 1001, now)));
	report(1, false, WHY_LOAD, 60);
	cr_expect(zero(u32, ask(3, 9, 1, s)), "the same epoch holds what it held");
	table_session_lost(t, 1, now);
	cr_assert(zero(int, table_session(t, 1, 4711, now)));
	cr_expect(eq(u32, ask(3, 9, 1, s), 1));
}

Test(table, notices_that_a_host_was_started_anew)
{
	struct host_report r = { .allow = true, .slots = 1, .version = 1 };
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	now += HOURS(1);
	report(2, true, WHY_NONE, 60);
	cr_expect(zero(uint, heard.lost));
	r.up_secs = 5;
	cr_assert(zero(int, table_report(t, 2, &r, now)));
	cr_expect(eq(int, heard.why, WHY_REBOOTED));
}

Test(table, takes_over_what_is_restated_after_a_restart)
{
	struct client_is one = { 1, 1, 0, "make" }, two = { 3, 8, 0, "make" };
	struct slot a = { 5000, 2, PRIORITY_NORMAL };
	struct slot b = { 5001, 2, PRIORITY_NORMAL };
	struct slot s[2];

	for (uint32_t i = 1; i <= 3; i++)
		cr_assert(zero(int, table_know(t, i, "h", now)));
	cr_assert(zero(int, table_session(t, 1, 1001, now)));
	cr_assert(zero(int, table_restate(t, &one, &a, 1, now)));
	cr_assert(zero(int, table_restate(t, &one, &a, 1, now)));
	cr_expect(zero(uint, heard.lost));
	host(1, 60);
	host(2, 60);
	host(3, 60);
	cr_assert(zero(int, table_restate(t, &two, &b, 1, now)));
	cr_expect(eq(uint, heard.lost, 1), "the slot is the other's");
	cr_expect(eq(u64, heard.grant, 5001));
	cr_expect(eq(u32, ask(1, 1, 2, s), 1));
	cr_expect(gt(u64, s[0].grant, 5000), "numbers are not given twice");
}

Test(table, forgets_a_host_and_all_that_hangs_on_it)
{
	struct slot s[2];

	host(1, 60);
	host(2, 60);
	host(3, 60);
	cr_assert(eq(u32, ask(2, 1, 1, s), 1));
	cr_assert(eq(u32, ask(3, 1, 1, s), 1));
	table_forget(t, 3, now);
	table_forget(t, 2, now);
	cr_expect(not(table_knows(t, 3)));
	cr_expect(eq(sz, table_count(t), 1));
}

Test(table, lists_hosts_as_loadavg_did)
{
	struct host_line l;
	struct slot s[1];

	host(1, 60);
	host(2, 600);
	cr_assert(zero(int, table_know(t, 9, "h9", now)));
	cr_assert(zero(int, table_line(t, 0, 1, now, &l)));
	cr_expect(eq(u32, l.id, 1));
	cr_expect(not(l.available), "it is the asker");
	cr_assert(zero(int, table_line(t, 2, 1, now + 5000, &l)));
	cr_expect(l.available);
	cr_expect(eq(int, l.state, HOST_IDLE));
	cr_expect(eq(u64, l.idle_secs, 605));
	cr_expect(eq(u64, l.up_secs, 36005));
	cr_assert(eq(u32, ask(1, 1, 1, s), 1));
	cr_assert(zero(int, table_line(t, 2, 1, now, &l)));
	cr_expect(eq(int, l.state, HOST_FULL));
	cr_assert(zero(int, table_line(t, 3, 1, now, &l)));
	cr_expect(eq(int, l.state, HOST_DOWN));
	cr_expect(eq(int, table_line(t, 10, 1, now, &l), -ENOENT));
}

Test(table, remembers_the_last_few_things_that_happened)
{
	struct slot s[1];

	host(1, 60);
	host(2, 60);
	for (int i = 0; i < 10; i++) {
		cr_assert(eq(u32, ask(1, 1, 1, s), 1));
		now += 1000;
		table_return(t, 1, 1, NULL, 0, now);
	}
	cr_assert(ne(ptr, (void *)table_past(t, 2, 0), NULL));
	cr_expect(eq(int, table_past(t, 2, 0)->kind, PAST_RETURNED));
	cr_expect(eq(u64, table_past(t, 2, 0)->held_ms, 1000));
	cr_expect(eq(int, table_past(t, 2, 1)->kind, PAST_GRANTED));
	cr_expect(eq(ptr, (void *)table_past(t, 2, PAST_KEPT), NULL));
}

Test(table, survives_any_refused_allocation)
{
	struct client_is who = { 1, 1, 0, "make" };
	struct slot s[8];
	unsigned n = 0;
	uint32_t got;
	bool refused;

	for (uint32_t i = 1; i <= 6; i++)
		host(i, 60);
	cr_assert(eq(u32, ask(2, 1, 5, s), 5));
	do {
		failalloc_nth(++n);
		got = 0;
		(void)table_request(t, &who, PRIORITY_NORMAL, 4, now, s, &got);
		refused = failalloc_stop();
		table_close(t, 1, 1, now);
		(void)ask(2, 1, 5, s);
	} while (refused);
	cr_expect(gt(uint, n, 1));
	table_close(t, 2, 1, now);
	cr_expect(eq(u32, ask(1, 3, 8, s), 5), "nothing leaked away");
}
