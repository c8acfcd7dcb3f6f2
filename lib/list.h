#ifndef LIB_LIST_H
#define LIB_LIST_H
/*
 * list.h -- intrusive doubly linked lists.  A head is a struct list that
 * points at itself; an element embeds one.  Removing an element that is in no
 * list (initialised by list_init) is harmless.
 */
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_HEAD(name) { &(name), &(name) }
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *e)
{
	e->prev = head->prev;
	e->next = head;
	head->prev->next = e;
	head->prev = e;
}

static inline void list_add_head(struct list *head, struct list *e)
{
	list_add_tail(head->next, e);
}

static inline void list_del(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

/* First element, or NULL. */
#define list_first(head, type, member) \
	(list_empty(head) ? NULL : container_of((head)->next, type, member))

#define list_each(pos, head, type, member)                       \
	for (type *pos = container_of((head)->next, type, member); \
	     &pos->member != (head);                             \
	     pos = container_of(pos->member.next, type, member))

/* As list_each, but pos may be removed and freed in the body. */
#define list_each_safe(pos, head, type, member)                               \
	for (type *pos = container_of((head)->next, type, member),            \
		  *pos##_next = container_of(pos->member.next, type, member); \
	     &pos->member != (head); pos = pos##_next,                        \
		  pos##_next = container_of(pos->member.next, type, member))

#endif
