/* hostdb_msg.c -- the codecs of hostdb.def; all macros, nothing per message. */
#define MSG_IMPLEMENT
#include "hostdb_msg.h"
