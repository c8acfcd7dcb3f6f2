/*
 * cmd_lab.c -- `sprite lab`: the arguments of its sub-commands.  What they do
 * is in lab_*.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "cmd.h"
#include "daemons.h"
#include "lab.h"

/* Every option of every sub-command; each names those it takes. */
struct options {
	const char *name, *dir, *cwd;
	double cpu;
	bool bare, pin, quiet, json, host;
	int tty; /* -1: as it seems right */
};

static const struct option longs[] = {
	{ "name", required_argument, NULL, 'n' },
	{ "dir", required_argument, NULL, 'd' },
	{ "cpu", required_argument, NULL, 'c' },
	{ "bare", no_argument, NULL, 'b' },
	{ "pin", no_argument, NULL, 'p' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "json", no_argument, NULL, 'j' },
	{ "host", no_argument, NULL, 'H' },
	{ "tty", no_argument, NULL, 't' },
	{ "no-tty", no_argument, NULL, 'T' },
	{ "cwd", required_argument, NULL, 'C' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct sub {
	const char *name, *summary, *takes;
	bool needs_host, needs_root;
	const char *help;
	int (*run)(const struct verb *v, struct lab *l, const struct options *o,
		   unsigned k, int argc, char **argv);
};

static bool set_cpu(struct options *o, const char *s)
{
	char *end;

	o->cpu = strtod(s, &end);
	return end != s && !*end && o->cpu >= 0.01 && o->cpu <= 1024;
}

static bool set_option(struct options *o, int c)
{
	switch (c) {
	case 'n':
		o->name = optarg;
		return true;
	case 'd':
		o->dir = optarg;
		return true;
	case 'C':
		o->cwd = optarg;
		return true;
	case 'c':
		return set_cpu(o, optarg);
	case 't':
		o->tty = 1;
		return true;
	case 'T':
		o->tty = 0;
		return true;
	default:
		o->bare |= c == 'b';
		o->pin |= c == 'p';
		o->quiet |= c == 'q';
		o->json |= c == 'j';
		o->host |= c == 'H';
		return true;
	}
}

/* ---- the sub-commands ------------------------------------------------------- */

static int sub_up(const struct verb *v, struct lab *l, const struct options *o,
		  unsigned k, int argc, char **argv)
{
	struct lab_up_options u = { .cpu = o->cpu, .bare = o->bare,
				    .pin = o->pin, .quiet = o->quiet };
	unsigned long n;

	(void)k;
	if (argc != 1 || !parse_number(argv[0], 1, LAB_HOSTS_MAX, &n))
		return usage(v, "up needs the number of hosts, 1 to %d",
			     LAB_HOSTS_MAX);
	u.hosts = (unsigned)n;
	return lab_up(l, &u);
}

static int sub_status(const struct verb *v, struct lab *l,
		      const struct options *o, unsigned k, int argc, char **argv)
{
	(void)v, (void)k, (void)argc, (void)argv;
	return lab_status(l, o->json);
}

static int sub_list(const struct verb *v, struct lab *l, const struct options *o,
		    unsigned k, int argc, char **argv)
{
	(void)v, (void)l, (void)k, (void)argc, (void)argv;
	return lab_list(o->json);
}

static int sub_exec(const struct verb *v, struct lab *l, const struct options *o,
		    unsigned k, int argc, char **argv)
{
	if (!argc)
		return usage(v, "exec needs a command: sprite lab exec h1 -- "
				"hostname");
	return lab_exec(l, k, !o->host, o->tty, o->cwd, argv);
}

static int cut_or_heal(struct lab *l, unsigned k, bool cut)
{
	pid_t sw = lab_init(l, LAB_SWITCH);
	SCOPED(close) int nl = sw ? net_open(sw) : -1;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "h%u", k);
	r = !sw ? -ESRCH : nl < 0 ? nl : net_cut(nl, name, cut);
	if (r == -ENODEV)
		return fail(X_NOT_FOUND, "host h%u is not up; `sprite lab start "
			    "h%u` boots it", k, k);
	return r ? fail(code_of(r), "cannot %s h%u: %s", cut ? "cut" : "heal", k,
			strerror(-r)) :
		   X_OK_DONE;
}

static int sub_cut(const struct verb *v, struct lab *l, const struct options *o,
		   unsigned k, int argc, char **argv)
{
	(void)v, (void)o, (void)argc, (void)argv;
	return cut_or_heal(l, k, true);
}

static int sub_heal(const struct verb *v, struct lab *l, const struct options *o,
		    unsigned k, int argc, char **argv)
{
	(void)v, (void)o, (void)argc, (void)argv;
	return cut_or_heal(l, k, false);
}

static int one_daemon(const struct verb *v, int argc, char **argv,
		      const char **ret)
{
	*ret = argc ? argv[0] : NULL;
	if (argc > 1)
		return usage(v, "'%s' is one argument too many", argv[1]);
	if (argc && !daemon_find(argv[0]))
		return usage(v, "'%s' is not one of the daemons named, hostdb, "
				"fsd, migd", argv[0]);
	return 0;
}

static int sub_kill(const struct verb *v, struct lab *l, const struct options *o,
		    unsigned k, int argc, char **argv)
{
	const char *daemon;
	int code = one_daemon(v, argc, argv, &daemon);

	(void)o;
	return code ? code : lab_kill(l, k, daemon);
}

static int sub_start(const struct verb *v, struct lab *l,
		     const struct options *o, unsigned k, int argc, char **argv)
{
	const char *daemon;
	int code = one_daemon(v, argc, argv, &daemon);

	(void)o;
	return code ? code : lab_start(l, k, daemon);
}

static int sub_crash(const struct verb *v, struct lab *l,
		     const struct options *o, unsigned k, int argc, char **argv)
{
	(void)v, (void)o, (void)argc, (void)argv;
	return lab_crash(l, k);
}

/* A key is one byte written, and the times of a terminal that was read. */
static int sub_console(const struct verb *v, struct lab *l,
		       const struct options *o, unsigned k, int argc, char **argv)
{
	pid_t init = lab_init(l, k);
	char path[64];
	SCOPED(close) int fd = -1;

	(void)v, (void)o, (void)argc, (void)argv;
	if (!init)
		return fail(X_NOT_FOUND, "host h%u is not up; `sprite lab start "
			    "h%u` boots it", k, k);
	snprintf(path, sizeof(path), "/proc/%d/root/run/sprite/console",
		 (int)init);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, "\n", 1, 0) != 1 || futimens(fd, NULL))
		return fail(X_FAILED, "cannot touch the console of h%u: %s", k,
			    strerror(errno));
	return X_OK_DONE;
}

