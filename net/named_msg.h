#ifndef NET_NAMED_MSG_H
#define NET_NAMED_MSG_H
/* named_msg.h -- structs and codecs of named.def; see msg.h for what is made. */
#define MSG_TABLE "named.def"
#include "msg.h"
#undef MSG_TABLE
#endif
