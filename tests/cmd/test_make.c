/*
 * test_make.c -- the parts of `sprite make` that need no make: which recipe
 * goes where, what is taken off the arguments, what a line gives away.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "make_args.h"
#include "make_costs.h"
#include "make_line.h"
#include "make_sched.h"
#include "make_tokens.h"

/* ---- the scheduler ------------------------------------------------------- */

static struct sched s;

static struct sched_job *job(struct sched_job *j, uint32_t cost)
{
	memset(j, 0, sizeof(*j));
	j->cost_ms = cost;
	sched_enqueue(&s, j);
	return j;
}

Test(sched, longest_first_unknown_as_average)
{
	struct sched_job a, b, c, d;

	sched_init(&s, "h1", 1, 0);
	job(&a, 100);
	job(&b, 0);
	job(&c, 900);
	job(&d, 0);
	/* One slot: they come out one by one. */
	cr_assert_eq(sched_start(&s), &c);
	cr_assert_null(sched_start(&s));
	sched_end(&s, &c, 900, false);
	cr_assert_eq(sched_start(&s), &b, "average 500, came first");
	sched_end(&s, &b, 10, false);
	cr_assert_eq(sched_start(&s), &d);
	sched_end(&s, &d, 10, false);
	cr_assert_eq(sched_start(&s), &a);
	sched_end(&s, &a, 10, false);
	cr_assert_null(sched_start(&s));
	cr_assert_eq(s.host[0].jobs, 4);
	cr_assert_eq(s.host[0].busy_ms, 930);
}

Test(sched, others_before_home_and_a_lone_one_at_home)
{
	struct sched_job a, b, c, d;

	sched_init(&s, "h1", 1, 0);
	cr_assert_eq(sched_host_set(&s, 2, "h2", 1), 0);
	cr_assert_eq(sched_host_set(&s, 3, "h3", 2), 0);
	cr_assert_eq(sched_slots(&s), 4);
	cr_assert_eq(sched_hosts(&s), 3);
	job(&a, 10);
	cr_assert_eq(sched_start(&s), &a);
	cr_assert_eq(a.host, 0);
	job(&b, 20);
	job(&c, 10);
	job(&d, 10);
	cr_assert_eq(sched_start(&s), &b);
	cr_assert_eq(s.host[b.host].id, 3, "most free slots");
	cr_assert_eq(sched_start(&s), &c);
	cr_assert_eq(sched_start(&s), &d);
	cr_assert_null(sched_start(&s));
}

Test(sched, what_must_stay_waits_for_home_only)
{
	struct sched_job a, b, c;

	sched_init(&s, "h1", 1, 0);
	sched_host_set(&s, 2, "h2", 1);
	job(&a, 50)->stay = true;
	job(&b, 10);
	job(&c, 50)->stay = true;
	cr_assert_eq(sched_start(&s), &b);
	cr_assert_eq(s.host[b.host].id, 2);
	cr_assert_eq(sched_start(&s), &a);
	cr_assert_eq(a.host, 0);
	cr_assert_null(sched_start(&s));
	sched_end(&s, &b, 1, false);
	cr_assert_null(sched_start(&s), "h2 is free, but it must stay");
	sched_end(&s, &a, 1, false);
	cr_assert_eq(sched_start(&s), &c);
}

Test(sched, a_lost_host_gets_nothing_and_may_come_back)
{
	struct sched_job a, b;

	sched_init(&s, "h1", 1, 0);
	sched_host_set(&s, 2, "h2", 1);
	job(&a, 1);
	job(&b, 1);
	cr_assert_eq(sched_start(&s), &a);
	cr_assert_eq(s.host[a.host].id, 2);
	sched_host_set(&s, 2, "h2", 0);
	sched_host_set(&s, 77, "h77", 0);
	cr_assert_eq(sched_slots(&s), 1);
	sched_end(&s, &a, 5, true);
	cr_assert_eq(s.host[1].lost, 1);
	cr_assert_eq(s.host[1].jobs, 0);
	a.stay = true;
	sched_enqueue(&s, &a);
	cr_assert_eq(sched_start(&s), &a, "at home, before what is not lost");
	sched_host_set(&s, 2, "h2", 1);
	cr_assert_eq(s.nhosts, 2, "the same host is not counted twice");
	cr_assert_eq(sched_start(&s), &b);
	cr_assert_eq(s.host[b.host].id, 2);
}