static int sub_down(const struct verb *v, struct lab *l, const struct options *o,
		    unsigned k, int argc, char **argv)
{
	(void)v, (void)o, (void)k, (void)argc, (void)argv;
	return lab_down(l);
}

/* ---- the table ----------------------------------------------------------------- */

#define COMMON "\n  --name LAB  which lab; $SPRITE_LAB, else 'lab'\n"

static const struct sub subs[] = {
	{ "up", "make virtual hosts and start Sprite on them", "ndcbpqh", false, true,
	  "usage: sprite lab up N [--cpu Q] [--name LAB] [--dir D] [--pin] [--bare]\n\n"
	  "Make hosts h1 to hN, each with its own network, processes, host name,\n"
	  "terminals and Sprite state, on a switch of their own; found a cell on\n"
	  "h1, let the others join, start all daemons.  What exists is kept: a\n"
	  "second `up` repairs or widens a lab.\n\n"
	  "  --cpu Q     Q CPUs' worth of time a host, e.g. 0.25 (0.01 to 1024)\n"
	  "  --dir D     keep the hosts' files in D; /tmp/sprite-LAB\n"
	  "  --pin       one CPU of the machine for each host, in turn\n"
	  "  --bare      hosts and network only, no daemons\n"
	  "  -q, --quiet say nothing when all is well" COMMON "\n"
	  "examples:\n"
	  "  sprite lab up 4 --cpu 0.25\n"
	  "  sprite lab up 2 --name other\n", sub_up },
	{ "status", "what is up in a lab", "njh", false, false,
	  "usage: sprite lab status [--json] [--name LAB]\n\n"
	  "One line a host: address, up, cut or down, CPU quota, CPU time used,\n"
	  "process of its world (0: none), daemons that run.\n" COMMON "\n"
	  "example:\n  sprite lab status --json | jq '.hosts[].daemons'\n", sub_status },
	{ "list", "all labs of this machine", "jh", false, false,
	  "usage: sprite lab list [--json]\n", sub_list },
	{ "exec", "run a command in a host's world", "ntTHCqh", true, true,
	  "usage: sprite lab exec [-t] [--host] [-C DIR] hK -- CMD [ARG...]\n\n"
	  "Run CMD in the world of host hK, where the cell's processes live, with\n"
	  "our descriptors and environment; signals we get are passed on.\n\n"
	  "  -t, --tty    with a terminal of the host's own; this is so anyway\n"
	  "               if standard input and output are terminals\n"
	  "  -T, --no-tty with our descriptors as they are\n"
	  "  --host       in the host itself, outside its world\n"
	  "  -C, --cwd D  in folder D; else where we are if that exists there,\n"
	  "               else /" COMMON "\n"
	  "examples:\n"
	  "  sprite lab exec h2 -- sprite ps\n"
	  "  sprite lab exec h1 -- bash\n"
	  "  sprite lab exec --host h3 -- ip addr\n\n"
	  "exit status: that of CMD; 128+N if signal N ended it; 125 the lab\n"
	  "failed, 126 CMD cannot be executed, 127 CMD was not found\n", sub_exec },
	{ "cut", "take a host off the network, silently", "nh", true, true,
	  "usage: sprite lab cut hK [--name LAB]\n\n"
	  "Frames from and to hK vanish; its links stay up.\n" COMMON "\n"
	  "example:\n  sprite lab cut h3\n", sub_cut },
	{ "heal", "put it back", "nh", true, true,
	  "usage: sprite lab heal hK [--name LAB]\n\n"
	  "End what `sprite lab cut` began.\n" COMMON "\n"
	  "example:\n  sprite lab heal h3\n", sub_heal },
	{ "kill", "kill -9 a host's daemons", "nh", true, true,
	  "usage: sprite lab kill hK [DAEMON] [--name LAB]\n\n"
	  "Kill one of named, hostdb, fsd, migd, or all of them.  The host's\n"
	  "kernel and world live on; peers see connections reset.\n" COMMON "\n"
	  "examples:\n  sprite lab kill h2\n  sprite lab kill h1 fsd\n", sub_kill },
	{ "crash", "the whole host dies without a word", "nh", true, true,
	  "usage: sprite lab crash hK [--name LAB]\n\n"
	  "Cut the cable, then kill every process; the host's disk remains.\n"
	  "`sprite lab start hK` boots it again.\n" COMMON "\n"
	  "example:\n  sprite lab crash h2\n", sub_crash },
	{ "start", "start again what is missing on a host", "nh", true, true,
	  "usage: sprite lab start hK [DAEMON] [--name LAB]\n\n"
	  "Boot the host if it crashed, then start its daemons, or one.\n" COMMON "\n"
	  "examples:\n  sprite lab start h2\n  sprite lab start h1 fsd\n", sub_start },
	{ "console", "touch a host's console: its owner is back", "nh", true, true,
	  "usage: sprite lab console hK [--name LAB]\n\n"
	  "What a key press is to a real host.\n" COMMON "\n"
	  "example:\n  sprite lab console h2\n", sub_console },
	{ "down", "remove a lab; nothing is left", "ndh", false, true,
	  "usage: sprite lab down [--name LAB] [--dir D]\n\n"
	  "Kill everything in the lab and remove its namespaces, cgroups and\n"
	  "folder, from whatever state it is in.  The empty mount points /sprite\n"
	  "and /var/lib/sprite stay.\n\n"
	  "  --dir D     the lab's folder, if it was chosen and no host is up" COMMON "\n"
	  "example:\n  sprite lab down\n", sub_down },
};
#define SUBS (sizeof(subs) / sizeof(*subs))

