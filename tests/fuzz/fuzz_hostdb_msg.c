/* fuzz_hostdb_msg.c -- every decoder of hostdb.def; see msg_fuzz.h. */
#include "hostdb_msg.h"
#define MSG_TABLE "hostdb.def"
#include "msg_fuzz.h"
