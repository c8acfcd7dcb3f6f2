#ifndef NET_HOSTDB_MSG_H
#define NET_HOSTDB_MSG_H
/* hostdb_msg.h -- structs and codecs of hostdb.def; see msg.h for what is made. */
#include "hostdb_enum.h"
#define MSG_TABLE "hostdb.def"
#include "msg.h"
#undef MSG_TABLE
#endif
