/* fuzz_migd_msg.c -- every decoder of migd.def; see msg_fuzz.h. */
#include "migd_msg.h"
#define MSG_TABLE "migd.def"
#include "msg_fuzz.h"
