/*
 * make_show.c -- what the user sees of `sprite make`: a live line while it
 * runs, sentences when something happens, a report at the end.
 *
 * make and its recipes write to the terminal whenever they like.  So the live
 * line has a row to itself: the last one, which is taken out of the scrolling
 * region for as long as the build runs.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "make.h"

#define ROWS_MIN 5u

static bool terminal_size(struct show *s)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || w.ws_row < ROWS_MIN ||
	    w.ws_col < 20)
		return false;
	s->rows = w.ws_row;
	s->cols = w.ws_col;
	return true;
}

static void put(const char *s, size_t n)
{
	(void)!write(STDERR_FILENO, s, n);
}

/* Scroll in all rows but the last, the cursor staying where it is. */
static void take_row(const struct show *s)
{
	char b[64];
	int n = snprintf(b, sizeof(b), "\n\0337\033[1;%ur\0338\033[1A",
			 s->rows - 1);

	put(b, (size_t)n);
}

static void give_row(const struct show *s)
{
	char b[64];
	int n = snprintf(b, sizeof(b), "\0337\033[%u;1H\033[K\033[r\0338",
			 s->rows);

	put(b, (size_t)n);
}

void show_begin(struct make *m)
{
	const char *term = getenv("TERM");

	m->show.live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") &&
		       terminal_size(&m->show);
	if (m->show.live)
		take_row(&m->show);
}

void show_end(struct make *m)
{
	if (m->show.live)
		give_row(&m->show);
	m->show.live = false;
}

static size_t add(char *b, size_t cap, size_t n, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static size_t add(char *b, size_t cap, size_t n, const char *fmt, ...)
{
	va_list ap;
	int k;

	va_start(ap, fmt);
	k = vsnprintf(b + n, cap - n, fmt, ap);
	va_end(ap);
	return k < 0 ? n : (size_t)k >= cap - n ? cap - 1 : n + (size_t)k;
}

static unsigned done(const struct make *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->sched.nhosts; i++)
		n += m->sched.host[i].jobs;
	return n;
}

void show_update(struct make *m)
{
	char text[512], row[640];
	uint64_t now = make_now_ms();
	size_t n = 0;
	int k;

	if (!m->show.live)
		return;
	if (m->show.resized) {
		m->show.resized = false;
		if (!terminal_size(&m->show))
			return;
		take_row(&m->show);
		*m->show.last = '\0';
	}
	n = add(text, sizeof(text), n, "sprite make: %u done, %u running, %u "
		"waiting, %u hosts", done(m), m->sched.running,
		m->sched.waiting, sched_hosts(&m->sched));
	list_each(j, &m->jobs, struct job, all) {
		if (j->state == JOB_RUNS)
			n = add(text, sizeof(text), n, " | %s %s %llu s",
				m->sched.host[j->s.host].name, j->label,
				(unsigned long long)((now - j->begun_ms) / 1000));
	}
	if (!strcmp(text, m->show.last))
		return;
	memcpy(m->show.last, text, sizeof(text));
	k = snprintf(row, sizeof(row), "\0337\033[%u;1H\033[K%.*s\0338",
		     m->show.rows, (int)m->show.cols - 1, text);
	put(row, (size_t)k);
}

void show_say(struct make *m, const char *fmt, ...)
{
	char text[PATH_MAX + 256];
	size_t n = add(text, sizeof(text) - 1, 0, "sprite make: ");
	va_list ap;
	int k;

	(void)m;
	va_start(ap, fmt);
	k = vsnprintf(text + n, sizeof(text) - 1 - n, fmt, ap);
	va_end(ap);
	n = k < 0 ? n : (size_t)k >= sizeof(text) - 1 - n ? sizeof(text) - 2
							  : n + (size_t)k;
	text[n++] = '\n';
	put(text, n);
}

void show_report(const struct make *m)
{
	double secs = (double)(make_now_ms() - m->begun_ms) / 1000;
	uint64_t busy = 0;
	unsigned hosts = 0;

	fprintf(stderr, "%-12s %6s %6s %9s %6s\n", "host", "slots", "jobs",
		"busy s", "lost");
	for (unsigned i = 0; i < m->sched.nhosts; i++) {
		const struct sched_host *h = &m->sched.host[i];

		busy += h->busy_ms;
		hosts += h->jobs > 0;
		fprintf(stderr, "%-12s %6u %6u %9.1f %6u%s\n", h->name, h->slots,
			h->jobs, (double)h->busy_ms / 1000, h->lost,
			h->gone ? "  (gone)" : "");
	}
	fprintf(stderr, "%u jobs on %u hosts in %.1f s, %.1f hosts' slots busy "
		"on average\n", done(m), hosts, secs,
		secs > 0 ? (double)busy / 1000 / secs : 0);
	if (m->reruns)
		fprintf(stderr, "%u recipes ran again at home, because their "
			"host was lost\n", m->reruns);
	if (m->tokens_lost)
		fprintf(stderr, "%u job tokens were lost with a make that was "
			"killed, and replaced\n", m->tokens_lost);
	if (m->trouble)
		fprintf(stderr, "no hosts: %s\n", m->trouble);
}
