/* test_roster.c -- a roster kept by a session with a name server of the test's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failalloc.h"
#include "fd.h"
#include "named_msg.h"
#include "pair.h"
#include "roster.h"

static struct node named;
static struct rpc *r;
static struct roster *t;
static struct hostconf conf;
static char dir[64];
static unsigned changes;
static bool changed;
static uint64_t version;
static unsigned nhosts;
static uint32_t removed;
static struct rpc_conn *watcher;

static void on_changed(void *arg)
{
	(void)arg;
	changes++;
	changed = true;
}

static struct wire_blob hosts_blob(uint8_t *buf, size_t cap)
{
	struct wire_writer w = wire_writer(buf, cap);

	/* Not in order: the roster sorts. */
	for (uint32_t i = nhosts; i >= 1; i--) {
		char name[16], addr[32];
		struct msg_roster_host h = {.id = i,
					    .name = name,
					    .addr = addr,
					    .port_named = named.port,
					    .port_fsd = 2,
					    .port_migd = 3,
					    .port_hostdb = 4,
					    .key = {keys[i][1], 32},
					    .pid_block = i * 16384,
					    .removed = i == removed};

		snprintf(name, sizeof(name), "h%u", i);
		snprintf(addr, sizeof(addr), "127.0.0.%u", i);
		msg_roster_host_put(&w, &h);
	}
	return (struct wire_blob){buf, w.len};
}

static struct wire_blob prefixes_blob(uint8_t *buf, size_t cap)
{
	struct msg_roster_prefix root = {"/", 1, 11}, src = {"/src", 2, 12};
	struct wire_writer w = wire_writer(buf, cap);

	msg_roster_prefix_put(&w, &root);
	msg_roster_prefix_put(&w, &src);
	return (struct wire_blob){buf, w.len};
}

static struct wire_blob blocks_blob(uint8_t *buf, size_t cap)
{
	struct msg_roster_block one = {16384, 1}, two = {32768, 2},
				more = {49152, 1};
	struct wire_writer w = wire_writer(buf, cap);

	msg_roster_block_put(&w, &one);
	msg_roster_block_put(&w, &two);
	msg_roster_block_put(&w, &more);
	return (struct wire_blob){buf, w.len};
}

static size_t table(uint8_t *body, size_t cap)
{
	static uint8_t h[2000], p[500], b[100];
	struct msg_named_table m = {.version = ++version, .hostdb_host = 1};
	size_t len;

	m.hosts = hosts_blob(h, sizeof(h));
	m.prefixes = prefixes_blob(p, sizeof(p));
	m.blocks = blocks_blob(b, sizeof(b));
	cr_assert_eq(msg_named_table_encode(&m, body, cap, &len), 0);
	return len;
}

static void on_request(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	uint8_t body[4000];
	struct rpc_out o = {.code = MSG_named_watching, .body = body};

	(void)arg;
	cr_assert_eq(m->code, MSG_named_watch);
	o.len = table(body, sizeof(body));
	watcher = rpc_req_conn(q);
	rpc_reply(q, 0, &o);
}

static void push(void)
{
	uint8_t body[4000];
	struct rpc_out o = {.code = MSG_named_table, .body = body};

	o.len = table(body, sizeof(body));
	cr_assert_eq(rpc_conn_note(watcher, &o), 0);
	changed = false;
	cr_assert(run_until(&changed));
}

static void start_named(void)
{
	node_start(&named, 1, SVC_NAMED, 0);
	named.r->h.on_request = on_request;
	node_listen(&named);
}

static void start_roster(void)
{
	struct rpc_identity id;

	t = roster_new(&conf, on_changed, NULL);
	cr_assert_not_null(t);
	cr_assert_eq(hostconf_identity(&conf, SVC_FSD, &id), 0);
	r = rpc_new(env, &id, roster_key, t, NULL);
	cr_assert_not_null(r);
	cr_assert_eq(roster_start(t, r), 0);
}

static void stop_roster(void)
{
	rpc_free(r);
	roster_free(t);
}

