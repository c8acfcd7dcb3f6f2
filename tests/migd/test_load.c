/* test_load.c -- averages, and when a host lets guests in. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

static const struct hostconf defaults = {
	.idle_secs = 30, .load_in_centi = { 75, 100, 150 },
	.load_out_centi = { 250, 275, 300 }, .slots = 1,
};

static struct load_facts facts(double one, double five, double fifteen)
{
	return (struct load_facts){ .touched = true, .idle_secs = 3600,
				    .avg = { { one, five, fifteen } } };
}

static bool step(struct load_gate *g, struct load_facts f)
{
	struct load_limits l = load_limits_for(&defaults, 1);

	return load_gate_step(g, &f, &l);
}

Test(load, averages_come_near_after_their_time)
{
	struct load_avg a = { { 0 } };

	for (int i = 0; i < 12; i++)
		load_avg_add(&a, 1);
	cr_expect(lt(dbl, fabs(a.v[0] - (1 - exp(-1))), 1e-9));
	cr_expect(lt(dbl, fabs(a.v[1] - (1 - exp(-0.2))), 1e-9));
	for (int i = 0; i < 10000; i++)
		load_avg_add(&a, 0);
	cr_expect(zero(dbl, a.v[2]), "and are nothing in the end");
}

Test(load, hundredths_are_rounded_and_bounded)
{
	cr_expect(eq(u32, load_centi(0.746), 75));
	cr_expect(eq(u32, load_centi(-1), 0));
	cr_expect(eq(u32, load_centi(NAN), 0));
	cr_expect(eq(u32, load_centi(1e30), 1000000000u));
}

Test(load, an_idle_host_begins_to_allow)
{
	struct load_gate g = LOAD_GATE_START;

	cr_expect(step(&g, facts(0.75, 1.0, 1.5)));
	cr_expect(g.allow);
	cr_expect(not(step(&g, facts(0, 0, 0))), "nothing changed");
}

Test(load, each_average_can_bar)
{
	struct load_facts f[] = { facts(0.76, 0, 0), facts(0, 1.01, 0),
				  facts(0, 0, 1.51) };

	for (int i = 0; i < 3; i++) {
		struct load_gate g = LOAD_GATE_START;

		cr_expect(step(&g, f[i]));
		cr_expect(not(g.allow));
		cr_expect(eq(int, g.why, WHY_LOAD));
	}
}

Test(load, one_or_two_guests_do_not_bar_a_host_that_allows)
{
	struct load_gate g = LOAD_GATE_START;

	step(&g, facts(0, 0, 0));
	cr_expect(not(step(&g, facts(2.5, 2.75, 3.0))));
	cr_expect(g.allow);
	cr_expect(step(&g, facts(2.51, 0, 0)));
	cr_expect(eq(int, g.why, WHY_LOAD));
	cr_expect(not(step(&g, facts(0.8, 0, 0))), "not before it is quiet");
	cr_expect(step(&g, facts(0.7, 0, 0)));
	cr_expect(g.allow);
}

Test(load, the_owner_bars_at_once_and_for_thirty_seconds)
{
	struct load_facts f = facts(0, 0, 0);
	struct load_gate g = LOAD_GATE_START;

	step(&g, f);
	f.idle_secs = 0;
	cr_expect(step(&g, f));
	cr_expect(eq(int, g.why, WHY_INPUT));
	f.idle_secs = 29;
	cr_expect(not(step(&g, f)));
	f.idle_secs = 30;
	cr_expect(step(&g, f));
	cr_expect(g.allow);
}

Test(load, a_host_never_touched_need_not_wait)
{
	struct load_facts f = { .touched = false, .idle_secs = 5 };
	struct load_gate g = LOAD_GATE_START;

	cr_expect(step(&g, f));
	cr_expect(g.allow);
}

Test(load, policy_is_said_before_anything_else)
{
	struct load_facts f = facts(9, 9, 9);
	struct load_gate g = LOAD_GATE_START;

	f.refuses = true;
	f.idle_secs = 0;
	cr_expect(step(&g, f));
	cr_expect(eq(int, g.why, WHY_POLICY));
}

Test(load, limits_grow_with_processors_and_slots)
{
	struct hostconf c = defaults;
	struct load_limits l;

	c.slots = 3;
	l = load_limits_for(&c, 4);
	cr_expect(lt(dbl, fabs(l.in[0] - 3.0), 1e-9));
	cr_expect(lt(dbl, fabs(l.out[0] - 12.0), 1e-9));
}

Test(load, sees_a_task_that_runs, .timeout = 20)
{
	struct load_sampler s;
	int before, with = -1, pipefd[2];
	char c;
	pid_t pid;

	cr_assert(zero(int, load_sampler_init(&s)));
	before = load_sample(&s);
	cr_assert(ge(int, before, 0));
	cr_expect(ge(uint, load_cpus(&s), 1));
	cr_assert(zero(int, pipe(pipefd)));
	pid = fork();
	if (pid == 0) {
		if (write(pipefd[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			;
	}
	cr_assert(eq(int, (int)read(pipefd[0], &c, 1), 1));
	/* It runs or could from now on: each look must see it. */
	with = load_sample(&s);
	cr_expect(ge(int, with, 1));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
