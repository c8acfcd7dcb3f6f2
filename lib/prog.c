/* prog.c -- see prog.h. */
#include "prog.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int join(char *buf, size_t cap, const char *dir, const char *mid,
		const char *name)
{
	int n = snprintf(buf, cap, "%s%s/%s", dir, mid, name);

	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

int prog_path(const char *name, char *buf, size_t cap)
{
	static const char *const places[] = { "", "/../libexec/sprite",
					      "/../../bin" };
	const char *dir = getenv("SPRITE_BIN");
	char exe[PATH_MAX];
	ssize_t n;
	char *slash;
	int r;

	if (dir)
		return join(buf, cap, dir, "", name);
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n < 0)
		return -errno;
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (!slash)
		return -ENOENT;
	*slash = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		r = join(buf, cap, exe, places[i], name);
		if (r)
			return r;
		if (access(buf, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

int state_path(const char *name, char *buf, size_t cap)
{
	const char *dir = getenv("SPRITE_STATE");

	return join(buf, cap, dir ? dir : "/var/lib/sprite", "", name);
}

int run_path(const char *name, char *buf, size_t cap)
{
	const char *dir = getenv("SPRITE_RUN");

	return join(buf, cap, dir ? dir : "/run/sprite", "", name);
}

void prog_ready(void)
{
	const char *s = getenv("SPRITE_READY_FD");
	int fd;

	if (!s)
		return;
	fd = atoi(s);
	if (fd > 2) {
		if (write(fd, "READY\n", 6) < 0)
			fprintf(stderr, "sprite: nobody waits for READY\n");
		close(fd);
	}
	unsetenv("SPRITE_READY_FD");
}
