/*
 * lease.c -- see lease.h.
 *
 * Which holders know a name is a set of bits per name and not a lease on the
 * whole directory: hosts that create files in the same directory then disturb
 * only those that looked for these very names.
 */
#include "lease.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lease_obj_init(struct lease_obj *o)
{
	*o = (struct lease_obj){ 0 };
	list_init(&o->holds);
}

static void name_free(struct lease_name *n)
{
	map_del(&n->obj->names, &n->node);
	free(n);
}

void lease_obj_fini(struct lease_obj *o)
{
	struct map_node *n, *next;

	list_each_safe(h, &o->holds, struct lease_hold, of_obj)
		lease_drop(h);
	for (n = map_next(&o->names, NULL); n; n = next) {
		next = map_next(&o->names, n);
		name_free(container_of(n, struct lease_name, node));
	}
	map_fini(&o->names);
}

/* ---- objects ---- */

static bool in_the_way(const struct lease_hold *h,
		       const struct lease_holder *who, enum lease_level level)
{
	if (h->holder == who)
		return false;
	return level == LEASE_WRITE ? h->level > LEASE_NONE :
				      h->level == LEASE_WRITE;
}

bool lease_free_for(const struct lease_obj *o, const struct lease_holder *who,
		    enum lease_level level)
{
	list_each(h, &o->holds, struct lease_hold, of_obj) {
		if (in_the_way(h, who, level))
			return false;
	}
	return true;
}

bool lease_need(struct lease_table *t, struct lease_obj *o,
		const struct lease_holder *who, enum lease_level level)
{
	enum lease_level keep = level == LEASE_WRITE ? LEASE_NONE : LEASE_READ;

	list_each_safe(h, &o->holds, struct lease_hold, of_obj) {
		if (!in_the_way(h, who, level) ||
		    (h->recalled && h->keep <= keep))
			continue;
		h->recalled = true;
		h->keep = keep;
		h->recall_seq = ++t->seq;
		t->recall(t->arg, h);
	}
	/* Some may have answered at once. */
	return lease_free_for(o, who, level);
}

struct lease_hold *lease_hold_of(const struct lease_obj *o,
				 const struct lease_holder *who)
{
	list_each(h, &o->holds, struct lease_hold, of_obj) {
		if (h->holder == who)
			return h;
	}
	return NULL;
}

static struct lease_hold *hold_new(struct lease_obj *o, struct lease_holder *who)
{
	struct lease_hold *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->obj = o;
	h->holder = who;
	list_add_tail(&o->holds, &h->of_obj);
	list_add_tail(&who->holds, &h->of_holder);
	return h;
}

int lease_grant(struct lease_table *t, struct lease_obj *o,
		struct lease_holder *who, enum lease_level want,
		enum lease_level *ret_level, uint64_t *ret_seq)
{
	struct lease_hold *h = lease_hold_of(o, who);
	enum lease_level level = want;

	if (!h)
		h = hold_new(o, who);
	if (!h)
		return -ENOMEM;
	while (level > LEASE_NONE && !lease_free_for(o, who, level))
		level--;
	/* Nothing new while somebody waits, or he would wait for ever. */
	if ((o->waiting || h->recalled) && level > h->level)
		level = h->level;
	if (level > h->level)
		h->level = level;
	h->seq = ++t->seq;
	*ret_seq = h->seq;
	*ret_level = h->recalled ? LEASE_NONE : h->level;
	return 0;
}

void lease_acked(struct lease_hold *h, uint64_t seq)
{
	if (!h->recalled || seq != h->recall_seq)
		return;
	h->recalled = false;
	if (h->level > h->keep)
		h->level = h->keep;
}

void lease_drop(struct lease_hold *h)
{
	list_del(&h->of_obj);
	list_del(&h->of_holder);
	free(h);
}

bool lease_forget(struct lease_obj *o, const struct lease_holder *who,
		  uint64_t seq)
{
	struct lease_hold *h = lease_hold_of(o, who);

	if (!h || h->seq > seq)
		return false;
	lease_drop(h);
	return true;
}

/* ---- names ---- */

