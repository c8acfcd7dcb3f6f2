/*
 * make_hosts.c -- the hosts that `sprite make` has borrowed.
 *
 * One connection to migd is the lease of all of them; closing it returns them.
 * Notes on it tell which come and go.  If migd itself goes, what runs elsewhere
 * runs on, nothing new is sent, and we ask again when it is back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "make.h"
#include "migd_msg.h"
#include "prog.h"

#define ASK_MS	 3000 /* recipes at home wait meanwhile */
#define NOTE_MS	 1000 /* a frame that has begun to come */
#define RETRY_MS 2000
#define PRIORITY_NORMAL 1

struct grant {
	struct list all;
	uint64_t number;
	uint32_t host;
	unsigned slots, used;
	char name[64];
};

struct make_hosts {
	struct make *make;
	struct client *client;
	struct list grants;
	unsigned wanted;
	uint64_t retry_ms;
};

static void tell_sched(struct make_hosts *h, uint32_t host, const char *name)
{
	unsigned slots = 0;

	list_each(g, &h->grants, struct grant, all)
		slots += g->host == host ? g->slots : 0;
	(void)sched_host_set(&h->make->sched, host, name, slots);
}

static void granted(struct make_hosts *h, uint64_t number, uint32_t host,
		    const char *name, unsigned slots)
{
	struct grant *g = calloc(1, sizeof(*g));

	if (!g)
		return; /* one host less */
	g->number = number;
	g->host = host;
	g->slots = slots;
	snprintf(g->name, sizeof(g->name), "%s", name);
	list_add_tail(&h->grants, &g->all);
	tell_sched(h, host, g->name);
}

static void drop(struct make_hosts *h, struct grant *g)
{
	list_del(&g->all);
	tell_sched(h, g->host, g->name);
	free(g);
}

static void on_note(struct make_hosts *h, const struct client_reply *n)
{
	struct msg_migd_host_granted got;
	struct msg_migd_host_lost lost;
	const void *p = buf_data(&n->body);
	size_t len = buf_len(&n->body);

	if (n->code == MSG_migd_host_granted &&
	    msg_migd_host_granted_decode(p, len, &got) == 0) {
		granted(h, got.grant, got.host, got.name, got.slots);
	} else if (n->code == MSG_migd_host_lost &&
		   msg_migd_host_lost_decode(p, len, &lost) == 0) {
		list_each_safe(g, &h->grants, struct grant, all) {
			if (g->number == lost.grant)
				drop(h, g);
		}
	}
}

/* migd is gone, and the grants with it. */
static void lose_migd(struct make_hosts *h)
{
	make_unwatch(h->make, &h->make->hosts_fd);
	client_close(h->client);
	h->client = NULL;
	while (!list_empty(&h->grants))
		drop(h, list_first(&h->grants, struct grant, all));
	h->retry_ms = make_now_ms() + RETRY_MS;
}

/* All notes that are there; the first may take first_ms to arrive. */
static void read_notes(struct make_hosts *h, unsigned first_ms)
{
	struct client_reply n;
	int r;

	while ((r = client_note(h->client, first_ms, &n)) == 0) {
		on_note(h, &n);
		client_reply_free(&n);
		first_ms = 1;
	}
	if (r != -ETIMEDOUT)
		lose_migd(h);
	make_pump(h->make);
}

static void on_readable(struct watch *w)
{
	struct make *m = container_of(w, struct make, hosts_fd);

	read_notes(m->hosts, NOTE_MS);
}

static void take_given(struct make_hosts *h, const struct client_reply *r)
{
	struct msg_migd_hosts_given given;
	struct wire_reader w;

	if (r->code != MSG_migd_hosts_given ||
	    msg_migd_hosts_given_decode(buf_data(&r->body), buf_len(&r->body),
					&given))
		return;
	w = wire_reader(given.grants.p, given.grants.len);
	while (w.left && !w.failed) {
		struct msg_migd_grant g = msg_migd_grant_get(&w);

		if (!w.failed)
			granted(h, g.grant, g.host, g.name, g.slots);
	}
}

/* 0, or -errno with the reason in make->trouble. */
static int ask(struct make_hosts *h)
{
	struct msg_migd_hosts_ask q = { .n = h->wanted,
					.priority = PRIORITY_NORMAL };
	struct make *m = h->make;
	struct client_reply reply;
	uint8_t body[64];
	struct rpc_out o = { .code = MSG_migd_hosts_ask, .body = body };
	int r = msg_migd_hosts_ask_encode(&q, body, sizeof(body), &o.len);

	if (!r)
		r = client_call(h->client, &o, ASK_MS, &reply);
	if (r) {
		m->trouble = "sprite-migd did not answer";
		return r;
	}
	r = reply.status;
	if (r)
		m->trouble = "the host database lends none now; `sprite hosts` "
			     "shows it";
	else
		take_given(h, &reply);
	client_reply_free(&reply);
	return r;
}

static int reach(struct make_hosts *h)
{
	char path[PATH_MAX];
	int r = run_path("migd.sock", path, sizeof(path)), fd;

	if (!r)
		r = client_open(path, ASK_MS, &h->client);
	if (r) {
		h->make->trouble = "sprite-migd does not run on this host; "
				   "`sprite up` starts it";
		return r;
	}
	h->make->trouble = NULL;
	r = ask(h);
	if (r) {
		client_close(h->client);
		h->client = NULL;
		return r;
	}
	/* The watch closes what it watches: a number of its own. */
	fd = dup(client_fd(h->client));
	if (fd < 0 || make_watch(h->make, &h->make->hosts_fd, fd, on_readable)) {
		lose_migd(h);
		return -ENOMEM;
	}
	read_notes(h, 1);
	return 0;
}

void make_hosts_ask(struct make *m, unsigned n)
{
	struct make_hosts *h;

	if (m->trouble)
		return;
	h = calloc(1, sizeof(*h));
	if (!h)
		return;
	h->make = m;
	h->wanted = n;
	list_init(&h->grants);
	m->hosts = h;
	if (reach(h))
		h->retry_ms = make_now_ms() + RETRY_MS;
}

void make_hosts_tick(struct make *m)
{
	struct make_hosts *h = m->hosts;

	if (!h || h->client || make_now_ms() < h->retry_ms)
		return;
	if (reach(h))
		h->retry_ms = make_now_ms() + RETRY_MS;
	else
		make_pump(m);
}

void make_hosts_return(struct make *m)
{
	struct make_hosts *h = m->hosts;

	if (!h)
		return;
	make_unwatch(m, &m->hosts_fd);
	client_close(h->client);
	while (!list_empty(&h->grants)) {
		struct grant *g = list_first(&h->grants, struct grant, all);

		list_del(&g->all);
		free(g);
	}
	free(h);
	m->hosts = NULL;
}

uint64_t make_hosts_take(struct make *m, uint32_t host)
{
	if (!m->hosts)
		return 0;
	list_each(g, &m->hosts->grants, struct grant, all) {
		if (g->host == host && g->used < g->slots) {
			g->used++;
			return g->number;
		}
	}
	return 0;
}

void make_hosts_put(struct make *m, uint64_t grant)
{
	if (!m->hosts)
		return;
	list_each(g, &m->hosts->grants, struct grant, all) {
		if (g->number == grant && g->used)
			g->used--;
	}
}
