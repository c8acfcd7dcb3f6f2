/*
 * opener.c -- see opener.h.
 *
 * One thread in the world's mount namespace, with the ids of whoever the file
 * is for: file-system ids and groups belong to a thread on Linux, as does the
 * mount namespace once CLONE_FS is unshared.
 */
#include "opener.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "world.h"

struct opener {
	struct migd *m;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct open_job *todo, **todo_end, *done;
	ev_async wake;
	bool stop;
};

static void open_one(struct open_file *f)
{
	struct stat st;

	f->fd = open(f->path, (f->flags & ~(O_CREAT | O_EXCL | O_TRUNC)) |
				      O_CLOEXEC | O_NOCTTY);
	if (f->fd < 0) {
		f->fd = -errno;
		return;
	}
	if (fstat(f->fd, &st) || (f->ino && st.st_ino != f->ino)) {
		close(f->fd);
		f->fd = -ESTALE;
		return;
	}
	if (f->pos)
		lseek(f->fd, (off_t)f->pos, SEEK_SET);
}

static void work(struct open_job *j)
{
	syscall(SYS_setgroups, j->ngroups, j->groups);
	setfsgid(j->gid);
	setfsuid(j->uid);
	for (unsigned i = 0; i < j->n; i++)
		open_one(&j->files[i]);
	setfsuid(0);
	setfsgid(0);
}

static void *thread_main(void *arg)
{
	struct opener *o = arg;
	bool ready = unshare(CLONE_FS) == 0 &&
		     setns(world_mntns(o->m), CLONE_NEWNS) == 0;

	if (!ready)
		log_error("files cannot be opened in the world: %s",
			  strerror(errno));
	pthread_mutex_lock(&o->lock);
	while (!o->stop) {
		struct open_job *j = o->todo;

		if (!j) {
			pthread_cond_wait(&o->more, &o->lock);
			continue;
		}
		o->todo = j->next;
		if (!o->todo)
			o->todo_end = &o->todo;
		pthread_mutex_unlock(&o->lock);
		for (unsigned i = 0; !ready && i < j->n; i++)
			j->files[i].fd = -EIO;
		if (ready)
			work(j);
		pthread_mutex_lock(&o->lock);
		j->next = o->done;
		o->done = j;
		ev_async_send(o->m->loop, &o->wake);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

static void on_done(struct ev_loop *loop, ev_async *a, int revents)
{
	struct opener *o = a->data;
	struct open_job *j;

	(void)loop;
	(void)revents;
	for (;;) {
		pthread_mutex_lock(&o->lock);
		j = o->done;
		if (j)
			o->done = j->next;
		pthread_mutex_unlock(&o->lock);
		if (!j)
			return;
		j->done(j);
	}
}

int opener_start(struct migd *m)
{
	struct opener *o = calloc(1, sizeof(*o));
	sigset_t all, old;
	int r;

	if (!o)
		return -ENOMEM;
	o->m = m;
	o->todo_end = &o->todo;
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->more, NULL);
	ev_async_init(&o->wake, on_done);
	o->wake.data = o;
	ev_async_start(m->loop, &o->wake);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&o->thread, NULL, thread_main, o);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		ev_async_stop(m->loop, &o->wake);
		free(o);
		return r;
	}
	m->opener = o;
	return 0;
}

void open_job_free(struct open_job *j)
{
	for (unsigned i = 0; i < j->n; i++)
		if (j->files[i].fd >= 0)
			close(j->files[i].fd);
	free(j->files);
	free(j);
}

void opener_stop(struct migd *m)
{
	struct opener *o = m->opener;

	if (!o)
		return;
	/* A thread that hangs in a file service ends with the process. */
	pthread_mutex_lock(&o->lock);
	o->stop = true;
	pthread_cond_signal(&o->more);
	pthread_mutex_unlock(&o->lock);
	pthread_detach(o->thread);
	ev_async_stop(m->loop, &o->wake);
	m->opener = NULL;
}

void opener_submit(struct migd *m, struct open_job *j)
{
	struct opener *o = m->opener;

	j->next = NULL;
	if (!j->n) {
		j->done(j);
		return;
	}
	pthread_mutex_lock(&o->lock);
	*o->todo_end = j;
	o->todo_end = &j->next;
	pthread_cond_signal(&o->more);
	pthread_mutex_unlock(&o->lock);
}
