/*
 * test_service.c -- the host database and three migds in one process, over
 * real sealed sessions: what is asked, answered and told.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>
#include <sodium.h>

#include "fd.h"
#include "hostdb_msg.h"
#include "log.h"
#include "named_msg.h"
#include "service.h"

#define HOSTS 3

static char dir[] = "/tmp/sprite-hostdb-XXXXXX";
static struct ev_loop *loop;
static struct env *env;
static uint8_t secret[HOSTS + 1][32], public_key[HOSTS + 1][32];
static struct hostconf conf;
static struct history *history;
static struct roster *roster;
static struct service *service;
static struct rpc *db;
static uint16_t port;

/* A migd of the test's. */
static struct migd {
	struct rpc *r;
	struct rpc_peer *peer;
	bool up;
	unsigned lost, news, evict;
	struct msg_hostdb_lost last_lost;
} migds[HOSTS + 1];

static int64_t wall(void)
{
	return (int64_t)time(NULL) * 1000;
}

static int key_of(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	if (!host || host > HOSTS)
		return -ENOENT;
	memcpy(ret, public_key[host], 32);
	return 0;
}

/* Run the loop until *flag, 5 s at most. */
static void late(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)revents;
	*(bool *)w->data = true;
	ev_break(l, EVBREAK_ONE);
}

static bool until(const bool *flag)
{
	bool over = false;
	ev_timer t;

	ev_timer_init(&t, late, 5., 0.);
	t.data = &over;
	ev_timer_start(loop, &t);
	while (!*flag && !over)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &t);
	return *flag;
}

static bool until_count(const unsigned *n, unsigned want)
{
	bool over = false;
	ev_timer t;

	ev_timer_init(&t, late, 5., 0.);
	t.data = &over;
	ev_timer_start(loop, &t);
	while (*n < want && !over)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &t);
	return *n >= want;
}

/* ---- what three hosts look like ---- */

static void write_cache(void)
{
	uint8_t hosts[1024], body[2048];
	struct wire_writer w = wire_writer(hosts, sizeof(hosts));
	struct msg_named_table t = { .version = 1, .hostdb_host = 1 };
	char path[128], name[8];
	size_t len;

	for (uint32_t i = 1; i <= HOSTS; i++) {
		snprintf(name, sizeof(name), "h%u", i);
		msg_roster_host_put(&w, &(struct msg_roster_host){
			.id = i, .name = name, .addr = "127.0.0.1",
			.port_named = 1, .port_fsd = 2, .port_migd = 3,
			.port_hostdb = 4, .key = { public_key[i], 32 },
			.pid_block = i * 16384 });
	}
	t.hosts = (wire_blob){ hosts, w.len };
	cr_assert(zero(int, msg_named_table_encode(&t, body, sizeof(body), &len)));
	snprintf(path, sizeof(path), "%s/roster.cache", dir);
	cr_assert(zero(int, fd_write_file(path, body, len, 0600)));
}

static void start_db(void)
{
	struct rpc_identity id = { .host = 1, .service = SVC_HOSTDB };
	struct service_conf sc = { .conf = &conf, .wall_ms = wall };
	struct rpc_handler h;
	char path[128], err[256];

	snprintf(path, sizeof(path), "%s/hostdb.db", dir);
	cr_assert(zero(int, history_open(path, &history, err, sizeof(err))));
	roster = roster_new(&conf, NULL, NULL);
	cr_assert(ne(ptr, roster, NULL));
	sc.roster = roster;
	sc.history = history;
	cr_assert(zero(int, service_new(env, &sc, &service)));
	h = service_handler(service);
	memcpy(id.secret, secret[1], 32);
	memcpy(id.public_key, public_key[1], 32);
	db = rpc_new(env, &id, roster_key, roster, &h);
	cr_assert(ne(ptr, db, NULL));
	if (!port)
		port = (uint16_t)(20000 + getpid() % 20000);
	for (int i = 0; i < 200 && rpc_listen_tcp(db, "127.0.0.1", port); i++)
		port++;
	snprintf(path, sizeof(path), "%s/hostdb.sock", dir);
	cr_assert(zero(int, rpc_listen_unix(db, path, 0600)));
}