Test(sched, a_host_that_only_loses_is_left_alone)
{
	struct sched_job j[5];

	sched_init(&s, "h1", 1, 0);
	sched_host_set(&s, 2, "h2", 4);
	for (int i = 0; i < 5; i++)
		job(&j[i], 0);
	for (int i = 0; i < 5; i++)
		cr_assert_not_null(sched_start(&s));
	sched_end(&s, &j[0], 1, true);
	sched_end(&s, &j[1], 1, true);
	sched_end(&s, &j[2], 1, false);
	sched_end(&s, &j[3], 1, true);
	cr_assert_eq(sched_slots(&s), 5, "one went well between");
	for (int i = 0; i < 2; i++) {
		job(&j[i], 0);
		cr_assert_not_null(sched_start(&s));
		sched_end(&s, &j[i], 1, true);
	}
	cr_assert_eq(sched_slots(&s), 1);
	sched_host_set(&s, 2, "h2", 4);
	cr_assert_eq(sched_slots(&s), 5, "granted anew");
}

Test(sched, limits)
{
	struct sched_job j[4];

	sched_init(&s, "h1", 2, 3);
	sched_host_set(&s, 2, "h2", 4);
	cr_assert_eq(sched_slots(&s), 3);
	for (int i = 0; i < 4; i++)
		job(&j[i], 0);
	for (int i = 0; i < 3; i++)
		cr_assert_not_null(sched_start(&s));
	cr_assert_null(sched_start(&s));
	cr_assert_gt(sched_depth(&s), 3, "its successor waits already");

	sched_init(&s, "h1", 2, 1);
	cr_assert_eq(sched_depth(&s), 1, "-j1 is make's own order");
	sched_init(&s, "h1", 2, 0);
	for (uint32_t i = 1; i < SCHED_HOSTS_MAX; i++)
		cr_assert_eq(sched_host_set(&s, i, "h", 1), 0);
	cr_assert_eq(sched_host_set(&s, SCHED_HOSTS_MAX, "h", 1), -ENOSPC);
}

Test(sched, a_cancelled_one_is_gone)
{
	struct sched_job a, b;

	sched_init(&s, "h1", 1, 0);
	job(&a, 9);
	job(&b, 1);
	sched_cancel(&s, &a);
	cr_assert_eq(s.waiting, 1);
	cr_assert_eq(sched_start(&s), &b);
}

/* ---- arguments ------------------------------------------------------------ */

static char joined[512];

/* The words of line through the parser; what is left for make, joined. */
static const char *left(const char *line, struct make_args *a, int want)
{
	static char copy[512];
	char *argv[64], *rest = copy, *w;
	const char *bad;
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((w = strsep(&rest, " ")) != NULL)
		argv[argc++] = w;
	argv[argc] = NULL;
	cr_assert_eq(make_args_parse(argc, argv, a, &bad), want, "%s", line);
	joined[0] = '\0';
	for (int i = 0; want == 0 && i < a->argc; i++) {
		strcat(joined, i ? " " : "");
		strcat(joined, a->argv[i]);
	}
	if (want == 0)
		cr_assert_null(a->argv[a->argc]);
	make_args_free(a);
	return joined;
}

Test(args, every_form_of_j_is_taken)
{
	struct make_args a;

	cr_assert_str_eq(left("make -j8 all", &a, 0), "make all");
	cr_assert_eq(a.limit, 8);
	cr_assert_str_eq(left("make -j 8 all", &a, 0), "make all");
	cr_assert_eq(a.limit, 8);
	cr_assert_str_eq(left("make -j all", &a, 0), "make all");
	cr_assert_eq(a.limit, 0);
	cr_assert_str_eq(left("make -kj4 -rj", &a, 0), "make -k -r");
	cr_assert_eq(a.limit, 0, "the last one counts");
	cr_assert_str_eq(left("make -kj4s x", &a, 0), "make -ks x");
	cr_assert_eq(a.limit, 4);
	cr_assert_str_eq(left("make --jobs=3 --jobs", &a, 0), "make");
	cr_assert_eq(a.limit, 0);
	cr_assert_str_eq(left("make --jobs=3", &a, 0), "make");
	cr_assert_eq(a.limit, 3);
	left("make -j0", &a, -EINVAL);
	left("make -j 3x", &a, -EINVAL);
	left("make --jobs=many", &a, -EINVAL);
	left("make -j99999999999999999999", &a, -EINVAL);
}

