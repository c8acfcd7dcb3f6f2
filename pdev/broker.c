/*
 * broker.c -- the programs of this host that serve names; see broker.h.
 *
 * A program's connection is its claim: when it ends, for whatever reason, the
 * name is given up and every stream is cut.  A program that hangs keeps its
 * name until the keep-alive of the connection finds out; its clients do not
 * wait that long (broker_op.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_int.h"
#include "log.h"
#include "name.h"

static void on_claimed(void *arg, int status, const struct rpc_msg *m);
static void on_renew(struct timer *t);

int broker_new(const struct broker_conf *c, struct broker **ret)
{
	struct broker *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->c = *c;
	list_init(&b->devices);
	list_init(&b->visitors);
	/* A stream of an earlier life must not be taken for one of this. */
	b->next_stream = env_random(c->env) << 20 | 1;
	b->next_op = 1;
	*ret = b;
	return 0;
}

unsigned broker_devices(const struct broker *b)
{
	return b->ndevices;
}

unsigned broker_streams(const struct broker *b)
{
	return (unsigned)b->streams.count;
}

struct device *broker_device_by_conn(const struct broker *b, const struct rpc_conn *c)
{
	list_each(d, &b->devices, struct device,
		  link) if (d->conn && d->conn == c) return d;
	return NULL;
}

struct device *broker_device_by_name(const struct broker *b, const char *name)
{
	list_each(d, &b->devices, struct device,
		  link) if (d->conn && strcmp(d->name, name) == 0) return d;
	return NULL;
}

static void device_free(struct device *d)
{
	env_cancel(d->b->c.env, &d->renew);
	list_del(&d->link);
	d->b->ndevices--;
	free(d);
}

/* The service ends: the name is free, clients get errors. */
static void device_shut(struct device *d)
{
	struct broker *b = d->b;
	struct bstream *s;

	d->conn = NULL;
	d->shut = true;
	env_cancel(b->c.env, &d->renew);
	while ((s = list_first(&d->streams, struct bstream, in_device)))
		bstream_cut(s);
	if (d->asked)
		b->c.port->reply(d->asked, -EIO, NULL);
	d->asked = NULL;
	if (d->served)
		b->c.release(b->c.arg, d->name);
	d->served = false;
	/* The claim under way gives the name back when it is answered. */
	if (!d->claim)
		device_free(d);
}

void broker_free(struct broker *b)
{
	if (!b)
		return;
	list_each_safe(d, &b->devices, struct device, link)
	{
		struct rpc_call *call = d->claim;

		device_shut(d);
		if (call)
			b->c.port->cancel(call);
	}
	list_each_safe(v, &b->visitors, struct visitor, link)
		bvisitor_free(v);
	map_fini(&b->streams);
	map_fini(&b->ops);
	free(b);
}

/* ---- taking a name ---- */

static int claim(struct device *d)
{
	struct msg_pdev_claim m = {
		.name = d->name, .mode = d->mode, .uid = d->uid, .gid = d->gid};

	return d->b->c.claim(d->b->c.arg, &m, on_claimed, d, &d->claim);
}

/* Answer the program that asked for the name. */
static void answer(struct device *d, int status, const char *sentence)
{
	struct rpc_req *q = d->asked;

	d->asked = NULL;
	if (q)
		d->b->c.port->reply_err(q, status, sentence);
}

static void on_claimed(void *arg, int status, const struct rpc_msg *m)
{
	struct device *d = arg;
	struct broker *b = d->b;

	d->claim = NULL;
	if (d->shut) {
		if (status == 0)
			b->c.release(b->c.arg, d->name);
		device_free(d);
		return;
	}
	if (d->asked) {
		d->served = status == 0;
		answer(d, status, status ? rpc_sentence(status, m) : NULL);
		if (status) {
			device_shut(d);
			return;
		}
	} else if (status == -EBUSY) {
		/* We were out of touch, and somebody else took it. */
		log_warn("/%s is served by another host now: %s", d->name,
			 rpc_sentence(status, m));
		b->c.port->close(d->conn);
		d->served = false;
		device_shut(d);
		return;
	}
	env_after(b->c.env, &d->renew, RENEW_MS);
}

static void on_renew(struct timer *t)
{
	struct device *d = t->data;

	if (claim(d))
		env_after(d->b->c.env, &d->renew, RENEW_MS);
}

