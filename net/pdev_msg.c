/* pdev_msg.c -- the codecs of pdev.def; all macros, nothing per message. */
#define MSG_IMPLEMENT
#include "pdev_msg.h"
