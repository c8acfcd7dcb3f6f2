/* notify.c -- see notify.h. */
#include "notify.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <ev.h>

#include "list.h"

enum { INODES, ENTRIES, QUEUES };

struct job {
	struct list link;
	struct notifier *t;
	uint64_t id;
	int64_t off, len;
	notify_done_fn *done; /* NULL: told already */
	void *arg;
	int status;
	struct timer stuck;
	char name[];
};

struct queue {
	struct notifier *t;
	struct list todo;
	pthread_cond_t more;
	pthread_t thread;
	bool started;
};

struct notifier {
	struct env *env;
	struct ev_loop *loop;
	struct notify_ops ops;
	ev_async wake;
	pthread_mutex_t mutex;
	struct queue queues[QUEUES];
	struct list finished;
	bool stop;
	uint64_t nstuck;
};

static void *notify_thread(void *arg)
{
	struct queue *q = arg;
	struct notifier *t = q->t;

	pthread_mutex_lock(&t->mutex);
	while (!t->stop) {
		struct job *j = list_first(&q->todo, struct job, link);

		if (!j) {
			pthread_cond_wait(&q->more, &t->mutex);
			continue;
		}
		list_del(&j->link);
		pthread_mutex_unlock(&t->mutex);
		if (q == &t->queues[ENTRIES])
			j->status = t->ops.inval_entry(t->ops.arg, j->id, j->name);
		else
			j->status = t->ops.inval_inode(t->ops.arg, j->id, j->off,
						       j->len);
		pthread_mutex_lock(&t->mutex);
		list_add_tail(&t->finished, &j->link);
		ev_async_send(t->loop, &t->wake);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

static void job_end(struct job *j, int status)
{
	notify_done_fn *done = j->done;

	env_cancel(j->t->env, &j->stuck);
	j->done = NULL;
	if (done)
		done(j->arg, status);
}

static void on_wake(struct ev_loop *loop, ev_async *a, int revents)
{
	struct notifier *t = a->data;
	struct job *j;

	(void)loop;
	(void)revents;
	for (;;) {
		pthread_mutex_lock(&t->mutex);
		j = list_first(&t->finished, struct job, link);
		if (j)
			list_del(&j->link);
		pthread_mutex_unlock(&t->mutex);
		if (!j)
			return;
		job_end(j, j->status);
		free(j);
	}
}

/* Also for those that wait behind the one that is really stuck. */
static void on_stuck(struct timer *timer)
{
	struct job *j = timer->data;

	j->t->nstuck++;
	j->t->ops.raise_epoch(j->t->ops.arg);
	job_end(j, 0);
}

static int queue_start(struct notifier *t, int kind)
{
	struct queue *q = &t->queues[kind];
	sigset_t all, old;
	int r;

	q->t = t;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = -pthread_create(&q->thread, NULL, notify_thread, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	q->started = r == 0;
	return r;
}

int notifier_new(struct ev_loop *loop, struct env *env,
		 const struct notify_ops *ops, struct notifier **ret)
{
	struct notifier *t = calloc(1, sizeof(*t));
	int r = 0;

	if (!t)
		return -ENOMEM;
	t->loop = loop;
	t->env = env;
	t->ops = *ops;
	pthread_mutex_init(&t->mutex, NULL);
	list_init(&t->finished);
	for (int i = 0; i < QUEUES; i++) {
		list_init(&t->queues[i].todo);
		pthread_cond_init(&t->queues[i].more, NULL);
	}
	ev_async_init(&t->wake, on_wake);
	t->wake.data = t;
	ev_async_start(loop, &t->wake);
	for (int i = 0; !r && i < QUEUES; i++)
		r = queue_start(t, i);
	if (r)
		notifier_free(t);
	else
		*ret = t;
	return r;
}

/* A thread may be inside the kernel: the mount must be gone by now. */
void notifier_free(struct notifier *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->mutex);
	t->stop = true;
	for (int i = 0; i < QUEUES; i++)
		pthread_cond_broadcast(&t->queues[i].more);
	pthread_mutex_unlock(&t->mutex);
	for (int i = 0; i < QUEUES; i++) {
		struct queue *q = &t->queues[i];

		if (q->started)
			pthread_join(q->thread, NULL);
		list_each_safe(j, &q->todo, struct job, link) {
			list_del(&j->link);
			list_add_tail(&t->finished, &j->link);
			j->status = -ECANCELED;
		}
		pthread_cond_destroy(&q->more);
	}
	on_wake(t->loop, &t->wake, 0);
	ev_async_stop(t->loop, &t->wake);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

static int add(struct notifier *t, int kind, struct job *j)
{
	pthread_mutex_lock(&t->mutex);
	list_add_tail(&t->queues[kind].todo, &j->link);
	pthread_cond_signal(&t->queues[kind].more);
	pthread_mutex_unlock(&t->mutex);
	return 0;
}

static struct job *job_new(struct notifier *t, uint64_t id, size_t room,
			   notify_done_fn *done, void *arg)
{
	struct job *j = calloc(1, sizeof(*j) + room);

	if (!j)
		return NULL;
	list_init(&j->link);
	j->t = t;
	j->id = id;
	j->done = done;
	j->arg = arg;
	j->stuck = (struct timer){ .fire = on_stuck, .data = j };
	return j;
}

int notify_inode(struct notifier *t, uint64_t id, int64_t off, int64_t len,
		 notify_done_fn *done, void *arg)
{
	struct job *j = job_new(t, id, 0, done, arg);

	if (!j)
		return -ENOMEM;
	j->off = off;
	j->len = len;
	return add(t, INODES, j);
}

int notify_entry(struct notifier *t, uint64_t dir, const char *name,
		 notify_done_fn *done, void *arg)
{
	struct job *j = job_new(t, dir, strlen(name) + 1, done, arg);

	if (!j)
		return -ENOMEM;
	memcpy(j->name, name, strlen(name) + 1);
	env_after(t->env, &j->stuck, STUCK_MS);
	return add(t, ENTRIES, j);
}

uint64_t notifier_stuck(const struct notifier *t)
{
	return t->nstuck;
}
