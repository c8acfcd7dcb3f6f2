/* registry.c -- see registry.h. */
#include "registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "map.h"
#include "name.h"

#define CLAIMS_MAX 65536u
#define GRACE_MS   20000u
#define LIST_ROOM  32768u

/* One life of an fsd that has claims here. */
struct claimer {
	struct list link;
	struct registry *g;
	uint32_t host;
	uint64_t epoch;
	struct rpc_conn *conn; /* or NULL: until the timer fires */
	struct timer gone;
	struct list claims;
};

struct claim {
	struct map_node node;
	struct list link;
	struct claimer *by;
	uint64_t number; /* never given out twice: an inode number for it */
	uint32_t mode, uid, gid;
	uint64_t since_ms;
	char name[];
};

struct registry {
	struct env *env;
	const struct pdev_port *port;
	const char *(*host_name)(void *arg, uint32_t host);
	void *arg;
	struct map names;
	struct list claimers;
	uint64_t next;
};

int registry_new(struct env *env, const struct pdev_port *port,
		 const char *(*host_name)(void *arg, uint32_t host), void *arg,
		 struct registry **ret)
{
	struct registry *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->env = env;
	g->port = port;
	g->host_name = host_name;
	g->arg = arg;
	list_init(&g->claimers);
	/* Another life must not give out the same numbers. */
	g->next = (env_random(env) & 0xffffffffu) << 20;
	*ret = g;
	return 0;
}

static void drop_claim(struct claim *c)
{
	map_del(&c->by->g->names, &c->node);
	list_del(&c->link);
	free(c);
}

static void drop_claimer(struct claimer *by)
{
	struct claim *c;

	while ((c = list_first(&by->claims, struct claim, link)))
		drop_claim(c);
	env_cancel(by->g->env, &by->gone);
	list_del(&by->link);
	free(by);
}

void registry_free(struct registry *g)
{
	if (!g)
		return;
	list_each_safe(by, &g->claimers, struct claimer, link) drop_claimer(by);
	map_fini(&g->names);
	free(g);
}

static struct claim *find(const struct registry *g, const char *name)
{
	return map_entry(map_get_str(&g->names, name, strlen(name)),
			 struct claim, node);
}

static struct claimer *find_claimer(const struct registry *g, uint32_t host)
{
	list_each(by, &g->claimers, struct claimer,
		  link) if (by->host == host) return by;
	return NULL;
}

static void on_gone(struct timer *t)
{
	drop_claimer(t->data);
}

static struct claimer *get_claimer(struct registry *g, struct rpc_conn *c)
{
	struct claimer *by = find_claimer(g, g->port->host(c));

	if (by && by->epoch != g->port->epoch(c)) {
		drop_claimer(by);
		by = NULL;
	}
	if (!by) {
		by = calloc(1, sizeof(*by));
		if (!by)
			return NULL;
		by->g = g;
		by->host = g->port->host(c);
		by->epoch = g->port->epoch(c);
		by->gone = (struct timer){.fire = on_gone, .data = by};
		list_init(&by->claims);
		list_add_tail(&g->claimers, &by->link);
	}
	by->conn = c;
	env_cancel(g->env, &by->gone);
	return by;
}

void registry_conn_open(struct registry *g, struct rpc_conn *c)
{
	if (g->port->service(c) == SVC_FSD && find_claimer(g, g->port->host(c)))
		(void)get_claimer(g, c);
}

void registry_conn_close(struct registry *g, struct rpc_conn *c)
{
	list_each(by, &g->claimers, struct claimer, link)
	{
		if (by->conn == c) {
			by->conn = NULL;
			env_after(g->env, &by->gone, GRACE_MS);
			return;
		}
	}
}

static int add(struct registry *g, struct claimer *by,
	       const struct msg_pdev_claim *m)
{
	size_t n = strlen(m->name);
	struct claim *c;

	if (g->names.count >= CLAIMS_MAX)
		return -ENOSPC;
	c = calloc(1, sizeof(*c) + n + 1);
	if (!c)
		return -ENOMEM;
	memcpy(c->name, m->name, n + 1);
	if (map_put_str(&g->names, c->name, n, &c->node)) {
		free(c);
		return -ENOMEM;
	}
	c->by = by;
	c->number = g->next++;
	c->mode = m->mode;
	c->uid = m->uid;
	c->gid = m->gid;
	c->since_ms = env_now_ms(g->env);
	list_add_tail(&by->claims, &c->link);
	return 0;
}

