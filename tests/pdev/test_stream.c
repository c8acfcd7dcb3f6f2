/* test_stream.c -- the table of a stream's states, and readiness. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "name.h"
#include "sprite/pdev.h"
#include "stream.h"

TestSuite(stream, .timeout = 10);

Test(stream, has_a_server_only_while_it_is_open)
{
	struct pdev_stream s = { .state = PDEV_OPENING };

	cr_expect_eq(pdev_stream_may(&s), -EBADF);
	pdev_stream_move(&s, PDEV_OPEN);
	cr_expect_eq(pdev_stream_may(&s), 0);
	pdev_stream_move(&s, PDEV_CUT);
	cr_expect_eq(pdev_stream_may(&s), -EIO);
	pdev_stream_move(&s, PDEV_CLOSED);
	cr_expect_eq(pdev_stream_may(&s), -EBADF);
}

Test(stream, never_comes_back_from_cut, .signal = SIGABRT)
{
	struct pdev_stream s = { .state = PDEV_CUT };

	pdev_stream_move(&s, PDEV_OPEN);
}

Test(stream, never_leaves_closed, .signal = SIGABRT)
{
	struct pdev_stream s = { .state = PDEV_CLOSED };

	pdev_stream_move(&s, PDEV_OPENING);
}

Test(stream, an_opening_one_cannot_be_cut, .signal = SIGABRT)
{
	struct pdev_stream s = { .state = PDEV_OPENING };

	pdev_stream_move(&s, PDEV_CUT);
}

Test(stream, states_have_names)
{
	cr_expect_str_eq(pdev_stream_name(PDEV_OPENING), "OPENING");
	cr_expect_str_eq(pdev_stream_name(PDEV_CLOSED), "CLOSED");
}

Test(stream, tells_which_bits_are_new)
{
	struct pdev_stream s = { .state = PDEV_OPEN };

	cr_expect_eq(pdev_stream_set(&s, SPRITE_PDEV_IN), SPRITE_PDEV_IN);
	cr_expect_eq(pdev_stream_set(&s, SPRITE_PDEV_IN | SPRITE_PDEV_OUT),
		     SPRITE_PDEV_OUT);
	cr_expect_eq(pdev_stream_set(&s, 0), 0);
	cr_expect_eq(pdev_stream_set(&s, 0xfffffff0u), 0,
		     "unknown bits are not kept");
	cr_expect_eq(s.bits, 0);
}

Test(stream, a_cut_one_wakes_everybody)
{
	struct pdev_stream s = { .state = PDEV_OPEN };

	pdev_stream_move(&s, PDEV_CUT);
	cr_expect_eq(pdev_stream_poll(&s), POLLIN | POLLRDNORM | POLLOUT |
						   POLLWRNORM | POLLHUP |
						   POLLERR);
	cr_expect_eq(pdev_stream_set(&s, 0), 0);
	cr_expect(pdev_stream_poll(&s) & POLLERR);
}

Test(name, is_svc_or_hosts)
{
	char got[64], host[64];

	cr_expect_eq(pdev_name_clean("/sprite/svc/echo", "/sprite", got, 64), 0);
	cr_expect_str_eq(got, "svc/echo");
	cr_expect_eq(pdev_name_clean("hosts/h1/status", "/sprite", got, 64), 0);
	pdev_name_registry(got, host);
	cr_expect_str_eq(host, "h1");
	pdev_name_registry("svc/x", host);
	cr_expect_str_eq(host, "");
	pdev_name_registry("hosts/h2", host);
	cr_expect_str_eq(host, "h2");
}

Test(name, refuses_what_is_no_place)
{
	static const char *const bad[] = {
		"", "/", "svc", "svc/", "svc/.", "svc/..", "svc/a/b", "svcx/a",
		"/sprite", "/sprite/", "/sprite/a", "/spritex/svc/a",
		"/tmp/svc/a", "hosts", "hosts/", "hosts//x", "hosts/h1",
		"hosts/h1/", "hosts/../x", "hosts/h1/a/b", "svc//a",
		"hosts/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/x"
	};
	char got[600];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect_eq(pdev_name_clean(bad[i], "/sprite", got, 600),
			     -EINVAL, "'%s'", bad[i]);
	cr_expect_eq(pdev_name_clean("/sprite/svc/too-long", "/sprite", got, 8),
		     -ENAMETOOLONG);
	cr_expect(pdev_name_dir_valid("svc"));
	cr_expect(pdev_name_dir_valid("hosts/h1"));
	cr_expect(!pdev_name_dir_valid("hosts"));
	cr_expect(!pdev_name_dir_valid("svc/a"));
}

Test(name, knows_what_is_in_a_directory)
{
	cr_expect_str_eq(pdev_name_in("svc/a", "svc"), "a");
	cr_expect_null(pdev_name_in("hosts/h1/a", "hosts/h"));
	cr_expect_str_eq(pdev_name_in("hosts/h1/a", "hosts/h1"), "a");
}
