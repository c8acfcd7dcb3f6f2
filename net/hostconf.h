#ifndef NET_HOSTCONF_H
#define NET_HOSTCONF_H
/*
 * hostconf.h -- who this host is: state/host.conf (key=value lines, readable
 * by all) and state/host.key (32 bytes, root only).  Written by init and join.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc.h"

#define HOST_NAME_MAX_LEN 63
#define PORT_NAMED 7710
#define PORT_FSD 7711
#define PORT_MIGD 7712
#define PORT_HOSTDB 7713

struct hostconf {
	char cell[HOST_NAME_MAX_LEN + 1];
	uint32_t host; /* 1.. */
	char name[HOST_NAME_MAX_LEN + 1];
	char addr[64]; /* numeric, where others reach us */
	uint16_t port[SVC_TOOL]; /* by enum rpc_service */
	uint32_t named_host;
	char named_addr[64];
	uint16_t named_port;
	uint8_t named_key[32];
	uint32_t pid_block; /* first PID of our first block; blocks are pid_block_size long */
	uint32_t pid_block_size;
	char mount[256];    /* where the namespace is mounted: /sprite */
	char console[1024]; /* comma-separated devices watched as console; "" finds them */
	char export_dir[1024]; /* the directory exported as "/", on the host that has it; else "" */
	/* Thresholds of design section 9; see hostconf.c for names and defaults. */
	uint32_t idle_secs;	   /* 30 */
	uint32_t load_in_centi[3]; /* 75, 100, 150 */
	uint32_t load_out_centi[3]; /* 250, 275, 300 */
	uint32_t sample_ms;	   /* 5000 */
	uint32_t report_ms;	   /* 60000 */
	uint32_t down_ms;	   /* 180000 */
	uint32_t slots;		   /* guests lent at once; 1 */
	uint32_t writeback_ms;	   /* 30000: age at which dirty data is written */
	char import_policy[8];	   /* none, root, all */
	char export_policy[8];
};

/* Defaults everywhere; for init and join, which then fill in who and where. */
void hostconf_init(struct hostconf *ret);
/* Defaults everywhere; then host.conf.  -ENOENT: not initialised. */
int hostconf_load(struct hostconf *ret, char *err, size_t errcap);
int hostconf_save(const struct hostconf *c);
int hostkey_load(uint8_t ret_secret[32], uint8_t ret_public[32]);
/* Makes one if there is none. */
int hostkey_make(uint8_t ret_secret[32], uint8_t ret_public[32]);
/* Fill an identity for a daemon: key, host, service. */
int hostconf_identity(const struct hostconf *c, enum rpc_service s,
		      struct rpc_identity *ret);

#endif
