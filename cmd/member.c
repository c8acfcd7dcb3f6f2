/* member.c -- see member.h. */
#include "member.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "prog.h"

void member_option(struct member_options *o, int c, const char *value)
{
	if (c == 'N')
		o->name = value;
	else if (c == 'A')
		o->addr = value;
	else if (c == 'C')
		o->console = value;
}

bool member_name_ok(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
			     "XYZ0123456789_-.");

	return n > 0 && n <= HOST_NAME_MAX_LEN && !s[n] && s[0] != '-' &&
	       s[0] != '.';
}

int member_begin(const char *retry)
{
	char path[PATH_MAX];

	if (geteuid())
		return fail(X_PERMISSION, "only root can do that; try `%s`", retry);
	if (state_path("host.conf", path, sizeof(path)))
		return fail(X_FAILED, "the state folder's name is too long");
	if (access(path, F_OK) == 0)
		return fail(X_REFUSED, "this host is in a cell already, `sprite "
			    "status` shows which; to leave it: `sprite down`, "
			    "then move %s away", path);
	return X_OK_DONE;
}

/* The first address of an interface that is up and not the loopback. */
static bool own_address(char *buf, size_t cap)
{
	struct ifaddrs *all, *i;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (i = all; i && !found; i = i->ifa_next) {
		const struct sockaddr_in *sa = (const void *)i->ifa_addr;

		if (!sa || sa->sin_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
		    (i->ifa_flags & IFF_LOOPBACK))
			continue;
		found = inet_ntop(AF_INET, &sa->sin_addr, buf, (socklen_t)cap);
	}
	freeifaddrs(all);
	return found;
}

static bool is_numeric(const char *addr)
{
	struct in6_addr a;

	return inet_pton(AF_INET, addr, &a) == 1 ||
	       inet_pton(AF_INET6, addr, &a) == 1;
}

int member_fill(const struct member_options *o, struct hostconf *ret)
{
	char host[HOST_NAME_MAX_LEN + 1] = "";
	char *dot;

	hostconf_init(ret);
	if (!o->name) {
		(void)gethostname(host, sizeof(host) - 1);
		dot = strchr(host, '.');
		if (dot)
			*dot = 0;
	}
	snprintf(ret->name, sizeof(ret->name), "%s", o->name ? o->name : host);
	if (!member_name_ok(o->name ? o->name : host))
		return fail(X_USAGE, "'%s' cannot be a host's name: 1 to %d "
			    "letters, digits, - _ and .; choose one with --name",
			    o->name ? o->name : host, HOST_NAME_MAX_LEN);
	if (o->addr && (!is_numeric(o->addr) ||
			strlen(o->addr) >= sizeof(ret->addr)))
		return fail(X_USAGE, "'%s' is not a numeric address; give --addr "
			    "as in 192.168.7.1", o->addr);
	if (o->addr)
		strcpy(ret->addr, o->addr);
	else if (!own_address(ret->addr, sizeof(ret->addr)))
		return fail(X_FAILED, "no interface with an address is up; give "
			    "one with --addr");
	if (o->console && strlen(o->console) >= sizeof(ret->console))
		return fail(X_USAGE, "the list of consoles is too long");
	if (o->console)
		strcpy(ret->console, o->console);
	return X_OK_DONE;
}

int member_at_named(const char *verb)
{
	struct hostconf c;
	char err[256];

	if (hostconf_load(&c, err, sizeof(err)) || c.host == c.named_host)
		return X_OK_DONE; /* the call itself will say what is missing */
	return fail(X_UNREACHABLE, "the name server runs on the host at %s; run "
		    "`sprite %s` there", c.named_addr, verb);
}
