#ifndef MIGD_CONSOLE_H
#define MIGD_CONSOLE_H
/*
 * console.h -- is the owner here?  Tells of the first touch of the console as
 * it happens, and how long ago the last one was.
 *
 * Watched are the devices named in host.conf, or, if none are, what a console
 * is made of: virtual terminals, keyboards and pointers, and the terminals of
 * those who are logged in at this machine.  Remote logins are not the owner.
 */
#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#include "list.h"

struct console {
	struct ev_loop *loop;
	char names[1024];   /* configured, comma-separated; "": find them */
	int fd;		    /* inotify */
	ev_io events;
	ev_timer rescan;
	struct list inputs; /* open /dev/input/event* */
	int utmp;	    /* watch descriptor, -1 */
	bool touched;	    /* since boot, as far as can be told */
	uint64_t last_ms;   /* monotonic */
	/* At the first touch after a second without, on the loop. */
	void (*on_touch)(void *arg, const char *device);
	void *arg;
};

/* names as in host.conf.  0 or -errno; c stays in place until console_close. */
int console_open(struct console *c, struct ev_loop *loop, const char *names,
		 void (*on_touch)(void *arg, const char *device), void *arg);
/* An all-zero console was never opened, and is fine. */
void console_close(struct console *c);
/* Since the last touch; since the machine's boot if it was never touched. */
uint64_t console_idle_secs(const struct console *c);

#endif
