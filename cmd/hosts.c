/* hosts.c -- see hosts.h. */
#include "hosts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "cmd.h"
#include "hostdb_enum.h"
#include "migd_msg.h"

#define HOSTS_MAX 100000
#define QUIET_MS 2000

static int encode_ask(uint32_t from, uint8_t *body, size_t cap, size_t *ret_len)
{
	struct msg_hostdb_list inner = { .from = from };
	uint8_t room[16];
	struct msg_migd_ask_hostdb m = { .code = MSG_hostdb_list,
					 .body = { room, 0 } };
	int r = msg_hostdb_list_encode(&inner, room, sizeof(room), &m.body.len);

	return r ? r : msg_migd_ask_hostdb_encode(&m, body, cap, ret_len);
}

/* One answer's hosts behind those we have.  -EBADMSG, -ENOMEM. */
static int take(struct hosts *h, struct client_reply *re, uint32_t *ret_next)
{
	struct msg_hostdb_hosts m;
	struct wire_reader r;

	if (msg_hostdb_hosts_decode(buf_data(&re->body), buf_len(&re->body), &m))
		return -EBADMSG;
	r = wire_reader(m.hosts.p, m.hosts.len);
	while (r.left && !r.failed) {
		struct msg_hostdb_host *more;

		if (h->n >= HOSTS_MAX)
			return -EBADMSG;
		more = realloc(h->host, (h->n + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		h->host = more;
		h->host[h->n++] = msg_hostdb_host_get(&r);
	}
	*ret_next = m.next;
	return r.failed ? -EBADMSG : 0;
}

/* Keep the reply, whose bytes the hosts' strings are. */
static int keep(struct hosts *h, const struct client_reply *re)
{
	struct client_reply *more =
		realloc(h->reply, (h->replies + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	h->reply = more;
	h->reply[h->replies++] = *re;
	return 0;
}

/* All parts of the table.  0, an exit code (reported if loud), or -errno. */
static int fetch(struct client *c, bool loud, struct hosts *h)
{
	uint32_t from = 0, asked;
	int r;

	do {
		uint8_t body[64];
		struct client_reply re;
		struct rpc_out o = { .code = MSG_migd_ask_hostdb, .body = body };

		asked = from;
		r = encode_ask(from, body, sizeof(body), &o.len);
		if (r)
			return r;
		if (loud)
			r = call_ask(c, "cannot ask the host database", &o,
				     CALL_MS, MSG_hostdb_hosts, &re);
		else
			r = client_call(c, &o, QUIET_MS, &re);
		if (r)
			return r;
		if (re.status || re.code != MSG_hostdb_hosts)
			r = -EIO;
		if (!r)
			r = take(h, &re, &from);
		if (keep(h, &re)) {
			client_reply_free(&re);
			r = -ENOMEM;
		}
		if (r)
			return r;
	} while (from > asked);
	return from ? -EBADMSG : 0;
}

int hosts_ask(struct hosts *ret)
{
	struct client *c;
	int r, code = call_open("migd", &c);

	*ret = (struct hosts){ 0 };
	if (code)
		return code;
	r = fetch(c, true, ret);
	client_close(c);
	if (r)
		hosts_free(ret);
	if (r == -ENOMEM)
		return fail(X_FAILED, "out of memory");
	return r < 0 ? call_garbled("hostdb") : r;
}

int hosts_get(struct hosts *ret)
{
	struct client *c;
	int code = call_open("migd", &c);

	*ret = (struct hosts){ 0 };
	if (code)
		return code;
	if (fetch(c, false, ret))
		hosts_free(ret);
	client_close(c);
	return X_OK_DONE;
}

void hosts_free(struct hosts *h)
{
	for (size_t i = 0; i < h->replies; i++)
		client_reply_free(&h->reply[i]);
	free(h->reply);
	free(h->host);
	*h = (struct hosts){ 0 };
}

const char *hosts_name(const struct hosts *h, uint32_t id, char buf[16])
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->host[i].id == id)
			return h->host[i].name;
	}
	snprintf(buf, 16, "#%u", id);
	return buf;
}
