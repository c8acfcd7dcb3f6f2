/*
 * test_service.c -- a name server on a loop in this process, its users in a
 * thread with the synchronous client: joining, watching, removing, over real
 * sockets and sealed sessions.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>
#include <sodium.h>

#include "client.h"
#include "log.h"
#include "named_msg.h"
#include "service.h"
#include "token.h"

static char dir[] = "/tmp/sprite-named-XXXXXX";
static char db[64], sock[64], why[WHY_MAX];
static struct ev_loop *loop;
static struct env *env;
static struct rpc_identity id = { .host = 1, .service = SVC_NAMED };
static struct hostconf conf;
static struct cell *cell;
static struct service *service;
static ev_async over;
static int64_t ahead; /* the name server's clock */

static int64_t now_secs(void)
{
	return (int64_t)time(NULL) + __atomic_load_n(&ahead, __ATOMIC_SEQ_CST);
}

static void on_over(struct ev_loop *l, ev_async *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(l, EVBREAK_ALL);
}

static void begin(void)
{
	struct service_conf sc = { .conf = &conf, .now_secs = now_secs,
				   .key = id.public_key };

	log_level = LOG_ERROR;
	cr_assert(sodium_init() >= 0);
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(db, sizeof(db), "%s/named.db", dir);
	snprintf(sock, sizeof(sock), "%s/named.sock", dir);
	randombytes_buf(id.secret, 32);
	crypto_scalarmult_base(id.public_key, id.secret);
	hostconf_init(&conf);
	conf.host = conf.named_host = 1;
	conf.pid_block = conf.pid_block_size = 16384;
	strcpy(conf.cell, "lab");
	strcpy(conf.name, "h1");
	strcpy(conf.addr, "127.0.0.1");
	cr_assert(zero(int, cell_open(db, &conf, id.public_key, why, &cell)));
	loop = ev_loop_new(EVFLAG_AUTO);
	env = env_ev_new(loop);
	sc.cell = cell;
	cr_assert(zero(int, service_new(env, &id, &sc, &service)));
	for (int i = 0; i < 200; i++) {
		conf.port[SVC_NAMED] = (uint16_t)(20000 + getpid() % 20000 + i);
		if (!service_listen(service, conf.port[SVC_NAMED], sock, why,
				    sizeof(why)))
			break;
	}
	ev_async_init(&over, on_over);
	ev_async_start(loop, &over);
}

static void end(void)
{
	char all[128];

	service_free(service);
	cell_close(cell);
	ev_async_stop(loop, &over);
	env_ev_free(env);
	ev_loop_destroy(loop);
	service = NULL;
	cell = NULL;
	env = NULL;
	loop = NULL;
	snprintf(all, sizeof(all), "rm -rf %s", dir);
	cr_expect(zero(int, system(all)));
}

TestSuite(service, .init = begin, .fini = end, .timeout = 30);

static void *user(void *body)
{
	((void (*)(void))body)();
	ev_async_send(loop, &over);
	return NULL;
}

/* Run body as a user of the name server, until it returns. */
static void as_user(void (*body)(void))
{
	pthread_t t;

	cr_assert(zero(int, pthread_create(&t, NULL, user, (void *)body)));
	ev_run(loop, 0);
	pthread_join(t, NULL);
}

/* ---- what users do ---- */

static int ask(struct client *c, uint16_t code, const void *body, size_t len,
	       struct client_reply *ret)
{
	struct rpc_out o = { .code = code, .body = body, .len = len };
	int r = client_call(c, &o, 4000, ret);

	cr_assert(zero(int, r));
	return ret->status;
}

static void make_token(struct token *ret)
{
	struct msg_named_token m = { .lifetime_secs = 60 };
	struct msg_named_token_made made;
	struct client_reply re;
	struct client *c;
	uint8_t body[16];
	size_t len;

	cr_assert(zero(int, client_open(sock, 4000, &c)));
	cr_assert(zero(int, msg_named_token_encode(&m, body, sizeof(body), &len)));
	cr_assert(zero(int, ask(c, MSG_named_token, body, len, &re)));
	cr_assert(zero(int, msg_named_token_made_decode(buf_data(&re.body),
							buf_len(&re.body), &made)));
	cr_assert(zero(int, token_parse(made.token, ret)));
	client_reply_free(&re);
	client_close(c);
}

