/*
 * cmd_init.c -- `sprite init` and `token`: found a cell, let others in.
 *
 * Init only writes who this host is; the daemons make the rest when they
 * first start.  It refuses to touch a host that is in a cell already.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "cmd.h"
#include "fd.h"
#include "hostconf.h"
#include "member.h"
#include "named_msg.h"
#include "prog.h"

#define PID_BLOCK 16384
#define PID_MAX_LIMIT 4194304

struct init_options {
	const char *cell, *export_dir;
	unsigned long block;
	struct member_options member;
};

static int export_place(const char *given, char *buf, size_t cap)
{
	int r;

	if (!given) {
		r = state_path("root", buf, cap);
		return r ? r : mkdir_p(buf, 0755);
	}
	if (given[0] != '/' || strlen(given) >= cap)
		return -EINVAL;
	strcpy(buf, given);
	return mkdir_p(buf, 0755);
}

static int write_conf(const struct init_options *o, struct hostconf *c)
{
	uint8_t secret[32];
	int code, r;

	code = member_fill(&o->member, c);
	if (code)
		return code;
	r = export_place(o->export_dir, c->export_dir, sizeof(c->export_dir));
	if (r == -EINVAL)
		return fail(X_USAGE, "--root needs an absolute path");
	if (r)
		return fail(code_of(r), "cannot make the folder of the root "
			    "domain: %s", strerror(-r));
	r = hostkey_make(secret, c->named_key);
	explicit_bzero(secret, sizeof(secret));
	if (r)
		return fail(code_of(r), "cannot make this host's key: %s",
			    strerror(-r));
	snprintf(c->cell, sizeof(c->cell), "%s", o->cell ? o->cell : c->name);
	c->host = c->named_host = 1;
	strcpy(c->named_addr, c->addr);
	c->named_port = c->port[SVC_NAMED];
	c->pid_block_size = (uint32_t)o->block;
	c->pid_block = c->pid_block_size;
	r = hostconf_save(c);
	if (r)
		return fail(code_of(r), "cannot write host.conf: %s", strerror(-r));
	return X_OK_DONE;
}

static int init(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "cell", required_argument, NULL, 'c' },
		{ "root", required_argument, NULL, 'r' },
		{ "pid-block", required_argument, NULL, 'b' },
		MEMBER_OPTIONS,
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct init_options o = { .block = PID_BLOCK };
	struct hostconf conf;
	int c, code;

	while ((c = next_option(v, argc, argv, "+:h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		if (c == 'c')
			o.cell = optarg;
		else if (c == 'r')
			o.export_dir = optarg;
		else if (c == 'b' && !parse_number(optarg, 1024,
						   PID_MAX_LIMIT / 4, &o.block))
			return usage(v, "'%s' is not a block of 1024 to %d "
				     "PIDs", optarg, PID_MAX_LIMIT / 4);
		else
			member_option(&o.member, c, optarg);
	}
	if (optind < argc)
		return usage(v, "'%s' is one argument too many", argv[optind]);
	if (o.cell && !member_name_ok(o.cell))
		return usage(v, "'%s' is not a name: letters, digits, - and _",
			     o.cell);
	code = member_begin("sudo sprite init");
	if (!code)
		code = write_conf(&o, &conf);
	if (code)
		return code;
	printf("cell %s founded; this host is %s at %s.  Next: `sprite up` "
	       "here, `sprite token` for each host that shall join\n",
	       conf.cell, conf.name, conf.addr);
	return X_OK_DONE;
}

static int token(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "minutes", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long minutes = 60;
	struct msg_named_token_made made;
	struct client_reply re;
	struct rpc_out out = { .code = MSG_named_token };
	uint8_t body[16];
	int c, code;

	while ((c = next_option(v, argc, argv, "+:h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		if (c == 'm' && !parse_number(optarg, 1, 60 * 24 * 30, &minutes))
			return usage(v, "'%s' is not 1 to 43200 minutes", optarg);
	}
	if (optind < argc)
		return usage(v, "'%s' is one argument too many", argv[optind]);
	out.body = body;
	if (msg_named_token_encode(&(struct msg_named_token){
		    .lifetime_secs = (uint32_t)minutes * 60 },
		    body, sizeof(body), &out.len))
		return fail(X_FAILED, "the question is too long");
	code = member_at_named("token");
	if (!code)
		code = call_once("named", "cannot make a token", &out,
				 MSG_named_token_made, &re);
	if (code)
		return code;
	if (msg_named_token_made_decode(buf_data(&re.body), buf_len(&re.body),
					&made))
		code = call_garbled("named");
	else
		puts(made.token);
	client_reply_free(&re);
	return code;
}

const struct verb verb_init = {
	"init", "cell", "found a cell with this host as its first",
	"usage: sprite init [--cell NAME] [--name NAME] [--addr ADDRESS]\n"
	"                   [--root DIR] [--console DEV[,DEV]] [--pid-block N]\n\n"
	"Found a cell.  This host will run its name server and host database, and\n"
	"export a folder as /sprite.  Nothing is started; `sprite up` does that.\n\n"
	"  --cell NAME     the cell's name; this host's\n"
	"  --name NAME     this host's name in the cell; its host name\n"
	"  --addr ADDRESS  numeric, where other hosts reach it; that of the first\n"
	"                  interface that is up\n"
	"  --root DIR      the folder that is exported; /var/lib/sprite/root\n"
	"  --console LIST  devices whose use means that the owner is here; found\n"
	"                  by themselves\n"
	"  --pid-block N   process numbers each host gets at a time; 16384\n\n"
	"examples:\n"
	"  sprite init && sprite up && sprite token\n"
	"  sprite init --cell lab2 --addr 192.168.7.1 --root /srv/sprite\n\n"
	"exit status: 0 done, 1 failed, 2 usage, 4 not root, 6 in a cell already\n",
	init
};

const struct verb verb_token = {
	"token", "cell", "make a one-time token for a host that joins",
	"usage: sprite token [--minutes N]\n\n"
	"Print a token: the name server's address, its key and a secret in one\n"
	"word.  It admits one host, once.  Run it on the host that founded the cell.\n\n"
	"  --minutes N  how long it is good; 60\n\n"
	"examples:\n"
	"  sprite token\n"
	"  ssh h2 sudo sprite join \"$(sudo sprite token)\"\n\n"
	"exit status: 0 done, 2 usage, 3 in no cell, 4 not root, 5 the name server\n"
	"does not run here\n",
	token
};
