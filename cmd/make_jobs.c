/*
 * make_jobs.c -- the recipes: each is one process that asked where to run.
 *
 * Until it is answered a recipe is known by its connection; a connection that
 * ends means that make killed the asker.  From the answer on it is known by
 * its process, through a pidfd taken while it was certainly alive (it was
 * waiting for us), so a number given to another process later cannot mislead.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "make.h"
#include "make_line.h"

/* Known to be over before another host would have begun. */
#define SMALL_MS 20u
/* So many of them at once go without a slot: experience may be wrong. */
#define SMALL_AT_ONCE 2u
/* The recipes at home leave room for make and the file server. */
#define HOME_NICE 5
#define HOSTS_ASKED_MAX 100u
/* Recipes that had to run again and of which a sentence is said. */
#define RERUNS_TOLD 10u

unsigned make_alive(const struct make *m)
{
	unsigned n = 0;

	list_each(j, &m->jobs, struct job, all)
		n++;
	return n;
}

static unsigned small_running(const struct make *m)
{
	unsigned n = 0;

	list_each(j, &m->jobs, struct job, all)
		n += j->state == JOB_SMALL;
	return n;
}

static void forget(struct job *j)
{
	struct make *m = j->make;

	make_unwatch(m, &j->conn);
	make_unwatch(m, &j->process);
	list_del(&j->all);
	free(j);
}