/* May this program serve that name?  A sentence if not. */
static int allowed(struct broker *b, struct rpc_conn *c, const char *name,
		   const struct msg_pdev_serve *m, char *why, size_t cap)
{
	char host[64];
	const struct device *other = broker_device_by_name(b, name);

	pdev_name_registry(name, host);
	if (host[0] && strcmp(host, b->c.name)) {
		snprintf(why, cap,
			 "%s/%s belongs to host %s; serve it there, or serve "
			 "%s/svc/NAME",
			 b->c.mount, name, host, b->c.mount);
		return -EINVAL;
	}
	if (host[0] && b->c.port->uid(c) != 0) {
		snprintf(why, cap,
			 "only root serves names in %s/hosts; everybody may "
			 "serve %s/svc/NAME",
			 b->c.mount, b->c.mount);
		return -EACCES;
	}
	if (other) {
		snprintf(why, cap,
			 "process %d on this host serves %s/%s already",
			 (int)b->c.port->pid(other->conn), b->c.mount, name);
		return -EBUSY;
	}
	if (broker_device_by_conn(b, c)) {
		snprintf(why, cap, "one connection serves one name");
		return -EINVAL;
	}
	if (m->mode & ~0777u || m->timeout_ms < PDEV_TIMEOUT_MIN_MS ||
	    m->timeout_ms > PDEV_TIMEOUT_MAX_MS) {
		snprintf(why, cap, "permissions or timeout out of range");
		return -EINVAL;
	}
	if (b->ndevices >= DEVICES_MAX) {
		snprintf(why, cap, "this host serves %u devices already",
			 b->ndevices);
		return -ENFILE;
	}
	return 0;
}

void broker_serve(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_serve *m)
{
	struct rpc_conn *c = b->c.port->req_conn(q);
	char name[PDEV_NAME_MAX + 1], why[PDEV_NAME_MAX + 256];
	struct device *d = NULL;
	int r = c ? pdev_name_clean(m->name, b->c.mount, name, sizeof(name))
		  : -ENOTCONN;

	snprintf(why, sizeof(why),
		 "no place for a pseudo-device; take %s/svc/NAME", b->c.mount);
	if (!r)
		r = allowed(b, c, name, m, why, sizeof(why));
	if (r)
		goto fail;
	d = calloc(1, sizeof(*d));
	if (!d) {
		b->c.port->reply(q, -ENOMEM, NULL);
		return;
	}
	d->b = b;
	d->conn = c;
	d->asked = q;
	d->mode = m->mode;
	d->timeout_ms = m->timeout_ms;
	d->uid = b->c.port->uid(c);
	d->gid = b->c.port->gid(c);
	d->renew = (struct timer){.fire = on_renew, .data = d};
	memcpy(d->name, name, sizeof(name));
	list_init(&d->streams);
	list_add_tail(&b->devices, &d->link);
	b->ndevices++;
	r = claim(d);
	if (!r)
		return;
	d->asked = NULL;
	device_free(d);
	snprintf(why, sizeof(why), "the host that keeps the name is not known");
fail:
	b->c.port->reply_err(q, r, why);
}

/* ---- notes of a program; what is not its business is not looked at ---- */

static struct bstream *find_stream(const struct broker *b, uint64_t id)
{
	return map_entry(map_get(&b->streams, id), struct bstream, node);
}

void broker_ready(struct broker *b, struct rpc_conn *c,
		  const struct msg_pdev_ready *m)
{
	struct bstream *s = find_stream(b, m->stream);

	if (!s || !s->d || s->d->conn != c)
		return;
	/*
	 * Told on even if nothing changed: somebody may just have been
	 * answered -EAGAIN, and waits for the next note and not for a change.
	 */
	(void)pdev_stream_set(&s->s, m->bits);
	if (s->s.state == PDEV_OPEN)
		bstream_tell(s);
}

void broker_later(struct broker *b, struct rpc_conn *c,
		  const struct msg_pdev_later *m)
{
	struct op *o = map_entry(map_get(&b->ops, m->req), struct op, node);

	if (!o || !o->s->d || o->s->d->conn != c || o->cancelled)
		return;
	o->later = true;
	env_cancel(b->c.env, &o->timer);
}

void broker_conn_close(struct broker *b, struct rpc_conn *c)
{
	struct device *d = broker_device_by_conn(b, c);

	if (d)
		device_shut(d);
	list_each(v, &b->visitors, struct visitor, link)
	{
		if (v->conn == c) {
			v->conn = NULL;
			env_after(b->c.env, &v->gone, CUT_OFF_MS);
			return;
		}
	}
}
