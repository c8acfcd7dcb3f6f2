/* What the verbs print and return, against a migd with fixed answers. */
#include "fake_migd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(verbs, .init = fake_begin, .fini = fake_end, .timeout = 30);

static void expect(const struct verb *v, const char *line, int code,
		   const char *part)
{
	struct said s = say(v, line);

	cr_assert_eq(s.code, code, "%s %s: %d instead of %d: %s", v->name, line,
		     s.code, code, s.out);
	if (part)
		cr_assert_not_null(strstr(s.out, part), "%s %s does not say '%s': %s",
				   v->name, line, part, s.out);
}

static void refuse(const struct verb *v, const char *line, const char *part)
{
	struct said s = say(v, line);

	cr_assert_null(strstr(s.out, part), "%s %s says '%s': %s", v->name, line,
		       part, s.out);
}

Test(verbs, hosts)
{
	expect(&verb_hosts, "", 0, "h1              ");
	expect(&verb_hosts, "", 0, "h2             *");
	expect(&verb_hosts, "", 0, "1+01:01 inuse");
	expect(&verb_hosts, "", 0, "(1:06)");
	expect(&verb_hosts, "--why", 0, "its console is in use");
	expect(&verb_hosts, "--json", 0, "\"host\":\"h3\"");
	expect(&verb_hosts, "--json", 0, "\"load\":[1.23,0,0]");
	expect(&verb_hosts, "h1", 2, "one argument too many");
	expect(&verb_hosts, "--frob", 2, "not an option");
}

Test(verbs, ps)
{
	/* A stub and its body are one process. */
	expect(&verb_ps, "", 0, "simulate");
	refuse(&verb_ps, "", "stub");
	expect(&verb_ps, "", 0, "1:01.50");
	expect(&verb_ps, "--json", 0, "\"command\":\"simulate \\\"x\\\"\"");
	expect(&verb_ps, "-a", 0, "16400");
	refuse(&verb_ps, "-a", "32800");
	expect(&verb_ps, "--mine", 1, "cannot be read");
}

Test(verbs, migrate)
{
	expect(&verb_migrate, "16400 h2", 0, "frozen 2.50 ms of 40.00 ms");
	expect(&verb_migrate, "--json 16400 h2", 0, "\"to\":\"h2\"");
	expect(&verb_migrate, "16401 h2", 6, "it has an epoll descriptor");
	expect(&verb_migrate, "16402 h2", 3, "no such process");
	expect(&verb_migrate, "16400 16402 h2", 3, "frozen");
	expect(&verb_migrate, "-s slow 16400 h2", 2, "direct or lazy");
	expect(&verb_migrate, "x h2", 2, "not the number");
	expect(&verb_migrate, "16400", 2, "a process and a host");
}

Test(verbs, moves_and_evictions)
{
	expect(&verb_moves, "", 0, "16401 h1 -> h2: failed: the target went away");
	expect(&verb_moves, "--json", 0, "\"freeze_us\":2500");
	expect(&verb_moves, "-n 0", 2, NULL);
	expect(&verb_evict, "", 0, "evicted 3 foreign processes");
	expect(&verb_evict, "h2", 6, "nobody takes 16401");
	expect(&verb_evict, "--log --json", 0, "\"gone_us\":90000");
	expect(&verb_evict, "--log h2", 0, "console: 2 guests");
	expect(&verb_evict, "h2 h3", 2, NULL);
}

Test(verbs, kill)
{
	expect(&verb_kill, "-USR1 -- -16400", 0, NULL);
	expect(&verb_kill, "-s SIGUSR1 -- -16400", 0, NULL);
	expect(&verb_kill, "-9 16400", 4, "it is not yours");
	expect(&verb_kill, "16400", 4, NULL);
	expect(&verb_kill, "-FROB 16400", 2, "not a signal");
	expect(&verb_kill, "1", 2, NULL);
	expect(&verb_kill, "", 2, NULL);
	expect(&verb_kill, "--help", 0, "usage");
}

Test(verbs, explain)
{
	expect(&verb_explain, "16400", 0, "it is at home");
	expect(&verb_explain, "h2", 0, "h2 is free");
	expect(&verb_explain, "h9", 3, "no host of that name");
	expect(&verb_explain, "", 2, NULL);
}

Test(verbs, run)
{
	expect(&verb_run, "echo here it is", 0, "here it is");
	expect(&verb_run, "sh -c exit", 0, NULL);
	expect(&verb_run, "-h exits true", 3, NULL);
	expect(&verb_run, "-h dies true", -SIGTERM, "its host was lost");
	expect(&verb_run, "-p -h exits true", 3, "16500");
	expect(&verb_run, "-b -h exits true", 0, "16500");
	expect(&verb_run, "-h none true", 125, "no host is idle");
	expect(&verb_run, "no-such-program-here", 127, "not found");
	expect(&verb_run, "/etc/passwd", 126, "Permission denied");
	expect(&verb_run, "", 2, "needs a command");
	expect(&verb_run, "--here -h h2 true", 2, "contradict");
}

Test(verbs, no_daemon)
{
	setenv("SPRITE_RUN", "/nonexistent", 1);
	expect(&verb_ps, "", 5, "sprite up");
	expect(&verb_run, "true", 125, "sprite up");
	setenv("SPRITE_STATE", "/nonexistent", 1);
	expect(&verb_hosts, "", 3, "sprite init");
	expect(&verb_status, "", 3, "sprite join");
	expect(&verb_up, "", 3, "sprite init");
}
