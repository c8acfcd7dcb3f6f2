#ifndef ENGINE_DESC_H
#define ENGINE_DESC_H
/*
 * desc.h -- the open file descriptions of a tree: found (desc.c), carried
 * (res_files.c).
 */
#include "tree.h"

#define DESC_EXTRA 8

struct desc {
	struct eng_fd_info i; /* path belongs to us */
	bool lock;	      /* holds a file lock */
	bool caller;	      /* fd_check said: I do it */
	/*
	 * What the kind needs besides: eventfd count, semaphore; timerfd
	 * clock, ticks, flags, value s, ns, interval s, ns; signalfd mask;
	 * pipe inside: number of the pipe.
	 */
	uint64_t x[DESC_EXTRA];
};

struct holder {
	pid_t pid;
	int fd;
	bool cloexec;
	uint32_t desc;
};

/* One descriptor an epoll watches. */
struct watch {
	pid_t pid;
	int epfd, fd;
	uint32_t events;
	uint64_t data;
};

struct desc_table {
	struct desc *d;
	unsigned nd;
	struct holder *h;
	unsigned nh;
	struct watch *w;
	unsigned nw;
	uint64_t *pipes; /* inode of each pipe inside the tree */
	unsigned npipes;
};

/* Look at all descriptors of these processes.  -ESRCH if one is gone. */
int descs_find(const pid_t *pids, unsigned n, struct desc_table **ret);

/* Which of them cannot be carried; sets caller. */
int descs_judge(struct desc_table *t, const struct eng_opts *o,
		struct eng_report *rep);

#endif
