/* test_history.c -- what is written is found again after a restart. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history.h"

static char dir[] = "/tmp/sprite-history-XXXXXX";
static char path[64];
static struct history *h;
static char err[256];

static void begin(void)
{
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(path, sizeof(path), "%s/hostdb.db", dir);
	cr_assert(zero(int, history_open(path, &h, err, sizeof(err))), "%s", err);
}

static void end(void)
{
	char all[128];

	history_close(h);
	h = NULL;
	snprintf(all, sizeof(all), "rm -rf %s", dir);
	cr_expect(zero(int, system(all)));
}

TestSuite(history, .init = begin, .fini = end, .timeout = 10);

static void add(uint32_t host, int64_t at, enum past_kind kind, uint64_t held)
{
	struct past p = { .kind = (uint8_t)kind, .home = 1, .uid = 1000,
			  .name = "make", .held_ms = held };

	history_add(h, host, &p, at);
}

Test(history, gives_the_youngest_oldest_first)
{
	struct past got[PAST_KEPT];
	unsigned n;

	for (int i = 0; i < 20; i++)
		add(2, 1000 + i, PAST_RETURNED, (uint64_t)i);
	add(3, 5000, PAST_UP, 0);
	history_flush(h);
	cr_assert(zero(int, history_recent(h, 2, 2000, 50000, got, &n)));
	cr_assert(eq(uint, n, PAST_KEPT));
	cr_expect(eq(u64, got[0].held_ms, 12));
	cr_expect(eq(u64, got[7].held_ms, 19));
	cr_expect(eq(u64, got[7].at_ms, 50000 - (2000 - 1019)));
	cr_expect(eq(str, got[7].name, (char *)"make"));
}

Test(history, survives_a_restart)
{
	struct past got[PAST_KEPT];
	unsigned n;

	add(2, 1000, PAST_GRANTED, 0);
	history_name(h, 2, "h2");
	history_sum(h, SUM_REQUESTS, 3);
	history_close(h); /* no flush: closing writes */
	cr_assert(zero(int, history_open(path, &h, err, sizeof(err))), "%s", err);
	cr_assert(zero(int, history_recent(h, 2, 2000, 2000, got, &n)));
	cr_expect(eq(uint, n, 1));
}

Test(history, says_what_is_wrong_with_a_damaged_file)
{
	struct history *other = NULL;
	char bad[80];
	FILE *f;

	snprintf(bad, sizeof(bad), "%s/bad.db", dir);
	f = fopen(bad, "w");
	cr_assert(ne(ptr, f, NULL));
	fputs("this is not a database, and long enough to be taken for one: "
	      "0123456789012345678901234567890123456789", f);
	fclose(f);
	cr_expect(ne(int, history_open(bad, &other, err, sizeof(err)), 0));
	cr_expect(ne(ptr, strstr(err, "damaged"), NULL), "%s", err);
}
