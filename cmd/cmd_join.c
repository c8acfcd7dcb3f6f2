/*
 * cmd_join.c -- `sprite join`: enter a cell with a one-time token.
 *
 * The key is made before anything is asked: should the answer be lost, a
 * second try shows the same key, and the name server knows us again.
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
#include "token.h"

#define JOIN_MS 20000

/* "-": a token is a secret, and arguments can be seen by all. */
static int read_token(const char *arg, struct token *ret)
{
	char line[TOKEN_TEXT_MAX + 2];
	int r;

	if (strcmp(arg, "-") == 0) {
		if (!fgets(line, sizeof(line), stdin))
			return fail(X_USAGE, "there is no token on standard input");
		line[strcspn(line, " \t\r\n")] = 0;
		arg = line;
	}
	r = token_parse(arg, ret);
	explicit_bzero(line, sizeof(line));
	if (r)
		return fail(X_USAGE, "that is not a token, or part of it is "
			    "missing; `sprite token` on the cell's first host "
			    "makes one");
	return X_OK_DONE;
}

static int connect_named(const struct token *t, struct client **ret)
{
	int r = client_open_join(t, JOIN_MS, ret);

	if (r == -EKEYREJECTED)
		return fail(X_PERMISSION, "the name server at %s does not accept "
			    "the token: it was used, is too old, or is of "
			    "another cell; `sprite token` there makes a new one",
			    t->addr);
	if (r)
		return fail(code_of(r) == X_FAILED ? X_UNREACHABLE : code_of(r),
			    "cannot reach the name server at %s port %u: %s; is "
			    "`sprite up` done there?", t->addr, t->port,
			    strerror(-r));
	return X_OK_DONE;
}

static int ask(const struct token *t, const struct hostconf *c,
	       struct client_reply *ret)
{
	uint8_t secret[32], public[32], body[1024];
	struct rpc_out out = { .code = MSG_named_join, .body = body };
	struct msg_named_join m = { .name = c->name, .addr = c->addr,
				    .key = { public, sizeof(public) } };
	struct client *cl;
	int code, r = hostkey_make(secret, public);

	explicit_bzero(secret, sizeof(secret));
	if (!r)
		r = msg_named_join_encode(&m, body, sizeof(body), &out.len);
	if (r)
		return fail(code_of(r), "cannot make this host's key: %s",
			    strerror(-r));
	code = connect_named(t, &cl);
	if (code)
		return code;
	code = call_ask(cl, "the cell does not let this host in", &out, JOIN_MS,
			MSG_named_joined, ret);
	client_close(cl);
	return code;
}

/* What named said becomes our configuration. */
static int take_answer(const struct token *t, const struct client_reply *re,
		       struct hostconf *c)
{
	struct msg_named_joined m;
	int r = msg_named_joined_decode(buf_data(&re->body), buf_len(&re->body),
					&m);

	if (r || m.named_key.len != sizeof(c->named_key) || !m.host ||
	    !member_name_ok(m.cell))
		return call_garbled("named");
	snprintf(c->cell, sizeof(c->cell), "%s", m.cell);
	c->host = m.host;
	c->named_host = m.named_host;
	snprintf(c->named_addr, sizeof(c->named_addr), "%s", t->addr);
	c->named_port = t->port;
	memcpy(c->named_key, m.named_key.p, sizeof(c->named_key));
	c->pid_block = m.pid_block;
	c->pid_block_size = m.pid_block_size;
	r = hostconf_save(c);
	if (r)
		return fail(code_of(r), "the cell knows this host now, but "
			    "host.conf cannot be written: %s; make room and join "
			    "again with a new token", strerror(-r));
	return X_OK_DONE;
}

static int join(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		MEMBER_OPTIONS,
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct member_options o = { 0 };
	struct client_reply re;
	struct hostconf conf;
	struct token t;
	int c, code;

	while ((c = next_option(v, argc, argv, ":h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		member_option(&o, c, optarg);
	}
	if (argc - optind != 1)
		return usage(v, "it needs one token");
	code = member_begin("sudo sprite join TOKEN");
	if (!code)
		code = read_token(argv[optind], &t);
	if (!code)
		code = member_fill(&o, &conf);
	if (!code)
		code = ask(&t, &conf, &re);
	if (code)
		return code;
	code = take_answer(&t, &re, &conf);
	client_reply_free(&re);
	explicit_bzero(&t, sizeof(t));
	if (code)
		return code;
	printf("this host is %s (%u) of cell %s now.  Next: `sprite up`\n",
	       conf.name, conf.host, conf.cell);
	return X_OK_DONE;
}

const struct verb verb_join = {
	"join", "cell", "let this host join a cell",
	"usage: sprite join [--name NAME] [--addr ADDRESS] [--console DEV[,DEV]]\n"
	"                   TOKEN|-\n\n"
	"Enter the cell that the token comes from; - reads it from standard input,\n"
	"where others cannot see it.  Nothing is started; `sprite up` does that.\n\n"
	"  --name NAME     this host's name in the cell; its host name\n"
	"  --addr ADDRESS  numeric, where other hosts reach it; that of the first\n"
	"                  interface that is up\n"
	"  --console LIST  devices whose use means that the owner is here; found\n"
	"                  by themselves\n\n"
	"examples:\n"
	"  sprite join \"$TOKEN\" && sprite up\n"
	"  ssh first sudo sprite token | sudo sprite join -\n\n"
	"exit status: 0 joined, 1 failed, 2 usage or not a token, 4 not root or\n"
	"token refused, 5 the name server does not answer, 6 in a cell already\n",
	join
};
