/*
 * main.c of sprite-sh -- the shell that `sprite make` gives to make.
 *
 * make starts it for every recipe line, as `sprite-sh -c LINE`.  It asks
 * `sprite make` where the line shall run, waits for the answer, and becomes
 * the real shell here or has it run on another host (away.c).  What has no
 * business elsewhere goes straight to the real shell:
 *
 *   - anything that is not `-c LINE` (scripts run with $(SHELL));
 *   - a recursive make: it needs the jobserver's descriptors, which make
 *     leaves open for such recipes and for no others;
 *   - $(shell ...): make waits for it while it reads makefiles.  Its parent is
 *     a make of the same MAKELEVEL, that of a recipe is one below;
 *   - lines that are over before another host could begin.
 *
 * Whatever fails here, the line still runs: without Sprite, at home.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "away.h"
#include "make_line.h"
#include "make_proto.h"

static const char *real_shell(void)
{
	const char *s = getenv(MAKE_SHELL_ENV);

	return s && *s ? s : "/bin/sh";
}

static _Noreturn void run_here(char **argv)
{
	const char *sh = real_shell();

	argv[0] = (char *)(uintptr_t)sh;
	execv(sh, argv);
	fprintf(stderr, "sprite-sh: cannot execute %s: %s\n", sh, strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* The line of -c (also -ec and the like), or NULL. */
static const char *line_of(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i++) {
		if (argv[i][0] != '-' && argv[i][0] != '+')
			return NULL;
		if (argv[i][0] == '-' && argv[i][1] != '-' &&
		    strchr(argv[i] + 1, 'c'))
			return argv[i + 1];
		/* -o pipefail */
		if (argv[i][strlen(argv[i]) - 1] == 'o')
			i++;
	}
	return NULL;
}

/* The jobserver that this recipe was given leave to use, if any. */
static bool is_recursive(const char *line)
{
	const char *flags = getenv("MAKEFLAGS"), *auth;

	auth = flags ? strstr(flags, "--jobserver-auth=") : NULL;
	if (!auth)
		return line_calls_make(line);
	auth += strlen("--jobserver-auth=");
	/* A named pipe is open to everybody: only the name tells. */
	if (!isdigit((unsigned char)*auth))
		return line_calls_make(line);
	return fcntl(atoi(auth), F_GETFD) >= 0;
}

/* The number behind NAME= in a process's first environment; -1: none. */
static int level_of_parent(void)
{
	static const char name[] = "MAKELEVEL=";
	static char env[256 * 1024];
	char path[32];
	ssize_t n, len = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)getppid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((n = read(fd, env + len, sizeof(env) - 1 - (size_t)len)) > 0)
		len += n;
	close(fd);
	env[len] = '\0';
	for (char *p = env; p < env + len; p += strlen(p) + 1) {
		if (!strncmp(p, name, sizeof(name) - 1))
			return atoi(p + sizeof(name) - 1);
	}
	return -1;
}

static bool is_parse_time(void)
{
	const char *level = getenv("MAKELEVEL");

	return !level || atoi(level) == level_of_parent();
}

/* -1: `sprite make` is not there, or not this user's. */
static int reach_make(void)
{
	const char *name = getenv(MAKE_SOCK_ENV);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = name ? strlen(name) : 0;
	struct ucred who;
	socklen_t len = sizeof(who);
	int fd;

	if (!n || n >= sizeof(a.sun_path) - 1)
		return -1;
	memcpy(a.sun_path + 1, name, n);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&a,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) ||
	    (who.uid != geteuid() && who.uid != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool send_ask(int fd, enum make_kind kind, const char *line,
		     const char *why)
{
	struct make_ask a = {
		.proto = MAKE_PROTO,
		.kind = kind,
		.line = line_hash(LINE_HASH, line),
	};
	size_t n = offsetof(struct make_ask, cwd);

	line_label(line, a.label, sizeof(a.label));
	snprintf(a.why, sizeof(a.why), "%s", why);
	if (!getcwd(a.cwd, sizeof(a.cwd)))
		return false;
	n += strlen(a.cwd) + 1;
	return send(fd, &a, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/*
 * A child that dies of ^C in the very moment make gets it is one that make 4.3
 * miscounts ("wait: No child processes"), and we would always be the first to
 * die: so we die of it a moment later than make has heard of it.
 */
static void die_a_bit_later(int sig)
{
	const struct timespec moment = { .tv_nsec = 50000000 };

	nanosleep(&moment, NULL);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void let_make_hear_first(void)
{
	static const int keys[] = { SIGINT, SIGQUIT };
	struct sigaction was, later = { .sa_handler = die_a_bit_later };

	for (size_t i = 0; i < 2; i++) {
		if (sigaction(keys[i], NULL, &was) == 0 &&
		    was.sa_handler == SIG_DFL)
			sigaction(keys[i], &later, NULL);
	}
}

/* Wait for a slot, as long as it takes.  False: run here, without one. */
static bool ask(int fd, enum make_kind kind, const char *line,
		const char *why, struct make_answer *ret)
{
	ssize_t n;

	if (!send_ask(fd, kind, line, why))
		return false;
	let_make_hear_first();
	do
		n = recv(fd, ret, sizeof(*ret), 0);
	while (n < 0 && errno == EINTR);
	return n == sizeof(*ret) && ret->proto == MAKE_PROTO &&
	       memchr(ret->name, 0, sizeof(ret->name));
}

static _Noreturn void run_answered(char **argv, const struct make_answer *a)
{
	int now;

	errno = 0;
	now = getpriority(PRIO_PROCESS, 0);
	if (a->nice > 0 && errno == 0 && now == 0)
		setpriority(PRIO_PROCESS, 0, now + a->nice);
	run_here(argv);
}

int main(int argc, char **argv)
{
	const char *line = line_of(argc, argv);
	struct make_answer a;
	bool recursive;
	int fd, status;

	if (argc < 1 || !line || line_is_trivial(line))
		run_here(argv);
	recursive = is_recursive(line);
	if (!recursive && is_parse_time())
		run_here(argv);
	fd = reach_make();
	if (fd < 0)
		run_here(argv);
	if (recursive) {
		send_ask(fd, MAKE_KEPT, line, "");
		run_here(argv);
	}
	if (!ask(fd, MAKE_SLOT, line, "", &a))
		run_here(argv);
	if (a.host) {
		char why[MAKE_WHY_MAX] = "";

		argv[0] = (char *)(uintptr_t)real_shell();
		if (away_run(&a, argv, &status, why))
			away_end_like(status);
		if (!ask(fd, MAKE_AGAIN, line, why, &a))
			run_here(argv);
	}
	run_answered(argv, &a);
}
