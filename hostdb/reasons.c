/* reasons.c -- see reasons.h. */
#include "reasons.h"

#include <stdio.h>

/* "40 s", "12 min", "3 h 5 min", "2 days 4 h". */
static const char *span(uint64_t secs, char *buf, size_t cap)
{
	unsigned long long s = secs;

	if (s < 120)
		snprintf(buf, cap, "%llu s", s);
	else if (s < 7200)
		snprintf(buf, cap, "%llu min", s / 60);
	else if (s < 172800)
		snprintf(buf, cap, "%llu h %llu min", s / 3600, s / 60 % 60);
	else
		snprintf(buf, cap, "%llu days %llu h", s / 86400, s / 3600 % 24);
	return buf;
}

static int busy(const struct host_line *l, uint32_t need, struct buf *out)
{
	const struct host_report *r = l->report;
	char t[48];

	switch (r->why) {
	case WHY_INPUT:
		return buf_addf(out, "%s is in use: its console was touched %s ago; "
				"it takes guests after %u s without that\n", l->name,
				span(l->idle_secs, t, sizeof(t)), need);
	case WHY_LOAD:
		return buf_addf(out, "%s is busy: its load averages are %u.%02u, "
				"%u.%02u, %u.%02u\n", l->name,
				r->load_centi[0] / 100, r->load_centi[0] % 100,
				r->load_centi[1] / 100, r->load_centi[1] % 100,
				r->load_centi[2] / 100, r->load_centi[2] % 100);
	case WHY_STARTING:
		return buf_addf(out, "%s has just started, its load was not sampled "
				"yet\n", l->name);
	default:
		return buf_addf(out, "%s takes no guests at the moment\n", l->name);
	}
}

static int open_now(const struct reasons *w, struct buf *out)
{
	const struct host_line *l = w->line;
	char t[48];

	if (l->id == w->asker)
		return buf_addf(out, "%s is this host itself: what runs here needs "
				"no grant\n", l->name);
	if (!l->same_version)
		return buf_addf(out, "%s and this host cannot exchange processes: "
				"their migration versions differ (other kernel, "
				"processor or release of Sprite)\n", l->name);
	if (!l->available)
		return buf_addf(out, "%s is lent: all of its %u slots are taken\n",
				l->name, l->report->slots);
	if (l->lent)
		return buf_addf(out, "%s can be had: %u of its %u slots are lent\n",
				l->name, l->lent, l->report->slots);
	return buf_addf(out, "%s can be had: it has been idle for %s\n", l->name,
			span(l->idle_secs, t, sizeof(t)));
}

int reasons_now(const struct reasons *w, struct buf *out)
{
	const struct host_line *l = w->line;
	char t[48];

	switch (l->state) {
	case HOST_DOWN:
		if (!l->up_secs)
			return buf_addf(out, "%s is down: it was not heard of since "
					"the host database started\n", l->name);
		return buf_addf(out, "%s is down: it was not heard of for %s\n",
				l->name, span(l->up_secs, t, sizeof(t)));
	case HOST_REFUSES:
		return buf_addf(out, "%s refuses guests: its owner set "
				"import_policy so in its host.conf\n", l->name);
	case HOST_ACTIVE:
		return busy(l, w->idle_secs, out);
	default:
		return open_now(w, out);
	}
}

static const char *const whys[WHYS] = {
	[WHY_NONE] = "for no recorded reason",
	[WHY_INPUT] = "because its console was used",
	[WHY_LOAD] = "because its load was too high",
	[WHY_POLICY] = "because its owner wants no guests",
	[WHY_RECLAIMED] = "for a client that had fewer",
	[WHY_DOWN] = "because it was not heard of any more",
	[WHY_REBOOTED] = "because it was started anew",
	[WHY_STARTING] = "because it had just started",
};

static const char *why_text(uint8_t why)
{
	return whys[why < WHYS ? why : WHY_NONE];
}

int reasons_past(const struct reasons *w, const struct past *p, uint64_t ago_ms,
		 struct buf *out)
{
	const char *home = p->home ? w->name_of(w->arg, p->home) : "";
	char ago[48], held[48];

	span(ago_ms / 1000, ago, sizeof(ago));
	span(p->held_ms / 1000, held, sizeof(held));
	switch (p->kind) {
	case PAST_GRANTED:
		return buf_addf(out, "%s ago: lent to %s of user %u on %s\n", ago,
				p->name, p->uid, home);
	case PAST_RETURNED:
		return buf_addf(out, "%s ago: given back by %s of user %u on %s "
				"after %s\n", ago, p->name, p->uid, home, held);
	case PAST_LOST:
		return buf_addf(out, "%s ago: taken back from %s of user %u on %s "
				"after %s, %s\n", ago, p->name, p->uid, home, held,
				why_text(p->why));
	case PAST_UP:
		return buf_addf(out, "%s ago: came up\n", ago);
	case PAST_DOWN:
		return buf_addf(out, "%s ago: went down\n", ago);
	case PAST_ALLOWS:
		return buf_addf(out, "%s ago: began to take guests\n", ago);
	case PAST_BARS:
		return buf_addf(out, "%s ago: took no more guests, %s\n", ago,
				why_text(p->why));
	}
	return 0;
}
