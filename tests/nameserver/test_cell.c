/* test_cell.c -- who is a member, and what is on disk when. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cell.h"
#include "failalloc.h"

#define NOW 1000000

static char dir[] = "/tmp/sprite-cell-XXXXXX";
static char path[64], why[WHY_MAX];
static struct hostconf conf;
static uint8_t own_key[32] = { 1 };
static uint8_t psk[32] = { 9 };
static struct cell *c;

static void open_cell(void)
{
	cr_assert(zero(int, cell_open(path, &conf, own_key, why, &c)), "%s", why);
}

static void reopen(void)
{
	cell_close(c);
	c = NULL;
	open_cell();
}

static void begin(void)
{
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(path, sizeof(path), "%s/named.db", dir);
	conf = (struct hostconf){ .cell = "lab", .host = 1, .name = "h1",
				  .addr = "10.0.0.1", .pid_block = 16384,
				  .pid_block_size = 16384, .named_host = 1 };
	for (int i = SVC_NAMED; i < SVC_TOOL; i++)
		conf.port[i] = (uint16_t)(7709 + i);
	open_cell();
}

static void end(void)
{
	char all[128];

	cell_close(c);
	c = NULL;
	snprintf(all, sizeof(all), "rm -rf %s", dir);
	cr_expect(zero(int, system(all)));
}

TestSuite(cell, .init = begin, .fini = end, .timeout = 30);

static void token(uint64_t id)
{
	cr_assert(zero(int, cell_token_add(c, id, psk, 60, NOW, why)), "%s", why);
}

static int join(uint64_t id, unsigned n, const struct roster_host **ret)
{
	char name[16], addr[32];
	struct cell_joiner j = { .token = id, .name = name, .addr = addr,
				 .key = { (uint8_t)n, (uint8_t)(n >> 8), 1 } };

	snprintf(name, sizeof(name), "h%u", n);
	snprintf(addr, sizeof(addr), "10.0.%u.%u", n / 256, n % 256);
	return cell_join(c, &j, NOW, ret, why);
}

Test(cell, begins_with_its_founder)
{
	const struct roster_host *h = cell_host_at(c, 0);

	cr_assert(ne(ptr, (void *)h, NULL));
	cr_expect(eq(u32, h->id, 1));
	cr_expect(eq(str, (char *)h->name, (char *)"h1"));
	cr_expect(eq(ptr, (void *)cell_host_at(c, 1), NULL));
	cr_expect(eq(u32, cell_block_at(c, 0)->first, 16384));
}

Test(cell, lets_in_with_a_token_and_remembers_it)
{
	const struct roster_host *h;
	uint8_t key[32];

	token(5);
	cr_assert(zero(int, join(5, 2, &h)), "%s", why);
	cr_expect(eq(u32, h->id, 2));
	cr_expect(eq(u32, h->pid_block, 2 * 16384));
	reopen();
	cr_assert(ne(ptr, (void *)cell_host_at(c, 1), NULL));
	cr_expect(eq(str, (char *)cell_host_at(c, 1)->name, (char *)"h2"));
	cr_expect(zero(int, cell_key(c, 2, key)));
	cr_expect(eq(u8, key[0], 2));
}

Test(cell, admits_one_host_with_a_token_also_after_a_restart)
{
	const struct roster_host *h;

	token(5);
	cr_assert(zero(int, join(5, 2, &h)));
	cr_expect(eq(int, join(5, 3, &h), -EKEYREJECTED));
	cr_expect(ne(ptr, strstr(why, "used already, by h2"), NULL), "%s", why);
	reopen();
	cr_expect(eq(int, join(5, 3, &h), -EKEYREJECTED));
}

Test(cell, answers_again_to_a_joiner_whose_answer_was_lost)
{
	const struct roster_host *h;

	token(5);
	cr_assert(zero(int, join(5, 2, &h)));
	reopen();
	cr_assert(zero(int, join(5, 2, &h)), "%s", why);
	cr_expect(eq(u32, h->id, 2));
	cr_expect(eq(ptr, (void *)cell_host_at(c, 2), NULL));
}

Test(cell, refuses_an_old_or_unknown_token)
{
	const struct roster_host *h;
	uint8_t got[32];

	cr_assert(zero(int, cell_token_add(c, 5, psk, 60, NOW - 61, why)));
	cr_expect(eq(int, join(5, 2, &h), -EKEYEXPIRED));
	cr_expect(eq(int, join(6, 2, &h), -EKEYREJECTED));
	cr_expect(zero(int, cell_token_psk(c, 5, got)));
	cr_expect(eq(int, cell_token_psk(c, 6, got), -ENOENT));
	/* Long after, it is forgotten. */
	cr_assert(zero(int, cell_token_add(c, 7, psk, 60,
					   NOW + TOKEN_REMEMBER_SECS + 1, why)));
	cr_expect(eq(int, cell_token_psk(c, 5, got), -ENOENT));
}

