/*
 * fsd.c -- see fsd.h: putting the parts together, and who gets which message.
 */
#include "fsd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <ev.h>

#include "log.h"
#include "named_msg.h"
#include "pdev_hooks.h"
#include "prog.h"
#include "stream.h"

#define WORKERS	   4
#define CALL_MS	   5000
#define AGAIN_MS   1000

/* ---- messages ---- */

static uint32_t senders_of(uint16_t code)
{
	switch (code) {
#define FIELD(kind, name)
#define STRUCT(name, ...)
#define REPLY(code, name, ...)
#define REQUEST(code, name, senders, ...) \
	case code:                        \
		return senders;
#define NOTE REQUEST
#include "fs.def"
	}
	return 0;
}

static void on_request(void *arg, struct rpc_req *rq, const struct rpc_msg *m)
{
	struct fsd *f = arg;
	struct rpc_conn *c = rpc_req_conn(rq);

	if (pdev_is_mine(m->code) && f->mnt.pdev) {
		pdev_request(f->mnt.pdev, rq, m);
		return;
	}
	if (!c || !(rpc_conn_roles(c) & senders_of(m->code))) {
		rpc_reply_err(rq, -EPERM, NULL);
		return;
	}
	switch (m->code) {
	case MSG_fs_recall:
	case MSG_fs_recall_name:
		if (rpc_conn_host(c) == f->root_host)
			recall_request(&f->mnt, rq, m);
		else
			rpc_reply_err(rq, -ENOENT, NULL);
		return;
	case MSG_fs_stream_export:
	case MSG_fs_stream_import:
	case MSG_fs_stream_done:
		stream_request(&f->mnt, rq, m);
		return;
	case MSG_fs_flush_all:
	case MSG_fs_stat:
		ctl_request(f, rq, m);
		return;
	}
	if (!f->server)
		rpc_reply_err(rq, -ESTALE, "this host exports no tree");
	else if (rpc_conn_host(c) == f->conf.host)
		rpc_reply_err(rq, -EPERM, NULL); /* its own mount does not call */
	else
		server_request(f->server, rq, m);
}

static void on_note(void *arg, struct rpc_conn *c, const struct rpc_msg *m)
{
	struct fsd *f = arg;

	if (pdev_is_mine(m->code) && f->mnt.pdev)
		pdev_note(f->mnt.pdev, c, m);
	else if (f->server && rpc_conn_roles(c) & senders_of(m->code) &&
		 rpc_conn_host(c) != f->conf.host)
		server_note(f->server, c, m);
}

static void on_open(void *arg, struct rpc_conn *c)
{
	struct fsd *f = arg;

	pdev_conn_open(f->mnt.pdev, c);
	if (f->server)
		server_conn_open(f->server, c);
}

static void on_close(void *arg, struct rpc_conn *c)
{
	struct fsd *f = arg;

	pdev_conn_close(f->mnt.pdev, c);
	if (f->server)
		server_conn_close(f->server, c);
}

/* ---- where the tree is ---- */

static void maybe_ready(struct fsd *f)
{
	if (f->ready || !f->mounted || (f->server && !f->registered))
		return;
	f->ready = true;
	log_info("%s is mounted%s%s", f->conf.mount,
		 f->server ? ", served here from " : "",
		 f->server ? f->conf.export_dir : "");
	prog_ready();
}

static const struct roster_prefix *root_prefix(const struct fsd *f)
{
	const struct roster_prefix *p;

	for (unsigned i = 0; (p = roster_prefix_at(f->roster, i)); i++) {
		if (strcmp(p->prefix, "/") == 0)
			return p;
	}
	return NULL;
}

/* Requests are taken from the kernel once it is known who answers them. */
static void find_server(struct fsd *f)
{
	const struct roster_prefix *p = f->server ? NULL : root_prefix(f);
	struct rpc_peer *peer;

	if (!p || p->host == f->root_host || p->host == f->conf.host)
		return;
	peer = roster_peer(f->roster, p->host, SVC_FSD);
	if (!peer)
		return;
	f->root_host = p->host;
	f->mnt.link.peer = peer;
	recov_watch(&f->mnt, peer);
	if (f->mounted)
		mnt_start(&f->mnt);
}

static void on_roster(void *arg)
{
	struct fsd *f = arg;

	if (f->rpc && f->mnt.recov)
		find_server(f);
}

static void register_prefix(struct fsd *f);

static void register_again(struct timer *t)
{
	register_prefix(t->data);
}

static void on_registered(void *arg, int status, const struct rpc_msg *m)
{
	struct fsd *f = arg;

	if (status == -ECANCELED)
		return;
	if (status) {
		log_warn("cannot register the tree with the name server: %s",
			 rpc_sentence(status, m));
		env_after(f->env, &f->again, AGAIN_MS);
		return;
	}
	f->registered = true;
	maybe_ready(f);
}

static void register_prefix(struct fsd *f)
{
	struct msg_named_prefix_set p = { .prefix = "/",
					  .domain = export_domain(f->x) };
	uint8_t body[64];
	struct rpc_out o = { .code = MSG_named_prefix_set, .body = body };
	int r = msg_named_prefix_set_encode(&p, body, sizeof(body), &o.len);

	if (!r)
		r = rpc_call(roster_named(f->roster), &o, CALL_MS, RPC_IDEMPOTENT,
			     on_registered, f, NULL);
	if (r)
		env_after(f->env, &f->again, AGAIN_MS);
}

/* ---- beginning ---- */

