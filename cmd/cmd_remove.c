/*
 * cmd_remove.c -- `sprite remove`: a host is no longer of the cell.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "hostconf.h"
#include "member.h"
#include "named_msg.h"

static int ask(const char *name)
{
	struct rpc_out out = { .code = MSG_named_remove };
	struct client_reply re;
	uint8_t body[HOST_NAME_MAX_LEN + 16];
	int code;

	out.body = body;
	if (msg_named_remove_encode(&(struct msg_named_remove){ .name = name },
				    body, sizeof(body), &out.len))
		return fail(X_FAILED, "the name is too long");
	code = member_at_named("remove");
	if (!code)
		code = call_once("named", "cannot remove the host", &out, 0, &re);
	if (code)
		return code;
	client_reply_free(&re);
	printf("%s is no longer of the cell; its key is refused from now on\n",
	       name);
	return X_OK_DONE;
}

static int remove_host(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, code;

	while ((c = next_option(v, argc, argv, "+:h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
	}
	if (argc - optind != 1)
		return usage(v, "it needs one host's name");
	if (!member_name_ok(argv[optind]))
		return usage(v, "'%s' is not a host's name", argv[optind]);
	if (geteuid())
		return fail(X_PERMISSION, "only root can do that; try `sudo sprite "
			    "remove %s`", argv[optind]);
	return ask(argv[optind]);
}

const struct verb verb_remove = {
	"remove", "cell", "forget a host that is gone for good",
	"usage: sprite remove HOST\n\n"
	"Take a host out of the cell: its key is refused, what it exported is no\n"
	"longer part of the namespace, and no other host needs a restart.  Its name\n"
	"may be used again, by a host with a new token.  Run it on the host that\n"
	"founded the cell, which itself cannot be removed.\n\n"
	"examples:\n"
	"  sprite remove h7\n\n"
	"exit status: 0 removed, 2 usage, 3 no such host, 4 not root, 5 the name\n"
	"server does not run here, 6 it runs the name server\n",
	remove_host
};
