/* greet.c -- see greet.h. */
#include "greet.h"

#include <assert.h>
#include <errno.h>

#include "secure.h"
#include "session_msg.h"

static size_t whole(uint16_t code, size_t len, uint8_t *ret)
{
	struct frame f = {
		.kind = FRAME_SESSION, .code = code, .len = (uint32_t)len};

	frame_put(&f, ret);
	return FRAME_HEAD + len;
}

size_t greet_hello_frame(uint8_t service, uint64_t epoch, uint8_t *ret)
{
	struct msg_session_hello m = {.magic = GREET_MAGIC,
				      .version_min = SECURE_VERSION_MIN,
				      .version_max = SECURE_VERSION_MAX,
				      .service = service,
				      .epoch = epoch};
	size_t len;
	int r = msg_session_hello_encode(&m, ret + FRAME_HEAD,
					 GREET_MAX - FRAME_HEAD, &len);

	assert(r == 0);
	(void)r;
	return whole(MSG_session_hello, len, ret);
}

size_t greet_chan_frame(uint64_t token, uint8_t *ret)
{
	struct msg_session_chan m = {.magic = GREET_MAGIC, .token = token};
	size_t len;
	int r = msg_session_chan_encode(&m, ret + FRAME_HEAD,
					GREET_MAX - FRAME_HEAD, &len);

	assert(r == 0);
	(void)r;
	return whole(MSG_session_chan, len, ret);
}

int greet_welcome_status(const uint8_t frame[GREET_WELCOME])
{
	struct msg_session_welcome m;
	struct frame f;

	if (frame_get(frame, &f) || f.kind != FRAME_SESSION ||
	    f.code != MSG_session_welcome || f.payload_len ||
	    f.len != GREET_WELCOME - FRAME_HEAD ||
	    msg_session_welcome_decode(frame + FRAME_HEAD, f.len, &m))
		return -EBADMSG;
	return f.status;
}
