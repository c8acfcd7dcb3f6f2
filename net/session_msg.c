/* session_msg.c -- the codecs of session.def; all macros, nothing per message. */
#define MSG_IMPLEMENT
#include "session_msg.h"
