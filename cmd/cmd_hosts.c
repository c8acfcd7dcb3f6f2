/*
 * cmd_hosts.c -- `sprite hosts`: the cell at a glance.
 *
 * The columns are those that users of the original's loadavg knew: an
 * asterisk at a host that could be given to us now, up or down since when,
 * what it is to the cell, three load averages, time without input.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "hostdb_enum.h"
#include "hosts.h"

static const char *const state_names[HOST_STATES] = {
	[HOST_ACTIVE] = "inuse",     [HOST_IDLE] = "avail",
	[HOST_PART_USED] = "hasmig", [HOST_FULL] = "full",
	[HOST_REFUSES] = "refuses",  [HOST_DOWN] = "down",
};

static const char *const why_names[WHYS] = {
	[WHY_NONE] = "",
	[WHY_INPUT] = "its console is in use",
	[WHY_LOAD] = "its load is too high",
	[WHY_POLICY] = "its owner wants no guests",
	[WHY_RECLAIMED] = "given to another client",
	[WHY_DOWN] = "not heard of",
	[WHY_REBOOTED] = "started anew",
	[WHY_STARTING] = "up, not yet watched for long enough",
};

static const char *name_of(const char *const *names, unsigned n, unsigned i)
{
	return i < n && names[i] ? names[i] : "unknown";
}

/* Days+hours:minutes, as for the original's users. */
static void span(char buf[24], uint64_t secs)
{
	if (secs >= 86400)
		snprintf(buf, 24, "%" PRIu64 "+%02u:%02u", secs / 86400,
			 (unsigned)(secs / 3600 % 24), (unsigned)(secs / 60 % 60));
	else
		snprintf(buf, 24, "%u:%02u", (unsigned)(secs / 3600),
			 (unsigned)(secs / 60 % 60));
}

static void idle_time(char buf[24], const struct msg_hostdb_host *h)
{
	char t[24];

	*buf = 0;
	if (h->state == HOST_DOWN || (h->state == HOST_ACTIVE && h->idle_secs <= 60))
		return;
	span(t, h->idle_secs);
	if (h->idle_secs < 60)
		snprintf(buf, 24, "(%us)", (unsigned)h->idle_secs);
	else
		snprintf(buf, 24, "(%.20s)", t);
}

static void as_text(const struct hosts *hosts, bool why)
{
	printf("HOST             TYPE    STATUS          MIG     LOAD AVERAGE"
	       "        IDLE      GUESTS\n");
	for (size_t i = 0; i < hosts->n; i++) {
		const struct msg_hostdb_host *h = &hosts->host[i];
		char up[24], idle[24];

		span(up, h->up_secs);
		idle_time(idle, h);
		printf("%-15.15s%c %-7.7s %-4s %10s %-7s", h->name,
		       h->available ? '*' : ' ', h->type,
		       h->state == HOST_DOWN ? "down" : "up", up,
		       h->state == HOST_DOWN ? "" :
		       h->same_version ? name_of(state_names, HOST_STATES, h->state) :
					 "refuses");
		if (h->state != HOST_DOWN)
			printf(" %5.2f %5.2f %5.2f  %-9s %2u of %u",
			       h->load1_centi / 100.0, h->load5_centi / 100.0,
			       h->load15_centi / 100.0, idle, h->guests, h->slots);
		if (why && h->why)
			printf("  %s", name_of(why_names, WHYS, h->why));
		putchar('\n');
	}
}

static void one_json(struct json *j, const struct msg_hostdb_host *h)
{
	json_open(j, NULL, '{');
	json_u64(j, "id", h->id);
	json_str(j, "host", h->name);
	json_str(j, "type", h->type);
	json_str(j, "state", name_of(state_names, HOST_STATES, h->state));
	json_bool(j, "up", h->state != HOST_DOWN);
	json_bool(j, "available", h->available != 0);
	json_str(j, "why", name_of(why_names, WHYS, h->why));
	json_u64(j, "up_secs", h->up_secs);
	json_open(j, "load", '[');
	json_f64(j, NULL, h->load1_centi / 100.0);
	json_f64(j, NULL, h->load5_centi / 100.0);
	json_f64(j, NULL, h->load15_centi / 100.0);
	json_close(j, ']');
	json_u64(j, "idle_secs", h->idle_secs);
	json_u64(j, "guests", h->guests);
	json_u64(j, "lent", h->lent);
	json_u64(j, "slots", h->slots);
	json_u64(j, "cpus", h->cpus);
	json_u64(j, "mhz", h->mhz);
	json_u64(j, "mem_kib", h->mem_kib);
	json_u64(j, "mem_free_kib", h->mem_free_kib);
	json_bool(j, "same_version", h->same_version != 0);
	json_close(j, '}');
}

static int as_json(const struct hosts *hosts)
{
	struct buf b = { 0 };
	struct json j = { .out = &b };

	json_open(&j, NULL, '[');
	for (size_t i = 0; i < hosts->n; i++)
		one_json(&j, &hosts->host[i]);
	json_close(&j, ']');
	return json_print(&b, &j);
}

static int hosts(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "why", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct hosts h;
	bool json = false, why = false;
	int c, code;

	while ((c = next_option(v, argc, argv, ":wh", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		json |= c == 'j';
		why |= c == 'w';
	}
	if (optind < argc)
		return usage(v, "'%s' is one argument too many", argv[optind]);
	code = hosts_ask(&h);
	if (code)
		return code;
	if (json)
		code = as_json(&h);
	else
		as_text(&h, why);
	hosts_free(&h);
	return code;
}

const struct verb verb_hosts = {
	"hosts", "work", "the hosts of the cell: load, idle time, guests",
	"usage: sprite hosts [-w] [--json]\n\n"
	"One line a host: name, * if it could be given to us now, type, up or down\n"
	"for how long (days+hours:minutes), what it is to the cell, load averages\n"
	"over 1, 5 and 15 minutes, time without input, guests and room for them.\n"
	"MIG is avail (free), hasmig (has guests, room for more), full, inuse (by\n"
	"its owner), or refuses.\n\n"
	"  -w, --why   why one takes no guests\n"
	"      --json  for programs\n\n"
	"examples:\n"
	"  sprite hosts\n"
	"  sprite hosts --json | jq -r '.[] | select(.available) | .host'\n\n"
	"exit status: 0 done, 2 usage, 3 in no cell, 5 migd or the host database\n"
	"does not answer\n",
	hosts
};
