/* cmd_migrate.c -- `sprite migrate`: move running processes. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "moves.h"

#define MOVE_MS	  120000
#define PID_LIMIT 4194304

static int migrate_one(struct client *c, const struct hosts *h,
		       const struct msg_migd_migrate *q, bool quiet,
		       struct json *j)
{
	struct msg_migd_migrated m;
	struct msg_migd_move_record rec;
	struct client_reply re;
	struct wire_reader r;
	uint8_t body[512];
	char what[64];
	struct rpc_out o = { .code = MSG_migd_migrate, .body = body };
	int code;

	if (msg_migd_migrate_encode(q, body, sizeof(body), &o.len))
		return fail(X_USAGE, "'%s' is too long for a host's name", q->host);
	snprintf(what, sizeof(what), "process %u was not moved", q->pid);
	code = call_ask(c, what, &o, MOVE_MS, MSG_migd_migrated, &re);
	if (code)
		return code;
	code = msg_migd_migrated_decode(buf_data(&re.body), buf_len(&re.body), &m);
	if (!code) {
		r = wire_reader(m.record.p, m.record.len);
		rec = msg_migd_move_record_get(&r);
		code = wire_read_end(&r);
	}
	if (code)
		code = call_garbled("migd");
	else if (j)
		move_json(j, h, &rec);
	else if (!quiet)
		move_text(h, &rec);
	client_reply_free(&re);
	return code;
}

static bool strategy_of(const char *s, uint8_t *ret)
{
	if (!strcmp(s, "auto"))
		*ret = MIGD_AUTO;
	else if (!strcmp(s, "direct"))
		*ret = MIGD_DIRECT;
	else if (!strcmp(s, "lazy"))
		*ret = MIGD_LAZY;
	else
		return false;
	return true;
}

struct migrate_options {
	bool json, quiet;
	struct msg_migd_migrate q;
};

static int migrate_all(const struct migrate_options *o, int n, char **pids)
{
	struct msg_migd_migrate q = o->q;
	struct buf b = { 0 };
	struct json j = { .out = &b };
	struct hosts h = { 0 };
	struct client *c = NULL;
	int worst, code;

	worst = hosts_get(&h);
	if (!worst)
		worst = call_open("migd", &c);
	if (o->json)
		json_open(&j, NULL, '[');
	for (int i = 0; c && i < n; i++) {
		q.pid = (uint32_t)strtoul(pids[i], NULL, 10);
		code = migrate_one(c, &h, &q, o->quiet, o->json ? &j : NULL);
		if (code)
			worst = code;
	}
	client_close(c);
	hosts_free(&h);
	json_close(&j, ']');
	if (o->json && c)
		code = json_print(&b, &j);
	else
		buf_free(&b);
	return worst;
}

static int migrate(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "strategy", required_argument, NULL, 's' },
		{ "alone", no_argument, NULL, 'a' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct migrate_options o = { .q = { .strategy = MIGD_AUTO } };
	unsigned long pid;
	int c, code;

	while ((c = next_option(v, argc, argv, ":s:aqh", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		if (c == 's' && !strategy_of(optarg, &o.q.strategy))
			return usage(v, "'%s' is not auto, direct or lazy", optarg);
		o.q.alone |= c == 'a';
		o.quiet |= c == 'q';
		o.json |= c == 'j';
	}
	if (argc - optind < 2)
		return usage(v, "it needs a process and a host");
	for (int i = optind; i < argc - 1; i++) {
		if (!parse_number(argv[i], 2, PID_LIMIT, &pid))
			return usage(v, "'%s' is not the number of a process",
				     argv[i]);
	}
	o.q.host = argv[argc - 1];
	if (!*o.q.host)
		return usage(v, "the host's name is empty");
	return migrate_all(&o, argc - optind - 1, argv + optind);
}

const struct verb verb_migrate = {
	"migrate", "work", "move running processes to another host",
	"usage: sprite migrate [-s STRATEGY] [--alone] [-q] [--json] PID... HOST\n\n"
	"Move processes, each with its descendants, while they run.  HOST is a name,\n"
	"'best' (the host database chooses) or 'home'.  What cannot move is told\n"
	"with its reason before anything is stopped.\n\n"
	"  -s, --strategy S  direct: all memory while it stands still; lazy: run at\n"
	"                    once, fetch pages on demand; auto\n"
	"  -a, --alone       refuse if it has children\n"
	"  -q, --quiet       say nothing when it worked\n"
	"      --json        for programs\n\n"
	"examples:\n"
	"  sprite migrate 16400 h3\n"
	"  sprite migrate -s lazy 16400 best\n\n"
	"exit status: 0 moved, 2 usage, 3 no such process or host, 4 not yours,\n"
	"5 a host does not answer, 6 not possible: the reason is said\n",
	migrate
};
