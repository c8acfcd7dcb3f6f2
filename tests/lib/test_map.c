/* test_map.c -- the hash map and the list. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "failalloc.h"
#include "list.h"
#include "map.h"

struct thing {
	struct map_node node;
	struct list link;
	uint64_t id;
	char name[32];
};

#define N 5000

static struct thing *things;

static void start(void)
{
	things = calloc(N, sizeof(*things));
	for (uint64_t i = 0; i < N; i++) {
		/* Keys that collide in their low bits. */
		things[i].id = i << 32;
		snprintf(things[i].name, sizeof(things[i].name), "n%d", (int)i);
	}
}

static void stop(void)
{
	free(things);
	things = NULL;
}

TestSuite(map, .init = start, .fini = stop, .timeout = 10);

static struct thing *get(const struct map *m, uint64_t id)
{
	return map_entry(map_get(m, id), struct thing, node);
}

Test(map, finds_what_was_put_until_it_is_deleted)
{
	struct map m = {0};

	cr_expect_null(get(&m, 0));
	for (int i = 0; i < N; i++)
		cr_assert_eq(map_put(&m, things[i].id, &things[i].node), 0);
	cr_expect_eq(m.count, N);
	for (int i = 0; i < N; i++)
		cr_assert_eq(get(&m, things[i].id), &things[i]);
	cr_expect_null(get(&m, 1));
	for (int i = 0; i < N; i += 2)
		map_del(&m, &things[i].node);
	for (int i = 0; i < N; i++)
		cr_assert_eq(get(&m, things[i].id), i % 2 ? &things[i] : NULL);
	map_fini(&m);
}

Test(map, walks_over_everything_once_and_may_delete)
{
	struct map m = {0};
	struct map_node *n, *next;
	unsigned count = 0;

	cr_expect_null(map_next(&m, NULL));
	for (int i = 0; i < N; i++)
		cr_assert_eq(map_put(&m, things[i].id, &things[i].node), 0);
	for (n = map_next(&m, NULL); n; n = next) {
		next = map_next(&m, n);
		map_del(&m, n);
		count++;
	}
	cr_expect_eq(count, N);
	cr_expect_eq(m.count, 0);
	map_fini(&m);
}

Test(map, strings_are_keys_by_their_bytes)
{
	struct map m = {0};

	for (int i = 0; i < N; i++)
		cr_assert_eq(map_put_str(&m, things[i].name,
					 strlen(things[i].name),
					 &things[i].node),
			     0);
	for (int i = 0; i < N; i++) {
		char copy[32];

		snprintf(copy, sizeof(copy), "n%dx", i);
		cr_assert_eq(map_entry(map_get_str(&m, copy, strlen(copy) - 1),
				       struct thing, node),
			     &things[i]);
	}
	cr_expect_null(map_get_str(&m, "n", 1));
	cr_expect_null(map_get_str(&m, "", 0));
	map_fini(&m);
}

Test(map, only_the_first_table_can_fail)
{
	struct map m = {0};

	failalloc_nth(1);
	cr_expect_eq(map_put(&m, 1, &things[0].node), -ENOMEM);
	cr_assert(failalloc_stop());
	cr_assert_eq(map_put(&m, things[0].id, &things[0].node), 0);
	for (int i = 1; i < 1000; i++) {
		failalloc_nth(1);
		cr_assert_eq(map_put(&m, things[i].id, &things[i].node), 0);
	}
	failalloc_stop();
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(get(&m, things[i].id), &things[i]);
	map_fini(&m);
}

Test(map, lists_keep_their_order_and_lose_what_is_removed)
{
	struct list head = LIST_HEAD(head);
	int i = 0;

	cr_expect_null(list_first(&head, struct thing, link));
	for (i = 0; i < 10; i++)
		list_add_tail(&head, &things[i].link);
	list_add_head(&head, &things[10].link);
	cr_expect_eq(list_first(&head, struct thing, link), &things[10]);
	list_del(&things[10].link);
	list_del(&things[10].link);
	list_each_safe(t, &head, struct thing, link) if ((t - things) % 2)
		list_del(&t->link);
	i = 0;
	list_each(t, &head, struct thing, link)
	{
		cr_expect_eq(t, &things[i]);
		i += 2;
	}
	cr_expect_eq(i, 10);
}
