/* test_pdev_msg.c -- every message of pdev.def; see msg_cases.h. */
#include "pdev_msg.h"
#define MSG_TABLE "pdev.def"
#define MSG_SUITE pdev_msg
#include "msg_cases.h"
