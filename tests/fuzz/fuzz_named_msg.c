/* fuzz_named_msg.c -- every decoder of named.def; see msg_fuzz.h. */
#include "named_msg.h"
#define MSG_TABLE "named.def"
#include "msg_fuzz.h"
