#ifndef CMD_HOSTS_H
#define CMD_HOSTS_H
/*
 * hosts.h -- the table of hosts as the host database has it, asked through
 * this host's migd.
 */
#include <stddef.h>
#include <stdint.h>

#include "client.h"
#include "hostdb_msg.h"

struct hosts {
	struct msg_hostdb_host *host; /* their strings are in replies */
	size_t n;
	struct client_reply *reply;
	size_t replies;
};

/* Ask.  An exit code; reports. */
int hosts_ask(struct hosts *ret);
/*
 * Names only matter: without a host database numbers have to do.  Fails only
 * where migd cannot be asked.
 */
int hosts_get(struct hosts *ret);
void hosts_free(struct hosts *h);
/* The name, or "#3" written into buf. */
const char *hosts_name(const struct hosts *h, uint32_t id, char buf[16]);

#endif
