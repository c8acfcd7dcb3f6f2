/*
 * cmd_up.c -- `sprite up`, `down` and `status`: the daemons of this host.
 *
 * The first host of a cell also runs the name server and the host database.
 * Up is idempotent: it starts what is missing, in the order in which they
 * need each other, and returns when all serve.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "daemons.h"
#include "fd.h"
#include "hostconf.h"
#include "prog.h"

#define START_MS 30000
#define STOP_MS 20000

/* Who we are; reports. */
static int load_conf(struct hostconf *c)
{
	char err[256] = "";
	int r = hostconf_load(c, err, sizeof(err));

	if (r == -ENOENT)
		return fail(X_NOT_FOUND, "this host is in no cell yet; `sprite "
			    "init` founds one, `sprite join TOKEN` enters one");
	if (r)
		return fail(X_FAILED, "%s", *err ? err : strerror(-r));
	return 0;
}

static bool belongs_here(const struct daemon *d, const struct hostconf *c)
{
	return !d->once || c->host == c->named_host;
}

/* The daemons named in argv, or all of this host; false: one is unknown. */
static bool select_daemons(const struct verb *v, int argc, char **argv,
			   bool ret[DAEMONS], int *ret_code)
{
	for (size_t i = 0; i < DAEMONS; i++)
		ret[i] = argc == 0;
	for (int i = 0; i < argc; i++) {
		const struct daemon *d = daemon_find(argv[i]);

		if (!d) {
			*ret_code = usage(v, "'%s' is not one of the daemons "
					  "named, hostdb, fsd, migd", argv[i]);
			return false;
		}
		ret[d - daemons] = true;
	}
	return true;
}

