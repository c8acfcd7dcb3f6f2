/* cmd_explain.c -- `sprite explain`: why a process or a host is what it is. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "hosts.h"
#include "migd_msg.h"

#define PID_LIMIT 4194304

static void print_end(uint32_t pid, const struct msg_migd_because *m)
{
	char host[16];
	struct hosts h;

	if (hosts_get(&h))
		return;
	printf("%u has ended on %s: ", pid, hosts_name(&h, m->host, host));
	hosts_free(&h);
	if (WIFSIGNALED(m->status))
		printf("signal %d (%s)", WTERMSIG(m->status),
		       strsignal(WTERMSIG(m->status)));
	else
		printf("exit status %d", WEXITSTATUS(m->status));
	printf(*m->why ? "; %s\n" : "\n", m->why);
}

/* One that was away is remembered for a while after its end. */
static bool explain_end(struct client *c, uint32_t pid)
{
	struct msg_migd_why q = { .pid = pid };
	struct msg_migd_because m;
	struct client_reply re;
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_why, .body = body };
	bool found = false;

	if (msg_migd_why_encode(&q, body, sizeof(body), &o.len))
		return false;
	if (client_call(c, &o, CALL_MS, &re) == 0) {
		found = !re.status && re.code == MSG_migd_because &&
			!msg_migd_because_decode(buf_data(&re.body),
						 buf_len(&re.body), &m) &&
			m.reason != MIGD_END_NOT;
		if (found)
			print_end(pid, &m);
		client_reply_free(&re);
	}
	return found;
}

static int explain_process(uint32_t pid)
{
	struct msg_migd_explain q = { .pid = pid };
	struct msg_migd_explained m;
	struct client_reply re;
	uint8_t body[16];
	struct rpc_out o = { .code = MSG_migd_explain, .body = body };
	struct client *c;
	int code = call_open("migd", &c);

	if (code)
		return code;
	if (explain_end(c, pid)) {
		client_close(c);
		return X_OK_DONE;
	}
	code = X_FAILED;
	if (msg_migd_explain_encode(&q, body, sizeof(body), &o.len) == 0)
		code = call_ask(c, "cannot explain", &o, CALL_MS,
				MSG_migd_explained, &re);
	client_close(c);
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