Test(cell, refuses_taken_names_and_addresses)
{
	const struct roster_host *h;
	struct cell_joiner j = { .token = 5, .name = "h1", .addr = "10.0.0.9",
				 .key = { 9 } };

	token(5);
	cr_expect(eq(int, cell_join(c, &j, NOW, &h, why), -EEXIST));
	j.name = "h9";
	j.addr = "10.0.0.1";
	cr_expect(eq(int, cell_join(c, &j, NOW, &h, why), -EEXIST));
	j.addr = "10.0.0.9";
	cr_expect(zero(int, cell_join(c, &j, NOW, &h, why)), "a refusal does not "
		  "use up the token");
	token(6);
	j.token = 6;
	j.name = "other";
	cr_expect(eq(int, cell_join(c, &j, NOW, &h, why), -EEXIST),
		  "one key is one host");
}

Test(cell, refuses_impossible_names_and_addresses)
{
	static const char *const names[] = { "", "-x", "a b", ".", "a/b", "\xc3\xa4" };
	static const char *const addrs[] = { "", "h2", "10.0.0", "10.0.0.1.2" };
	const struct roster_host *h;

	token(5);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct cell_joiner j = { 5, names[i], "10.0.0.9", { 9 } };

		cr_expect(eq(int, cell_join(c, &j, NOW, &h, why), -EINVAL));
	}
	for (size_t i = 0; i < sizeof(addrs) / sizeof(*addrs); i++) {
		struct cell_joiner j = { 5, "h9", addrs[i], { 9 } };

		cr_expect(eq(int, cell_join(c, &j, NOW, &h, why), -EINVAL));
	}
}

Test(cell, never_gives_the_number_of_a_removed_host_again)
{
	const struct roster_host *h;
	uint32_t gone;
	uint8_t key[32];

	token(5);
	cr_assert(zero(int, join(5, 2, &h)));
	cr_assert(zero(int, cell_prefix_set(c, 2, "/src", 7, why)));
	cr_assert(zero(int, cell_remove(c, "h2", &gone, why)), "%s", why);
	cr_expect(eq(u32, gone, 2));
	cr_expect(eq(int, cell_key(c, 2, key), -ENOENT));
	cr_expect(eq(ptr, (void *)cell_prefix_at(c, 0), NULL));
	reopen();
	cr_expect(eq(int, cell_key(c, 2, key), -ENOENT));
	cr_expect(eq(ptr, (void *)cell_prefix_at(c, 0), NULL));
	cr_expect(eq(int, join(5, 2, &h), -EKEYREJECTED), "nor lets it in again");
	token(6);
	cr_assert(zero(int, join(6, 2, &h)), "%s", why);
	cr_expect(eq(u32, h->id, 3));
	cr_expect(eq(int, cell_remove(c, "h1", &gone, why), -EBUSY));
	cr_expect(eq(int, cell_remove(c, "h77", &gone, why), -ENOENT));
}

Test(cell, keeps_prefixes_with_their_server)
{
	uint64_t v = cell_self(c)->version;
	const struct roster_host *h;

	token(5);
	cr_assert(zero(int, join(5, 2, &h)));
	cr_assert(zero(int, cell_prefix_set(c, 1, "/", 11, why)));
	cr_assert(zero(int, cell_prefix_set(c, 1, "/src/a", 12, why)));
	cr_expect(gt(u64, cell_self(c)->version, v));
	v = cell_self(c)->version;
	cr_expect(zero(int, cell_prefix_set(c, 1, "/", 11, why)));
	cr_expect(eq(u64, cell_self(c)->version, v), "nothing changed");
	cr_expect(eq(int, cell_prefix_set(c, 2, "/", 1, why), -EEXIST));
	cr_expect(eq(int, cell_prefix_del(c, 2, "/", why), -EPERM));
	cr_expect(zero(int, cell_prefix_set(c, 1, "/", 13, why)));
	cr_expect(zero(int, cell_prefix_del(c, 1, "/src/a", why)));
	cr_expect(zero(int, cell_prefix_del(c, 1, "/src/a", why)));
	reopen();
	cr_assert(ne(ptr, (void *)cell_prefix_at(c, 0), NULL));
	cr_expect(eq(u64, cell_prefix_at(c, 0)->domain, 13));
	cr_expect(eq(ptr, (void *)cell_prefix_at(c, 1), NULL));
}

