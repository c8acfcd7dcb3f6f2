/*
 * console.c -- see console.h.
 *
 * Terminals: what is typed is read by somebody, and a read of a terminal is
 * an inotify IN_ACCESS.  What programs print there is IN_MODIFY, and is not
 * the owner.  Other named files count whatever is done to them: a script that
 * touches one says "I am here".
 *
 * Keyboards and pointers are opened without grabbing them; every reader of an
 * event device has its own copy of the events.
 *
 * Every few seconds everything is looked for again: devices are plugged in,
 * people log in, files are made anew.  Adding a watch twice is harmless.
 */
#include "console.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utmpx.h>


#define RESCAN_SECS 10.
#define QUIET_MS    1000
/* A file made or read while the machine boots was not touched by anybody. */
#define BOOT_SECS 60
#define INPUT_DIR "/dev/input"

struct input {
	struct list in_console;
	struct console *c;
	ev_io io;
	char path[64];
};

static uint64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void touch(struct console *c, const char *device)
{
	uint64_t now = clock_ms(CLOCK_MONOTONIC);
	bool first = !c->touched || now - c->last_ms >= QUIET_MS;

	c->touched = true;
	c->last_ms = now;
	if (first)
		c->on_touch(c->arg, device);
}

/* ---- inotify ---- */

static void look_again(struct console *c);

static void on_events(struct ev_loop *loop, ev_io *w, int revents)
{
	struct console *c = w->data;
	char mem[4096]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	bool seen = false, again = false;
	ssize_t n;

	(void)loop;
	(void)revents;
	while ((n = read(c->fd, mem, sizeof(mem))) > 0) {
		for (char *p = mem; p < mem + n;) {
			const struct inotify_event *e = (const void *)p;

			p += sizeof(*e) + e->len;
			/* A lost event may have been one of the owner's. */
			if (e->mask & IN_Q_OVERFLOW)
				seen = true;
			else if (e->wd == c->utmp || (e->mask & IN_IGNORED))
				again = true;
			else
				seen = true;
		}
	}
	if (seen)
		touch(c, "console");
	if (again)
		look_again(c);
}

/* It was last used then, if that was after the boot. */
static void used_at(struct console *c, time_t when)
{
	uint64_t up = clock_ms(CLOCK_BOOTTIME), now = clock_ms(CLOCK_MONOTONIC);
	uint64_t wall = clock_ms(CLOCK_REALTIME), then = (uint64_t)when * 1000;
	uint64_t ago = wall > then ? wall - then : 0;

	if (ago + BOOT_SECS * 1000 > up || ago > now)
		return;
	if (!c->touched || now - ago > c->last_ms)
		c->last_ms = now - ago;
	c->touched = true;
}

static bool watch(struct console *c, const char *path, bool first)
{
	struct stat st;
	uint32_t mask = IN_ACCESS;

	if (stat(path, &st))
		return false;
	if (!S_ISCHR(st.st_mode))
		mask |= IN_MODIFY | IN_ATTRIB;
	else if (first)
		used_at(c, st.st_atime);
	return inotify_add_watch(c->fd, path, mask) >= 0;
}

/* ---- keyboards and pointers ---- */

static void input_free(struct input *i)
{
	ev_io_stop(i->c->loop, &i->io);
	close(i->io.fd);
	list_del(&i->in_console);
	free(i);
}

static void on_input(struct ev_loop *loop, ev_io *w, int revents)
{
	struct input *i = w->data;
	struct console *c = i->c;
	char mem[4096];
	ssize_t n;

	(void)loop;
	(void)revents;
	n = read(w->fd, mem, sizeof(mem));
	if (n > 0) {
		touch(c, i->path);
		while (read(w->fd, mem, sizeof(mem)) > 0)
			;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		input_free(i); /* unplugged */
	}
}