void registry_claim(struct registry *g, struct rpc_req *q,
		    const struct msg_pdev_claim *m)
{
	struct rpc_conn *conn = g->port->req_conn(q);
	struct claimer *by;
	struct claim *c;
	char why[256];

	if (!conn || !pdev_name_valid(m->name)) {
		g->port->reply(q, conn ? -EINVAL : -ENOTCONN, NULL);
		return;
	}
	by = get_claimer(g, conn);
	c = find(g, m->name);
	if (!by) {
		g->port->reply(q, -ENOMEM, NULL);
	} else if (!c) {
		g->port->reply(q, add(g, by, m), NULL);
	} else if (c->by == by) {
		/* Made again, because we or the connection began anew. */
		c->mode = m->mode;
		c->uid = m->uid;
		c->gid = m->gid;
		g->port->reply(q, 0, NULL);
	} else {
		snprintf(why, sizeof(why),
			 "another program serves %s already, on host %s",
			 m->name, g->host_name(g->arg, c->by->host));
		g->port->reply_err(q, -EBUSY, why);
	}
}

void registry_release(struct registry *g, struct rpc_req *q,
		      const struct msg_pdev_release *m)
{
	struct claim *c = find(g, m->name);

	if (c && c->by->host == g->port->req_host(q))
		drop_claim(c);
	g->port->reply(q, 0, NULL);
}

void registry_find(struct registry *g, struct rpc_req *q,
		   const struct msg_pdev_find *m)
{
	struct claim *c = find(g, m->name);
	struct msg_pdev_found found;
	uint8_t body[64];
	size_t len;
	int r;

	if (!c) {
		g->port->reply(q, -ENOENT, NULL);
		return;
	}
	found = (struct msg_pdev_found){.host = c->by->host,
					.mode = c->mode,
					.uid = c->uid,
					.gid = c->gid,
					.since_ms = c->since_ms,
					.number = c->number};
	r = msg_pdev_found_encode(&found, body, sizeof(body), &len);
	g->port->reply(q, r,
		       &(struct rpc_out){.code = MSG_pdev_found,
					 .body = body,
					 .len = r ? 0 : len});
}

/* ---- listing ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct claim *const *)a)->name,
		      (*(const struct claim *const *)b)->name);
}

/* The names of dir behind after, in order; *ret is to be freed. */
static int collect(const struct registry *g, const struct msg_pdev_list *m,
		   const struct claim ***ret, size_t *ret_n)
{
	const struct claim **all =
		calloc(g->names.count + 1, sizeof(const struct claim *));
	size_t n = 0;

	if (!all)
		return -ENOMEM;
	for (const struct map_node *i = map_next(&g->names, NULL); i;
	     i = map_next(&g->names, i)) {
		const struct claim *c =
			(const struct claim
				 *)(const void *)((const char *)i -
						  offsetof(struct claim, node));
		const char *last = pdev_name_in(c->name, m->dir);

		if (last && strcmp(last, m->after) > 0)
			all[n++] = c;
	}
	qsort(all, n, sizeof(const struct claim *), by_name);
	*ret = all;
	*ret_n = n;
	return 0;
}

void registry_list(struct registry *g, struct rpc_req *q,
		   const struct msg_pdev_list *m)
{
	uint8_t names[LIST_ROOM], body[LIST_ROOM + 64];
	struct wire_writer w = wire_writer(names, sizeof(names));
	struct msg_pdev_listed listed = {0};
	const struct claim **all = NULL;
	size_t n = 0, len = 0, i = 0;
	int r = collect(g, m, &all, &n);

	for (; !r && i < n; i++) {
		struct msg_pdev_name one = {
			.name = pdev_name_in(all[i]->name, m->dir),
			.number = all[i]->number};

		if (w.left < strlen(one.name) + 32)
			break;
		msg_pdev_name_put(&w, &one);
	}
	free(all);
	listed.more = i < n;
	listed.names = (struct wire_blob){names, w.len};
	if (!r)
		r = msg_pdev_listed_encode(&listed, body, sizeof(body), &len);
	g->port->reply(q, r,
		       &(struct rpc_out){.code = MSG_pdev_listed,
					 .body = body,
					 .len = r ? 0 : len});
}
