/*
 * rpc_greet.c -- how the two sides of a connection introduce themselves, and
 * what roles the accepting one gives the other.
 *
 * Between hosts the handshake has proved the host; its daemons are believed
 * about which of them speaks.  On a unix socket only a process of root is.
 */
#include <errno.h>
#include <string.h>

#include "chan.h"
#include "conn.h"
#include "greet.h"
#include "session_msg.h"

void conn_greet(struct rpc_conn *c, uint16_t code, int status, const void *body,
		size_t len)
{
	struct frame f = {.kind = FRAME_SESSION, .status = status};
	struct rpc_out o = {.code = code, .body = body, .len = len};

	conn_send_new(c, &f, &o);
}

void greet_hello(struct rpc_conn *c)
{
	struct msg_session_hello m = {.magic = GREET_MAGIC,
				      .version_min = SECURE_VERSION_MIN,
				      .version_max = SECURE_VERSION_MAX,
				      .host = c->r->id.host,
				      .service = (uint8_t)c->r->id.service,
				      .epoch = c->r->id.epoch};
	uint8_t body[64];
	size_t len;

	if (msg_session_hello_encode(&m, body, sizeof(body), &len) == 0)
		conn_greet(c, MSG_session_hello, 0, body, len);
}

static void welcome(struct rpc_conn *c, int status)
{
	struct msg_session_welcome m = {.version = SECURE_VERSION_MAX,
					.host = c->r->id.host,
					.service = (uint8_t)c->r->id.service,
					.epoch = c->r->id.epoch};
	uint8_t body[64];
	size_t len;

	if (msg_session_welcome_encode(&m, body, sizeof(body), &len) == 0)
		conn_greet(c, MSG_session_welcome, status, body, len);
}

static bool is_daemon(uint8_t service)
{
	return service >= SVC_NAMED && service < SVC_TOOL;
}

static void roles_of_unix(struct rpc_conn *c, uint8_t service)
{
	c->roles = ROLE_TOOL;
	c->service = SVC_TOOL;
	if (c->cred.uid != 0)
		return;
	c->roles |= ROLE_ROOT;
	if (!is_daemon(service))
		return;
	c->service = (enum rpc_service)service;
	c->roles |= 1u << service;
	c->host = c->r->id.host;
}

static int roles_of_tcp(struct rpc_conn *c, uint8_t service)
{
	if (secure_joiner(c->sec)) {
		c->service = SVC_TOOL;
		c->roles = ROLE_JOINER;
		c->token = secure_token(c->sec);
		return 0;
	}
	if (service != secure_service(c->sec) || !is_daemon(service))
		return -EPROTO;
	c->service = (enum rpc_service)service;
	c->roles = 1u << service;
	c->host = secure_host(c->sec);
	return 0;
}

static int accept_hello(struct rpc_conn *c, const struct frame_msg *fm)
{
	struct msg_session_hello m;
	int r = msg_session_hello_decode(fm->body, fm->f.len, &m);

	if (r || m.magic != GREET_MAGIC)
		return -EBADMSG;
	if (m.version_min > SECURE_VERSION_MAX ||
	    m.version_max < SECURE_VERSION_MIN)
		return -EPROTONOSUPPORT;
	c->epoch = m.epoch;
	if (c->tcp)
		r = roles_of_tcp(c, m.service);
	else
		roles_of_unix(c, m.service);
	if (r || !c->host)
		return r;
	return session_attach(c);
}

static void on_hello(struct rpc_conn *c, const struct frame_msg *fm)
{
	int r = accept_hello(c, fm);

	welcome(c, r);
	if (r) {
		conn_flush(c);
		conn_close(c, r);
	} else if (c->state != CONN_CLOSED) {
		conn_opened(c);
	}
}

static void on_welcome(struct rpc_conn *c, const struct frame_msg *fm)
{
	struct msg_session_welcome m;
	int r = msg_session_welcome_decode(fm->body, fm->f.len, &m);

	if (!r)
		r = fm->f.status;
	if (!r && m.service != c->peer->service)
		r = -ECONNREFUSED;
	if (r) {
		conn_close(c, r);
		return;
	}
	c->epoch = m.epoch;
	c->host = c->peer->host;
	c->service = c->peer->service;
	c->roles = 1u << c->service;
	conn_opened(c);
}

/*
 * The connection becomes a chan.  The other side waits for our welcome, so
 * nothing of the channel can have arrived yet.
 */
static void on_chan(struct rpc_conn *c, const struct frame_msg *fm)
{
	struct rpc *r = c->r;
	struct msg_session_chan m;
	struct chan *ch = NULL;
	uint32_t host;
	int e = msg_session_chan_decode(fm->body, fm->f.len, &m);

	if (e || m.magic != GREET_MAGIC || !c->tcp || secure_joiner(c->sec) ||
	    c->rx_start != c->rx_end) {
		conn_close(c, -EBADMSG);
		return;
	}
	host = secure_host(c->sec);
	welcome(c, r->on_chan ? 0 : -EOPNOTSUPP);
	conn_flush(c);
	if (!r->on_chan || c->state == CONN_CLOSED || rpc_conn_backlog(c)) {
		conn_close(c, -EOPNOTSUPP);
		return;
	}
	e = chan_adopt(c->fd, c->sec, &ch);
	if (!e) {
		conn_proved(c);
		ev_io_stop(r->loop, &c->rd);
		ev_io_stop(r->loop, &c->wr);
		c->fd = -1;
		c->sec = NULL;
	}
	conn_close(c, e);
	if (!e)
		r->on_chan(r->chan_arg, host, m.token, ch);
}

static void on_ack(struct rpc_conn *c, const struct frame_msg *fm)
{
	struct msg_session_ack m;
	struct wire_reader r;

	if (msg_session_ack_decode(fm->body, fm->f.len, &m) ||
	    m.calls.len % 8) {
		conn_close(c, -EBADMSG);
		return;
	}
	r = wire_reader(m.calls.p, m.calls.len);
	while (c->session && r.left)
		session_ack_one(c->session, wire_get_u64(&r));
}

void greet_msg(struct rpc_conn *c, const struct frame_msg *fm)
{
	bool greeting = c->state == CONN_GREETING;

	if (greeting && !c->initiator && fm->f.code == MSG_session_hello)
		on_hello(c, fm);
	else if (greeting && !c->initiator && fm->f.code == MSG_session_chan)
		on_chan(c, fm);
	else if (greeting && c->initiator && fm->f.code == MSG_session_welcome)
		on_welcome(c, fm);
	else if (c->state == CONN_OPEN && fm->f.code == MSG_session_ack)
		on_ack(c, fm);
	else
		conn_close(c, -EPROTO);
}
