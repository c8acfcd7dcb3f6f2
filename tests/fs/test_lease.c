/* test_lease.c -- who may cache what (fs/lease.h). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <string.h>

#include "lease.h"

static struct lease_holder a, b, c;
static struct lease_obj o;
static struct lease_table t;
static unsigned nrecalls, nname_recalls;
static struct lease_hold *last;
static struct lease_holder *last_name_of;

static void on_recall(void *arg, struct lease_hold *h)
{
	(void)arg;
	nrecalls++;
	last = h;
}

static void on_recall_name(void *arg, struct lease_holder *w,
			   struct lease_name *n, uint64_t seq)
{
	(void)arg;
	(void)n;
	(void)seq;
	nname_recalls++;
	last_name_of = w;
}

static struct lease_holder *at(void *arg, unsigned i)
{
	struct lease_holder *all[] = { &a, &b, &c };

	(void)arg;
	return i == 200 ? &c : all[i];
}

static void begin(void)
{
	a = (struct lease_holder){ .index = 0 };
	b = (struct lease_holder){ .index = 1 };
	c = (struct lease_holder){ .index = 200 };
	list_init(&a.holds);
	list_init(&b.holds);
	list_init(&c.holds);
	lease_obj_init(&o);
	t = (struct lease_table){ .recall = on_recall,
				  .recall_name = on_recall_name,
				  .holder_at = at };
}

static void end(void)
{
	lease_obj_fini(&o);
}

TestSuite(lease, .init = begin, .fini = end, .timeout = 10);

static enum lease_level grant(struct lease_holder *w, enum lease_level want)
{
	enum lease_level level;
	uint64_t seq;

	cr_assert(zero(int, lease_grant(&t, &o, w, want, &level, &seq)));
	return level;
}

Test(lease, many_may_read)
{
	cr_expect(eq(int, (int)grant(&a, LEASE_READ), LEASE_READ));
	cr_expect(eq(int, (int)grant(&b, LEASE_READ), LEASE_READ));
	cr_expect(lease_need(&t, &o, &a, LEASE_READ));
	cr_expect(zero(uint, nrecalls));
}

Test(lease, one_may_write)
{
	cr_expect(eq(int, (int)grant(&a, LEASE_WRITE), LEASE_WRITE));
	cr_expect(eq(int, (int)grant(&b, LEASE_WRITE), LEASE_NONE));
	cr_expect(eq(int, (int)grant(&b, LEASE_READ), LEASE_NONE));
}

Test(lease, a_reader_costs_the_writer_only_the_right_to_write)
{
	grant(&a, LEASE_WRITE);
	cr_expect(not(lease_need(&t, &o, &b, LEASE_READ)));
	cr_expect(eq(uint, nrecalls, 1));
	cr_expect(eq(int, (int)last->keep, LEASE_READ));
	lease_acked(last, last->recall_seq);
	cr_expect(lease_need(&t, &o, &b, LEASE_READ));
	cr_expect(eq(int, (int)lease_hold_of(&o, &a)->level, LEASE_READ));
}

Test(lease, nobody_is_asked_twice_for_the_same)
{
	grant(&a, LEASE_READ);
	lease_need(&t, &o, &b, LEASE_WRITE);
	lease_need(&t, &o, &b, LEASE_WRITE);
	lease_need(&t, &o, &c, LEASE_WRITE);
	cr_expect(eq(uint, nrecalls, 1));
}

Test(lease, a_stronger_recall_follows_a_weaker_one)
{
	grant(&a, LEASE_WRITE);
	lease_need(&t, &o, &b, LEASE_READ);
	lease_need(&t, &o, &b, LEASE_WRITE);
	cr_expect(eq(uint, nrecalls, 2));
	cr_expect(eq(int, (int)last->keep, LEASE_NONE));
}

Test(lease, an_answer_to_an_older_recall_counts_for_nothing)
{
	uint64_t first;

	grant(&a, LEASE_WRITE);
	lease_need(&t, &o, &b, LEASE_READ);
	first = last->recall_seq;
	lease_need(&t, &o, &b, LEASE_WRITE);
	lease_acked(last, first);
	cr_expect(eq(int, (int)lease_hold_of(&o, &a)->level, LEASE_WRITE));
}

Test(lease, the_asker_is_never_recalled_for_his_own_change)
{
	grant(&a, LEASE_READ);
	cr_expect(lease_need(&t, &o, &a, LEASE_WRITE));
	cr_expect(zero(uint, nrecalls));
	cr_expect(eq(int, (int)grant(&a, LEASE_WRITE), LEASE_WRITE));
}

Test(lease, nothing_new_is_given_while_somebody_waits)
{
	grant(&a, LEASE_READ);
	o.waiting++;
	cr_expect(eq(int, (int)grant(&b, LEASE_READ), LEASE_NONE));
	cr_expect(eq(int, (int)grant(&a, LEASE_WRITE), LEASE_READ));
	o.waiting--;
	cr_expect(eq(int, (int)grant(&b, LEASE_READ), LEASE_READ));
}

Test(lease, whoever_is_being_recalled_is_promised_nothing)
{
	grant(&a, LEASE_READ);
	lease_need(&t, &o, &b, LEASE_WRITE);
	cr_expect(eq(int, (int)grant(&a, LEASE_READ), LEASE_NONE));
	lease_acked(last, last->recall_seq);
	cr_expect(lease_need(&t, &o, &b, LEASE_WRITE));
}

Test(lease, forgetting_something_older_than_the_last_grant_is_ignored)
{
	enum lease_level level;
	uint64_t first, second;

	lease_grant(&t, &o, &a, LEASE_READ, &level, &first);
	lease_grant(&t, &o, &a, LEASE_READ, &level, &second);
	cr_expect(not(lease_forget(&o, &a, first)));
	cr_expect(lease_forget(&o, &a, second));
	cr_expect(zero(ptr, lease_hold_of(&o, &a)));
}

Test(lease, numbers_only_grow)
{
	enum lease_level level;
	uint64_t g, h;

	lease_grant(&t, &o, &a, LEASE_READ, &level, &g);
	lease_need(&t, &o, &b, LEASE_WRITE);
	cr_expect(gt(u64, last->recall_seq, g));
	lease_grant(&t, &o, &b, LEASE_NONE, &level, &h);
	cr_expect(gt(u64, h, last->recall_seq));
}

/* ---- names ---- */

