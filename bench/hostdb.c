/*
 * hostdb.c -- how many requests and returns a second the host database
 * decides and records with ten thousand hosts known: its table and history in
 * one process, without the wire.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "history.h"
#include "table.h"

#define HOSTS  10000u
#define BUDGET 5000
#define SECS   2.0

static struct history *history;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what, int r)
{
	fprintf(stderr, "bench hostdb: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void on_lost(void *arg, uint32_t home, uint32_t client, uint64_t grant,
		    uint32_t host, enum hostdb_why why)
{
	(void)arg;
	(void)home;
	(void)client;
	(void)grant;
	(void)host;
	(void)why;
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
	on_lost(arg, home, client, grant, host, WHY_NONE);
}

static void on_past(void *arg, uint32_t host, const struct past *p)
{
	(void)arg;
	history_add(history, host, p, (int64_t)time(NULL) * 1000);
}

static struct table *fill(uint64_t at)
{
	static const struct table_ears ears = { on_lost, on_news, on_evict,
						on_past, NULL };
	struct host_report r = { .allow = true, .slots = 1, .version = 1,
				 .up_secs = 3600 };
	struct table *t;
	int e = table_new(180000, 1, &ears, &t);

	for (uint32_t i = 1; !e && i <= HOSTS; i++) {
		e = table_know(t, i, "host", at);
		if (!e)
			e = table_session(t, i, i, at);
		r.idle_secs = (uint64_t)rand() % 3600;
		if (!e)
			e = table_report(t, i, &r, at);
	}
	if (e)
		die("filling the table", e);
	return t;
}

/* Pairs of a request for n and the return of what it gave, a second. */
static double pairs(struct table *t, uint64_t at, uint32_t n)
{
	double start = now(), end;
	struct client_is who = { .client = 1, .name = "make" };
	struct slot s[REQUEST_MAX];
	unsigned long done = 0;
	uint32_t got;
	int r;

	do {
		for (int i = 0; i < 100; i++, done++) {
			who.home = 1 + (uint32_t)(done % HOSTS);
			r = table_request(t, &who, PRIORITY_NORMAL, n, ++at, s, &got);
			if (r)
				die("a request", r);
			table_close(t, who.home, who.client, at);
		}
		end = now();
	} while (end - start < SECS);
	history_flush(history);
	end = now();
	return (double)done / (end - start);
}

int main(void)
{
	char dir[] = "/tmp/sprite-bench-hostdb-XXXXXX", path[64], all[80], err[256];
	static const uint32_t wants[] = { 1, 10 };
	uint64_t at = 10000000;
	struct table *t;
	double p;
	int r;

	if (!mkdtemp(dir))
		die("a folder", -errno);
	snprintf(path, sizeof(path), "%s/hostdb.db", dir);
	r = history_open(path, &history, err, sizeof(err));
	if (r) {
		fprintf(stderr, "bench hostdb: %s\n", err);
		return 1;
	}
	t = fill(at);
	for (size_t i = 0; i < sizeof(wants) / sizeof(*wants); i++) {
		p = pairs(t, at, wants[i]);
		printf("hostdb: %u hosts known, request and return of %u: %.0f "
		       "pairs a second: %.2fx (budget %d)\n", HOSTS, wants[i], p,
		       p / BUDGET, BUDGET);
	}
	table_free(t);
	history_close(history);
	snprintf(all, sizeof(all), "rm -rf %s", dir);
	return system(all) ? 1 : 0;
}