static void stop_db(void)
{
	rpc_free(db);
	roster_free(roster);
	service_free(service);
	history_close(history);
	db = NULL;
	roster = NULL;
	service = NULL;
	history = NULL;
}

static void begin(void)
{
	log_level = LOG_ERROR;
	cr_assert(sodium_init() >= 0);
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	setenv("SPRITE_STATE", dir, 1);
	for (int i = 1; i <= HOSTS; i++) {
		randombytes_buf(secret[i], 32);
		crypto_scalarmult_base(public_key[i], secret[i]);
	}
	hostconf_init(&conf);
	conf.host = conf.named_host = 1;
	memcpy(conf.named_key, public_key[1], 32);
	write_cache();
	loop = ev_loop_new(EVFLAG_AUTO);
	env = env_ev_new(loop);
	start_db();
}

static void stop_migd(uint32_t host)
{
	rpc_free(migds[host].r);
	migds[host] = (struct migd){ 0 };
}

static void end(void)
{
	char all[128];

	for (uint32_t i = 1; i <= HOSTS; i++)
		stop_migd(i);
	stop_db();
	env_ev_free(env);
	ev_loop_destroy(loop);
	env = NULL;
	loop = NULL;
	snprintf(all, sizeof(all), "rm -rf %s", dir);
	cr_expect(zero(int, system(all)));
}

TestSuite(service, .init = begin, .fini = end, .timeout = 30);

/* ---- migds ---- */

static void on_up(void *arg, struct rpc_peer *p, bool restarted)
{
	struct migd *m = arg;

	(void)p;
	(void)restarted;
	m->up = true;
}

static void on_down(void *arg, struct rpc_peer *p)
{
	struct migd *m = arg;

	(void)p;
	m->up = false;
}

static bool on_note(void *arg, struct rpc_peer *p, const struct rpc_msg *msg)
{
	struct migd *m = arg;

	(void)p;
	if (msg->code == MSG_hostdb_lost) {
		cr_assert(zero(int, msg_hostdb_lost_decode(msg->body, msg->len,
							   &m->last_lost)));
		m->lost++;
	} else if (msg->code == MSG_hostdb_news) {
		m->news++;
	} else if (msg->code == MSG_hostdb_evict) {
		m->evict++;
	}
	return true;
}

static void start_migd(uint32_t host)
{
	struct migd *m = &migds[host];
	struct rpc_identity id = { .host = host, .service = SVC_MIGD };
	struct rpc_handler none = { 0 };
	struct rpc_peer_hooks hooks = { .on_up = on_up, .on_down = on_down,
					.on_note = on_note, .arg = m };
	char path[128];

	memcpy(id.secret, secret[host], 32);
	memcpy(id.public_key, public_key[host], 32);
	m->r = rpc_new(env, &id, key_of, NULL, &none);
	cr_assert(ne(ptr, m->r, NULL));
	snprintf(path, sizeof(path), "%s/hostdb.sock", dir);
	m->peer = host == 1 ? rpc_peer_unix(m->r, SVC_HOSTDB, path) :
			      rpc_peer_get(m->r, 1, SVC_HOSTDB, "127.0.0.1", port);
	cr_assert(ne(ptr, m->peer, NULL));
	rpc_peer_set_hooks(m->peer, &hooks);
	rpc_peer_keep(m->peer, true);
	cr_assert(until(&m->up));
}

struct answer {
	bool done;
	int status;
	char sentence[256];
	uint8_t body[4096];
	size_t len;
};

static void on_answer(void *arg, int status, const struct rpc_msg *m)
{
	struct answer *a = arg;

	a->done = true;
	a->status = status;
	snprintf(a->sentence, sizeof(a->sentence), "%s", rpc_sentence(status, m));
	if (m && m->len <= sizeof(a->body)) {
		memcpy(a->body, m->body, m->len);
		a->len = m->len;
	}
}

static int call(uint32_t host, uint16_t code, const uint8_t *body, size_t len,
		struct answer *ret)
{
	struct rpc_out o = { .code = code, .body = body, .len = len };