static int up(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool chosen[DAEMONS], verbose = false;
	struct hostconf conf;
	char err[1200] = "";
	int c, code;

	while ((c = next_option(v, argc, argv, "+:vh", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		verbose |= c == 'v';
	}
	if (!select_daemons(v, argc - optind, argv + optind, chosen, &code))
		return code;
	if (geteuid())
		return fail(X_PERMISSION, "only root can start Sprite's "
			    "daemons; try `sudo sprite up`");
	code = load_conf(&conf);
	if (code)
		return code;
	for (size_t i = 0; i < DAEMONS; i++) {
		if (!chosen[i] || !belongs_here(&daemons[i], &conf))
			continue;
		if (daemon_start(&daemons[i], verbose, START_MS, err, sizeof(err)))
			return fail(X_FAILED, "%s", err);
	}
	return X_OK_DONE;
}

static int stop_one(const char *run, const struct daemon *d, bool by_force)
{
	int r = daemon_stop(run, d, SIGTERM, STOP_MS);

	if (r == -ETIMEDOUT && by_force)
		r = daemon_stop(run, d, SIGKILL, STOP_MS);
	if (r == 0 || r == -ESRCH)
		return 0;
	if (r == -ETIMEDOUT)
		return fail(X_FAILED, "%s (pid %d) has not stopped within %d s; "
			    "its log tells more, `sprite down --force` kills it",
			    d->program, (int)daemon_pid(run, d), STOP_MS / 1000);
	return fail(code_of(r), "cannot stop %s: %s", d->program, strerror(-r));
}

static int down(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool chosen[DAEMONS], by_force = false;
	char run[PATH_MAX];
	int c, code, worst = X_OK_DONE;

	while ((c = next_option(v, argc, argv, "+:fh", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		by_force |= c == 'f';
	}
	if (!select_daemons(v, argc - optind, argv + optind, chosen, &code))
		return code;
	if (geteuid())
		return fail(X_PERMISSION, "only root can stop Sprite's daemons; "
			    "try `sudo sprite down`");
	if (daemon_run_dir(run, sizeof(run)))
		return fail(X_FAILED, "the name of the run folder is too long");
	for (size_t i = DAEMONS; i-- > 0;) {
		code = chosen[i] ? stop_one(run, &daemons[i], by_force) : 0;
		if (code)
			worst = code;
	}
	return worst;
}

static pid_t world_pid(void)
{
	char path[PATH_MAX];
	struct buf b = { 0 };
	long pid = 0;

	if (run_path("world.pid", path, sizeof(path)) ||
	    fd_read_file(path, 64, &b))
		return 0;
	if (buf_len(&b))
		pid = strtol((char *)buf_data(&b), NULL, 10);
	buf_free(&b);
	return pid > 1 && (kill((pid_t)pid, 0) == 0 || errno == EPERM) ?
		       (pid_t)pid :
		       0;
}

static void status_text(const struct hostconf *c, const pid_t *pid, bool *ret_all)
{
	pid_t world = world_pid();

	printf("host %s (%u) of cell %s, address %s\n", c->name, c->host,
	       c->cell, c->addr);
	for (size_t i = 0; i < DAEMONS; i++) {
		if (!belongs_here(&daemons[i], c))
			continue;
		if (pid[i])
			printf("  %-13s running, pid %d\n", daemons[i].program,
			       (int)pid[i]);
		else
			printf("  %-13s not running\n", daemons[i].program);
		*ret_all &= pid[i] != 0;
	}
	if (world)
		printf("  %-13s pid %d\n", "world", (int)world);
	else
		printf("  %-13s none\n", "world");
}

static int status_json(const struct hostconf *c, const pid_t *pid, bool *ret_all)
{
	struct buf b = { 0 };
	struct json j = { .out = &b };

	json_open(&j, NULL, '{');
	json_str(&j, "cell", c->cell);
	json_u64(&j, "id", c->host);
	json_str(&j, "host", c->name);
	json_str(&j, "address", c->addr);
	json_open(&j, "daemons", '[');
	for (size_t i = 0; i < DAEMONS; i++) {
		if (!belongs_here(&daemons[i], c))
			continue;
		json_open(&j, NULL, '{');
		json_str(&j, "name", daemons[i].name);
		json_bool(&j, "running", pid[i] != 0);
		json_i64(&j, "pid", pid[i]);
		json_close(&j, '}');
		*ret_all &= pid[i] != 0;
	}
	json_close(&j, ']');
	json_i64(&j, "world", world_pid());
	json_close(&j, '}');
	return json_print(&b, &j);
}

static int status(const struct verb *v, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct hostconf conf;
	bool as_json = false, all = true;
	pid_t pid[DAEMONS];
	char run[PATH_MAX];
	int c, code;

	while ((c = next_option(v, argc, argv, "+:h", longs, &code)) != -1) {
		if (c == OPT_DONE)
			return code;
		as_json |= c == 'j';
	}
	if (optind < argc)
		return usage(v, "'%s' is one argument too many", argv[optind]);
	code = load_conf(&conf);
	if (code)
		return code;
	if (daemon_run_dir(run, sizeof(run)))
		return fail(X_FAILED, "the name of the run folder is too long");
	for (size_t i = 0; i < DAEMONS; i++)
		pid[i] = daemon_pid(run, &daemons[i]);
	if (as_json)
		code = status_json(&conf, pid, &all);
	else
		status_text(&conf, pid, &all);
	return code ? code : all ? X_OK_DONE : X_UNREACHABLE;
}

const struct verb verb_up = {
	"up", "this host", "start Sprite's daemons on this host",
	"usage: sprite up [-v] [DAEMON...]\n\n"
	"Start the daemons of this host that do not run yet, in order, and wait\n"
	"until each serves: named and hostdb on the first host of a cell, then\n"
	"fsd and migd.  Their logs are in /var/lib/sprite/log.\n\n"
	"  -v, --verbose  let them log details\n"
	"  DAEMON         only these: named, hostdb, fsd, migd\n\n"
	"examples:\n"
	"  sprite up\n"
	"  sprite up -v migd\n\n"
	"exit status: 0 all serve, 1 one did not start, 2 usage, 3 this host is\n"
	"in no cell, 4 not root\n",
	up
};

const struct verb verb_down = {
	"down", "this host", "stop them; the world and its guests end",
	"usage: sprite down [--force] [DAEMON...]\n\n"
	"Stop the daemons of this host in the opposite order.  Guests are sent\n"
	"away first, the world ends, /sprite is unmounted.\n\n"
	"  -f, --force  kill one that does not stop within 20 s\n\n"
	"examples:\n"
	"  sprite down\n"
	"  sprite down fsd\n\n"
	"exit status: 0 none runs any more, 1 one could not be stopped, 2 usage,\n"
	"4 not root\n",
	down
};

const struct verb verb_status = {
	"status", "this host", "this host's place in the cell, and its daemons",
	"usage: sprite status [--json]\n\n"
	"Say which cell this host is in and which of its daemons run.\n"
	"`sprite hosts` shows the other hosts.\n\n"
	"examples:\n"
	"  sprite status\n"
	"  sprite status --json | jq .world\n\n"
	"exit status: 0 all daemons run, 5 one does not, 3 this host is in no\n"
	"cell, 2 usage\n",
	status
};
