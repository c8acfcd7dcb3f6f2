/* fuzz_pdev_msg.c -- every decoder of pdev.def; see msg_fuzz.h. */
#include "pdev_msg.h"
#define MSG_TABLE "pdev.def"
#include "msg_fuzz.h"