Test(args, the_rest_is_makes)
{
	struct make_args a;

	cr_assert_str_eq(left("make -C dir -f mk -I inc V=1 -l 4 -Oline", &a, 0),
			 "make -C dir -f mk -I inc V=1 -l 4 -Oline");
	cr_assert_str_eq(a.dir, "dir");
	cr_assert_str_eq(a.file, "mk");
	cr_assert_str_eq(left("make -Cj3 -ofile.j", &a, 0), "make -Cj3 -ofile.j");
	cr_assert_str_eq(a.dir, "j3");
	cr_assert_eq(a.limit, 0);
	cr_assert_str_eq(left("make -W -j3 x", &a, 0), "make -W -j3 x");
	cr_assert_str_eq(left("make --file -j3 x", &a, 0), "make --file -j3 x");
	cr_assert_str_eq(a.file, "-j3");
	cr_assert_str_eq(left("make --report SHELL=/bin/zsh x", &a, 0), "make x");
	cr_assert(a.report);
	cr_assert_str_eq(a.shell, "/bin/zsh");
	cr_assert_str_eq(left("make -- -j3", &a, 0), "make -- -j3");
	cr_assert_str_eq(left("make -", &a, 0), "make -");
	cr_assert_str_eq(left("make -C", &a, 0), "make -C");
	left("make --help", &a, 0);
	cr_assert(a.help);
}

static const char *flags(const char *old)
{
	static char text[512];
	struct buf b = { 0 };

	cr_assert_eq(make_flags(old, 5, 6, "/opt/my tools/sprite-sh", &b), 0);
	snprintf(text, sizeof(text), "%s", (char *)buf_data(&b));
	buf_free(&b);
	return text;
}

#define OURS " -j --jobserver-auth=5,6 -- SHELL=/opt/my\\ tools/sprite-sh"

Test(args, makeflags)
{
	cr_assert_str_eq(flags(NULL), OURS);
	cr_assert_str_eq(flags(""), OURS);
	cr_assert_str_eq(flags("ks"), " -ks" OURS);
	cr_assert_str_eq(flags("w -j4 --jobserver-auth=3,4 -- V=1 SHELL=/x"),
			 " -w" OURS " V=1");
	cr_assert_str_eq(flags(" -j --jobserver-auth=fifo:/tmp/x --trace"),
			 " --trace" OURS);
	cr_assert_str_eq(flags("V=1"), " V=1" OURS);
	cr_assert_str_eq(flags(" -- A=x\\ y"), OURS " A=x\\ y");
}

Test(args, the_shell_of_a_makefile)
{
	char b[256];

	cr_assert_not(make_shell_in("all:\n\techo $(SHELL)\n", b, sizeof(b)));
	cr_assert(make_shell_in("A=1\nSHELL = /bin/bash # yes\n", b, sizeof(b)));
	cr_assert_str_eq(b, "/bin/bash");
	cr_assert(make_shell_in("export SHELL := /bin/sh\r\n", b, sizeof(b)));
	cr_assert_str_eq(b, "/bin/sh");
	cr_assert(make_shell_in("SHELL=/usr/bin/env bash", b, sizeof(b)));
	cr_assert_str_eq(strrchr(b, '/'), "/bash");
	cr_assert_not(make_shell_in("SHELL ?= /bin/bash\n", b, sizeof(b)));
	cr_assert_not(make_shell_in("SHELL = /no/such/shell\n", b, sizeof(b)));
	cr_assert_not(make_shell_in("SHELLS = /bin/bash\n", b, sizeof(b)));
}

/* ---- recipe lines ---------------------------------------------------------- */

Test(line, trivial_or_not)
{
	static const char *const yes[] = {
		"", ":", "mkdir -p a/b", "echo 'x; gcc' > y", "rm -f a b; touch c",
		"test -d x || mkdir x", "[ -e a ] && mv a b",
	};
	static const char *const no[] = {
		"gcc -c a.c", "mkdir x && gcc a.c", "echo $(hostname)",
		"echo `ls`", "(cd x; make)", "echo a | sed s/a/b/", "X=1 gcc",
		"for i in a; do echo; done", "echo 'open", "./echo", "\\\n gcc",
		"echo \"$(cc x)\"", "{ gcc; }", "true & gcc",
	};

	for (size_t i = 0; i < 7; i++)
		cr_assert(line_is_trivial(yes[i]), "%s", yes[i]);
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		cr_assert_not(line_is_trivial(no[i]), "%s", no[i]);
}

Test(line, make_by_name)
{
	cr_assert(line_calls_make("make -C x"));
	cr_assert(line_calls_make("cd y && /usr/bin/make"));
	cr_assert(line_calls_make("gmake;"));
	cr_assert_not(line_calls_make("cmake .."));
	cr_assert_not(line_calls_make("gcc -c make.c"));
	cr_assert_not(line_calls_make("./makefile-gen"));
}