Test(cell, refuses_prefixes_that_are_no_paths)
{
	static const char *const bad[] = { "", "src", "//", "/a/", "/a//b", "/.",
					   "/..", "/a/../b", "/./a" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect(eq(int, cell_prefix_set(c, 1, bad[i], 1, why), -EINVAL),
			  "%s", bad[i]);
	cr_expect(zero(int, cell_prefix_set(c, 1, "/...", 1, why)));
}

Test(cell, gives_each_pid_to_one_host)
{
	const struct roster_host *h;
	uint32_t first, again;

	token(5);
	cr_assert(zero(int, join(5, 2, &h)));
	cr_assert(zero(int, cell_block(c, 2, 1, &first, why)), "%s", why);
	cr_expect(eq(u32, first, 255 * 16384));
	cr_assert(zero(int, cell_block(c, 1, 1, &first, why)));
	cr_expect(eq(u32, first, 254 * 16384));
	cr_assert(zero(int, cell_block(c, 2, 2, &first, why)));
	reopen();
	cr_assert(zero(int, cell_block(c, 2, 2, &again, why)));
	cr_expect(eq(u32, again, first), "asked again, it is the same");
	cr_assert(zero(int, cell_block(c, 2, 1, &again, why)));
	cr_expect(eq(u32, again, 255 * 16384));
	cr_expect(eq(int, cell_block(c, 2, 7, &again, why), -EINVAL));
}

Test(cell, runs_out_of_pids_with_a_sentence_and_reuses_those_of_the_removed)
{
	const struct roster_host *h;
	uint32_t gone;

	conf.pid_block_size = conf.pid_block = PID_LIMIT / 8;
	cell_close(c);
	c = NULL;
	cr_assert(zero(int, remove(path)));
	open_cell();
	for (unsigned i = 2; i <= 7; i++) {
		token(i);
		cr_assert(zero(int, join(i, i, &h)), "%s", why);
	}
	token(8);
	cr_expect(eq(int, join(8, 8, &h), -ENOSPC));
	cr_assert(zero(int, cell_remove(c, "h3", &gone, why)));
	cr_assert(zero(int, join(8, 8, &h)), "%s", why);
	cr_expect(eq(u32, h->pid_block, 3 * (PID_LIMIT / 8)));
}

Test(cell, takes_over_its_own_new_address)
{
	strcpy(conf.addr, "10.9.9.9");
	reopen();
	cr_expect(eq(str, (char *)cell_host_at(c, 0)->addr, (char *)"10.9.9.9"));
}

Test(cell, does_not_serve_the_tables_of_another_cell)
{
	struct cell *other = NULL;

	strcpy(conf.cell, "elsewhere");
	cr_expect(ne(int, cell_open(path, &conf, own_key, why, &other), 0));
	cr_expect(ne(ptr, strstr(why, "lab"), NULL), "%s", why);
}

Test(cell, acknowledges_nothing_that_is_not_on_disk)
{
	const struct roster_host *h;
	uint64_t v;
	int r = 0;

	token(5);
	cr_assert(zero(int, join(5, 2, &h)));
	cr_assert(zero(int, store_limit_pages(cell_store(c), 1)));
	for (unsigned i = 0; i < 2000 && !r; i++) {
		char prefix[256];

		snprintf(prefix, sizeof(prefix), "/%0200u", i);
		v = cell_self(c)->version;
		r = cell_prefix_set(c, 1, prefix, i, why);
	}
	cr_assert(eq(int, r, -ENOSPC));
	cr_expect(ne(ptr, strstr(why, "full"), NULL), "%s", why);
	cr_expect(eq(u64, cell_self(c)->version, v));
	cr_expect(zero(int, store_limit_pages(cell_store(c), 100000)));
	cr_expect(zero(int, cell_prefix_set(c, 1, "/later", 1, why)), "it goes on "
		  "when there is room");
}

Test(cell, opening_survives_any_refused_allocation)
{
	struct cell *other = NULL;
	bool refused;
	unsigned n = 0;
	int r;

	cell_close(c);
	c = NULL;
	do {
		failalloc_nth(++n);
		r = cell_open(path, &conf, own_key, why, &other);
		refused = failalloc_stop();
		cr_assert(refused || r == 0, "%s", why);
		if (!r)
			cell_close(other);
	} while (refused);
	cr_expect(gt(uint, n, 1));
}