static int open_server(struct fsd *f, char *err, size_t cap)
{
	char clients[PATH_MAX];
	int r = export_open(f->conf.export_dir, &f->x, err, cap);

	if (!r)
		r = state_path("fsd.clients", clients, sizeof(clients));
	if (!r)
		r = server_new(f->env, f->x, f->pool, f->conf.host, clients,
			       &f->server);
	if (r)
		return r;
	f->server->recall_local = recall_local;
	f->server->local_arg = &f->mnt;
	f->mnt.link.local = f->server;
	f->root_host = f->conf.host;
	return 0;
}

static int open_rpc(struct fsd *f, char *err, size_t cap)
{
	struct rpc_handler h = { .on_request = on_request,
				 .on_note = on_note,
				 .on_open = on_open,
				 .on_close = on_close,
				 .arg = f };
	struct rpc_identity id;
	char sock[PATH_MAX];
	int r = hostconf_identity(&f->conf, SVC_FSD, &id);

	if (r) {
		snprintf(err, cap, "cannot read host.key: %s", strerror(-r));
		return r;
	}
	f->roster = roster_new(&f->conf, on_roster, f);
	if (f->roster)
		f->rpc = rpc_new(f->env, &id, roster_key, f->roster, &h);
	if (!f->rpc)
		return -ENOMEM;
	r = run_path("fsd.sock", sock, sizeof(sock));
	if (!r)
		r = rpc_listen_unix(f->rpc, sock, 0666);
	if (r) {
		snprintf(err, cap, "cannot listen at %s: %s", sock, strerror(-r));
		return r;
	}
	r = rpc_listen_tcp(f->rpc, f->conf.addr, f->conf.port[SVC_FSD]);
	if (r)
		snprintf(err, cap, "cannot listen at %s port %u: %s", f->conf.addr,
			 f->conf.port[SVC_FSD], strerror(-r));
	return r;
}

/* Polls are answered through the device, like everything; it never blocks. */
static void wake_poll(void *arg, struct fuse_pollhandle *ph)
{
	(void)arg;
	fuse_lowlevel_notify_poll(ph);
	fuse_pollhandle_destroy(ph);
}

static int open_mount(struct fsd *f, char *err, size_t cap)
{
	struct pdev_conf p = { .env = f->env, .rpc = f->rpc,
			       .roster = f->roster, .host = &f->conf,
			       .wake = wake_poll, .arg = f };
	struct mnt *m = &f->mnt;
	int r;

	m->loop = f->loop;
	m->env = f->env;
	m->conf = &f->conf;
	m->roster = f->roster;
	m->rpc = f->rpc;
	m->pool = f->pool;
	r = recov_new(m);
	if (!r)
		r = mnt_open(m, err, cap);
	if (!r)
		r = pdev_new(&p, &m->pdev);
	if (!r)
		f->mounted = true;
	return r;
}

/* Programs of this host that have outlived our earlier life. */
static void claim_open(struct fsd *f)
{
	for (struct map_node *i = map_next(&f->mnt.nodes.by_id, NULL); i;
	     i = map_next(&f->mnt.nodes.by_id, i)) {
		const struct node *n = container_of(i, struct node, by_id);

		if (n->nopen)
			server_local_holds(f->server, n->fh, n->len);
	}
}

int fsd_open(struct fsd *f, struct ev_loop *loop, char *err, size_t cap)
{
	int r = hostconf_load(&f->conf, err, cap);

	if (r) {
		if (r == -ENOENT)
			snprintf(err, cap, "this host is in no cell; `sprite init` "
				 "founds one, `sprite join` enters one");
		return r;
	}
	f->loop = loop;
	f->again = (struct timer){ .fire = register_again, .data = f };
	f->env = env_ev_new(loop);
	r = f->env ? pool_new(loop, WORKERS, &f->pool) : -ENOMEM;
	if (!r && *f->conf.export_dir)
		r = open_server(f, err, cap);
	if (!r)
		r = open_rpc(f, err, cap);
	if (!r)
		r = open_mount(f, err, cap);
	if (!r)
		r = roster_start(f->roster, f->rpc);
	if (r)
		return r;
	if (f->server) {
		claim_open(f);
		server_start(f->server);
		mnt_start(&f->mnt);
		register_prefix(f);
	} else {
		find_server(f);
	}
	maybe_ready(f);
	return 0;
}

/* ---- the end ---- */

static void on_flushed(struct node *n, int status, void *arg)
{
	struct fsd *f = arg;

	(void)n;
	if (status)
		log_error("some data could not be written back: %s",
			  strerror(-status));
	ev_break(f->loop, EVBREAK_ALL);
}

void fsd_stop(struct fsd *f)
{
	f->stopping = true;
	flush_all(&f->mnt, on_flushed, f);
}

/*
 * First the mount, then what answers it: what still runs in the pool ends
 * with its server there, and the wire goes before the server, because calls
 * that end with it still name recalls.
 */
void fsd_close(struct fsd *f)
{
	if (f->mnt.pdev)
		pdev_free(f->mnt.pdev);
	f->mnt.pdev = NULL;
	pool_free(f->pool);
	if (f->env)
		env_cancel(f->env, &f->again);
	if (f->rpc)
		rpc_free(f->rpc);
	server_free(f->server);
	if (f->mnt.session)
		mnt_close(&f->mnt, f->stopping);
	recov_free(&f->mnt);
	roster_free(f->roster);
	export_close(f->x);
	if (f->env)
		env_ev_free(f->env);
}
