#ifndef ENGINE_REPORT_H
#define ENGINE_REPORT_H
/* report.h -- adding reasons to a report, inside the engine. */
#include <errno.h>

#include "engine.h"

/* Note a reason (rep may be NULL) and return -EOPNOTSUPP. */
int refuse(struct eng_report *rep, enum eng_reason why, pid_t pid,
	   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
