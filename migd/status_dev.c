/*
 * status_dev.c -- see status_dev.h.
 *
 * A stream reads the text as it was when its first byte was read; the end of
 * it is the end of the file.  Who goes on to poll is told when the figures are
 * others, and reads the new text from its beginning.
 */
#include "status_dev.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "list.h"
#include "log.h"
#include "report.h"
#include "sprite/host.h"
#include "sprite/pdev.h"

#define AGAIN_MS 1000u /* without fsd */
#define LOOK_MS	 1000u /* at the figures, while anybody has it open */

struct status_dev {
	struct migd *m;
	struct sprite_pdev *pdev;
	ev_io io;
	struct timer again, look;
	unsigned nstreams;
	int trouble; /* the last one that was logged */
};

/* One who has it open. */
struct reader {
	struct buf text; /* not read yet */
	bool reading;	 /* the text was taken, its end not read */
	struct sprite_host_load seen;
	bool changed;
};

/* What counts as a change: not the clocks. */
static void figures(struct status_dev *d, struct sprite_host_load *ret)
{
	report_load(d->m, ret);
	ret->idle_secs = ret->up_secs = 0;
}

static int take_text(struct status_dev *d, struct reader *r)
{
	buf_free(&r->text);
	migd_status_text(d->m, &r->text);
	figures(d, &r->seen);
	r->changed = false;
	r->reading = true;
	return buf_len(&r->text) ? 0 : -ENOMEM;
}

/* ---- the callbacks ---- */

static int on_open(void *arg, struct sprite_pdev_stream *s,
		   struct sprite_pdev_request *q)
{
	struct status_dev *d = arg;
	struct reader *r = calloc(1, sizeof(*r));

	(void)q;
	if (!r || take_text(d, r)) {
		free(r);
		return -ENOMEM;
	}
	sprite_pdev_stream_set_data(s, r);
	if (d->nstreams++ == 0)
		env_after(d->m->env, &d->look, LOOK_MS);
	return 0;
}

static ssize_t on_read(void *arg, struct sprite_pdev_stream *s,
		       struct sprite_pdev_request *q, void *buf, size_t size)
{
	struct reader *r = sprite_pdev_stream_data(s);
	size_t n;

	(void)q;
	if (!r->reading && r->changed && take_text(arg, r))
		return -ENOMEM;
	n = buf_len(&r->text) < size ? buf_len(&r->text) : size;
	if (n == 0) {
		r->reading = false;
		return 0;
	}
	memcpy(buf, buf_data(&r->text), n);
	buf_consume(&r->text, n);
	return (ssize_t)n;
}

static int on_ioctl(void *arg, struct sprite_pdev_stream *s,
		    struct sprite_pdev_request *q, unsigned int cmd,
		    const void *in, size_t in_size, void *out, size_t out_size)
{
	struct status_dev *d = arg;
	struct sprite_host_load load;

	(void)s;
	(void)q;
	(void)in;
	if (cmd != SPRITE_HOST_LOAD || in_size || out_size != sizeof(load))
		return -ENOTTY;
	report_load(d->m, &load);
	memcpy(out, &load, sizeof(load));
	return 0;
}

static unsigned on_poll(void *arg, struct sprite_pdev_stream *s)
{
	const struct reader *r = sprite_pdev_stream_data(s);

	(void)arg;
	return r && (r->reading || r->changed) ? SPRITE_PDEV_IN : 0;
}

static void on_close(void *arg, struct sprite_pdev_stream *s)
{
	struct status_dev *d = arg;
	struct reader *r = sprite_pdev_stream_data(s);

	if (!r)
		return;
	buf_free(&r->text);
	free(r);
	if (--d->nstreams == 0)
		env_cancel(d->m->env, &d->look);
}

/* Are the figures still those that were read? */
static void on_look(struct timer *t)
{
	struct status_dev *d = t->data;
	struct sprite_pdev_stream *s = NULL;
	struct sprite_host_load now;

	env_after(d->m->env, t, LOOK_MS);
	figures(d, &now);
	while ((s = sprite_pdev_stream_next(d->pdev, s))) {
		struct reader *r = sprite_pdev_stream_data(s);

		if (!r || r->changed || !memcmp(&now, &r->seen, sizeof(now)))
			continue;
		r->changed = true;
		(void)sprite_pdev_ready(s, SPRITE_PDEV_IN);
	}
}

/* ---- the service ---- */

/* Say each kind of trouble once. */
static void trouble(struct status_dev *d, int status, const char *sentence)
{
	if (status != d->trouble && status)
		log_warn("hosts/%s/status is not served now: %s",
			 d->m->conf.name, sentence);
	else if (!status && d->trouble)
		log_info("hosts/%s/status is served", d->m->conf.name);
	d->trouble = status;
}

static void leave(struct status_dev *d)
{
	ev_io_stop(d->m->loop, &d->io);
	sprite_pdev_close(d->pdev);
	d->pdev = NULL;
	env_after(d->m->env, &d->again, AGAIN_MS);
}

static void on_served(void *arg, int status, const char *sentence)
{
	trouble(arg, status, sentence);
}

static void watch(struct status_dev *d)
{
	int events = sprite_pdev_events(d->pdev) & POLLOUT ? EV_READ | EV_WRITE :
							     EV_READ;

	ev_io_stop(d->m->loop, &d->io);
	ev_io_set(&d->io, sprite_pdev_fd(d->pdev), events);
	ev_io_start(d->m->loop, &d->io);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
	struct status_dev *d = w->data;

	(void)loop;
	(void)revents;
	if (sprite_pdev_dispatch(d->pdev))
		leave(d);
	else
		watch(d);
}

static void begin(struct status_dev *d)
{
	static const struct sprite_pdev_ops ops = { .open = on_open,
						    .read = on_read,
						    .ioctl = on_ioctl,
						    .poll = on_poll,
						    .close = on_close,
						    .served = on_served };
	char name[HOST_NAME_MAX_LEN + 32], why[256] = "";
	struct sprite_pdev_options o = { .mode = 0444,
					 .err = why,
					 .err_size = sizeof(why) };
	int r;

	snprintf(name, sizeof(name), "hosts/%s/status", d->m->conf.name);
	r = sprite_pdev_serve(name, &ops, &o, d, &d->pdev);
	if (r) {
		trouble(d, r, why);
		env_after(d->m->env, &d->again, AGAIN_MS);
		return;
	}
	watch(d);
}

static void on_again(struct timer *t)
{
	begin(t->data);
}

int status_dev_open(struct migd *m, struct status_dev **ret)
{
	struct status_dev *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->m = m;
	d->again = (struct timer){ .fire = on_again, .data = d };
	d->look = (struct timer){ .fire = on_look, .data = d };
	ev_io_init(&d->io, on_io, -1, 0);
	d->io.data = d;
	/* fsd may be about to start: its absence is worth a line later. */
	d->trouble = -ENOENT;
	begin(d);
	*ret = d;
	return 0;
}

void status_dev_close(struct status_dev *d)
{
	if (!d)
		return;
	ev_io_stop(d->m->loop, &d->io);
	sprite_pdev_close(d->pdev);
	env_cancel(d->m->env, &d->again);
	env_cancel(d->m->env, &d->look);
	free(d);
}
