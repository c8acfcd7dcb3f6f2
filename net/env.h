#ifndef NET_ENV_H
#define NET_ENV_H
/*
 * env.h -- all that protocol code may know of the outside world: clock,
 * timers, dice.  (Frames go through rpc.h, whose transport is exchanged in
 * the same way.)  A daemon makes one from its libev loop (env_ev.c); a test
 * makes one whose clock it owns (tests/support/sim.c).
 */
#include <stdint.h>

struct env;

struct timer {
	void (*fire)(struct timer *t); /* runs on the loop, once per arming */
	void *data;		       /* the owner's */
	void *impl;		       /* the environment's; NULL when not armed */
	uint64_t room[8];	       /* the environment's, so that arming cannot fail */
};

struct env_ops {
	uint64_t (*now_ms)(struct env *e); /* monotonic */
	void (*after)(struct env *e, struct timer *t, uint64_t delay_ms);
	void (*cancel)(struct env *e, struct timer *t);
	uint64_t (*random)(struct env *e);
};

struct env {
	const struct env_ops *ops;
};

static inline uint64_t env_now_ms(struct env *e)
{
	return e->ops->now_ms(e);
}

/* Arm t, or arm it anew.  The caller owns t and keeps it in place. */
static inline void env_after(struct env *e, struct timer *t, uint64_t delay_ms)
{
	e->ops->after(e, t, delay_ms);
}

/* Harmless if t is not armed. */
static inline void env_cancel(struct env *e, struct timer *t)
{
	e->ops->cancel(e, t);
}

static inline uint64_t env_random(struct env *e)
{
	return e->ops->random(e);
}

struct ev_loop;
/* The real one.  Lives until env_ev_free; the loop must outlive it. */
struct env *env_ev_new(struct ev_loop *loop);
struct ev_loop *env_ev_loop(struct env *e);
void env_ev_free(struct env *e);

#endif
