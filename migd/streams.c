/* streams.c -- what both ends of a relayed descriptor share; see streams.h. */
#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tty.h"

struct block *block_new(struct rpc_req *req, const struct rpc_msg *msg,
			bool end)
{
	struct block *b = malloc(sizeof(*b) + msg->payload_len);

	if (!b)
		return NULL;
	*b = (struct block){ .req = req, .len = msg->payload_len, .end = end };
	if (b->len)
		memcpy(b->data, msg->payload, b->len);
	list_init(&b->link);
	return b;
}

int block_write(struct block *b, int fd, bool sock)
{
	while (b->at < b->len) {
		ssize_t n = sock ? send(fd, b->data + b->at, b->len - b->at,
					MSG_NOSIGNAL | MSG_DONTWAIT) :
				   write(fd, b->data + b->at, b->len - b->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		b->at += (size_t)n;
	}
	return 1;
}

void block_answer(struct block *b, int status)
{
	list_del(&b->link);
	if (b->req)
		rpc_reply_err(b->req, status, NULL);
	free(b);
}

void blocks_drop(struct list *l, int status)
{
	list_each_safe(b, l, struct block, link)
		block_answer(b, status);
}

void on_migd_stream_data(struct migd *m, struct rpc_req *q,
			 const struct msg_migd_stream_data *b,
			 const struct rpc_msg *msg)
{
	struct hstream *h = b->home ? hstream_find(m, b->stream) : NULL;
	struct gstream *g = b->home ? NULL : gstream_find(m, b->stream);

	if (h)
		hstream_data(h, q, b, msg);
	else if (g)
		gstream_data(g, q, b, msg);
	else
		/* Gone on from here, or closed: home knows which. */
		rpc_reply_err(q, b->home ? -EPIPE : -ESTALE, NULL);
}

void on_migd_stream_left(struct migd *m, struct rpc_req *q,
			 const struct msg_migd_stream_left *b,
			 const struct rpc_msg *msg)
{
	struct hstream *h = hstream_find(m, b->stream);

	if (h)
		hstream_left(h, q, b, msg);
	else
		rpc_reply(q, 0, NULL);
}
