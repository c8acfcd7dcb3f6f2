#ifndef NET_PDEV_MSG_H
#define NET_PDEV_MSG_H
/* pdev_msg.h -- structs and codecs of pdev.def; see msg.h for what is made. */
#define MSG_TABLE "pdev.def"
#include "msg.h"
#undef MSG_TABLE

/* Limits both sides check. */
#define PDEV_IO_MAX	(1u << 20)
#define PDEV_IOCTL_MAX	16384u
#define PDEV_NAME_MAX	511u /* of a whole name, as in hosts/H/NAME */
#define PDEV_GROUPS_MAX 1024u
#define PDEV_TIMEOUT_MIN_MS 100u
#define PDEV_TIMEOUT_MAX_MS 25000u /* below the silence that ends a connection */
#endif
