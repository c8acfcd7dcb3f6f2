/* cmd_kill.c -- `sprite kill`: signals to processes wherever they are. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "migd_msg.h"

#define PID_LIMIT 4194304

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