static void print_subs(void)
{
	fputs(verb_lab.help, stdout);
	for (size_t i = 0; i < SUBS; i++)
		printf("  %-8s %s\n", subs[i].name, subs[i].summary);
	puts("\n`sprite lab COMMAND --help` tells the rest.\n\n"
	     "exit status: 0 done, 1 failed, 2 usage, 3 no such lab or host,\n"
	     "4 not root, 6 busy; `lab exec` has its own");
}

/*
 * Options may stand anywhere before "--"; those of exec end at the first other
 * argument, because the command's options are not ours.
 */
static int parse(const struct verb *v, const struct sub *s, int argc,
		 char **argv, struct options *o, int *ret_done)
{
	const char *shorts = s->run == sub_exec ? "+:n:d:c:C:bpqjHtTh" :
						  ":n:d:c:C:bpqjHtTh";
	int c;

	opterr = 0;
	optind = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		*ret_done = 1;
		if (c == 'h') {
			fputs(s->help, stdout);
			return X_OK_DONE;
		}
		if (c == ':')
			return usage(v, "%s: '%s' needs a value", s->name,
				     argv[optind - 1]);
		if (c == '?' || !strchr(s->takes, c))
			return usage(v, "%s: '%s' is not an option here", s->name,
				     argv[optind - 1]);
		if (!set_option(o, c))
			return usage(v, "%s: '%s' is not a number of CPUs from "
				     "0.01 to 1024", s->name, optarg);
		*ret_done = 0;
	}
	return 0;
}

