/* node.c -- see node.h. */
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX (sizeof(uint64_t) + FS_NAME_MAX)

static struct node *node_new(struct nodes *t, const void *fh, size_t len)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->id = t->next_id;
	n->len = len;
	if (len)
		memcpy(n->fh, fh, len);
	list_init(&n->acks);
	list_init(&n->deferred);
	list_init(&n->dirty_link);
	list_init(&n->after_flush);
	list_init(&n->names_in);
	list_init(&n->names_of);
	list_init(&n->locks);
	dirty_init(&n->dirty);
	dirty_init(&n->flushing);
	if (map_put(&t->by_id, n->id, &n->by_id)) {
		free(n);
		return NULL;
	}
	t->next_id++;
	if (t->keep && t->keep->mem && t->keep->mem->next_id < t->next_id)
		t->keep->mem->next_id = t->next_id;
	return n;
}

static struct node *node_new_fh(struct nodes *t, const void *fh, size_t len)
{
	struct node *n = node_new(t, fh, len);

	if (n && map_put_str(&t->by_fh, n->fh, len, &n->by_fh)) {
		map_del(&t->by_id, &n->by_id);
		free(n);
		return NULL;
	}
	return n;
}

void node_note(struct nodes *t, const struct node *n)
{
	struct keep_slot *s;

	if (!n->slot)
		return;
	s = &t->keep->mem->slots[n->slot];
	s->nlookup = n->nlookup;
	s->nopen = n->nopen;
	s->nwrite = n->nwrite;
	s->mode = n->st.st_mode;
}

static void keep_node(struct nodes *t, struct node *n)
{
	struct keep_slot *s;

	n->slot = t->keep ? keep_slot_new(t->keep) : 0;
	if (!n->slot)
		return;
	s = &t->keep->mem->slots[n->slot];
	s->len = (uint32_t)n->len;
	memcpy(s->fh, n->fh, n->len);
	node_note(t, n);
	s->id = n->id; /* last: from now on it counts */
}

void nodes_unkeep(struct nodes *t)
{
	for (struct map_node *i = map_next(&t->by_id, NULL); i;
	     i = map_next(&t->by_id, i))
		container_of(i, struct node, by_id)->slot = 0;
	t->keep = NULL;
}

static int restore_one(struct nodes *t, uint32_t i)
{
	const struct keep_slot *s = &t->keep->mem->slots[i];
	uint64_t next_id = t->next_id;
	struct node *n;

	if (s->len > FS_HANDLE_MAX)
		return -EBADMSG;
	t->next_id = s->id;
	n = node_new_fh(t, s->fh, s->len);
	t->next_id = next_id;
	if (!n)
		return -ENOMEM;
	n->slot = i;
	n->nlookup = s->nlookup;
	n->nopen = s->nopen;
	n->nwrite = s->nwrite;
	n->st.st_mode = s->mode;
	n->cached = true;
	return 0;
}

int nodes_restore(struct nodes *t)
{
	struct keep_mem *m = t->keep->mem;
	int r = 0;

	t->next_id = m->next_id;
	for (uint32_t i = 1; !r && i < m->nslots && i < KEEP_SLOTS; i++) {
		if (m->slots[i].id > NODE_ROOT)
			r = restore_one(t, i);
		else
			keep_slot_free(t->keep, i);
	}
	return r;
}

