/* cmd_moves.c -- `sprite moves`: the last migrations, and how each went. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "moves.h"

static const char *const cause_names[] = {
	[MIGD_ASKED] = "asked", [MIGD_EVICTION] = "eviction",
	[MIGD_BALANCE] = "balance", [MIGD_RETURN] = "return",
};
static const char *const strategy_names[] = {
	[MIGD_AUTO] = "auto", [MIGD_DIRECT] = "direct", [MIGD_LAZY] = "lazy",
};
#define NAME(table, i)                                                   \
	((i) < sizeof(table) / sizeof(*(table)) && (table)[i] ? (table)[i] : \
								"unknown")

void move_text(const struct hosts *h, const struct msg_migd_move_record *m)
{
	char from[16], to[16];

	printf("%u %s -> %s: ", m->pid, hosts_name(h, m->from, from),
	       hosts_name(h, m->to, to));
	if (m->status) {
		printf("failed: %s\n", *m->why ? m->why : strerror(-m->status));
		return;
	}
	printf("frozen %.2f ms of %.2f ms, %.1f MiB, %s", (double)m->freeze_us / 1000,
	       (double)m->total_us / 1000, (double)m->bytes / 1048576,
	       NAME(strategy_names, m->strategy));
	if (m->procs > 1 || m->threads > 1)
		printf(", %u process%s, %u thread%s", m->procs,
		       m->procs == 1 ? "" : "es", m->threads,
		       m->threads == 1 ? "" : "s");
	if (m->lazy_pages)
		printf(", %" PRIu64 " pages later (%" PRIu64 " waited for)",
		       m->lazy_pages, m->lazy_faults);
	printf(" (%s)\n", NAME(cause_names, m->cause));
}

void move_json(struct json *j, const struct hosts *h,
	       const struct msg_migd_move_record *m)
{
	char from[16], to[16];

	json_open(j, NULL, '{');
	json_u64(j, "pid", m->pid);
	json_str(j, "from", hosts_name(h, m->from, from));
	json_str(j, "to", hosts_name(h, m->to, to));
	json_str(j, "cause", NAME(cause_names, m->cause));
	json_str(j, "strategy", NAME(strategy_names, m->strategy));
	json_i64(j, "status", m->status);
	json_str(j, "why", m->why);
	json_u64(j, "processes", m->procs);
	json_u64(j, "threads", m->threads);
	json_u64(j, "bytes", m->bytes);
	json_u64(j, "pages", m->pages);
	json_u64(j, "lazy_pages", m->lazy_pages);
	json_u64(j, "lazy_faults", m->lazy_faults);
	json_u64(j, "prepare_us", m->prepare_us);
	json_u64(j, "freeze_us", m->freeze_us);
	json_u64(j, "lazy_us", m->lazy_us);
	json_u64(j, "total_us", m->total_us);
	json_u64(j, "ago_ms", m->ago_ms);
	json_close(j, '}');
}

static int show(const struct hosts *h, wire_blob records, bool as_json)
{
	struct wire_reader r = wire_reader(records.p, records.len);
	struct buf b = { 0 };
	struct json j = { .out = &b };

	if (as_json)
		json_open(&j, NULL, '[');
	while (r.left && !r.failed) {
		struct msg_migd_move_record m = msg_migd_move_record_get(&r);

		if (r.failed)
			break;
		if (as_json)
			move_json(&j, h, &m);
		else
			move_text(h, &m);
	}
	if (r.failed) {
		buf_free(&b);
		return call_garbled("migd");
	}
	if (!as_json)
		return X_OK_DONE;
	json_close(&j, ']');
	return json_print(&b, &j);
}

static int moves(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "max", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct msg_migd_moves_list list;
	struct client_reply re;
	struct hosts h = { 0 };
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_moves, .body = body };
	unsigned long max = 20;
	bool json = false;
	int c, code;

	while ((c = next_option(v, argc, argv, ":n:h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		json |= c == 'j';
		if (c == 'n' && !parse_number(optarg, 1, 10000, &max))
			return usage(v, "'%s' is not 1 to 10000", optarg);
	}
	if (optind < argc)
		return usage(v, "'%s' is one argument too many", argv[optind]);
	if (msg_migd_moves_encode(&(struct msg_migd_moves){ .max = (uint32_t)max },
				  body, sizeof(body), &o.len))
		return X_FAILED;
	code = hosts_get(&h);
	if (!code)
		code = call_once("migd", "cannot list the migrations", &o,
				 MSG_migd_moves_list, &re);
	if (!code) {
		if (msg_migd_moves_list_decode(buf_data(&re.body),
					       buf_len(&re.body), &list))
			code = call_garbled("migd");
		else
			code = show(&h, list.records, json);
		client_reply_free(&re);
	}
	hosts_free(&h);
	return code;
}

const struct verb verb_moves = {
	"moves", "work", "the last migrations, and how each went",
	"usage: sprite moves [-n N] [--json]\n\n"
	"The last migrations from, to, or of processes of this host, newest first:\n"
	"for how long the process stood still, how long it all took, what was sent,\n"
	"and of those that failed why.\n\n"
	"  -n, --max N  at most N; 20\n"
	"      --json   for programs\n\n"
	"example:\n"
	"  sprite moves --json | jq '.[0].freeze_us'\n\n"
	"exit status: 0 done, 2 usage, 3 in no cell, 5 migd does not run here\n",
	moves
};
