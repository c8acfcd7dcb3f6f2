/* test_fs_msg.c -- every message of fs.def; see msg_cases.h. */
#include "fs_msg.h"
#define MSG_TABLE "fs.def"
#define MSG_SUITE fs_msg
#include "msg_cases.h"
