#ifndef PDEV_HOOKS_H
#define PDEV_HOOKS_H
/*
 * pdev_hooks.h -- all that fsd needs of pseudo-devices: one struct pdev, to
 * which it hands messages 0x04xx, connections, and what the kernel asks of
 * nodes that are served.
 *
 * Names here have no leading slash and no mount point: "svc/echo",
 * "hosts/h1/status".  A served node is a regular file of size 0 for stat(2);
 * its entries and attributes must not be cached by the kernel beyond the
 * answer, since programs come and go.
 */
#include "front.h"
#include "hostconf.h"
#include "roster.h"

struct pdev;

struct pdev_conf {
	struct env *env;
	struct rpc *rpc;
	struct roster *roster;
	const struct hostconf *host; /* kept */
	/* See front.h: from the notifier's thread only. */
	void (*wake)(void *arg, struct fuse_pollhandle *ph);
	void *arg;
};

int pdev_new(const struct pdev_conf *c, struct pdev **ret);
/* Before rpc_free; what that still has to say is for nobody (NULL below). */
void pdev_free(struct pdev *p);

/* ---- messages and connections ---- */
static inline bool pdev_is_mine(uint16_t code)
{
	return code >> 8 == 0x04;
}
void pdev_request(struct pdev *p, struct rpc_req *q, const struct rpc_msg *m);
void pdev_note(struct pdev *p, struct rpc_conn *c, const struct rpc_msg *m);
/* Accepted connections, of any service.  p may be NULL. */
void pdev_conn_open(struct pdev *p, struct rpc_conn *c);
void pdev_conn_close(struct pdev *p, struct rpc_conn *c);

/* ---- names ---- */
/*
 * Who serves name?  done is called exactly once, perhaps before this returns:
 * found is NULL unless status is 0.  -ENOENT: nobody; -EHOSTUNREACH,
 * -ETIMEDOUT: the host that would know does not answer.
 */
typedef void pdev_found_fn(void *arg, int status,
			   const struct msg_pdev_found *found);
void pdev_find(struct pdev *p, const char *name, pdev_found_fn *done,
	       void *arg);
/*
 * The names in dir ("svc", "hosts/h1"): each is called per name, in order, then
 * done once.
 */
typedef void pdev_each_fn(void *arg, const char *name, uint64_t number);
typedef void pdev_done_fn(void *arg, int status);
void pdev_list(struct pdev *p, const char *dir, pdev_each_fn *each,
	       pdev_done_fn *done, void *arg);

/* ---- open nodes: front_* of front.h, for this mount ---- */
/* found as pdev_find gave it, or NULL to have it looked up now. */
void pdev_open(struct pdev *p, fuse_req_t req, const char *name,
	       const struct msg_pdev_found *found,
	       const struct fuse_file_info *fi);

struct pdev_counts {
	unsigned devices, streams_served, streams_open;
};
struct pdev_counts pdev_counts(const struct pdev *p);

#endif
