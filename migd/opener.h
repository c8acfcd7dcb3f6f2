#ifndef MIGD_OPENER_H
#define MIGD_OPENER_H
/*
 * opener.h -- open files in the world without blocking the loop: a file
 * service may take its time.
 */
#include "migd.h"

struct open_file {
	char path[PATH_MAX];
	int flags;
	uint64_t pos;
	uint64_t ino; /* as it was at home; 0: not checked */
	int fd;	      /* out: or a negative errno; -ESTALE: another file */
};

struct open_job {
	uint32_t uid, gid, ngroups;
	uint32_t groups[256];
	unsigned n;
	struct open_file *files; /* the job's, freed with it */
	void (*done)(struct open_job *j); /* on the loop; then free it */
	void *arg;
	/* opener.c's */
	struct open_job *next;
};

int opener_start(struct migd *m);
void opener_stop(struct migd *m);
/* With n = 0 done is called before the return. */
void opener_submit(struct migd *m, struct open_job *j);
void open_job_free(struct open_job *j); /* closes what was not taken */

#endif
