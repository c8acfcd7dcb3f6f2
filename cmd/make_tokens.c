/* make_tokens.c -- see make_tokens.h. */
#include "make_tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOST_AFTER_MS 4000u

int tokens_open(struct tokens *t)
{
	int fds[2];
	char path[64];

	memset(t, 0, sizeof(*t));
	t->r = t->w = t->own = -1;
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	t->r = fds[0];
	t->w = fds[1];
	/* An open of its own has flags of its own: make must block or not as
	   it likes. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->r);
	t->own = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (t->own < 0) {
		int r = -errno;

		tokens_close(t);
		return r;
	}
	return 0;
}

void tokens_close(struct tokens *t)
{
	if (t->r >= 0)
		close(t->r);
	if (t->w >= 0)
		close(t->w);
	if (t->own >= 0)
		close(t->own);
	t->r = t->w = t->own = -1;
}

static void put(struct tokens *t, unsigned n)
{
	while (n--) {
		if (write(t->w, "+", 1) != 1)
			return;
		t->issued++;
	}
}

void tokens_want(struct tokens *t, unsigned n)
{
	t->wanted = n;
	if (t->issued < n)
		put(t, n - t->issued);
	tokens_settle(t);
}

void tokens_settle(struct tokens *t)
{
	char byte;

	while (t->issued > t->wanted && read(t->own, &byte, 1) == 1)
		t->issued--;
}

unsigned tokens_check(struct tokens *t, unsigned alive, uint64_t now_ms)
{
	int inside = 0;
	unsigned held, missing, back = 0;

	if (ioctl(t->own, FIONREAD, &inside))
		return 0;
	held = (unsigned)inside + alive;
	missing = t->issued > held ? t->issued - held : 0;
	if (missing == 0 || t->missing == 0) {
		t->missing = missing;
		t->since_ms = now_ms;
		return 0;
	}
	if (missing < t->missing)
		t->missing = missing;
	if (now_ms - t->since_ms < LOST_AFTER_MS)
		return 0;
	back = t->missing;
	t->issued -= back;
	t->missing = 0;
	if (t->issued < t->wanted)
		put(t, t->wanted - t->issued);
	return back;
}
