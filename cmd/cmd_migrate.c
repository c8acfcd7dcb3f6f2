/*
 * cmd_migrate.c -- `sprite migrate`, `evict`, `kill` and `explain`: orders to
 * processes wherever they are, and the reasons for where they are.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "call.h"
#include "hostdb_msg.h"
#include "moves.h"

#define MOVE_MS	  120000
#define EVICT_MS  300000
#define PID_LIMIT 4194304

/* ---- migrate ----------------------------------------------------------------- */

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

/* ---- evict --------------------------------------------------------------------- */

static int show_evictions(const struct client_reply *re, bool as_json)
{
	struct msg_migd_evictions_list list;
	struct buf b = { 0 };
	struct json j = { .out = &b };
	struct wire_reader r;

	if (msg_migd_evictions_list_decode(buf_data(&re->body),
					   buf_len(&re->body), &list))
		return call_garbled("migd");
	r = wire_reader(list.records.p, list.records.len);
	json_open(&j, NULL, '[');
	while (r.left && !r.failed) {
		struct msg_migd_eviction e = msg_migd_eviction_get(&r);

		if (r.failed)
			break;
		if (!as_json) {
			printf("%.1f s ago, %s: %u guests, stopped after %.2f ms, "
			       "gone after %.2f ms", (double)e.ago_ms / 1000,
			       e.cause, e.guests, (double)e.frozen_us / 1000,
			       (double)e.gone_us / 1000);
			printf(e.left ? ", %u could not go\n" : "\n", e.left);
			continue;
		}
		json_open(&j, NULL, '{');
		json_str(&j, "cause", e.cause);
		json_u64(&j, "guests", e.guests);
		json_u64(&j, "left", e.left);
		json_u64(&j, "frozen_us", e.frozen_us);
		json_u64(&j, "gone_us", e.gone_us);
		json_u64(&j, "ago_ms", e.ago_ms);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	if (r.failed || !as_json) {
		buf_free(&b);
		return r.failed ? call_garbled("migd") : X_OK_DONE;
	}
	return json_print(&b, &j);
}

static int evictions(const char *host, bool json)
{
	struct msg_migd_evictions q = { .host = host };
	struct client_reply re;
	uint8_t body[512];
	struct rpc_out o = { .code = MSG_migd_evictions, .body = body };
	int code;

	if (msg_migd_evictions_encode(&q, body, sizeof(body), &o.len))
		return fail(X_USAGE, "'%s' is too long for a host's name", host);
	code = call_once("migd", "cannot list the evictions", &o,
			 MSG_migd_evictions_list, &re);
	if (code)
		return code;
	code = show_evictions(&re, json);
	client_reply_free(&re);
	return code;
}

static int evict_now(const char *host, bool as_json)
{
	struct msg_migd_evict q = { .host = host };
	struct msg_migd_evicted m;
	struct client_reply re;
	struct client *c;
	struct buf b = { 0 };
	struct json j = { .out = &b };
	uint8_t body[512];
	struct rpc_out o = { .code = MSG_migd_evict, .body = body };
	int code;

	if (msg_migd_evict_encode(&q, body, sizeof(body), &o.len))
		return fail(X_USAGE, "'%s' is too long for a host's name", host);
	code = call_open("migd", &c);
	if (code)
		return code;
	code = call_ask(c, "cannot evict", &o, EVICT_MS, MSG_migd_evicted, &re);
	client_close(c);
	if (code)
		return code;
	if (msg_migd_evicted_decode(buf_data(&re.body), buf_len(&re.body), &m)) {
		code = call_garbled("migd");
	} else if (as_json) {
		json_open(&j, NULL, '{');
		json_u64(&j, "guests", m.guests);
		json_u64(&j, "left", m.left);
		json_u64(&j, "frozen_us", m.frozen_us);
		json_u64(&j, "gone_us", m.gone_us);
		json_str(&j, "why", m.why);
		json_close(&j, '}');
		code = json_print(&b, &j);
	} else {
		printf("evicted %u foreign process%s: stopped after %.2f ms, gone "
		       "after %.2f ms\n", m.guests - m.left,
		       m.guests - m.left == 1 ? "" : "es",
		       (double)m.frozen_us / 1000, (double)m.gone_us / 1000);
	}
	if (!code && m.left)
		code = fail(X_REFUSED, "%u could not go: %s", m.left, m.why);
	client_reply_free(&re);
	return code;
}

static int evict(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "log", no_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false, log = false;
	const char *host;
	int c, code;

	while ((c = next_option(v, argc, argv, ":lh", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		json |= c == 'j';
		log |= c == 'l';
	}
	if (argc - optind > 1)
		return usage(v, "one host at a time");
	host = optind < argc ? argv[optind] : "";
	if (optind < argc && !*host)
		return usage(v, "the host's name is empty");
	return log ? evictions(host, json) : evict_now(host, json);
}

/* ---- kill ----------------------------------------------------------------------- */

/* "9", "KILL", "SIGKILL"; -1: no such signal. */
static int signal_of(const char *s)
{
	unsigned long n;

	if (parse_number(s, 0, 64, &n))
		return (int)n;
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (int i = 1; i < 32; i++) {
		const char *name = sigabbrev_np(i);

		if (name && strcasecmp(s, name) == 0)
			return i;
	}
	return -1;
}

static int kill_one(struct client *c, long pid, int sig)
{
	struct msg_migd_kill q = { .pid = (int32_t)pid, .sig = (uint32_t)sig };
	struct client_reply re;
	uint8_t body[16];
	char what[64];
	struct rpc_out o = { .code = MSG_migd_kill, .body = body };
	int code;

	if (msg_migd_kill_encode(&q, body, sizeof(body), &o.len))
		return X_FAILED;
	snprintf(what, sizeof(what), "no signal to %ld", pid);
	code = call_ask(c, what, &o, CALL_MS, 0, &re);
	if (!code)
		client_reply_free(&re);
	return code;
}

/* -9, -KILL and -s KILL, as in the shell's; a group is -- -PID. */
static int kill_signal(const struct verb *v, int argc, char **argv, int *at,
		       int *ret_sig)
{
	const char *name = NULL;

	*ret_sig = SIGTERM;
	*at = 1;
	if (argc > 1 && !strcmp(argv[1], "-s")) {
		if (argc < 3)
			return usage(v, "-s needs a signal");
		name = argv[2];
		*at = 3;
	} else if (argc > 1 && argv[1][0] == '-' && strcmp(argv[1], "--")) {
		name = argv[1] + 1;
		*at = 2;
	}
	if (name)
		*ret_sig = signal_of(name);
	if (*ret_sig < 0)
		return usage(v, "'%s' is not a signal", name);
	if (*at < argc && !strcmp(argv[*at], "--"))
		++*at;
	return X_OK_DONE;
}

static int do_kill(const struct verb *v, int argc, char **argv)
{
	struct client *c;
	unsigned long pid;
	int at, sig, code, worst = X_OK_DONE;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		fputs(v->help, stdout);
		return X_OK_DONE;
	}
	code = kill_signal(v, argc, argv, &at, &sig);
	if (code)
		return code;
	if (at >= argc)
		return usage(v, "it needs a process");
	for (int i = at; i < argc; i++) {
		if (!parse_number(argv[i] + (argv[i][0] == '-'), 2, PID_LIMIT, &pid))
			return usage(v, "'%s' is not the number of a process",
				     argv[i]);
	}
	code = call_open("migd", &c);
	if (code)
		return code;
	for (int i = at; i < argc; i++) {
		code = kill_one(c, strtol(argv[i], NULL, 10), sig);
		if (code)
			worst = code;
	}
	client_close(c);
	return worst;
}

/* ---- explain ---------------------------------------------------------------------- */

static int explain_process(uint32_t pid)
{
	struct msg_migd_explain q = { .pid = pid };
	struct msg_migd_explained m;
	struct client_reply re;
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_explain, .body = body };
	int code;

	if (msg_migd_explain_encode(&q, body, sizeof(body), &o.len))
		return X_FAILED;
	code = call_once("migd", "cannot explain", &o, MSG_migd_explained, &re);
	if (code)
		return code;
	if (msg_migd_explained_decode(buf_data(&re.body), buf_len(&re.body), &m))
		code = call_garbled("migd");
	else
		printf("%s", m.text);
	client_reply_free(&re);
	return code;
}

static int explain_host(const char *host)
{
	struct msg_hostdb_explain inner = { .host = host };
	struct msg_migd_ask_hostdb q = { .code = MSG_hostdb_explain };
	struct msg_hostdb_reasons m;
	struct client_reply re;
	uint8_t room[512], body[600];
	struct rpc_out o = { .code = MSG_migd_ask_hostdb, .body = body };
	int code;

	q.body.p = room;
	if (msg_hostdb_explain_encode(&inner, room, sizeof(room), &q.body.len) ||
	    msg_migd_ask_hostdb_encode(&q, body, sizeof(body), &o.len))
		return fail(X_USAGE, "'%s' is too long for a host's name", host);
	code = call_once("migd", "cannot explain", &o, MSG_hostdb_reasons, &re);
	if (code)
		return code;
	if (msg_hostdb_reasons_decode(buf_data(&re.body), buf_len(&re.body), &m))
		code = call_garbled("hostdb");
	else
		printf("%s", m.text);
	client_reply_free(&re);
	return code;
}

static int explain(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long pid;
	int c, code;

	while ((c = next_option(v, argc, argv, ":h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
	}
	if (argc - optind != 1 || !*argv[optind])
		return usage(v, "it needs one process or host");
	if (parse_number(argv[optind], 2, PID_LIMIT, &pid))
		return explain_process((uint32_t)pid);
	return explain_host(argv[optind]);
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

const struct verb verb_evict = {
	"evict", "work", "send all guests of a host away",
	"usage: sprite evict [--json] [HOST]\n"
	"       sprite evict --log [--json] [HOST]\n\n"
	"Do what happens when the owner of HOST, by default this one, comes back:\n"
	"stop its guests at once and move them away.  Root only.\n\n"
	"  -l, --log   the last evictions there instead, newest first\n"
	"      --json  for programs\n\n"
	"examples:\n"
	"  sprite evict\n"
	"  sprite evict --log --json h2 | jq '.[0].gone_us'\n\n"
	"exit status: 0 all are gone, 2 usage, 3 no such host, 4 not root, 5 no\n"
	"answer, 6 some could not go: the reason is said\n",
	evict
};

const struct verb verb_kill = {
	"kill", "work", "send a signal to processes anywhere in the cell",
	"usage: sprite kill [-SIGNAL | -s SIGNAL] [--] PID...\n\n"
	"Signal processes wherever they run; a negative number means a process\n"
	"group.  SIGNAL is a number or a name; TERM.\n\n"
	"examples:\n"
	"  sprite kill 16400\n"
	"  sprite kill -9 16400 32800\n"
	"  sprite kill -s USR1 -- -16400\n\n"
	"exit status: 0 all sent, 2 usage, 3 no such process, 4 not yours, 5 its\n"
	"host does not answer\n",
	do_kill
};

const struct verb verb_explain = {
	"explain", "work", "why a process or host is what it is",
	"usage: sprite explain PID|HOST\n\n"
	"Of a process: where it is and why, what would keep it from moving.  Of a\n"
	"host: whether it can be given to us, and what was decided lately.\n\n"
	"examples:\n"
	"  sprite explain 16400\n"
	"  sprite explain h3\n\n"
	"exit status: 0 done, 2 usage, 3 no such process or host, 5 no answer\n",
	explain
};
