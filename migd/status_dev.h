#ifndef MIGD_STATUS_DEV_H
#define MIGD_STATUS_DEV_H
/*
 * status_dev.h -- migd as the server of the pseudo-device
 * /sprite/hosts/HOST/status: the text of migd_status_text for whoever reads it,
 * on any host, and its figures (sprite/host.h).
 */
#include "migd.h"

struct status_dev;

/* Serve it from now on; while fsd does not run, again and again.  -ENOMEM. */
int status_dev_open(struct migd *m, struct status_dev **ret);
/* NULL is fine. */
void status_dev_close(struct status_dev *d);

#endif
