/* fuzz_fs_msg.c -- every decoder of fs.def; see msg_fuzz.h. */
#include "fs_msg.h"
#define MSG_TABLE "fs.def"
#include "msg_fuzz.h"