static void input_open(struct console *c, const char *path)
{
	struct input *i;
	int fd;

	list_each (o, &c->inputs, struct input, in_console) {
		if (!strcmp(o->path, path))
			return;
	}
	i = calloc(1, sizeof(*i));
	fd = i ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	if (fd < 0 || strlen(path) >= sizeof(i->path)) {
		if (fd >= 0)
			close(fd);
		free(i);
		return;
	}
	i->c = c;
	strcpy(i->path, path);
	ev_io_init(&i->io, on_input, fd, EV_READ);
	i->io.data = i;
	ev_io_start(c->loop, &i->io);
	list_add_tail(&c->inputs, &i->in_console);
}

/* ---- finding them ---- */

static void one(struct console *c, const char *path, bool first)
{
	if (!strncmp(path, INPUT_DIR "/", sizeof(INPUT_DIR)))
		input_open(c, path);
	else
		(void)watch(c, path, first);
}

static void configured(struct console *c, bool first)
{
	char names[sizeof(c->names)], *rest = names, *name;

	strcpy(names, c->names);
	while ((name = strsep(&rest, ","))) {
		while (*name == ' ')
			name++;
		if (*name)
			one(c, name, first);
	}
}

/* Every entry of dir that begins so and goes on with a digit. */
static void family(struct console *c, const char *dir, const char *prefix,
		   bool first)
{
	size_t n = strlen(prefix);
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((e = readdir(d))) {
		if (strncmp(e->d_name, prefix, n) != 0 || e->d_name[n] < '0' ||
		    e->d_name[n] > '9')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		one(c, path, first);
	}
	closedir(d);
}

/* Terminals of those who did not come from another host: a display, or nothing,
 * stands where the host's name would. */
static void logins(struct console *c, bool first)
{
	const struct utmpx *u;
	char path[64];

	setutxent();
	while ((u = getutxent())) {
		if (u->ut_type != USER_PROCESS ||
		    strncmp(u->ut_line, "pts/", 4) != 0 ||
		    (u->ut_host[0] && u->ut_host[0] != ':'))
			continue;
		snprintf(path, sizeof(path), "/dev/%.*s", (int)sizeof(u->ut_line),
			 u->ut_line);
		(void)watch(c, path, first);
	}
	endutxent();
	c->utmp = inotify_add_watch(c->fd, "/var/run/utmp", IN_MODIFY);
}

static void find(struct console *c, bool first)
{
	if (c->names[0]) {
		configured(c, first);
		return;
	}
	family(c, "/dev", "tty", first);
	one(c, "/dev/console", first);
	family(c, INPUT_DIR, "event", first);
	logins(c, first);
}

static void look_again(struct console *c)
{
	find(c, false);
}

static void on_rescan(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	look_again(w->data);
}

/* ---- beginning and end ---- */

int console_open(struct console *c, struct ev_loop *loop, const char *names,
		 void (*on_touch)(void *arg, const char *device), void *arg)
{
	*c = (struct console){ .loop = loop, .utmp = -1, .on_touch = on_touch,
			       .arg = arg };
	if (strlen(names) >= sizeof(c->names))
		return -ENAMETOOLONG;
	strcpy(c->names, names);
	list_init(&c->inputs);
	c->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (c->fd < 0) {
		c->loop = NULL;
		return -errno;
	}
	ev_io_init(&c->events, on_events, c->fd, EV_READ);
	c->events.data = c;
	ev_io_start(loop, &c->events);
	ev_timer_init(&c->rescan, on_rescan, RESCAN_SECS, RESCAN_SECS);
	c->rescan.data = c;
	ev_timer_start(loop, &c->rescan);
	find(c, true);
	return 0;
}

void console_close(struct console *c)
{
	if (!c->loop)
		return;
	list_each_safe (i, &c->inputs, struct input, in_console)
		input_free(i);
	ev_timer_stop(c->loop, &c->rescan);
	ev_io_stop(c->loop, &c->events);
	close(c->fd);
	c->loop = NULL;
}

uint64_t console_idle_secs(const struct console *c)
{
	if (!c->touched)
		return clock_ms(CLOCK_BOOTTIME) / 1000;
	return (clock_ms(CLOCK_MONOTONIC) - c->last_ms) / 1000;
}
