/*
 * test_parts.c -- parts of migd that need no world: the states of a
 * migration, what a request's strings are, how a terminal is copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "guests.h"
#include "migration.h"
#include "tty.h"

Test(states, nothing_leads_back_from_the_commit)
{
	for (int s = MIG_ASKED; s <= MIG_REFUSED; s++)
		if (s != MIG_DONE)
			cr_expect(zero(int, mig_may(MIG_COMMITTED, s)),
				  "%s", mig_state_name(s));
	cr_expect(zero(int, mig_may(MIG_MOVING, MIG_COMMITTED)));
	cr_expect(eq(int, mig_may(MIG_SENT, MIG_THAWED), 1));
}

Test(states, every_end_is_final)
{
	for (int s = MIG_ASKED; s <= MIG_REFUSED; s++) {
		cr_expect(zero(int, mig_may(MIG_DONE, s)));
		cr_expect(zero(int, mig_may(MIG_THAWED, s)));
		cr_expect(zero(int, mig_may(MIG_REFUSED, s)));
	}
}

static int split(const char *p, size_t n, uint32_t argc, uint32_t envc,
		 char ***argv, char ***envp)
{
	struct rpc_msg m = { .payload = p, .payload_len = n };

	return strings_split(&m, argc, envc, argv, envp);
}

Test(strings, are_arguments_then_environment)
{
	static const char p[] = "a\0\0c\0X=1";
	char **argv, **envp;

	cr_assert(zero(int, split(p, sizeof(p), 3, 1, &argv, &envp)));
	cr_expect(eq(str, argv[0], (char *)"a"));
	cr_expect(eq(str, argv[1], (char *)""));
	cr_expect(eq(str, argv[2], (char *)"c"));
	cr_expect(zero(ptr, argv[3]));
	cr_expect(eq(str, envp[0], (char *)"X=1"));
	cr_expect(zero(ptr, envp[1]));
	free(argv);
}

Test(strings, without_environment)
{
	char **argv, **envp;

	cr_assert(zero(int, split("x", 2, 1, 0, &argv, &envp)));
	cr_expect(zero(ptr, argv[1]));
	cr_expect(zero(ptr, envp[0]));
	free(argv);
}

Test(strings, that_do_not_fit_their_counts_are_refused)
{
	static const char p[] = "a\0b";
	char **argv, **envp;

	cr_expect(eq(int, split(p, sizeof(p), 3, 0, &argv, &envp), -EBADMSG));
	cr_expect(eq(int, split(p, sizeof(p), 1, 0, &argv, &envp), -EBADMSG));
	cr_expect(eq(int, split(p, sizeof(p) - 1, 2, 0, &argv, &envp),
		     -EBADMSG));
	cr_expect(eq(int, split(p, sizeof(p), 0, 2, &argv, &envp), -EBADMSG));
	cr_expect(eq(int, split(p, sizeof(p), 4000000000u, 4000000000u, &argv,
				&envp), -EBADMSG));
}

Test(tty, a_copy_is_set_alike_and_passes_input_unchanged)
{
	uint8_t state[TTY_STATE_MAX], again[TTY_STATE_MAX];
	int real, master, slave;
	size_t len, len2;
	struct termios t;
	char buf[16];

	real = posix_openpt(O_RDWR | O_NOCTTY);
	cr_assert(zero(int, tty_state_get(real, state, &len)));
	cr_assert(zero(int, tty_open(state, len, &master, &slave)));
	cr_assert(zero(int, tcgetattr(slave, &t)));
	cr_expect(ne(int, t.c_lflag & EXTPROC, 0));
	cr_assert(zero(int, tty_state_get(slave, again, &len2)));
	cr_expect(eq(sz, len, len2));
	cr_expect(zero(int, memcmp(state, again, len)));
	cr_assert(eq(long, write(master, "a\x03\n", 3), 3));
	cr_assert(eq(long, read(slave, buf, sizeof(buf)), 3));
	cr_expect(zero(int, memcmp(buf, "a\x03\n", 3)));
	buf[0] = (char)tty_eof_char(slave);
	cr_assert(eq(long, write(master, buf, 1), 1));
	cr_expect(zero(long, read(slave, buf, sizeof(buf))));
	close(master);
	close(slave);
	close(real);
}

Test(tty, what_the_output_side_added_is_taken_off)
{
	uint8_t state[TTY_STATE_MAX], b[] = "one\r\ntwo\r\r\nx\r";
	int real = posix_openpt(O_RDWR | O_NOCTTY), master, slave;
	bool carry = false;
	size_t len, n;

	cr_assert(zero(int, tty_state_get(real, state, &len)));
	cr_assert(zero(int, tty_open(state, len, &master, &slave)));
	n = tty_unmap(master, b, sizeof(b) - 1, true, &carry);
	cr_expect(eq(sz, n, strlen("one\ntwo\r\nx")));
	cr_expect(zero(int, memcmp(b, "one\ntwo\r\nx", n)));
	cr_expect(eq(int, carry, 1));
	close(master);
	close(slave);
	close(real);
}
