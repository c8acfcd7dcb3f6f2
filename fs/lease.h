#ifndef FS_LEASE_H
#define FS_LEASE_H
/*
 * lease.h -- who may cache what, at the server.  Knows nothing of messages,
 * files or time.
 *
 * A *holder* is a host.  On each object it may have a lease on data and
 * attributes: READ (many hosts) or WRITE (one).  Of each name in a directory
 * the server remembers which holders may have cached it, present or absent.
 *
 * Nothing here waits.  Whoever wants to change an object calls lease_need; if
 * that finds other holders in the way it has asked for their recall, and the
 * caller tries again after lease_acked.  Meanwhile it marks the object as
 * waited for, so that nobody gets anything new on it; nothing else is held.
 *
 * Grants and recalls are numbered in one sequence.  A grant that reaches its
 * holder after a recall with a higher number is void, whatever the order in
 * which the network delivered them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "map.h"

enum lease_level { LEASE_NONE, LEASE_READ, LEASE_WRITE };

#define LEASE_HOLDERS_MAX 256

struct lease_holder {
	unsigned index; /* below LEASE_HOLDERS_MAX, unique */
	struct list holds;
};

struct lease_obj {
	struct list holds;
	struct map names;
	unsigned waiting; /* changes that wait for recalls */
};

struct lease_hold {
	struct list of_obj, of_holder;
	struct lease_obj *obj;
	struct lease_holder *holder;
	enum lease_level level;
	bool recalled; /* asked to come down to keep, not answered yet */
	enum lease_level keep;
	uint64_t seq, recall_seq;
};

struct lease_name {
	struct map_node node;
	struct lease_obj *obj;
	uint64_t cached[LEASE_HOLDERS_MAX / 64];
	uint64_t recalled[LEASE_HOLDERS_MAX / 64];
	unsigned waiting;
	size_t len;
	char text[];
};

struct lease_table {
	uint64_t seq;
	void (*recall)(void *arg, struct lease_hold *h);
	void (*recall_name)(void *arg, struct lease_holder *w,
			    struct lease_name *n, uint64_t seq);
	struct lease_holder *(*holder_at)(void *arg, unsigned index);
	void *arg;
};

void lease_obj_init(struct lease_obj *o);
/* Forgets all; nobody may be waiting. */
void lease_obj_fini(struct lease_obj *o);

/*
 * May `who` do what needs `level`, seen from the others?  READ: nobody else
 * writes; WRITE: nobody else caches.  False: recalls are on their way.
 */
bool lease_need(struct lease_table *t, struct lease_obj *o,
		const struct lease_holder *who, enum lease_level level);
/* The same without asking anybody. */
bool lease_free_for(const struct lease_obj *o, const struct lease_holder *who,
		    enum lease_level level);
/*
 * Give `who` a hold on the object, and as much of `want` as is free.  Returns
 * what its kernel may rely on, which is NONE during its own recall.  A hold
 * exists from the first grant, even of NONE, until lease_forget: it keeps an
 * object without names alive.  -ENOMEM.
 */
int lease_grant(struct lease_table *t, struct lease_obj *o,
		struct lease_holder *who, enum lease_level want,
		enum lease_level *ret_level, uint64_t *ret_seq);
struct lease_hold *lease_hold_of(const struct lease_obj *o,
				 const struct lease_holder *who);
/* The answer to a recall. */
void lease_acked(struct lease_hold *h, uint64_t seq);
/* The holder does not know the object any more, said after grant `seq`. */
bool lease_forget(struct lease_obj *o, const struct lease_holder *who,
		  uint64_t seq);
void lease_drop(struct lease_hold *h);

/* As lease_need, for what the others have cached of one name. */
bool lease_need_name(struct lease_table *t, struct lease_obj *dir,
		     const struct lease_holder *who, const char *name);
/* `who` is told of this name.  May it cache that? */
bool lease_cache_name(struct lease_obj *dir, const struct lease_holder *who,
		      const char *name);
/* It has it whatever we say (it renamed something to that name itself). */
void lease_force_name(struct lease_obj *dir, const struct lease_holder *who,
		      const char *name);
void lease_name_acked(struct lease_obj *dir, const struct lease_holder *who,
		      const char *name);
/* The holder has cached nothing any more, of any name of this directory. */
void lease_drop_names(struct lease_obj *dir, const struct lease_holder *who);
/* A change waits (by 1) or does not wait any more (by -1). */
int lease_name_wait(struct lease_obj *dir, const char *name, int by);
struct lease_name *lease_name_of(const struct lease_obj *dir, const char *name);

#endif
