/* fuzz_session_msg.c -- every decoder of session.def; see msg_fuzz.h. */
#include "session_msg.h"
#define MSG_TABLE "session.def"
#include "msg_fuzz.h"