static void start(void)
{
	uint8_t secret[32], public_key[32];

	pair_init();
	snprintf(dir, sizeof(dir), "/tmp/sprite-roster-test.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	setenv("SPRITE_STATE", dir, 1);
	setenv("SPRITE_RUN", dir, 1);
	nhosts = 3;
	start_named();
	cr_assert_eq(hostkey_make(secret, public_key), 0);
	memcpy(keys[2][0], secret, 32);
	memcpy(keys[2][1], public_key, 32);
	hostconf_init(&conf);
	conf.host = 2;
	conf.named_host = 1;
	strcpy(conf.named_addr, "127.0.0.1");
	conf.named_port = named.port;
	memcpy(conf.named_key, keys[1][1], 32);
	start_roster();
}

static void stop(void)
{
	char cmd[128];

	stop_roster();
	node_stop(&named);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	cr_expect_eq(system(cmd), 0);
	pair_fini();
}

TestSuite(roster, .init = start, .fini = stop, .timeout = 20);

Test(roster, named_gives_its_table_and_every_change)
{
	uint8_t key[32];

	cr_expect_null(roster_at(t, 0));
	cr_assert(run_until(&changed));
	cr_expect_eq(roster_at(t, 0)->id, 1);
	cr_expect_eq(roster_at(t, 2)->id, 3);
	cr_expect_null(roster_at(t, 3));
	cr_expect_str_eq(roster_host(t, 3)->name, "h3");
	cr_expect_null(roster_host(t, 4));
	cr_expect_eq(roster_by_name(t, "h2")->id, 2);
	cr_expect_null(roster_by_name(t, "h4"));
	cr_expect_eq(roster_hostdb(t), 1);
	cr_expect_str_eq(roster_prefix_at(t, 1)->prefix, "/src");
	cr_expect_eq(roster_prefix_at(t, 1)->host, 2);
	cr_expect_null(roster_prefix_at(t, 2));
	cr_assert_eq(roster_key(t, 3, key), 0);
	cr_expect_eq(memcmp(key, keys[3][1], 32), 0);
	nhosts = 4;
	push();
	cr_expect_str_eq(roster_host(t, 4)->addr, "127.0.0.4");
	cr_expect_eq(roster_named(t), roster_peer(t, 1, SVC_NAMED));
}

Test(roster, the_home_of_a_pid_is_the_host_of_its_block)
{
	cr_assert(run_until(&changed));
	cr_expect_eq(roster_home_of_pid(t, 16383, 16384), 0);
	cr_expect_eq(roster_home_of_pid(t, 16384, 16384), 1);
	cr_expect_eq(roster_home_of_pid(t, 32767, 16384), 1);
	cr_expect_eq(roster_home_of_pid(t, 32768, 16384), 2);
	cr_expect_eq(roster_home_of_pid(t, 49152, 16384), 1);
	cr_expect_eq(roster_home_of_pid(t, 65536, 16384), 0);
}

Test(roster, a_removed_host_has_no_key_and_no_peer)
{
	uint8_t key[32];

	cr_assert(run_until(&changed));
	cr_expect_not_null(roster_peer(t, 3, SVC_FSD));
	removed = 3;
	push();
	cr_expect_eq(roster_key(t, 3, key), -ENOENT);
	cr_expect_null(roster_peer(t, 3, SVC_MIGD));
	cr_expect_null(roster_peer(t, 9, SVC_MIGD));
	cr_expect_eq(roster_key(t, 9, key), -ENOENT);
}

Test(roster, the_cache_serves_while_named_is_down)
{
	cr_assert(run_until(&changed));
	stop_roster();
	node_stop(&named);
	start_roster();
	cr_expect_str_eq(roster_host(t, 3)->name, "h3");
	cr_expect_eq(roster_home_of_pid(t, 32768, 16384), 2);
	/* And it asks again when named is back. */
	changed = false;
	nhosts = 4;
	start_named();
	cr_assert(run_until(&changed));
	cr_expect_not_null(roster_host(t, 4));
}

Test(roster, a_damaged_cache_is_not_used)
{
	char path[128];
	struct buf b = {0};

	cr_assert(run_until(&changed));
	stop_roster();
	snprintf(path, sizeof(path), "%s/roster.cache", dir);
	cr_assert_eq(fd_read_file(path, 1 << 20, &b), 0);
	for (size_t n = 0; n < buf_len(&b); n++) {
		struct roster *again;

		cr_assert_eq(fd_write_file(path, buf_data(&b), n, 0644), 0);
		again = roster_new(&conf, NULL, NULL);
		cr_assert_not_null(again);
		cr_expect_null(roster_at(again, 0), "cut at %zu", n);
		roster_free(again);
	}
	buf_free(&b);
	start_roster();
}

Test(roster, is_kept_whole_when_a_table_cannot_be_used)
{
	struct msg_named_table m = {.version = 99, .hosts = {"garbage", 7}};
	uint8_t body[100];
	struct rpc_out o = {.code = MSG_named_table, .body = body};
	unsigned before;

	cr_assert(run_until(&changed));
	before = changes;
	cr_assert_eq(msg_named_table_encode(&m, body, sizeof(body), &o.len), 0);
	cr_assert_eq(rpc_conn_note(watcher, &o), 0);
	settle();
	cr_expect_eq(changes, before);
	cr_expect_not_null(roster_host(t, 3));
}

Test(roster, on_named_s_own_host_it_goes_by_the_unix_socket)
{
	struct rpc_peer *p;

	stop_roster();
	node_stop(&named);
	conf.host = 1;
	snprintf(named.path, sizeof(named.path), "%s/named.sock", dir);
	start_named();
	changed = false;
	start_roster();
	cr_assert(run_until(&changed));
	cr_expect_eq(rpc_conn_host(watcher), 1);
	cr_expect_eq(rpc_conn_service(watcher), SVC_FSD);
	cr_expect(rpc_conn_roles(watcher) & ROLE_FSD);
	p = roster_peer(t, 1, SVC_MIGD);
	cr_expect_neq(p->path[0], 0);
}

Test(roster, survives_any_failed_allocation)
{
	struct roster *again = NULL;
	unsigned n = 0;

	cr_assert(run_until(&changed));
	do {
		failalloc_nth(++n);
		again = roster_new(&conf, NULL, NULL);
		if (!failalloc_stop())
			break;
		roster_free(again);
	} while (n < 100);
	cr_assert_not_null(again);
	cr_expect_not_null(roster_host(again, 3));
	roster_free(again);
	cr_expect_gt(n, 3);
}
