/* reasons.c -- the table of reasons.def as text. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	enum eng_reason id;
	const char *name, *sentence, *next;
} table[] = {
#define REASON(num, name, sentence, next) { ENG_##name, #name, sentence, next },
#include "reasons.def"
};

#define NREASONS (sizeof(table) / sizeof(*table))

const char *eng_reason_name(enum eng_reason r)
{
	for (size_t i = 0; i < NREASONS; i++)
		if (table[i].id == r)
			return table[i].name;
	return "UNKNOWN";
}

void eng_reason_text(const struct eng_report *rep, unsigned i, char *buf,
		     size_t cap)
{
	const char *sentence = "unknown reason %s", *next = "";
	const char *detail, *at;

	if (!cap)
		return;
	buf[0] = 0;
	if (i >= rep->n || i >= ENG_REASONS_MAX)
		return;
	for (size_t k = 0; k < NREASONS; k++)
		if (table[k].id == rep->item[i].reason) {
			sentence = table[k].sentence;
			next = table[k].next;
		}
	detail = rep->item[i].detail;
	at = strstr(sentence, "%s");
	if (at)
		snprintf(buf, cap, "process %d: %.*s%s%s; %s",
			 rep->item[i].pid, (int)(at - sentence), sentence,
			 detail, at + 2, next);
	else
		snprintf(buf, cap, "process %d: %s; %s", rep->item[i].pid,
			 sentence, next);
}

int refuse(struct eng_report *rep, enum eng_reason why, pid_t pid,
	   const char *fmt, ...)
{
	char detail[sizeof(rep->item[0].detail)];
	va_list ap;

	if (!rep)
		return -EOPNOTSUPP;
	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	for (unsigned i = 0; i < rep->n && i < ENG_REASONS_MAX; i++)
		if (rep->item[i].reason == why && rep->item[i].pid == pid &&
		    !strcmp(rep->item[i].detail, detail))
			return -EOPNOTSUPP;
	if (rep->n < ENG_REASONS_MAX) {
		rep->item[rep->n].reason = why;
		rep->item[rep->n].pid = pid;
		memcpy(rep->item[rep->n].detail, detail, sizeof(detail));
	}
	rep->n++;
	return -EOPNOTSUPP;
}
