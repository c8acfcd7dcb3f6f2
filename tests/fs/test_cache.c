/* test_cache.c -- bytes not yet at the server (fs/cache.h). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "failalloc.h"

static struct dirty d;

static void begin(void)
{
	dirty_init(&d);
}

static void end(void)
{
	dirty_clear(&d);
}

TestSuite(cache, .init = begin, .fini = end, .timeout = 20);

static void put(uint64_t off, const char *s)
{
	cr_assert(zero(int, dirty_write(&d, off, s, strlen(s))));
}

static const char *get(uint64_t off, size_t n)
{
	static char buf[256];

	memset(buf, '.', sizeof(buf));
	dirty_read(&d, off, buf, n);
	buf[n] = 0;
	return buf;
}

Test(cache, writing_on_makes_one_extent)
{
	put(0, "abc");
	put(3, "def");
	cr_expect(eq(uint, d.count, 1));
	cr_expect(eq(str, (char *)get(0, 8), (char *)"abcdef.."));
}

Test(cache, the_newest_bytes_win)
{
	put(0, "aaaaaa");
	put(2, "bb");
	put(4, "cccc");
	cr_expect(eq(str, (char *)get(0, 8), (char *)"aabbcccc"));
	cr_expect(eq(sz, d.bytes, 8));
}

Test(cache, holes_stay_holes)
{
	put(10, "x");
	put(0, "y");
	cr_expect(eq(uint, d.count, 2));
	cr_expect(eq(str, (char *)get(0, 12), (char *)"y.........x."));
	cr_expect(not(dirty_covers(&d, NULL, 0, 11)));
	cr_expect(dirty_covers(&d, NULL, 10, 1));
}

Test(cache, filling_a_hole_closes_it)
{
	put(0, "aa");
	put(4, "cc");
	put(1, "bbbb");
	cr_expect(eq(str, (char *)get(0, 6), (char *)"abbbbc"));
	cr_expect(dirty_covers(&d, NULL, 0, 6));
	cr_expect(eq(sz, d.bytes, 6));
}

Test(cache, two_sets_may_cover_together)
{
	struct dirty other;

	dirty_init(&other);
	put(0, "aa");
	put(4, "cc");
	cr_assert(zero(int, dirty_write(&other, 2, "bb", 2)));
	cr_expect(dirty_covers(&d, &other, 0, 6));
	cr_expect(not(dirty_covers(&d, &other, 0, 7)));
	dirty_clear(&other);
}

Test(cache, truncating_cuts)
{
	put(0, "abcdef");
	put(10, "x");
	dirty_truncate(&d, 3);
	cr_expect(eq(str, (char *)get(0, 12), (char *)"abc........."));
	cr_expect(eq(sz, d.bytes, 3));
}

Test(cache, long_writes_are_cut_to_what_a_message_carries)
{
	size_t n = EXTENT_MAX * 2 + 5;
	char *p = calloc(1, n);

	cr_assert(zero(int, dirty_write(&d, 7, p, n)));
	cr_expect(eq(uint, d.count, 3));
	cr_expect(dirty_covers(&d, NULL, 7, n));
	free(p);
}

Test(cache, what_comes_back_goes_under_what_is_newer)
{
	struct dirty old;

	dirty_init(&old);
	cr_assert(zero(int, dirty_write(&old, 0, "oooooo", 6)));
	put(2, "nn");
	cr_assert(zero(int, dirty_put_under(&d, &old)));
	cr_expect(eq(str, (char *)get(0, 6), (char *)"oonnoo"));
	cr_expect(dirty_empty(&old));
}

/* Against a plain array, with the same dice each time. */
Test(cache, agrees_with_an_array)
{
	static char model[5000], got[5000], have[5000];
	unsigned seed = 7;

	for (int i = 0; i < 20000; i++) {
		size_t off = (size_t)rand_r(&seed) % 4800;
		size_t n = (size_t)rand_r(&seed) % 190 + 1;
		char byte = (char)rand_r(&seed);
		char data[200];

		if (i % 100 == 99) {
			dirty_truncate(&d, off);
			memset(have + off, 0, sizeof(have) - off);
			continue;
		}
		memset(data, byte, n);
		cr_assert(zero(int, dirty_write(&d, off, data, n)));
		memset(model + off, byte, n);
		memset(have + off, 1, n);
		if (i % 50)
			continue;
		memset(got, 0x55, sizeof(got));
		dirty_read(&d, 0, got, sizeof(got));
		for (size_t k = 0; k < sizeof(got); k++)
			cr_assert(eq(int, got[k], have[k] ? model[k] : 0x55),
				  "byte %zu in round %d", k, i);
	}
}

Test(cache, a_refused_allocation_is_told_and_breaks_nothing)
{
	unsigned n = 0;
	int r;

	do {
		dirty_clear(&d);
		failalloc_nth(++n);
		r = dirty_write(&d, 0, "abc", 3);
		cr_assert(r == 0 || r == -ENOMEM);
	} while (failalloc_stop());
	cr_expect(eq(str, (char *)get(0, 4), (char *)"abc."));
	cr_expect(gt(uint, n, 1));
}
