/* test_journal.c -- delayed writes that outlive the daemon (fs/journal.h). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <string.h>
#include <sys/mman.h>

#include "journal.h"

static struct keep k;

static void begin(void)
{
	keep_init(&k);
	k.mem = mmap(NULL, sizeof(*k.mem), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert(ne(ptr, k.mem, MAP_FAILED));
	k.mem->nslots = 1;
}

static void end(void)
{
	keep_fini(&k);
}

TestSuite(journal, .init = begin, .fini = end, .timeout = 30);

static void note(enum journal_kind kind, uint64_t id, uint64_t off, const char *s)
{
	struct journal_entry e = { .kind = kind, .id = id, .off = off, .data = s,
				   .len = strlen(s), .mtime = { 7, 8 } };

	journal_add(&k, &e);
}

Test(journal, gives_back_what_was_noted_in_order)
{
	struct journal_entry e;
	uint64_t at = 0;

	note(JOURNAL_WRITE, 5, 100, "hello");
	note(JOURNAL_TRUNCATE, 5, 102, "");
	note(JOURNAL_CLEAN, 6, 0, "");
	cr_assert(journal_next(&k, &at, &e));
	cr_expect(eq(int, (int)e.kind, JOURNAL_WRITE));
	cr_expect(eq(u64, e.id, 5));
	cr_expect(eq(u64, e.off, 100));
	cr_expect(eq(i64, e.mtime.tv_sec, 7));
	cr_assert(eq(sz, e.len, 5));
	cr_expect(zero(int, memcmp(e.data, "hello", 5)));
	cr_assert(journal_next(&k, &at, &e));
	cr_expect(eq(int, (int)e.kind, JOURNAL_TRUNCATE));
	cr_expect(eq(u64, e.off, 102));
	cr_assert(journal_next(&k, &at, &e));
	cr_expect(not(journal_next(&k, &at, &e)));
}

Test(journal, begins_anew_when_nothing_is_dirty)
{
	struct journal_entry e;
	uint64_t at = 0;

	note(JOURNAL_WRITE, 5, 0, "x");
	journal_reset(&k);
	cr_expect(not(journal_next(&k, &at, &e)));
}

Test(journal, without_a_keeper_there_is_always_room_and_never_an_entry)
{
	struct keep none;
	struct journal_entry e = { .kind = JOURNAL_CLEAN };
	uint64_t at = 0;

	keep_init(&none);
	cr_expect(journal_room(&none, 1u << 20));
	journal_add(&none, &e);
	cr_expect(not(journal_next(&none, &at, &e)));
	cr_expect(not(journal_long(&none)));
}

Test(journal, says_when_it_is_long_and_when_it_is_full)
{
	static char block[1 << 20];
	struct journal_entry e = { .kind = JOURNAL_WRITE, .data = block,
				   .len = sizeof(block) };

	while (!journal_long(&k))
		journal_add(&k, &e);
	cr_expect(journal_room(&k, sizeof(block)));
	k.mem->log_end = KEEP_LOG - (1u << 20);
	cr_expect(not(journal_room(&k, sizeof(block))));
	journal_reset(&k);
	cr_expect(journal_room(&k, sizeof(block)));
}

Test(journal, a_damaged_end_ends_it)
{
	struct journal_entry e;
	uint64_t at = 0;

	note(JOURNAL_WRITE, 5, 0, "hello");
	k.mem->log_end -= 8;
	cr_expect(not(journal_next(&k, &at, &e)));
	k.mem->log_end = UINT64_MAX;
	cr_expect(not(journal_next(&k, &at, &e)));
}

Test(journal, slots_are_used_again)
{
	uint32_t a = keep_slot_new(&k), b = keep_slot_new(&k);

	cr_assert(a && b && a != b);
	keep_slot_free(&k, a);
	cr_expect(eq(u32, keep_slot_new(&k), a));
	cr_expect(ne(u32, keep_slot_new(&k), b));
}
