#ifndef MIGD_REPORT_H
#define MIGD_REPORT_H
/*
 * report.h -- how this host is: sampled, told to the host database, and put in
 * words.
 */
#include "load.h"
#include "migd.h"

int report_open(struct migd *m);
void report_close(struct migd *m);
/* The number of guests changed, or the owner came: told soon. */
void report_changed(struct migd *m);
/* Told at once, whatever the last report said. */
void report_now(struct migd *m);
/* The owner uses this host: no guest may come, unless its user named the
 * host (asked). */
bool report_owner_here(const struct migd *m, bool asked);
/* Processor and kernel facts that two hosts must have in common. */
uint64_t report_version(void);
/* This host in figures, for those who ask the status device. */
struct sprite_host_load;
void report_load(const struct migd *m, struct sprite_host_load *ret);
/* This host in words. */
struct buf;
void migd_status_text(struct migd *m, struct buf *out);

#endif