	*ret = (struct answer){ 0 };
	cr_assert(zero(int, rpc_call(migds[host].peer, &o, 4000, RPC_IDEMPOTENT,
				     on_answer, ret, NULL)));
	cr_assert(until(&ret->done));
	return ret->status;
}

/* CALL(host, message, answer): encode, ask, wait. */
#define CALL(host, name, a, ...)                                            \
	({                                                                  \
		uint8_t body_[2048];                                        \
		size_t len_;                                                \
		struct msg_##name m_ = { __VA_ARGS__ };                     \
		cr_assert(zero(int, msg_##name##_encode(&m_, body_,         \
							sizeof(body_), &len_))); \
		call(host, MSG_##name, body_, len_, a);                     \
	})

static void report(uint32_t host, bool allow, enum hostdb_why why, uint64_t idle)
{
	struct answer a;

	cr_assert(zero(int, CALL(host, hostdb_report, &a, .name = "h",
				 .type = "x86_64", .allow = allow,
				 .why = (uint8_t)why, .idle_secs = idle,
				 .slots = 1, .up_secs = 5000, .version = 3)));
}

static void three(void)
{
	for (uint32_t i = 1; i <= HOSTS; i++) {
		start_migd(i);
		report(i, true, WHY_NONE, i * 100);
	}
}

static unsigned ask(uint32_t host, uint32_t client, uint32_t n,
		    struct msg_hostdb_slot *ret)
{
	struct msg_hostdb_granted g;
	struct wire_reader r;
	struct answer a;
	unsigned got = 0;

	cr_assert(zero(int, CALL(host, hostdb_request, &a, .client = client,
				 .uid = 1000, .what = "make",
				 .priority = PRIORITY_NORMAL, .n = n)));
	cr_assert(zero(int, msg_hostdb_granted_decode(a.body, a.len, &g)));
	r = wire_reader(g.slots.p, g.slots.len);
	while (r.left)
		ret[got++] = msg_hostdb_slot_get(&r);
	cr_assert(not(r.failed));
	return got;
}

/* ---- the tests ---- */

Test(service, lends_over_the_wire_and_tells_when_the_owner_is_back)
{
	struct msg_hostdb_slot s[8];

	three();
	cr_assert(eq(uint, ask(1, 7, 5, s), 2));
	cr_expect(eq(u32, s[0].host, 3));
	cr_expect(eq(u32, s[1].host, 2));
	report(3, false, WHY_INPUT, 0);
	cr_assert(until_count(&migds[1].lost, 1));
	cr_expect(eq(u32, migds[1].last_lost.client, 7));
	cr_expect(eq(u64, migds[1].last_lost.grant, s[0].grant));
	cr_expect(eq(int, migds[1].last_lost.why, WHY_INPUT));
	report(3, true, WHY_NONE, 31);
	cr_assert(until_count(&migds[1].news, 1));
	cr_expect(eq(uint, ask(1, 7, 1, s), 1));
}

Test(service, takes_from_the_rich_and_has_the_host_evict)
{
	struct msg_hostdb_slot s[8];
	struct answer a;

	three();
	cr_assert(eq(uint, ask(1, 7, 5, s), 2));
	cr_assert(eq(uint, ask(2, 1, 1, s), 1));
	cr_expect(eq(u32, s[0].host, 1), "a free one first");
	cr_assert(zero(int, CALL(2, hostdb_close, &a, .client = 1)));
	report(1, false, WHY_LOAD, 0);
	cr_assert(eq(uint, ask(2, 2, 1, s), 1));
	cr_expect(eq(u32, s[0].host, 3));
	cr_assert(until_count(&migds[1].lost, 1));
	cr_expect(eq(int, migds[1].last_lost.why, WHY_RECLAIMED));
	cr_expect(until_count(&migds[3].evict, 1));
}