static int open_lab(struct lab *l, const struct options *o)
{
	int r = lab_open(l, o->name, o->dir);

	if (r == -EINVAL)
		return fail(X_USAGE, "a lab's name has 1 to %d letters, digits, "
			    "_ and -", LAB_NAME_MAX);
	if (r == -ENOSYS)
		return fail(X_FAILED, "no cgroup tree with a cpu controller is "
			    "mounted; mount cgroup2 on /sys/fs/cgroup");
	return r ? fail(code_of(r), "cannot look for the lab: %s", strerror(-r)) :
		   0;
}

static int run_sub(const struct verb *v, const struct sub *s, int argc,
		   char **argv)
{
	struct options o = { .tty = -1 };
	struct lab l;
	unsigned k = 0;
	char cgroup[64];
	int done = 0, code = parse(v, s, argc, argv, &o, &done);

	if (code || done)
		return code;
	argc -= optind;
	argv += optind;
	if (s->needs_root && geteuid())
		return fail(X_PERMISSION, "the lab makes namespaces and needs "
			    "root; try `sudo sprite lab %s`", s->name);
	code = open_lab(&l, &o);
	if (code)
		return code;
	if (s->needs_host) {
		k = argc ? lab_host_number(argv[0]) : 0;
		if (!k)
			return usage(v, "%s needs a host: h1, h2, ...", s->name);
		/* More options may stand between the host and a command. */
		code = parse(v, s, argc, argv, &o, &done);
		if (code || done)
			return code;
		argc -= optind;
		argv += optind;
		lab_cgroup(&l, (int)k, cgroup);
		if (!cgroups_exist(&l.cg, cgroup))
			return fail(s->run == sub_exec ? X_RUN_FAILED : X_NOT_FOUND,
				    "lab '%s' has no host h%u; `sprite lab list` "
				    "shows the labs", l.name, k);
	}
	return s->run(v, &l, &o, k, argc, argv);
}

static int lab(const struct verb *v, int argc, char **argv)
{
	if (argc < 2)
		return usage(v, "which command: up, status, exec, down, ...");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_subs();
		return X_OK_DONE;
	}
	for (size_t i = 0; i < SUBS; i++) {
		if (strcmp(argv[1], subs[i].name) == 0)
			return run_sub(v, &subs[i], argc - 1, argv + 1);
	}
	return usage(v, "'%s' is not a lab command", argv[1]);
}

const struct verb verb_lab = {
	"lab", "trying and testing", "virtual hosts on this machine",
	"usage: sprite lab COMMAND [ARGUMENTS]\n\n"
	"A cell of virtual hosts on one machine, to try Sprite and to test it.\n\n"
	"  sprite lab up 4 --cpu 0.25\n"
	"  sprite lab exec h1 -- sprite run -h h3 hostname\n"
	"  sprite lab console h3\n"
	"  sprite lab down\n\n"
	"commands:\n",
	lab
};
