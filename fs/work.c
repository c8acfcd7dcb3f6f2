/* work.c -- see work.h. */
#include "work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include <ev.h>

#define THREADS_MAX 16

struct pool {
	struct ev_loop *loop;
	ev_async wake;
	pthread_mutex_t mutex;
	pthread_cond_t more;
	struct work *todo, **todo_end;
	struct work *finished, **finished_end;
	bool stop;
	unsigned nthreads;
	pthread_t threads[THREADS_MAX];
};

static void append(struct work ***end, struct work *w)
{
	w->next = NULL;
	**end = w;
	*end = &w->next;
}

static void *work_thread(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->mutex);
	for (;;) {
		struct work *w = p->todo;

		if (!w && p->stop)
			break;
		if (!w) {
			pthread_cond_wait(&p->more, &p->mutex);
			continue;
		}
		p->todo = w->next;
		if (!p->todo)
			p->todo_end = &p->todo;
		pthread_mutex_unlock(&p->mutex);
		w->run(w);
		pthread_mutex_lock(&p->mutex);
		append(&p->finished_end, w);
		ev_async_send(p->loop, &p->wake);
	}
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

static void finish(struct pool *p)
{
	struct work *w;

	pthread_mutex_lock(&p->mutex);
	w = p->finished;
	p->finished = NULL;
	p->finished_end = &p->finished;
	pthread_mutex_unlock(&p->mutex);
	while (w) {
		struct work *next = w->next;

		w->done(w);
		w = next;
	}
}

static void on_wake(struct ev_loop *loop, ev_async *a, int revents)
{
	(void)loop;
	(void)revents;
	finish(a->data);
}

static int start_threads(struct pool *p, unsigned n)
{
	sigset_t all, old;
	int r = 0;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (!r && p->nthreads < n) {
		r = -pthread_create(&p->threads[p->nthreads], NULL, work_thread, p);
		if (!r)
			p->nthreads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int pool_new(struct ev_loop *loop, unsigned threads, struct pool **ret)
{
	struct pool *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->todo_end = &p->todo;
	p->finished_end = &p->finished;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->more, NULL);
	*ret = p;
	if (!loop)
		return 0;
	p->loop = loop;
	ev_async_init(&p->wake, on_wake);
	p->wake.data = p;
	ev_async_start(loop, &p->wake);
	r = start_threads(p, threads < THREADS_MAX ? threads : THREADS_MAX);
	if (r)
		pool_free(p);
	return r;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->mutex);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->mutex);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	finish(p);
	if (p->loop)
		ev_async_stop(p->loop, &p->wake);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->mutex);
	free(p);
}

void pool_add(struct pool *p, struct work *w)
{
	if (!p->loop) {
		w->run(w);
		w->done(w);
		return;
	}
	pthread_mutex_lock(&p->mutex);
	append(&p->todo_end, w);
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->mutex);
}
