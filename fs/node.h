#ifndef FS_NODE_H
#define FS_NODE_H
/*
 * node.h -- the objects that this host's kernel knows, and what this host may
 * believe about them; and the names under which the kernel has cached them.
 *
 * A node lives from the first answer that names it until the kernel has
 * forgotten it, nothing of it is dirty and nobody here refers to it.
 *
 * The names are a superset of what the kernel has in its dentry cache: a name
 * that is not here needs no invalidation.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache.h"
#include "keep.h"
#include "lease.h"
#include "list.h"
#include "map.h"
#include "proto.h"

/* What a node is that no server has (special.h); the node's own. */
struct special {
	struct list link; /* nodes' */
	struct node *n;
	int kind;
	uint32_t mode, uid, gid; /* of a served name, as found last */
	char path[]; /* below the mount, without leading slash */
};

struct node {
	struct map_node by_id, by_fh;
	uint64_t id; /* FUSE's nodeid */
	uint8_t fh[FS_HANDLE_MAX];
	size_t len;
	uint64_t nlookup;
	unsigned refs; /* operations under way */
	struct special *special;

	struct stat st; /* true while lease > NONE */
	enum lease_level lease;
	uint64_t seq;	     /* of the last grant */
	uint64_t recall_seq; /* of the last recall: grants below are void */
	uint64_t name_seq;   /* the same for names in it */

	/* recall.c */
	bool revoking;	 /* a recall is being obeyed */
	bool invalidating; /* the kernel's pages are being dropped now */
	enum lease_level keep;
	unsigned inval_tries;
	unsigned fills;	 /* pages given to the kernel since that began */
	struct list acks; /* recalls to be answered */
	struct list deferred; /* operations that wait for the end of it */
	bool cached;	 /* the kernel may have pages */
	unsigned write_fills; /* given to it since the last write ended */

	unsigned nopen, nwrite;
	struct dirty dirty, flushing;
	uint64_t ssize;	 /* size at the server, for reading holes */
	uint64_t dirty_since_ms;
	unsigned in_flight;
	bool flush_again;
	int flush_status;
	struct list dirty_link; /* mnt's */
	struct list after_flush;
	int err; /* of writing back, not reported yet */

	unsigned busy; /* operations on names in it that are at the server */
	struct list names_in, names_of;
	bool no_caps; /* known to have no security.capability */
	struct list locks; /* mnt_lock's: granted here */
	uint32_t slot;	   /* keep.h; 0: none */
};

struct name {
	struct map_node node;
	struct list in_parent, of_child;
	struct node *parent, *child; /* child NULL: known not to exist */
	size_t len;
	char key[]; /* parent's id, then the name */
};

struct nodes {
	struct map by_id, by_fh, names;
	struct list specials;
	uint64_t next_id;
	size_t nnegative;
	struct keep *keep; /* NULL: nothing outlives us */
};

#define NODE_ROOT 1 /* FUSE_ROOT_ID */

int nodes_init(struct nodes *t);
void nodes_fini(struct nodes *t);
/*
 * What the kernel knows, from an earlier life: nodes without leases.  Special
 * ones are not kept; their numbers are not given out again.
 */
int nodes_restore(struct nodes *t);
/* From here on leave what is noted to the next life. */
void nodes_unkeep(struct nodes *t);
/* nlookup, nopen or nwrite has changed. */
void node_note(struct nodes *t, const struct node *n);
struct node *node_by_id(const struct nodes *t, uint64_t id);
struct node *node_by_fh(const struct nodes *t, const void *fh, size_t len);
/* Find or make.  NULL: no memory. */
struct node *node_get(struct nodes *t, wire_blob fh);
struct node *node_special(struct nodes *t, int kind, const char *path);
/* Gone for good: not known to the kernel, nothing refers to it. */
bool node_unused(const struct node *n);
void node_free(struct nodes *t, struct node *n);

/*
 * Take over a grant with its attributes.  False: a later recall makes it void,
 * the attributes are good for this one answer only.
 */
bool node_grant(struct node *n, const struct stat *st, enum lease_level level,
		uint64_t seq);
/* May the kernel cache the attributes? */
static inline bool node_valid(const struct node *n)
{
	return n->lease > LEASE_NONE && !n->revoking;
}

/* NULL child: it does not exist.  -ENOMEM. */
int name_set(struct nodes *t, struct node *parent, const char *name,
	     struct node *child);
struct name *name_get(const struct nodes *t, const struct node *parent,
		      const char *name);
void name_drop(struct nodes *t, struct name *n);
void names_drop_in(struct nodes *t, struct node *parent);

#endif
