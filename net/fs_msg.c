/* fs_msg.c -- the codecs of fs.def; all macros, nothing per message. */
#define MSG_IMPLEMENT
#include "fs_msg.h"
