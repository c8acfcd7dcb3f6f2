/* named_msg.c -- the codecs of named.def; all macros, nothing per message. */
#define MSG_IMPLEMENT
#include "named_msg.h"
