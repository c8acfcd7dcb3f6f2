/* test_hostdb_msg.c -- every message of hostdb.def; see msg_cases.h. */
#include "hostdb_msg.h"
#define MSG_TABLE "hostdb.def"
#define MSG_SUITE hostdb_msg
#include "msg_cases.h"
