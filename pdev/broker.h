#ifndef PDEV_BROKER_H
#define PDEV_BROKER_H
/*
 * broker.h -- the serving side of pseudo-devices in an fsd: the programs of
 * this host that serve names, the streams that clients on any host have to
 * them, and what is under way.
 *
 * Every request of a client ends: with the program's answer, with -ETIMEDOUT
 * when the program did not answer in its time, with -EIO when it ended, with
 * -EINTR soon after a cancel.  A request the program said it would answer later
 * ends when the program does at the latest.
 */
#include "env.h"
#include "pdev_msg.h"
#include "port.h"

struct broker;

struct broker_conf {
	struct env *env;
	const struct pdev_port *port;
	uint32_t host;
	const char *name;  /* of this host */
	const char *mount; /* "/sprite" */
	/* Register a name, or give it up.  done comes exactly once, later. */
	int (*claim)(void *arg, const struct msg_pdev_claim *m,
		     rpc_done_fn *done, void *done_arg, struct rpc_call **ret);
	void (*release)(void *arg, const char *name);
	const char *(*host_name)(void *arg, uint32_t host);
	void *arg;
};

int broker_new(const struct broker_conf *c, struct broker **ret);
void broker_free(struct broker *b);

/* From a program. */
void broker_serve(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_serve *m);
void broker_later(struct broker *b, struct rpc_conn *c,
		  const struct msg_pdev_later *m);
void broker_ready(struct broker *b, struct rpc_conn *c,
		  const struct msg_pdev_ready *m);

/* From the fsd of a client's host. */
void broker_open(struct broker *b, struct rpc_req *q,
		 const struct msg_pdev_open *m);
void broker_read(struct broker *b, struct rpc_req *q,
		 const struct msg_pdev_read *m);
void broker_write(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_write *m, const struct rpc_msg *raw);
void broker_ioctl(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_ioctl *m, const struct rpc_msg *raw);
void broker_close(struct broker *b, struct rpc_req *q,
		  const struct msg_pdev_close *m);
void broker_cancel(struct broker *b, struct rpc_conn *c,
		   const struct msg_pdev_cancel *m);

/* An accepted connection, and its end. */
void broker_conn_open(struct broker *b, struct rpc_conn *c);
void broker_conn_close(struct broker *b, struct rpc_conn *c);

unsigned broker_devices(const struct broker *b);
unsigned broker_streams(const struct broker *b);

#endif
