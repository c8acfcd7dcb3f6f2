/*
 * cmd_evict.c -- `sprite evict`: send the guests of a host away, or tell how
 * it went when its owner came back.
 */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "migd_msg.h"

#define EVICT_MS 300000

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