/* The root's handle is the empty one; the kernel never forgets it. */
int nodes_init(struct nodes *t)
{
	struct node *root;

	*t = (struct nodes){ .next_id = NODE_ROOT };
	list_init(&t->specials);
	root = node_new_fh(t, "", 0);
	if (!root)
		return -ENOMEM;
	root->nlookup = 1;
	root->st = (struct stat){ .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
	return 0;
}

void nodes_fini(struct nodes *t)
{
	struct map_node *i;

	while ((i = map_next(&t->by_id, NULL)))
		node_free(t, container_of(i, struct node, by_id));
	map_fini(&t->by_id);
	map_fini(&t->by_fh);
	map_fini(&t->names);
}

struct node *node_by_id(const struct nodes *t, uint64_t id)
{
	return map_entry(map_get(&t->by_id, id), struct node, by_id);
}

struct node *node_by_fh(const struct nodes *t, const void *fh, size_t len)
{
	return map_entry(map_get_str(&t->by_fh, len ? fh : "", len), struct node,
			 by_fh);
}

struct node *node_get(struct nodes *t, wire_blob fh)
{
	struct node *n;

	if (fh.len > FS_HANDLE_MAX)
		return NULL;
	n = node_by_fh(t, fh.p, fh.len);
	if (n)
		return n;
	n = node_new_fh(t, fh.p, fh.len);
	if (n)
		keep_node(t, n);
	return n;
}

struct node *node_special(struct nodes *t, int kind, const char *path)
{
	struct special *sp;
	struct node *n;

	list_each(old, &t->specials, struct special, link) {
		if (old->kind == kind && strcmp(old->path, path) == 0)
			return old->n;
	}
	sp = calloc(1, sizeof(*sp) + strlen(path) + 1);
	n = sp ? node_new(t, NULL, 0) : NULL;
	if (!n) {
		free(sp);
		return NULL;
	}
	sp->n = n;
	sp->kind = kind;
	memcpy(sp->path, path, strlen(path) + 1);
	list_add_tail(&t->specials, &sp->link);
	n->special = sp;
	return n;
}

bool node_unused(const struct node *n)
{
	return !n->nlookup && !n->refs && !n->nopen && !n->revoking &&
	       dirty_empty(&n->dirty) && dirty_empty(&n->flushing) &&
	       !n->in_flight && n->id != NODE_ROOT;
}

void node_free(struct nodes *t, struct node *n)
{
	names_drop_in(t, n);
	list_each_safe(e, &n->names_of, struct name, of_child)
		name_drop(t, e);
	dirty_clear(&n->dirty);
	dirty_clear(&n->flushing);
	list_del(&n->dirty_link);
	if (n->slot)
		keep_slot_free(t->keep, n->slot);
	map_del(&t->by_id, &n->by_id);
	if (n->special) {
		list_del(&n->special->link);
		free(n->special);
	} else {
		map_del(&t->by_fh, &n->by_fh);
	}
	free(n);
}

/*
 * While something is dirty here this host is the only writer, and knows size
 * and time of the last change better than the server.
 */
static void take_attr(struct node *n, const struct stat *st)
{
	struct stat mine = n->st;

	n->ssize = (uint64_t)st->st_size;
	n->st = *st;
	if (dirty_empty(&n->dirty) && dirty_empty(&n->flushing))
		return;
	if (mine.st_size > st->st_size)
		n->st.st_size = mine.st_size;
	n->st.st_mtim = mine.st_mtim;
}

bool node_grant(struct node *n, const struct stat *st, enum lease_level level,
		uint64_t seq)
{
	if (seq < n->seq)
		return n->lease > LEASE_NONE; /* we know better already */
	if (seq <= n->recall_seq) {
		if (n->lease == LEASE_NONE)
			n->st = *st;
		return false;
	}
	n->seq = seq;
	take_attr(n, st);
	if (level > n->lease) {
		n->lease = level;
		n->no_caps = false;
	}
	return n->lease > LEASE_NONE;
}

/* ---- names ---- */

static size_t make_key(const struct node *parent, const char *name, char *key)
{
	size_t len = strlen(name);

	if (len > FS_NAME_MAX)
		return 0;
	memcpy(key, &parent->id, sizeof(uint64_t));
	memcpy(key + sizeof(uint64_t), name, len);
	return sizeof(uint64_t) + len;
}

struct name *name_get(const struct nodes *t, const struct node *parent,
		      const char *name)
{
	char key[KEY_MAX];
	size_t len = make_key(parent, name, key);

	return len ? map_entry(map_get_str(&t->names, key, len), struct name,
			       node) :
		     NULL;
}

static void set_child(struct nodes *t, struct name *e, struct node *child)
{
	list_del(&e->of_child);
	if (!e->child)
		t->nnegative--;
	e->child = child;
	if (child)
		list_add_tail(&child->names_of, &e->of_child);
	else
		t->nnegative++;
}

int name_set(struct nodes *t, struct node *parent, const char *name,
	     struct node *child)
{
	struct name *e = name_get(t, parent, name);
	char key[KEY_MAX];
	size_t len = make_key(parent, name, key);

	if (e) {
		set_child(t, e, child);
		return 0;
	}
	e = len ? calloc(1, sizeof(*e) + len) : NULL;
	if (!e)
		return -ENOMEM;
	memcpy(e->key, key, len);
	e->len = len;
	if (map_put_str(&t->names, e->key, len, &e->node)) {
		free(e);
		return -ENOMEM;
	}
	e->parent = parent;
	list_init(&e->of_child);
	list_add_tail(&parent->names_in, &e->in_parent);
	t->nnegative++; /* until it has a child */
	set_child(t, e, child);
	return 0;
}

void name_drop(struct nodes *t, struct name *e)
{
	if (!e)
		return;
	list_del(&e->of_child);
	list_del(&e->in_parent);
	if (!e->child)
		t->nnegative--;
	map_del(&t->names, &e->node);
	free(e);
}

void names_drop_in(struct nodes *t, struct node *parent)
{
	list_each_safe(e, &parent->names_in, struct name, in_parent)
		name_drop(t, e);
}
