/* call.c -- see call.h. */
#include "call.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "prog.h"

int call_open(const char *daemon, struct client **ret)
{
	char path[PATH_MAX], name[32], conf[PATH_MAX];
	int r;

	snprintf(name, sizeof(name), "%s.sock", daemon);
	r = run_path(name, path, sizeof(path));
	if (!r)
		r = state_path("host.conf", conf, sizeof(conf));
	if (r)
		return fail(X_FAILED, "the run folder's name is too long");
	r = client_open(path, CALL_MS, ret);
	if (!r)
		return X_OK_DONE;
	if (access(conf, F_OK))
		return fail(X_NOT_FOUND, "this host is in no cell; `sprite init` "
			    "founds one, `sprite join TOKEN` enters one");
	if (r == -ENOENT || r == -ECONNREFUSED)
		return fail(X_UNREACHABLE, "sprite-%s does not run on this host; "
			    "`sprite up` starts it, `sprite status` shows what "
			    "runs", daemon);
	return fail(code_of(r), "cannot reach sprite-%s: %s", daemon,
		    strerror(-r));
}

int call_ask(struct client *c, const char *what, const struct rpc_out *o,
	     unsigned timeout_ms, uint16_t want, struct client_reply *ret)
{
	int r = client_call(c, o, timeout_ms, ret);
	int code;

	if (r == -ETIMEDOUT)
		return fail(X_UNREACHABLE, "%s: no answer; the daemon or a host "
			    "it needs is down, `sprite hosts` shows which", what);
	if (r == -EPIPE || r == -ECONNRESET)
		return fail(X_UNREACHABLE, "%s: the daemon ended meanwhile; "
			    "`sprite up` starts it again", what);
	if (r)
		return fail(code_of(r), "%s: %s", what, strerror(-r));
	if (ret->status == 0 && (!want || ret->code == want))
		return X_OK_DONE;
	if (ret->status == 0)
		code = fail(X_FAILED, "%s: the daemon gave an answer of another "
			    "kind; is it of another version?", what);
	else
		code = fail(code_of(ret->status), "%s: %s", what,
			    client_sentence(ret));
	client_reply_free(ret);
	return code;
}

int call_once(const char *daemon, const char *what, const struct rpc_out *o,
	      uint16_t want, struct client_reply *ret)
{
	struct client *c;
	int code = call_open(daemon, &c);

	if (code)
		return code;
	code = call_ask(c, what, o, CALL_MS, want, ret);
	client_close(c);
	return code;
}

int call_garbled(const char *daemon)
{
	return fail(X_FAILED, "the answer of sprite-%s cannot be read; is it of "
		    "another version?  `sprite down` and `sprite up` start this "
		    "one", daemon);
}
