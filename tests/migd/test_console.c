/* test_console.c -- a touch is told as it happens. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console.h"

static struct ev_loop *loop;
static struct console c;
static char file[] = "/tmp/sprite-console-XXXXXX";
static unsigned touches;

static void on_touch(void *arg, const char *device)
{
	(void)arg;
	(void)device;
	touches++;
}

static void begin(void)
{
	int fd = mkstemp(file);

	cr_assert(ge(int, fd, 0));
	close(fd);
	loop = ev_loop_new(EVFLAG_AUTO);
}

static void end(void)
{
	console_close(&c);
	ev_loop_destroy(loop);
	loop = NULL;
	unlink(file);
}

TestSuite(console, .init = begin, .fini = end, .timeout = 20);

static void late(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)revents;
	*(bool *)w->data = true;
	ev_break(l, EVBREAK_ONE);
}

/* Until as many touches as that, secs at most. */
static bool until(unsigned n, double secs)
{
	bool over = false;
	ev_timer t;

	ev_timer_init(&t, late, secs, 0.);
	t.data = &over;
	ev_timer_start(loop, &t);
	while (touches < n && !over)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &t);
	return touches >= n;
}

static void write_file(void)
{
	int fd = open(file, O_WRONLY | O_APPEND);

	cr_assert(eq(int, (int)write(fd, "x", 1), 1));
	close(fd);
}

Test(console, tells_of_a_touched_file_and_counts_from_there)
{
	char names[128];

	snprintf(names, sizeof(names), "/nonexistent/tty, %s", file);
	cr_assert(zero(int, console_open(&c, loop, names, on_touch, NULL)));
	cr_expect(not(c.touched));
	write_file();
	cr_assert(until(1, 5));
	cr_expect(c.touched);
	cr_expect(le(u64, console_idle_secs(&c), 1));
}

Test(console, tells_once_of_many_touches)
{
	cr_assert(zero(int, console_open(&c, loop, file, on_touch, NULL)));
	for (int i = 0; i < 50; i++)
		write_file();
	cr_assert(until(1, 5));
	cr_expect(not(until(2, 0.2)));
}

Test(console, follows_a_file_that_is_made_anew)
{
	int fd;

	cr_assert(zero(int, console_open(&c, loop, file, on_touch, NULL)));
	cr_assert(zero(int, unlink(file)));
	cr_assert(until(1, 5), "its end is an event of it");
	c.last_ms -= 2000; /* long enough ago to be told anew */
	fd = open(file, O_WRONLY | O_CREAT, 0600);
	cr_assert(ge(int, fd, 0));
	close(fd);
	ev_feed_event(loop, &c.rescan, EV_TIMER); /* not waiting for it */
	ev_run(loop, EVRUN_NOWAIT);
	write_file();
	cr_expect(until(2, 5));
}

Test(console, what_is_typed_is_the_owner_what_is_printed_is_not)
{
	char name[64], buf[16];
	int master, slave;

	cr_assert(zero(int, openpty(&master, &slave, name, NULL, NULL)));
	cr_assert(zero(int, console_open(&c, loop, name, on_touch, NULL)));
	touches = 0;
	cr_assert(eq(int, (int)write(slave, "printed\n", 8), 8));
	cr_expect(not(until(1, 0.2)));
	c.touched = false; /* the terminal is younger than a second */
	cr_assert(eq(int, (int)write(master, "typed\n", 6), 6));
	cr_assert(gt(int, (int)read(slave, buf, sizeof(buf)), 0));
	cr_expect(until(1, 5));
	close(master);
	close(slave);
}

Test(console, finds_what_there_is_and_can_be_closed)
{
	cr_assert(zero(int, console_open(&c, loop, "", on_touch, NULL)));
	ev_run(loop, EVRUN_NOWAIT);
	console_close(&c);
	console_close(&c);
}