static uint64_t bit(const struct lease_holder *who)
{
	return 1ULL << (who->index % 64);
}

static uint64_t *word(uint64_t *set, const struct lease_holder *who)
{
	return &set[who->index / 64];
}

struct lease_name *lease_name_of(const struct lease_obj *dir, const char *name)
{
	return map_entry(map_get_str(&dir->names, name, strlen(name)),
			 struct lease_name, node);
}

static struct lease_name *name_get(struct lease_obj *dir, const char *name)
{
	struct lease_name *n = lease_name_of(dir, name);
	size_t len = strlen(name);

	if (n)
		return n;
	n = calloc(1, sizeof(*n) + len + 1);
	if (!n)
		return NULL;
	n->obj = dir;
	n->len = len;
	memcpy(n->text, name, len + 1);
	if (map_put_str(&dir->names, n->text, len, &n->node)) {
		free(n);
		return NULL;
	}
	return n;
}

static void name_tidy(struct lease_name *n)
{
	uint64_t any = n->waiting;

	for (size_t i = 0; i < LEASE_HOLDERS_MAX / 64; i++)
		any |= n->cached[i];
	if (!any)
		name_free(n);
}

static bool cached_by_others(const struct lease_name *n,
			     const struct lease_holder *who)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < LEASE_HOLDERS_MAX / 64; i++) {
		uint64_t set = n->cached[i];

		/* Its own counts only if it is about to be told to drop it. */
		if (who && i == who->index / 64)
			set &= ~bit(who) | n->recalled[i];
		any |= set;
	}
	return any != 0;
}

bool lease_need_name(struct lease_table *t, struct lease_obj *dir,
		     const struct lease_holder *who, const char *name)
{
	struct lease_name *n = lease_name_of(dir, name);
	bool others;

	if (!n)
		return true;
	n->waiting++; /* keep it, also if somebody answers at once */
	for (unsigned i = 0; i < LEASE_HOLDERS_MAX; i++) {
		uint64_t b = 1ULL << (i % 64);
		struct lease_holder *w;

		if (!n->cached[i / 64]) {
			i |= 63; /* on to the next word */
			continue;
		}
		if (!(n->cached[i / 64] & b) || (who && i == who->index))
			continue;
		w = t->holder_at(t->arg, i);
		if (n->recalled[i / 64] & b)
			continue;
		n->recalled[i / 64] |= b;
		t->recall_name(t->arg, w, n, ++t->seq);
	}
	n->waiting--;
	others = cached_by_others(n, who);
	name_tidy(n);
	return !others;
}

bool lease_cache_name(struct lease_obj *dir, const struct lease_holder *who,
		      const char *name)
{
	struct lease_name *n = name_get(dir, name);

	if (!n)
		return false;
	if (n->waiting || *word(n->recalled, who) & bit(who)) {
		name_tidy(n);
		return false;
	}
	*word(n->cached, who) |= bit(who);
	return true;
}

void lease_force_name(struct lease_obj *dir, const struct lease_holder *who,
		      const char *name)
{
	struct lease_name *n = name_get(dir, name);

	if (n)
		*word(n->cached, who) |= bit(who);
}

static void uncache(struct lease_name *n, const struct lease_holder *who)
{
	*word(n->cached, who) &= ~bit(who);
	*word(n->recalled, who) &= ~bit(who);
	name_tidy(n);
}

void lease_name_acked(struct lease_obj *dir, const struct lease_holder *who,
		      const char *name)
{
	struct lease_name *n = lease_name_of(dir, name);

	if (n && *word(n->recalled, who) & bit(who))
		uncache(n, who);
}

void lease_drop_names(struct lease_obj *dir, const struct lease_holder *who)
{
	struct map_node *n, *next;

	for (n = map_next(&dir->names, NULL); n; n = next) {
		next = map_next(&dir->names, n);
		uncache(container_of(n, struct lease_name, node), who);
	}
}

int lease_name_wait(struct lease_obj *dir, const char *name, int by)
{
	struct lease_name *n = name_get(dir, name);

	if (!n)
		return -ENOMEM;
	n->waiting = (unsigned)((int)n->waiting + by);
	name_tidy(n);
	return 0;
}
