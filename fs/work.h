#ifndef FS_WORK_H
#define FS_WORK_H
/*
 * work.h -- a few threads for what may block on a disk; the end of a piece of
 * work comes back to the loop.
 */
struct ev_loop;
struct pool;

struct work {
	void (*run)(struct work *w);  /* in a thread */
	void (*done)(struct work *w); /* on the loop, afterwards */
	struct work *next;	      /* the pool's */
};

/* NULL for loop: every piece is run and done within pool_add (tests). */
int pool_new(struct ev_loop *loop, unsigned threads, struct pool **ret);
/* Finishes everything first; done is called for all.  NULL is fine. */
void pool_free(struct pool *p);
void pool_add(struct pool *p, struct work *w);

#endif
