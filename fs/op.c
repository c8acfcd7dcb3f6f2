/* op.c -- requests of the kernel that wait for something; see mnt.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mnt.h"

struct op *op_new(struct mnt *m, fuse_req_t req, struct node *n, struct node *n2)
{
	const struct fuse_ctx *ctx = req ? fuse_req_ctx(req) : NULL;
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		if (req)
			fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	list_init(&op->link);
	list_init(&op->waiting);
	list_init(&op->at_server);
	op->call.again = m->resent;
	op->m = m;
	op->req = req;
	op->n = n;
	op->n2 = n2;
	if (n)
		n->refs++;
	if (n2)
		n2->refs++;
	if (ctx) {
		op->uid = ctx->uid;
		op->gid = ctx->gid;
		op->pid = (uint32_t)ctx->pid;
	}
	return op;
}

static void unmark_busy(struct op *op)
{
	if (op->busy)
		op->n->busy--;
	if (op->busy2)
		op->n2->busy--;
	op->busy = op->busy2 = false;
}

void op_mark_busy(struct op *op)
{
	if (op->n && !op->busy) {
		op->n->busy++;
		op->busy = true;
	}
	if (op->n2 && !op->busy2) {
		op->n2->busy++;
		op->busy2 = true;
	}
}

void op_free(struct op *op)
{
	struct mnt *m = op->m;
	struct node *n = op->n, *n2 = op->n2, *doomed = op->doomed;

	unmark_busy(op);
	list_del(&op->link);
	list_del(&op->waiting);
	list_del(&op->at_server);
	free(op->name);
	free(op->name2);
	free(op->data);
	free(op->groups);
	free(op);
	if (n) {
		n->refs--;
		node_tidy(m, n);
	}
	if (n2) {
		n2->refs--;
		node_tidy(m, n2);
	}
	if (doomed) {
		doomed->refs--;
		node_tidy(m, doomed);
	}
}

void op_end(struct op *op, int status)
{
	if (op->req)
		fuse_reply_err(op->req, -status);
	op_free(op);
}

static void on_reply(void *arg, int status, const struct rpc_msg *m)
{
	static const struct rpc_msg nothing;
	struct op *op = arg;

	list_del(&op->at_server);
	op->on_reply(op, status == -ECANCELED ? -EINTR : status,
		     m ? m : &nothing);
}

/*
 * A program is not made to return from a call on a file by any signal, as long
 * as the server answers; when it does not, it must be possible to kill it.
 */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct op *op = data;

	(void)req;
	op->interrupted = true;
	if (!link_up(&op->m->link) && !list_empty(&op->at_server))
		link_cancel(&op->m->link, &op->call);
	else if (op->on_interrupt)
		op->on_interrupt(op);
}

void ops_interrupt(struct mnt *m)
{
	struct list marked = LIST_HEAD(marked);

	list_each_safe(op, &m->calls, struct op, at_server) {
		if (op->interrupted) {
			list_del(&op->at_server);
			list_add_tail(&marked, &op->at_server);
		}
	}
	while (!list_empty(&marked))
		link_cancel(&m->link, &list_first(&marked, struct op, at_server)->call);
}

void op_call(struct op *op, const struct rpc_out *o, op_reply_fn *reply)
{
	int r;

	op->m->stats.calls++;
	op->on_reply = reply;
	if (op->req && (!op->m->link.local || op->on_interrupt)) {
		if (!op->m->link.local)
			list_add_tail(&op->m->calls, &op->at_server);
		fuse_req_interrupt_func(op->req, on_interrupt, op);
		/* The signal was there before: do not begin to wait. */
		if (op->interrupted &&
		    (op->on_interrupt || !link_up(&op->m->link))) {
			op_end(op, -EINTR);
			return;
		}
	}
	r = link_call(&op->m->link, &op->call, o, on_reply, op);
	if (r)
		op_end(op, r);
}

wire_blob op_groups(const struct op *op)
{
	return (wire_blob){ .p = op->groups, .len = op->groups_len };
}

/*
 * The kernel does not send the caller's supplementary groups, and reading them
 * from /proc costs more than most requests; so they are only looked up for
 * those who were refused without.
 */
bool op_try_groups(struct op *op, int status)
{
	gid_t list[FS_GROUPS_MAX];
	struct wire_writer w;
	int n;

	if ((status != -EACCES && status != -EPERM) || op->groups_known ||
	    op->uid == 0 || !op->again)
		return false;
	op->groups_known = true;
	n = fuse_req_getgroups(op->req, FS_GROUPS_MAX, list);
	if (n <= 0)
		return false;
	if (n > FS_GROUPS_MAX)
		n = FS_GROUPS_MAX;
	op->groups = malloc((size_t)n * 4);
	if (!op->groups)
		return false;
	w = wire_writer(op->groups, (size_t)n * 4);
	for (int i = 0; i < n; i++)
		wire_put_u32(&w, list[i]);
	op->groups_len = w.len;
	op->again(op);
	return true;
}

void op_defer(struct op *op, op_fn *again)
{
	op->again = again;
	list_del(&op->link);
	list_add_tail(&op->n->deferred, &op->link);
}
