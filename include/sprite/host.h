#ifndef SPRITE_HOST_H
#define SPRITE_HOST_H
/*
 * sprite/host.h -- what /sprite/hosts/HOST/status answers besides its text:
 * the figures of that host now, by ioctl on the open file.
 *
 * The file is readable (poll) when the figures are not those of the last read
 * any more; the clocks (idle_secs, up_secs) do not count.
 */
#include <stdint.h>
#include <sys/ioctl.h>

struct sprite_host_load {
	uint32_t load1_centi, load5_centi, load15_centi; /* in hundredths */
	uint32_t guests; /* processes of other hosts here */
	uint32_t away;	 /* processes of this host elsewhere */
	uint32_t slots;	 /* how many guests it lends itself to */
	uint32_t cpus;
	uint32_t allow;	     /* 1: guests may come now */
	uint32_t evicting;   /* 1: guests are being sent away */
	uint32_t reserved;
	uint64_t idle_secs;  /* since the console was touched */
	uint64_t up_secs;    /* of sprite-migd */
};

#define SPRITE_HOST_LOAD _IOR('S', 1, struct sprite_host_load)

#endif
