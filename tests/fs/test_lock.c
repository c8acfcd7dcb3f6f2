/* test_lock.c -- byte ranges and flock at the server (fs/lock.h). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <errno.h>
#include <fcntl.h>

#include "lock.h"

static struct locks *l;
static int ann, bob; /* clients: only their addresses matter */
static int told, status;

static void begin(void)
{
	l = locks_new();
	cr_assert(ne(ptr, l, NULL));
}

static void end(void)
{
	locks_free(l);
	l = NULL;
}

TestSuite(lock, .init = begin, .fini = end, .timeout = 10);

static struct lock lk(int *client, uint64_t owner, int type, uint64_t start,
		      uint64_t last)
{
	return (struct lock){ .owner = { client, owner },
			      .type = type, .start = start, .end = last };
}

static int set(int *client, uint64_t owner, int type, uint64_t start, uint64_t last)
{
	struct lock k = lk(client, owner, type, start, last);

	return locks_set(l, &k);
}

static int test(int *client, uint64_t owner, int type, uint64_t start, uint64_t last)
{
	struct lock k = lk(client, owner, type, start, last);

	return locks_conflict(l, &k) != NULL;
}

static void on_granted(struct lock_wait *w, int st)
{
	(void)w;
	told++;
	status = st;
}

Test(lock, writers_exclude_all_readers_only_writers)
{
	cr_expect(zero(int, set(&ann, 1, F_RDLCK, 0, 9)));
	cr_expect(zero(int, set(&bob, 1, F_RDLCK, 0, 9)));
	cr_expect(eq(int, set(&bob, 1, F_WRLCK, 0, 9), -EAGAIN));
	cr_expect(zero(int, set(&ann, 1, F_UNLCK, 0, 9)));
	cr_expect(zero(int, set(&bob, 1, F_WRLCK, 0, 9)));
	cr_expect(eq(int, set(&ann, 1, F_RDLCK, 9, 20), -EAGAIN));
	cr_expect(zero(int, set(&ann, 1, F_RDLCK, 10, 20)));
}

Test(lock, the_same_number_of_two_clients_is_two_owners)
{
	cr_expect(zero(int, set(&ann, 1, F_WRLCK, 0, 9)));
	cr_expect(eq(int, set(&bob, 1, F_WRLCK, 0, 9), -EAGAIN));
	cr_expect(zero(int, set(&ann, 1, F_WRLCK, 0, 9)));
}

Test(lock, unlocking_the_middle_leaves_both_ends)
{
	set(&ann, 1, F_WRLCK, 0, 99);
	set(&ann, 1, F_UNLCK, 40, 59);
	cr_expect(test(&bob, 1, F_RDLCK, 39, 39));
	cr_expect(not(test(&bob, 1, F_RDLCK, 40, 59)));
	cr_expect(test(&bob, 1, F_RDLCK, 60, 60));
}

Test(lock, downgrading_a_part_lets_readers_in_there)
{
	set(&ann, 1, F_WRLCK, 0, 99);
	set(&ann, 1, F_RDLCK, 0, 9);
	cr_expect(zero(int, set(&bob, 1, F_RDLCK, 5, 9)));
	cr_expect(eq(int, set(&bob, 1, F_RDLCK, 5, 10), -EAGAIN));
}

Test(lock, to_the_end_of_the_file_is_to_the_end_of_numbers)
{
	set(&ann, 1, F_WRLCK, 100, UINT64_MAX);
	cr_expect(test(&bob, 1, F_RDLCK, UINT64_MAX, UINT64_MAX));
	set(&ann, 1, F_UNLCK, 0, UINT64_MAX);
	cr_expect(locks_none(l));
}

Test(lock, flock_and_fcntl_do_not_see_each_other)
{
	struct lock f = lk(&ann, 1, F_WRLCK, 0, UINT64_MAX);

	f.flock = true;
	cr_expect(zero(int, locks_set(l, &f)));
	cr_expect(zero(int, set(&bob, 1, F_WRLCK, 0, UINT64_MAX)));
}

Test(lock, a_waiter_is_served_when_it_can_be)
{
	struct lock_wait w = { .want = lk(&bob, 1, F_WRLCK, 0, 9),
			       .granted = on_granted };

	set(&ann, 1, F_WRLCK, 5, 20);
	cr_assert(zero(int, locks_wait(l, &w)));
	set(&ann, 1, F_UNLCK, 10, 20);
	cr_expect(zero(int, told));
	set(&ann, 1, F_UNLCK, 0, 9);
	cr_expect(eq(int, told, 1));
	cr_expect(zero(int, status));
	cr_expect(test(&ann, 1, F_RDLCK, 0, 0));
}

Test(lock, a_cancelled_waiter_is_not_served)
{
	struct lock_wait w = { .want = lk(&bob, 1, F_WRLCK, 0, 9),
			       .granted = on_granted };

	set(&ann, 1, F_WRLCK, 0, 9);
	cr_assert(zero(int, locks_wait(l, &w)));
	locks_cancel(&w);
	set(&ann, 1, F_UNLCK, 0, 9);
	cr_expect(zero(int, told));
	cr_expect(locks_none(l));
}

Test(lock, two_that_wait_for_each_other_are_refused)
{
	struct lock_wait w = { .want = lk(&ann, 1, F_WRLCK, 20, 29),
			       .granted = on_granted };
	struct lock_wait v = { .want = lk(&bob, 1, F_WRLCK, 0, 9),
			       .granted = on_granted };

	set(&ann, 1, F_WRLCK, 0, 9);
	set(&bob, 1, F_WRLCK, 20, 29);
	cr_assert(zero(int, locks_wait(l, &w)));
	cr_expect(eq(int, locks_wait(l, &v), -EDEADLK));
	locks_cancel(&w);
}

Test(lock, the_death_of_a_client_frees_what_it_had)
{
	struct lock_wait w = { .want = lk(&bob, 1, F_WRLCK, 0, 9),
			       .granted = on_granted };

	set(&ann, 1, F_WRLCK, 0, 9);
	set(&ann, 2, F_WRLCK, 50, 59);
	cr_assert(zero(int, locks_wait(l, &w)));
	locks_drop_client(l, &ann);
	cr_expect(eq(int, told, 1));
	locks_drop_client(l, &bob);
	cr_expect(locks_none(l));
}

Test(lock, there_is_a_limit)
{
	for (uint64_t i = 0; i < LOCKS_MAX; i++)
		cr_assert(zero(int, set(&ann, 1, F_WRLCK, i * 2, i * 2)));
	cr_expect(eq(int, set(&ann, 1, F_WRLCK, LOCKS_MAX * 2, LOCKS_MAX * 2),
		     -ENOLCK));
	cr_expect(zero(int, set(&ann, 1, F_UNLCK, 0, UINT64_MAX)));
}