Test(line, labels)
{
	char b[16];

	line_label("gcc -O2 -c lib/x.c -o build/lib/x.o", b, sizeof(b));
	cr_assert_str_eq(b, "x.o");
	line_label("/usr/bin/ar rcs build/libx.a", b, sizeof(b));
	cr_assert_str_eq(b, "ar libx.a");
	line_label("a\033[2J", b, sizeof(b));
	cr_assert_str_eq(b, "a?[2J");
	line_label("", b, sizeof(b));
	cr_assert_str_eq(b, "");
	line_label("gcc -o averyveryverylongname.o", b, sizeof(b));
	cr_assert_eq(strlen(b), 15);
}

Test(line, makeflags_for_another_host)
{
	char b[] = "ks -j --jobserver-auth=3,4 --trace -- SHELL=/a\\ b/sh V=1";

	line_strip_jobs(b);
	cr_assert_str_eq(b, "ks --trace -- V=1");
}

Test(line, hash_depends_on_all)
{
	uint64_t a = line_hash(LINE_HASH, "x");

	cr_assert_neq(a, line_hash(LINE_HASH, "y"));
	cr_assert_neq(line_hash(a, "b"), line_hash(line_hash(LINE_HASH, "y"), "b"));
}

/* ---- experience -------------------------------------------------------------- */

Test(costs, kept_in_a_file)
{
	char path[] = "/tmp/sprite-costs.XXXXXX";
	struct costs c;
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "garbage\n00ff 5\n1 0 3\n", 21), 21);
	close(fd);
	cr_assert_eq(costs_load(&c, path, 100), 0);
	cr_assert_eq(c.map.count, 0, "what cannot be read is not there");
	costs_learn(&c, 7, 300);
	costs_learn(&c, 8, 0);
	costs_learn(&c, 7, 600);
	cr_assert_eq(costs_get(&c, 7), 500);
	cr_assert_eq(costs_save(&c, path), 0);
	costs_free(&c);
	cr_assert_eq(costs_load(&c, path, 101), 0);
	cr_assert_eq(costs_get(&c, 7), 500);
	cr_assert_eq(costs_get(&c, 8), 1);
	cr_assert_eq(costs_get(&c, 9), 0);
	costs_free(&c);
	unlink(path);
	cr_assert_eq(costs_load(&c, path, 1), -ENOENT);
	costs_free(&c);
}

Test(costs, bounded)
{
	struct costs c;

	costs_load(&c, "/nonexistent", 5);
	for (uint64_t k = 1; k <= COSTS_MAX; k++)
		costs_learn(&c, k, 10);
	costs_learn(&c, COSTS_MAX + 1, 10);
	cr_assert_eq(c.map.count, COSTS_MAX);
	cr_assert_eq(costs_get(&c, COSTS_MAX + 1), 0, "all are of today");
	c.today++;
	costs_learn(&c, 1, 10);
	costs_learn(&c, COSTS_MAX + 1, 10);
	cr_assert_eq(c.map.count, COSTS_MAX);
	cr_assert_eq(costs_get(&c, COSTS_MAX + 1), 10);
	cr_assert_eq(costs_get(&c, 1), 10, "met today");
	costs_free(&c);
}

/* ---- the jobserver pipe -------------------------------------------------------- */

static void take(struct tokens *t, int n)
{
	char b[64];

	cr_assert_eq(read(t->r, b, (size_t)n), n);
}

Test(tokens, added_at_once_taken_back_when_they_come)
{
	struct tokens t;

	cr_assert_eq(tokens_open(&t), 0);
	tokens_want(&t, 5);
	take(&t, 3);
	tokens_want(&t, 1);
	cr_assert_eq(t.issued, 3, "two were there, two are owed");
	cr_assert_eq(write(t.w, "++", 2), 2);
	tokens_settle(&t);
	cr_assert_eq(t.issued, 1);
	tokens_want(&t, 2);
	cr_assert_eq(t.issued, 2);
	tokens_close(&t);
}

Test(tokens, a_lost_one_is_put_back_but_not_a_held_one)
{
	struct tokens t;

	cr_assert_eq(tokens_open(&t), 0);
	tokens_want(&t, 4);
	take(&t, 3);
	cr_assert_eq(tokens_check(&t, 3, 1000), 0);
	cr_assert_eq(tokens_check(&t, 3, 90000), 0, "three recipes hold them");
	cr_assert_eq(tokens_check(&t, 1, 91000), 0, "not yet");
	cr_assert_eq(tokens_check(&t, 3, 92000), 0, "only between two recipes");
	cr_assert_eq(tokens_check(&t, 1, 93000), 0);
	cr_assert_eq(tokens_check(&t, 2, 94000), 0);
	cr_assert_eq(tokens_check(&t, 1, 98000), 1, "the least seen meanwhile");
	take(&t, 2);
	tokens_close(&t);
}
