/* cmd_ps.c -- `sprite ps`: the processes of the cell, wherever they are. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "hosts.h"
#include "migd_msg.h"

#define PROCS_MAX 1000000

static int by_pid(const void *a, const void *b)
{
	const struct msg_migd_proc *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Bodies and the stubs that stand for them are one process: keep the body. */
static size_t merge(struct msg_migd_proc *p, size_t n)
{
	size_t out = 0;

	qsort(p, n, sizeof(*p), by_pid);
	for (size_t i = 0; i < n; i++) {
		if (out && p[out - 1].pid == p[i].pid) {
			if (p[out - 1].kind == 2)
				p[out - 1] = p[i];
			continue;
		}
		p[out++] = p[i];
	}
	return out;
}

static int decode(struct client_reply *re, struct msg_migd_procs *ret_head,
		  struct msg_migd_proc **ret, size_t *ret_n)
{
	struct wire_reader r = wire_reader(buf_data(&re->payload),
					   buf_len(&re->payload));
	struct msg_migd_proc *p;

	if (msg_migd_procs_decode(buf_data(&re->body), buf_len(&re->body),
				  ret_head) ||
	    ret_head->count > PROCS_MAX)
		return call_garbled("migd");
	p = calloc(ret_head->count + 1, sizeof(*p));
	if (!p)
		return fail(X_FAILED, "out of memory");
	for (uint32_t i = 0; i < ret_head->count; i++)
		p[i] = msg_migd_proc_get(&r);
	if (wire_read_end(&r)) {
		free(p);
		return call_garbled("migd");
	}
	*ret = p;
	*ret_n = merge(p, ret_head->count);
	return 0;
}

static const char *user_name(uint32_t uid, char buf[16])
{
	struct passwd *pw = getpwuid(uid);

	if (pw)
		return pw->pw_name;
	snprintf(buf, 16, "%u", uid);
	return buf;
}

static void as_text(const struct hosts *h, const struct msg_migd_proc *p,
		    size_t n)
{
	printf("    PID    PPID USER     S HOME     HOST     MOVES     CPU    "
	       "RSS_K COMMAND\n");
	for (size_t i = 0; i < n; i++) {
		char user[16], home[16], host[16];

		printf("%7u %7u %-8.8s %c %-8s %-8s %5u %4" PRIu64 ":%05.2f %8" PRIu64
		       " %s\n", p[i].pid, p[i].ppid, user_name(p[i].uid, user),
		       p[i].state ? p[i].state : '?',
		       hosts_name(h, p[i].home, home),
		       hosts_name(h, p[i].host, host), p[i].moves,
		       p[i].cpu_ms / 60000, (double)(p[i].cpu_ms % 60000) / 1000,
		       p[i].rss_kb, p[i].command);
	}
}

static int as_json(const struct hosts *h, const struct msg_migd_proc *p,
		   size_t n, const char *silent)
{
	struct buf b = { 0 };
	struct json j = { .out = &b };

	json_open(&j, NULL, '{');
	json_open(&j, "processes", '[');
	for (size_t i = 0; i < n; i++) {
		char user[16], home[16], host[16];
		const char state[2] = { (char)p[i].state, 0 };

		json_open(&j, NULL, '{');
		json_u64(&j, "pid", p[i].pid);
		json_u64(&j, "ppid", p[i].ppid);
		json_u64(&j, "pgid", p[i].pgid);
		json_u64(&j, "uid", p[i].uid);
		json_str(&j, "user", user_name(p[i].uid, user));
		json_str(&j, "state", state);
		json_str(&j, "home", hosts_name(h, p[i].home, home));
		json_str(&j, "host", hosts_name(h, p[i].host, host));
		json_u64(&j, "moves", p[i].moves);
		json_u64(&j, "cpu_ms", p[i].cpu_ms);
		json_u64(&j, "age_ms", p[i].age_ms);
		json_u64(&j, "rss_kb", p[i].rss_kb);
		json_str(&j, "command", p[i].command);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_str(&j, "silent", silent);
	json_close(&j, '}');
	return json_print(&b, &j);
}

static int show(bool json, bool foreign, uint32_t uid)
{
	struct msg_migd_ps q = { .uid = uid };
	struct msg_migd_procs head;
	struct msg_migd_proc *p = NULL;
	struct client_reply re;
	struct hosts h = { 0 };
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_ps, .body = body };
	size_t n = 0, kept = 0;
	int code = hosts_get(&h);

	if (!code && msg_migd_ps_encode(&q, body, sizeof(body), &o.len))
		code = X_FAILED;
	if (!code)
		code = call_once("migd", "cannot list the processes", &o,
				 MSG_migd_procs, &re);
	if (code) {
		hosts_free(&h);
		return code;
	}
	code = decode(&re, &head, &p, &n);
	for (size_t i = 0; !code && i < n; i++) {
		if (!foreign || p[i].home != p[i].host)
			p[kept++] = p[i];
	}
	if (!code && json)
		code = as_json(&h, p, kept, head.silent);
	else if (!code)
		as_text(&h, p, kept);
	if (!code && *head.silent)
		code = fail(X_UNREACHABLE, "no answer from %s; their processes "
			    "are missing here", head.silent);
	free(p);
	client_reply_free(&re);
	hosts_free(&h);
	return code;
}

static int ps(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "mine", no_argument, NULL, 'm' },
		{ "away", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false, away = false;
	uint32_t uid = UINT32_MAX;
	int c, code;

	while ((c = next_option(v, argc, argv, ":mah", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		json |= c == 'j';
		away |= c == 'a';
		if (c == 'm')
			uid = geteuid();
	}
	if (optind < argc)
		return usage(v, "'%s' is one argument too many", argv[optind]);
	return show(json, away, uid);
}

const struct verb verb_ps = {
	"ps", "work", "the processes of the cell and where they are",
	"usage: sprite ps [-a] [-m] [--json]\n\n"
	"List the processes of all worlds of the cell: number, parent, owner,\n"
	"state, home, host where it runs, how often it moved, CPU time (minutes),\n"
	"memory, command.\n\n"
	"  -a, --away  only those that are away from home\n"
	"  -m, --mine  only ours\n"
	"      --json  for programs\n\n"
	"examples:\n"
	"  sprite ps -a\n"
	"  sprite ps --json | jq '.processes[] | select(.host == \"h2\")'\n\n"
	"exit status: 0 done, 2 usage, 3 in no cell, 5 migd does not run here, or\n"
	"a host did not answer (the others are listed)\n",
	ps
};
