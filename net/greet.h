#ifndef NET_GREET_H
#define NET_GREET_H
/*
 * greet.h -- the frames of session.def made whole, for those who greet without
 * an rpc: chan.c and client.c.
 */
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define GREET_MAGIC   0x53524553u /* "SERS" */
#define GREET_MAX     128u
#define GREET_WELCOME (FRAME_HEAD + 15u) /* a session_welcome */

/* Return the length; ret has room for GREET_MAX. */
size_t greet_hello_frame(uint8_t service, uint64_t epoch, uint8_t *ret);
size_t greet_chan_frame(uint64_t token, uint8_t *ret);
/* 0, the status that the other side gave, or -EBADMSG. */
int greet_welcome_status(const uint8_t frame[GREET_WELCOME]);

#endif
