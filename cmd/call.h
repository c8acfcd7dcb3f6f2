#ifndef CMD_CALL_H
#define CMD_CALL_H
/*
 * call.h -- one question to a daemon of this host, with the errors said.
 */
#include "client.h"

/* Long enough for a daemon that has to ask another host first. */
#define CALL_MS 20000

/* "named", "fsd", "migd", "hostdb".  An exit code; reports. */
int call_open(const char *daemon, struct client **ret);
/*
 * Call and wait for an answer of code want (0: only the status matters).
 * An exit code; reports, beginning with what.  On 0 release *ret with
 * client_reply_free.
 */
int call_ask(struct client *c, const char *what, const struct rpc_out *o,
	     unsigned timeout_ms, uint16_t want, struct client_reply *ret);
/* Both, and close again. */
int call_once(const char *daemon, const char *what, const struct rpc_out *o,
	      uint16_t want, struct client_reply *ret);
/* An answer that does not decode: the daemon is of another version. */
int call_garbled(const char *daemon);

#endif