Test(lease, a_name_is_recalled_from_those_who_looked_at_it)
{
	cr_assert(lease_cache_name(&o, &a, "x"));
	cr_assert(lease_cache_name(&o, &c, "x"));
	cr_assert(lease_cache_name(&o, &b, "y"));
	cr_expect(not(lease_need_name(&t, &o, &a, "x")));
	cr_expect(eq(uint, nname_recalls, 1));
	cr_expect(eq(ptr, last_name_of, &c));
	lease_name_acked(&o, &c, "x");
	cr_expect(lease_need_name(&t, &o, &a, "x"));
}

Test(lease, a_name_nobody_knows_is_free)
{
	cr_expect(lease_need_name(&t, &o, &a, "x"));
	cr_expect(zero(sz, o.names.count));
}

Test(lease, a_name_that_is_waited_for_is_not_cached)
{
	lease_cache_name(&o, &a, "x");
	lease_need_name(&t, &o, &b, "x");
	cr_assert(zero(int, lease_name_wait(&o, "x", 1)));
	cr_expect(not(lease_cache_name(&o, &c, "x")));
	cr_expect(lease_cache_name(&o, &c, "z"));
	lease_name_acked(&o, &a, "x");
	cr_assert(zero(int, lease_name_wait(&o, "x", -1)));
	cr_expect(lease_cache_name(&o, &c, "x"));
}

Test(lease, his_own_recall_of_a_name_must_be_answered_first)
{
	lease_cache_name(&o, &a, "x");
	lease_need_name(&t, &o, &b, "x");
	cr_expect(not(lease_need_name(&t, &o, &a, "x")));
	lease_name_acked(&o, &a, "x");
	cr_expect(lease_need_name(&t, &o, &a, "x"));
}

Test(lease, names_without_users_take_no_memory)
{
	lease_cache_name(&o, &a, "x");
	lease_cache_name(&o, &b, "x");
	lease_drop_names(&o, &a);
	cr_expect(eq(sz, o.names.count, 1));
	lease_drop_names(&o, &b);
	cr_expect(zero(sz, o.names.count));
}

/* An answer that comes while the question is being asked. */
static void ack_at_once(void *arg, struct lease_hold *h)
{
	(void)arg;
	lease_acked(h, h->recall_seq);
}

static void ack_name_at_once(void *arg, struct lease_holder *w,
			     struct lease_name *n, uint64_t seq)
{
	(void)arg;
	(void)seq;
	lease_name_acked(n->obj, w, n->text);
}

Test(lease, an_answer_at_once_is_seen)
{
	t.recall = ack_at_once;
	t.recall_name = ack_name_at_once;
	grant(&a, LEASE_WRITE);
	lease_cache_name(&o, &a, "x");
	cr_expect(lease_need(&t, &o, &b, LEASE_WRITE));
	cr_expect(lease_need_name(&t, &o, &b, "x"));
}
