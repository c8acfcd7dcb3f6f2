/* test_session_msg.c -- every message of session.def; see msg_cases.h. */
#include "session_msg.h"
#define MSG_TABLE "session.def"
#define MSG_SUITE session_msg
#include "msg_cases.h"
