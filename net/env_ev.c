/*
 * env_ev.c -- the real environment: libev's clock and timers, libsodium's
 * dice.  A timer's ev_timer lives in the room that env.h leaves for it, so
 * arming allocates nothing and cannot fail.
 */
#include <stdlib.h>
#include <time.h>

#include <ev.h>
#include <sodium.h>

#include "env.h"
#include "list.h"

struct env_ev {
	struct env env;
	struct ev_loop *loop;
};

_Static_assert(sizeof(struct ev_timer) <= sizeof(((struct timer *)0)->room),
	       "an ev_timer must fit into the room of a struct timer");

static struct env_ev *real(struct env *e)
{
	return container_of(e, struct env_ev, env);
}

static struct ev_timer *watcher(struct timer *t)
{
	return (struct ev_timer *)(void *)t->room;
}

static uint64_t ev_env_now_ms(struct env *e)
{
	struct timespec ts;

	(void)e;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void on_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct timer *t = w->data;

	(void)loop;
	(void)revents;
	t->impl = NULL;
	t->fire(t);
}

static void ev_env_cancel(struct env *e, struct timer *t)
{
	if (!t->impl)
		return;
	ev_timer_stop(real(e)->loop, watcher(t));
	t->impl = NULL;
}

/*
 * libev counts from the time it woke up.  A callback that ran long would make
 * its timers too short, so the difference is added.
 */
static void ev_env_after(struct env *e, struct timer *t, uint64_t delay_ms)
{
	struct ev_loop *loop = real(e)->loop;
	struct ev_timer *w = watcher(t);

	ev_env_cancel(e, t);
	if (delay_ms)
		ev_now_update(loop);
	ev_timer_init(w, on_timer, (double)delay_ms / 1000, 0);
	w->data = t;
	ev_timer_start(loop, w);
	t->impl = w;
}

static uint64_t ev_env_random(struct env *e)
{
	uint64_t v;

	(void)e;
	randombytes_buf(&v, sizeof(v));
	return v;
}

static const struct env_ops ev_ops = {
	.now_ms = ev_env_now_ms,
	.after = ev_env_after,
	.cancel = ev_env_cancel,
	.random = ev_env_random,
};

struct env *env_ev_new(struct ev_loop *loop)
{
	struct env_ev *e;

	if (sodium_init() < 0)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->env.ops = &ev_ops;
	e->loop = loop;
	return &e->env;
}

/* NULL for an environment that is not of this kind. */
struct ev_loop *env_ev_loop(struct env *e)
{
	return e->ops == &ev_ops ? real(e)->loop : NULL;
}

void env_ev_free(struct env *e)
{
	if (e)
		free(real(e));
}
