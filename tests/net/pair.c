/* pair.c -- see pair.h. */
#include "pair.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "log.h"

struct ev_loop *loop;
struct env *env;
uint8_t keys[HOSTS + 1][2][32];
bool known[HOSTS + 1];

static uint16_t next_port;
static char dir[64];

void pair_init(void)
{
	log_level = getenv("NET_TEST_LOG") ? LOG_DEBUG : LOG_ERROR;
	cr_assert(sodium_init() >= 0);
	loop = ev_loop_new(EVFLAG_AUTO);
	env = env_ev_new(loop);
	for (int i = 1; i <= HOSTS; i++) {
		randombytes_buf(keys[i][0], 32);
		crypto_scalarmult_base(keys[i][1], keys[i][0]);
		known[i] = true;
	}
	snprintf(dir, sizeof(dir), "/tmp/sprite-net-test.%d", (int)getpid());
}

void pair_fini(void)
{
	env_ev_free(env);
	ev_loop_destroy(loop);
	env = NULL;
	loop = NULL;
}

int key_of_test(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	if (host == 0 || host > HOSTS || !known[host])
		return -ENOENT;
	memcpy(ret, keys[host][1], 32);
	return 0;
}

static void on_request(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	struct node *n = arg;
	struct rpc_out o = {.code = m->code};
	uint32_t count;

	n->executed++;
	n->replayed += m->replayed;
	switch (m->code) {
	case CODE_ECHO:
		o.body = m->body;
		o.len = m->len;
		o.payload = m->payload;
		o.payload_len = m->payload_len;
		rpc_reply(q, 0, &o);
		break;
	case CODE_COUNT:
		count = n->executed;
		o.body = &count;
		o.len = sizeof(count);
		rpc_reply(q, 0, &o);
		break;
	case CODE_HOLD:
		n->held[n->nheld++] = q;
		break;
	case CODE_FDS:
		o.fds = m->fds;
		o.nfds = m->nfds;
		rpc_reply(q, 0, &o);
		break;
	default:
		rpc_reply_err(q, -EPROTO, "there is no such request");
	}
}

static void on_note(void *arg, struct rpc_conn *c, const struct rpc_msg *m)
{
	struct node *n = arg;

	(void)c;
	n->notes++;
	n->note_code = m->code;
}

static void on_open(void *arg, struct rpc_conn *c)
{
	struct node *n = arg;

	n->opened++;
	n->last = c;
	n->roles = rpc_conn_roles(c);
}

static void on_close(void *arg, struct rpc_conn *c)
{
	struct node *n = arg;

	n->closed++;
	if (n->last == c)
		n->last = NULL;
}

void node_start(struct node *n, uint32_t host, enum rpc_service s,
		uint64_t epoch)
{
	struct rpc_handler h = {.on_request = on_request,
				.on_note = on_note,
				.on_open = on_open,
				.on_close = on_close,
				.arg = n};

	n->id = (struct rpc_identity){
		.host = host, .service = s, .epoch = epoch};
	memcpy(n->id.secret, keys[host][0], 32);
	memcpy(n->id.public_key, keys[host][1], 32);
	n->r = rpc_new(env, &n->id, key_of_test, NULL, &h);
	cr_assert_not_null(n->r);
	n->last = NULL;
	n->nheld = 0;
}

void node_listen(struct node *n)
{
	int r = -EADDRINUSE;

	if (n->port)
		r = rpc_listen_tcp(n->r, "127.0.0.1", n->port);
	/* Tests run side by side: each looks from its own place on. */
	if (!next_port)
		next_port = (uint16_t)(20000 + getpid() % 10000);
	for (int i = 0; !n->port && r && i < 2000; i++) {
		r = rpc_listen_tcp(n->r, "127.0.0.1", ++next_port);
		if (!r)
			n->port = next_port;
	}
	cr_assert_eq(r, 0, "listen: %s", strerror(-r));
	if (!n->path[0])
		snprintf(n->path, sizeof(n->path), "%s.%u.%d", dir, n->id.host,
			 (int)n->id.service);
	cr_assert_eq(rpc_listen_unix(n->r, n->path, 0666), 0);
}

void node_stop(struct node *n)
{
	rpc_free(n->r);
	n->r = NULL;
	for (unsigned i = 0; i < n->nheld; i++)
		rpc_reply(n->held[i], 0, NULL);
	n->nheld = 0;
	if (n->path[0])
		unlink(n->path);
}

static void late(struct timer *t)
{
	*(bool *)t->data = true;
}

bool run_while(bool (*busy)(void *arg), void *arg)
{
	bool over = false;
	struct timer t = {.fire = late, .data = &over};

	env_after(env, &t, 5000);
	while (busy(arg) && !over)
		ev_run(loop, EVRUN_ONCE);
	env_cancel(env, &t);
	return !busy(arg);
}

static bool unset(void *arg)
{
	return !*(const bool *)arg;
}

bool run_until(const bool *flag)
{
	return run_while(unset, (void *)(uintptr_t)flag);
}

/* Loopback delivers at once, so a few empty turns mean that all is said. */
void settle(void)
{
	for (int i = 0; i < 50; i++)
		ev_run(loop, EVRUN_NOWAIT);
}

void on_answer(void *arg, int status, const struct rpc_msg *m)
{
	struct answer *a = arg;

	a->done = true;
	a->times++;
	a->status = status;
	snprintf(a->sentence, sizeof(a->sentence), "%s",
		 rpc_sentence(status, m));
	if (!m)
		return;
	a->code = m->code;
	if (m->len)
		buf_add(&a->body, m->body, m->len);
	if (m->payload_len)
		buf_add(&a->payload, m->payload, m->payload_len);
	a->nfds = m->nfds;
	for (size_t i = 0; i < m->nfds; i++) {
		a->fds[i] = m->fds[i];
		m->fds[i] = -1;
	}
}

void answer_free(struct answer *a)
{
	for (size_t i = 0; i < a->nfds; i++)
		close(a->fds[i]);
	buf_free(&a->body);
	buf_free(&a->payload);
	*a = (struct answer){0};
}

struct rpc_peer *peer_tcp(struct node *from, struct node *to)
{
	return rpc_peer_get(from->r, to->id.host, to->id.service, "127.0.0.1",
			    to->port);
}
