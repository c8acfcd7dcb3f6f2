/* test_node.c -- what the kernel knows and what may be believed (fs/node.h). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <string.h>

#include "node.h"

static struct nodes t;

static void begin(void)
{
	cr_assert(zero(int, nodes_init(&t)));
}

static void end(void)
{
	nodes_fini(&t);
}

TestSuite(node, .init = begin, .fini = end, .timeout = 10);

static struct node *make(const char *fh)
{
	struct node *n = node_get(&t, (wire_blob){ fh, strlen(fh) });

	cr_assert(ne(ptr, n, NULL));
	return n;
}

static struct stat of_size(off_t size)
{
	return (struct stat){ .st_mode = S_IFREG | 0644, .st_size = size };
}

Test(node, one_handle_is_one_node)
{
	struct node *n = make("abc");

	cr_expect(eq(ptr, make("abc"), n));
	cr_expect(ne(ptr, make("abd"), n));
	cr_expect(eq(ptr, node_by_id(&t, n->id), n));
}

Test(node, the_empty_handle_is_the_root)
{
	struct node *root = node_get(&t, (wire_blob){ 0 });

	cr_expect(eq(u64, root->id, NODE_ROOT));
	cr_expect(not(node_unused(root)));
}

Test(node, a_grant_older_than_a_recall_is_void)
{
	struct node *n = make("abc");
	struct stat st = of_size(5);

	n->recall_seq = 10;
	cr_expect(not(node_grant(n, &st, LEASE_READ, 9)));
	cr_expect(eq(int, (int)n->lease, LEASE_NONE));
	cr_expect(node_grant(n, &st, LEASE_READ, 11));
	cr_expect(node_valid(n));
}

Test(node, an_older_answer_does_not_undo_a_newer_one)
{
	struct node *n = make("abc");
	struct stat old = of_size(5), new = of_size(6);

	node_grant(n, &new, LEASE_READ, 20);
	node_grant(n, &old, LEASE_READ, 19);
	cr_expect(eq(i64, n->st.st_size, 6));
}

Test(node, what_is_dirty_here_is_known_better_here)
{
	struct node *n = make("abc");
	struct stat st = of_size(100);

	node_grant(n, &st, LEASE_WRITE, 1);
	cr_assert(zero(int, dirty_write(&n->dirty, 200, "x", 1)));
	n->st.st_size = 201;
	n->st.st_mtim.tv_sec = 77;
	node_grant(n, &st, LEASE_WRITE, 2);
	cr_expect(eq(i64, n->st.st_size, 201));
	cr_expect(eq(i64, n->st.st_mtim.tv_sec, 77));
	cr_expect(eq(u64, n->ssize, 100));
	cr_expect(not(node_unused(n)));
}

Test(node, names_lead_to_nodes_or_to_nothing)
{
	struct node *dir = make("dir"), *n = make("abc");

	cr_assert(zero(int, name_set(&t, dir, "x", n)));
	cr_assert(zero(int, name_set(&t, dir, "y", NULL)));
	cr_expect(eq(ptr, name_get(&t, dir, "x")->child, n));
	cr_expect(zero(ptr, name_get(&t, dir, "y")->child));
	cr_expect(zero(ptr, name_get(&t, dir, "z")));
	cr_expect(zero(ptr, name_get(&t, n, "x")));
	cr_expect(eq(sz, t.nnegative, 1));
	cr_assert(zero(int, name_set(&t, dir, "y", n)));
	cr_expect(zero(sz, t.nnegative));
}

Test(node, a_freed_node_leaves_no_names)
{
	struct node *dir = make("dir"), *n = make("abc");

	name_set(&t, dir, "x", n);
	name_set(&t, n, "inside", NULL);
	node_free(&t, n);
	cr_expect(zero(ptr, name_get(&t, dir, "x")));
	cr_expect(zero(sz, t.names.count));
	name_set(&t, dir, "y", NULL);
	node_free(&t, dir);
	cr_expect(zero(sz, t.names.count));
	cr_expect(zero(sz, t.nnegative));
}

Test(node, a_name_of_256_bytes_is_not_one)
{
	struct node *dir = make("dir");
	char name[257];

	memset(name, 'n', 256);
	name[256] = 0;
	cr_expect(ne(int, name_set(&t, dir, name, NULL), 0));
	name[255] = 0;
	cr_expect(zero(int, name_set(&t, dir, name, NULL)));
}
