#ifndef NET_SESSION_MSG_H
#define NET_SESSION_MSG_H
/* session_msg.h -- structs and codecs of session.def; see msg.h for what is made. */
#define MSG_TABLE "session.def"
#include "msg.h"
#undef MSG_TABLE
#endif