static int try_join(const struct token *t, unsigned n, char *sentence)
{
	uint8_t key[32] = { (uint8_t)n, 1 }, body[256];
	char name[16], addr[32];
	struct msg_named_join m = { name, addr, { key, sizeof(key) } };
	struct client_reply re;
	struct client *c;
	size_t len;
	int r;

	snprintf(name, sizeof(name), "h%u", n);
	snprintf(addr, sizeof(addr), "127.0.0.%u", n);
	r = client_open_join(t, 4000, &c);
	if (r)
		return r;
	cr_assert(zero(int, msg_named_join_encode(&m, body, sizeof(body), &len)));
	r = ask(c, MSG_named_join, body, len, &re);
	snprintf(sentence, WHY_MAX, "%s", client_sentence(&re));
	client_reply_free(&re);
	client_close(c);
	return r;
}

static void joins_once(void)
{
	char sentence[WHY_MAX];
	struct token t;

	make_token(&t);
	cr_expect(zero(int, try_join(&t, 2, sentence)));
	cr_expect(eq(int, try_join(&t, 3, sentence), -EKEYREJECTED));
	cr_expect(ne(ptr, strstr(sentence, "used already"), NULL), "%s", sentence);
	t.psk[0] ^= 1;
	cr_expect(eq(int, try_join(&t, 3, sentence), -EKEYREJECTED));
	t.psk[0] ^= 1;
	t.id++;
	cr_expect(eq(int, try_join(&t, 3, sentence), -EKEYREJECTED));
	make_token(&t);
	__atomic_store_n(&ahead, 61, __ATOMIC_SEQ_CST);
	cr_expect(eq(int, try_join(&t, 3, sentence), -EKEYEXPIRED));
	cr_expect(ne(ptr, strstr(sentence, "expired"), NULL), "%s", sentence);
}

Test(service, a_token_admits_one_host_and_says_why_not_another)
{
	as_user(joins_once);
}

static void stranger(void)
{
	struct token t;
	struct client_reply re;
	struct client *c;
	uint8_t body[16];
	size_t len;

	make_token(&t);
	cr_assert(zero(int, client_open_join(&t, 4000, &c)));
	cr_assert(zero(int, msg_named_watch_encode(&(struct msg_named_watch){ 0 },
						   body, sizeof(body), &len)));
	cr_expect(eq(int, ask(c, MSG_named_watch, body, len, &re), -EPERM));
	client_reply_free(&re);
	client_close(c);
}

Test(service, a_stranger_may_join_and_nothing_else)
{
	as_user(stranger);
}

/* The table in a note or an answer: how many hosts, how many of them removed. */
static void count(const struct client_reply *re, unsigned *hosts, unsigned *gone)
{
	struct msg_named_table t;
	struct wire_reader r;

	cr_assert(zero(int, msg_named_table_decode(buf_data(&re->body),
						   buf_len(&re->body), &t)));
	r = wire_reader(t.hosts.p, t.hosts.len);
	*hosts = *gone = 0;
	while (r.left && !r.failed) {
		*gone += msg_roster_host_get(&r).removed;
		++*hosts;
	}
	cr_assert(not(r.failed));
}

static void watches(void)
{
	char sentence[WHY_MAX];
	unsigned hosts, gone;
	struct client_reply re;
	struct client *c;
	struct token t;
	uint8_t body[128];
	size_t len;

	cr_assert(zero(int, client_open(sock, 4000, &c)));
	cr_assert(zero(int, msg_named_watch_encode(&(struct msg_named_watch){ 0 },
						   body, sizeof(body), &len)));
	cr_assert(zero(int, ask(c, MSG_named_watch, body, len, &re)));
	count(&re, &hosts, &gone);
	cr_expect(eq(uint, hosts, 1));
	client_reply_free(&re);
	make_token(&t);
	cr_assert(zero(int, try_join(&t, 2, sentence)));
	cr_assert(zero(int, client_note(c, 4000, &re)));
	cr_expect(eq(int, re.code, MSG_named_table));
	count(&re, &hosts, &gone);
	cr_expect(eq(uint, hosts, 2));
	client_reply_free(&re);
	cr_assert(zero(int, msg_named_remove_encode(
		&(struct msg_named_remove){ "h2" }, body, sizeof(body), &len)));
	cr_expect(zero(int, ask(c, MSG_named_remove, body, len, &re)));
	client_reply_free(&re);
	cr_assert(zero(int, client_note(c, 4000, &re)));
	count(&re, &hosts, &gone);
	cr_expect(eq(uint, gone, 1));
	client_reply_free(&re);
	cr_expect(eq(int, ask(c, MSG_named_remove, body, len, &re), -ENOENT));
	client_reply_free(&re);
	client_close(c);
}

Test(service, whoever_watches_hears_of_every_change)
{
	as_user(watches);
}
