/*
 * pdev_server.c -- serves a pseudo-device as the tests want it.
 *
 *   pdev_server NAME MODE
 *
 * MODE  echo   what is written can be read, once; reading waits for it.
 *              ioctl ADD adds two numbers; WHO tells who opened; LATER is
 *              answered when something is written to any stream.
 *       hang   answers the open, then stops turning its loop.
 *       hold   takes reads and never answers them.
 *
 * Prints "serving PID" when the name is its own; "open", "close", "cancel" as they
 * come.  Ends with 0 on SIGTERM, 3 if the name is taken, 1 otherwise.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sprite/pdev.h>

#include "pdev_test.h"

struct stream {
	char data[4096];
	size_t len;
	struct sprite_pdev_request *later;
};

static struct sprite_pdev *dev;
static const char *mode;

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

static int on_open(void *arg, struct sprite_pdev_stream *s,
		   struct sprite_pdev_request *q)
{
	struct stream *st = calloc(1, sizeof(*st));

	(void)arg;
	(void)q;
	if (!st)
		return -ENOMEM;
	sprite_pdev_stream_set_data(s, st);
	say("open");
	return 0;
}

static ssize_t on_read(void *arg, struct sprite_pdev_stream *s,
		       struct sprite_pdev_request *q, void *buf, size_t size)
{
	struct stream *st = sprite_pdev_stream_data(s);
	size_t n = st->len < size ? st->len : size;

	(void)arg;
	(void)q;
	if (strcmp(mode, "hang") == 0) {
		say("hanging");
		for (;;)
			pause();
	}
	if (strcmp(mode, "hold") == 0) {
		say("holding");
		return SPRITE_PDEV_LATER;
	}
	if (!n)
		return -EAGAIN;
	memcpy(buf, st->data, n);
	memmove(st->data, st->data + n, st->len - n);
	st->len -= n;
	return (ssize_t)n;
}

static ssize_t on_write(void *arg, struct sprite_pdev_stream *s,
			struct sprite_pdev_request *q, const void *data,
			size_t size)
{
	struct stream *st = sprite_pdev_stream_data(s);
	struct sprite_pdev_stream *i = NULL;
	size_t n = sizeof(st->data) - st->len;

	(void)arg;
	(void)q;
	if (!n)
		return -EAGAIN;
	if (n > size)
		n = size;
	memcpy(st->data + st->len, data, n);
	st->len += n;
	while ((i = sprite_pdev_stream_next(dev, i))) {
		struct stream *o = sprite_pdev_stream_data(i);

		if (o && o->later) {
			struct sprite_pdev_request *l = o->later;

			o->later = NULL;
			sprite_pdev_answer(l, 11, NULL, 0);
		}
	}
	return (ssize_t)n;
}

static int on_ioctl(void *arg, struct sprite_pdev_stream *s,
		    struct sprite_pdev_request *q, unsigned int cmd,
		    const void *in, size_t in_size, void *out, size_t out_size)
{
	const struct sprite_pdev_client *c = sprite_pdev_stream_client(s);
	struct stream *st = sprite_pdev_stream_data(s);
	struct pdev_test_add add;
	struct pdev_test_who who;

	(void)arg;
	switch (cmd) {
	case PDEV_TEST_ADD:
		memcpy(&add, in, in_size);
		add.sum = add.a + add.b;
		memcpy(out, &add, out_size);
		return 0;
	case PDEV_TEST_SET:
		memcpy(&add, in, in_size);
		return add.a == 5 && add.b == 6 ? 1 : -EINVAL;
	case PDEV_TEST_WHO:
		memset(&who, 0, sizeof(who));
		snprintf(who.host, sizeof(who.host), "%s", c->host_name);
		who.pid = c->pid;
		who.uid = c->uid;
		memcpy(out, &who, out_size);
		return 0;
	case PDEV_TEST_NUMBER:
		return (int)sprite_pdev_ioctl_arg(q) + 1;
	case PDEV_TEST_LATER:
		if (st->later)
			return -EBUSY;
		st->later = q;
		return SPRITE_PDEV_LATER;
	default:
		return -ENOTTY;
	}
}

static unsigned on_poll(void *arg, struct sprite_pdev_stream *s)
{
	struct stream *st = sprite_pdev_stream_data(s);

	(void)arg;
	return (st && st->len ? SPRITE_PDEV_IN : 0) |
	       (!st || st->len < sizeof(st->data) ? SPRITE_PDEV_OUT : 0);
}

static void on_close(void *arg, struct sprite_pdev_stream *s)
{
	(void)arg;
	free(sprite_pdev_stream_data(s));
	say("close");
}

static void on_cancel(void *arg, struct sprite_pdev_stream *s,
		      struct sprite_pdev_request *q)
{
	struct stream *st = sprite_pdev_stream_data(s);

	(void)arg;
	if (st && st->later == q)
		st->later = NULL;
	say("cancel");
}

static void on_term(int sig)
{
	(void)sig;
	sprite_pdev_stop(dev);
}

int main(int argc, char **argv)
{
	static const struct sprite_pdev_ops ops = { .open = on_open,
						    .read = on_read,
						    .write = on_write,
						    .ioctl = on_ioctl,
						    .poll = on_poll,
						    .close = on_close,
						    .cancel = on_cancel };
	char why[256] = "";
	struct sprite_pdev_options o = { .mode = 0666,
					 .timeout_ms = 2000,
					 .err = why,
					 .err_size = sizeof(why) };
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: pdev_server NAME echo|hang|hold\n");
		return 2;
	}
	mode = argv[2];
	r = sprite_pdev_serve(argv[1], &ops, &o, NULL, &dev);
	if (r) {
		fprintf(stderr, "pdev_server: %s: %s\n", argv[1], why);
		return r == -EBUSY ? 3 : 1;
	}
	signal(SIGTERM, on_term);
	printf("serving %d\n", (int)getpid());
	fflush(stdout);
	r = sprite_pdev_run(dev);
	sprite_pdev_close(dev);
	if (r)
		fprintf(stderr, "pdev_server: %s\n", strerror(-r));
	return r ? 1 : 0;
}
