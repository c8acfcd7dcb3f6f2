#ifndef LIB_LOG_H
#define LIB_LOG_H
/*
 * log.h -- one line an event on standard error: time, level, program, text.
 * The level is the only writable global of the project outside main files.
 */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_level; /* LOG_INFO at start */

/* name is borrowed for good: a literal. */
void log_open(const char *name);
void log_line(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                               \
	do {                                         \
		if (log_level >= LOG_DEBUG)          \
			log_line(LOG_DEBUG, __VA_ARGS__); \
	} while (0)

#endif
