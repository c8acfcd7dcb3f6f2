/* test_named_msg.c -- every message of named.def; see msg_cases.h. */
#include "named_msg.h"
#define MSG_TABLE "named.def"
#define MSG_SUITE named_msg
#include "msg_cases.h"