static void answer(struct job *j)
{
	struct make *m = j->make;
	const struct sched_host *h = &m->sched.host[j->s.host];
	struct make_answer a = {
		.proto = MAKE_PROTO,
		.host = j->state == JOB_RUNS ? h->id : 0,
		.nice = sched_hosts(&m->sched) > 1 ? HOME_NICE : 0,
	};

	if (a.host) {
		j->grant = make_hosts_take(m, a.host);
		a.grant = j->grant;
	}
	snprintf(a.name, sizeof(a.name), "%s", a.host ? h->name : "");
	j->begun_ms = make_now_ms();
	/* A failure means that it died: its process tells. */
	(void)!send(j->conn.fd, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void make_pump(struct make *m)
{
	struct sched_job *s;
	unsigned depth;

	/* After ^C make only waits for what runs. */
	while (!m->interrupted && (s = sched_start(&m->sched)) != NULL) {
		struct job *j = container_of(s, struct job, s);

		j->state = JOB_RUNS;
		answer(j);
	}
	/* make has one recipe by itself, without a token. */
	depth = sched_depth(&m->sched);
	if (m->tokens.wanted != depth - 1)
		tokens_want(&m->tokens, depth - 1);
	else
		tokens_settle(&m->tokens);
}

static void give_back(struct job *j, uint64_t ms, bool lost)
{
	sched_end(&j->make->sched, &j->s, ms, lost);
	if (j->grant)
		make_hosts_put(j->make, j->grant);
	j->grant = 0;
}

static void on_process_end(struct watch *w)
{
	struct job *j = container_of(w, struct job, process);
	struct make *m = j->make;
	uint64_t ms = make_now_ms() - j->begun_ms;

	if (j->state == JOB_WAITS)
		sched_cancel(&m->sched, &j->s);
	if (j->state == JOB_RUNS)
		give_back(j, ms, false);
	if (j->state == JOB_SMALL)
		m->sched.host[SCHED_HOME].jobs++;
	if (!m->interrupted && (j->state == JOB_RUNS || j->state == JOB_SMALL))
		costs_learn(&m->costs, j->key, ms < UINT32_MAX / 4 ? (uint32_t)ms : 0);
	forget(j);
	make_pump(m);
}

/* Not below the mount: said once, for no host could help. */
static bool is_shared(struct make *m, const char *cwd)
{
	if (strcmp(m->last_cwd, cwd)) {
		snprintf(m->last_cwd, sizeof(m->last_cwd), "%s", cwd);
		m->last_shared = make_is_shared(cwd, m->mount);
	}
	if (!m->last_shared && !m->told_unshared) {
		m->told_unshared = true;
		if (m->trouble)
			show_say(m, "%s: everything is built on this host",
				 m->trouble);
		else
			show_say(m, "%s is not below %s, where every host has "
				 "it: what is built there is built on this host "
				 "alone", cwd, m->mount);
	}
	return m->last_shared;
}

static void wants_slot(struct job *j, const struct make_ask *a)
{
	struct make *m = j->make;

	j->key = line_hash(a->line ^ LINE_HASH, a->cwd);
	j->s.cost_ms = costs_get(&m->costs, j->key);
	j->s.stay = !is_shared(m, a->cwd);
	if (j->s.cost_ms && j->s.cost_ms <= SMALL_MS && m->sched.limit != 1 &&
	    small_running(m) < SMALL_AT_ONCE) {
		j->state = JOB_SMALL;
		answer(j);
		return;
	}
	if (!j->s.stay && !m->hosts_asked && m->sched.limit != 1) {
		unsigned n = m->sched.limit ? m->sched.limit - 1 : HOSTS_ASKED_MAX;

		m->hosts_asked = true;
		make_hosts_ask(m, n);
	}
	j->state = JOB_WAITS;
	sched_enqueue(&m->sched, &j->s);
	make_pump(m);
}

static void wants_another(struct job *j, const char *why)
{
	struct make *m = j->make;

	if (!m->interrupted && m->reruns < RERUNS_TOLD)
		show_say(m, "%s on %s: %s; it runs here again", j->label,
			 m->sched.host[j->s.host].name, *why ? why : "lost");
	give_back(j, make_now_ms() - j->begun_ms, true);
	m->reruns++;
	j->s.stay = true;
	j->state = JOB_WAITS;
	sched_enqueue(&m->sched, &j->s);
	make_pump(m);
}

static int know_process(struct job *j)
{
	int fd = (int)syscall(SYS_pidfd_open, j->pid, 0);

	if (fd < 0)
		return -errno;
	return make_watch(j->make, &j->process, fd, on_process_end);
}

/* The asker has hung up, or said something that is not in make_proto.h. */
static void hang_up(struct job *j)
{
	make_unwatch(j->make, &j->conn);
	if (j->state == JOB_WAITS) {
		sched_cancel(&j->make->sched, &j->s);
		forget(j);
	} else if (j->state == JOB_NEW) {
		forget(j);
	}
}

static void on_ask(struct watch *w)
{
	struct job *j = container_of(w, struct job, conn);
	struct make_ask a;
	ssize_t n = recv(w->fd, &a, sizeof(a), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= (ssize_t)offsetof(struct make_ask, cwd) ||
	    n > (ssize_t)sizeof(a) || a.proto != MAKE_PROTO ||
	    ((char *)&a)[n - 1] || memchr(a.label, 0, sizeof(a.label)) == NULL ||
	    memchr(a.why, 0, sizeof(a.why)) == NULL) {
		hang_up(j);
		return;
	}
	if (a.kind == MAKE_AGAIN && j->state == JOB_RUNS && j->s.host) {
		wants_another(j, a.why);
		return;
	}
	if (j->state != JOB_NEW || know_process(j)) {
		hang_up(j);
		return;
	}
	memcpy(j->label, a.label, sizeof(j->label));
	if (a.kind == MAKE_SLOT) {
		wants_slot(j, &a);
	} else {
		j->state = JOB_KEPT;
		j->make->kept++;
	}
}

static void on_connection(struct watch *w)
{
	struct make *m = container_of(w, struct make, listening);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
	struct ucred who;
	socklen_t len = sizeof(who);
	struct job *j;

	if (fd < 0)
		return;
	j = calloc(1, sizeof(*j));
	if (!j || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) ||
	    (who.uid != geteuid() && who.uid != 0)) {
		free(j);
		close(fd);
		return;
	}
	j->make = m;
	j->pid = who.pid;
	j->process.fd = -1;
	list_init(&j->s.queue);
	list_add_tail(&m->jobs, &j->all);
	if (make_watch(m, &j->conn, fd, on_ask)) {
		list_del(&j->all);
		free(j);
	}
}

int make_listen(struct make *m)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	uint64_t dice = 0;
	int fd, n, r;

	if (getrandom(&dice, sizeof(dice), 0) != sizeof(dice))
		return -EIO;
	n = snprintf(m->sock_name, sizeof(m->sock_name), "sprite-make-%d-%016llx",
		     (int)getpid(), (unsigned long long)dice);
	memcpy(a.sun_path + 1, m->sock_name, (size_t)n);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ||
	    listen(fd, 1024)) {
		r = -errno;
		close(fd);
		return r;
	}
	return make_watch(m, &m->listening, fd, on_connection);
}

void make_unlisten(struct make *m)
{
	make_unwatch(m, &m->listening);
	while (!list_empty(&m->jobs))
		forget(list_first(&m->jobs, struct job, all));
}
