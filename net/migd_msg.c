/* migd_msg.c -- the codecs of migd.def; all macros, nothing per message. */
#define MSG_IMPLEMENT
#include "migd_msg.h"
