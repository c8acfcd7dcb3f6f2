/* calls.c -- calls to the migds of other hosts, answers; see migd.h. */
#include "migd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

void call_host_out(struct migd *m, uint32_t host, const struct rpc_out *o,
		   uint32_t deadline_ms, unsigned flags, rpc_done_fn *done,
		   void *arg)
{
	struct rpc_peer *p = roster_peer(m->roster, host, SVC_MIGD);
	int r = p ? rpc_call(p, o, deadline_ms, flags, done, arg, NULL) :
		    -EHOSTUNREACH;

	if (!r)
		return;
	if (o->free_payload)
		o->free_payload(o->free_arg);
	done(arg, r, NULL);
}

void call_host(struct migd *m, uint32_t host, uint16_t code,
	       const struct body *b, uint32_t deadline_ms, unsigned flags,
	       rpc_done_fn *done, void *arg)
{
	struct rpc_out o = { .code = code, .body = b->b, .len = b->len };

	call_host_out(m, host, &o, deadline_ms, flags, done, arg);
}

void call_done_nothing(void *arg, int status, const struct rpc_msg *m)
{
	(void)arg;
	(void)status;
	(void)m;
}

void reply_body(struct rpc_req *q, uint16_t code, const struct body *b)
{
	struct rpc_out o = { .code = code, .body = b->b, .len = b->len };

	rpc_reply(q, 0, &o);
}

void reply_say(struct rpc_req *q, int status, const char *fmt, ...)
{
	char s[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	rpc_reply_err(q, status, s);
}

const char *host_name(const struct migd *m, uint32_t host)
{
	const struct roster_host *h;

	if (host == m->conf.host)
		return m->conf.name;
	h = roster_host(m->roster, host);
	return h ? h->name : "an unknown host";
}

uint32_t host_by_name(const struct migd *m, const char *name)
{
	const struct roster_host *h = roster_by_name(m->roster, name);
	unsigned long n;
	char *end;

	if (h)
		return h->removed ? 0 : h->id;
	if (strcmp(name, m->conf.name) == 0)
		return m->conf.host;
	n = strtoul(name, &end, 10);
	if (!*name || *end || n == 0 || n > UINT32_MAX)
		return 0;
	h = roster_host(m->roster, (uint32_t)n);
	return h && !h->removed ? h->id : 0;
}

uint32_t home_of(const struct migd *m, uint32_t pid)
{
	if (pid >= m->conf.pid_block &&
	    pid - m->conf.pid_block < m->conf.pid_block_size)
		return m->conf.host;
	return roster_home_of_pid(m->roster, pid, m->conf.pid_block_size);
}

uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}
