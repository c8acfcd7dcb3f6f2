/* test_migd_msg.c -- every message of migd.def; see msg_cases.h. */
#include "migd_msg.h"
#define MSG_TABLE "migd.def"
#define MSG_SUITE migd_msg
#include "msg_cases.h"