Test(service, forgets_the_clients_of_a_migd_that_was_restarted)
{
	struct msg_hostdb_slot s[8];

	three();
	cr_assert(eq(uint, ask(2, 1, 5, s), 2));
	stop_migd(2);
	start_migd(2);
	report(2, true, WHY_NONE, 100);
	cr_expect(eq(uint, ask(2, 1, 5, s), 2));
}

Test(service, is_told_what_is_held_after_its_own_restart)
{
	struct msg_hostdb_slot s[8], t[8];
	uint8_t mem[64];
	struct wire_writer w = wire_writer(mem, sizeof(mem));
	struct answer a;

	three();
	cr_assert(eq(uint, ask(1, 7, 1, s), 1));
	cr_expect(eq(u32, s[0].host, 3));
	stop_db();
	for (uint32_t i = 1; i <= HOSTS; i++)
		migds[i].up = false;
	start_db();
	for (uint32_t i = 1; i <= HOSTS; i++) {
		cr_assert(until(&migds[i].up));
		report(i, true, WHY_NONE, i * 100);
	}
	msg_hostdb_slot_put(&w, &s[0]);
	cr_assert(zero(int, CALL(1, hostdb_restate, &a, .client = 7,
				 .what = "make", .slots = { mem, w.len })));
	cr_assert(eq(uint, ask(1, 8, 5, t), 1));
	cr_expect(eq(u32, t[0].host, 2), "host 3 is still lent");
	cr_expect(gt(u64, t[0].grant, s[0].grant));
}

Test(service, lists_and_explains)
{
	struct msg_hostdb_reasons why;
	struct msg_hostdb_hosts l;
	struct msg_hostdb_host h;
	struct msg_hostdb_slot s[8];
	struct wire_reader r;
	struct answer a;

	three();
	cr_assert(eq(uint, ask(1, 7, 1, s), 1));
	cr_assert(zero(int, CALL(1, hostdb_list, &a, .from = 0)));
	cr_assert(zero(int, msg_hostdb_hosts_decode(a.body, a.len, &l)));
	cr_expect(zero(u32, l.next));
	r = wire_reader(l.hosts.p, l.hosts.len);
	h = msg_hostdb_host_get(&r);
	cr_expect(eq(str, (char *)h.name, (char *)"h1"));
	h = msg_hostdb_host_get(&r);
	cr_expect(eq(int, h.available, 1));
	h = msg_hostdb_host_get(&r);
	cr_expect(eq(int, h.state, HOST_FULL));
	cr_expect(zero(sz, r.left));
	cr_assert(zero(int, CALL(1, hostdb_explain, &a, .host = "h3")));
	cr_assert(zero(int, msg_hostdb_reasons_decode(a.body, a.len, &why)));
	cr_expect(ne(ptr, strstr(why.text, "all of its 1 slots are taken"), NULL),
		  "%s", why.text);
	cr_expect(ne(ptr, strstr(why.text, "lent to make of user 1000 on h1"),
		     NULL), "%s", why.text);
	cr_expect(eq(int, CALL(1, hostdb_explain, &a, .host = "h9"), -ENOENT));
	cr_expect(ne(ptr, strstr(a.sentence, "no host of that name"), NULL));
}

Test(service, refuses_what_makes_no_sense)
{
	struct answer a;

	start_migd(1);
	cr_expect(eq(int, CALL(1, hostdb_request, &a, .client = 1, .n = 1),
		     -ENOTCONN), "it has not reported");
	report(1, true, WHY_NONE, 1);
	cr_expect(eq(int, CALL(1, hostdb_request, &a, .client = 1, .n = 0),
		     -EINVAL));
	cr_expect(eq(int, CALL(1, hostdb_request, &a, .client = 1, .n = 1,
			       .priority = 9), -EINVAL));
	cr_expect(eq(int, CALL(1, hostdb_return, &a, .client = 1,
			       .grants = { "abc", 3 }), -EBADMSG));
	cr_expect(zero(int, CALL(1, hostdb_close, &a, .client = 55)));
	cr_expect(eq(int, call(1, MSG_hostdb_list, NULL, 0, &a), -EBADMSG));
	cr_expect(eq(int, call(1, 0x02ff, NULL, 0, &a), -ENOSYS));
}
