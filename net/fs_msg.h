#ifndef NET_FS_MSG_H
#define NET_FS_MSG_H
/* fs_msg.h -- structs and codecs of fs.def; see msg.h for what is made. */
#define MSG_TABLE "fs.def"
#include "msg.h"
#undef MSG_TABLE
#endif
