/*
 * test_random.c -- long random lives of a table, checked against a plain list
 * of who holds what, kept from what the table says and tells.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "table.h"

#define HOSTS 12
#define CLIENTS 4 /* of each home */
#define STEPS 20000
#define HELD_MAX (HOSTS * 8)

static struct held {
	uint32_t home, client, host;
	uint64_t grant;
} held[HELD_MAX];
static unsigned nheld;
static struct table *t;
static uint64_t seed, epochs[HOSTS + 1];
static bool up[HOSTS + 1];

static uint32_t dice(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

static void drop(unsigned i)
{
	held[i] = held[--nheld];
}

static void on_lost(void *arg, uint32_t home, uint32_t client, uint64_t grant,
		    uint32_t host, enum hostdb_why why)
{
	(void)arg;
	(void)why;
	for (unsigned i = 0; i < nheld; i++) {
		if (held[i].grant != grant)
			continue;
		cr_assert(eq(u32, held[i].home, home));
		cr_assert(eq(u32, held[i].client, client));
		cr_assert(eq(u32, held[i].host, host));
		drop(i);
		return;
	}
	cr_assert(false, "lost what was not held");
}

static void on_news(void *arg, uint32_t home, uint32_t client)
{
	(void)arg;
	(void)home;
	(void)client;
}

static void on_evict(void *arg, uint32_t host, uint32_t home, uint32_t client,
		     uint64_t grant)
{
	(void)arg;
	(void)host;
	(void)home;
	(void)client;
	(void)grant;
}

static void forget_client(uint32_t home, uint32_t client)
{
	for (unsigned i = nheld; i-- > 0;) {
		if (held[i].home == home && (!client || held[i].client == client))
			drop(i);
	}
}

static void ask(uint64_t now)
{
	struct client_is who = { 1 + dice(HOSTS), 1 + dice(CLIENTS), 0, "x" };
	struct slot s[16];
	uint32_t n = 0;

	if (table_request(t, &who, (enum hostdb_priority)dice(PRIORITIES),
			  1 + dice(6), now, s, &n))
		return;
	for (uint32_t i = 0; i < n; i++) {
		cr_assert(ne(u32, s[i].host, who.home));
		cr_assert(lt(uint, nheld, HELD_MAX));
		held[nheld++] = (struct held){ who.home, who.client, s[i].host,
					       s[i].grant };
	}
}

static void give_back(uint64_t now)
{
	unsigned i = nheld ? dice(nheld) : 0;
	struct held h = held[i];

	if (!nheld)
		return;
	drop(i);
	table_return(t, h.home, h.client, &h.grant, 1, now);
}

static void report(uint32_t host, uint64_t now)
{
	static const enum hostdb_why whys[] = { WHY_INPUT, WHY_LOAD, WHY_POLICY };
	struct host_report r = { .allow = dice(3) != 0, .why = whys[dice(3)],
				 .slots = 1 + host % 2, .version = 1,
				 .idle_secs = dice(1000), .up_secs = now / 1000 };

	if (up[host])
		cr_assert(zero(int, table_report(t, host, &r, now)));
}

static void reconnect(uint32_t host, uint64_t now)
{
	bool anew = dice(2);

	if (up[host]) {
		table_session_lost(t, host, now);
		up[host] = false;
		return;
	}
	if (anew || !epochs[host]) {
		if (epochs[host])
			forget_client(host, 0);
		epochs[host]++;
	}
	cr_assert(zero(int, table_session(t, host, epochs[host], now)));
	up[host] = true;
	report(host, now);
}

/* The table's count of what is lent is ours, and within the slots. */
static void check(uint64_t now)
{
	struct host_line l;
	unsigned n;

	for (uint32_t h = 1; h <= HOSTS; h++) {
		cr_assert(zero(int, table_line(t, h, 0, now, &l)));
		n = 0;
		for (unsigned i = 0; i < nheld; i++)
			n += held[i].host == h;
		cr_assert(eq(u32, l.lent, n));
		cr_assert(le(u32, n, l.report->slots * PRIORITIES));
	}
}

static void live(uint64_t with)
{
	static const struct table_ears ears = { on_lost, on_news, on_evict, NULL,
						NULL };
	uint64_t now = 100000000;
	uint32_t home, client;

	seed = with;
	memset(epochs, 0, sizeof(epochs));
	memset(up, 0, sizeof(up));
	cr_assert(zero(int, table_new(180000, 1, &ears, &t)));
	for (uint32_t h = 1; h <= HOSTS; h++)
		cr_assert(zero(int, table_know(t, h, "h", now)));
	for (unsigned i = 0; i < STEPS; i++) {
		now += dice(3000);
		switch (dice(8)) {
		case 0:
		case 1:
			ask(now);
			break;
		case 2:
			give_back(now);
			break;
		case 3:
			home = 1 + dice(HOSTS);
			client = 1 + dice(CLIENTS);
			table_close(t, home, client, now);
			forget_client(home, client);
			break;
		case 4:
			if (dice(4) == 0)
				reconnect(1 + dice(HOSTS), now);
			break;
		default:
			report(1 + dice(HOSTS), now);
		}
		if (i % 16 == 0)
			check(now);
	}
	table_free(t);
	t = NULL;
	nheld = 0;
}

Test(random, books_are_kept_whatever_happens, .timeout = 60)
{
	for (uint64_t s = 1; s <= 5; s++)
		live(s);
}
