#ifndef ENGINE_NEW_H
#define ENGINE_NEW_H
/*
 * new.h -- the target side inside the engine: processes being built.
 *
 * The tables for the blob are filled while the image is read; restore.c lays
 * them out in the area.  Numbers from the image that become sizes or indexes
 * are checked where they are read.
 */
#include "blob.h"
#include "tree.h"

#define XSTATE_MAX 16384u
#define THREADS_MAX 4096u

/* How an interrupted system call has to be begun again. */
enum restart_kind {
	RESTART_NONE,	  /* registers as they are */
	RESTART_SLEEP,	  /* clock_nanosleep, relative, with time left */
	RESTART_POLL,
	RESTART_FUTEX,
};

struct restart {
	enum restart_kind kind;
	uint64_t left_ns;
	int32_t clock;	/* SLEEP */
	uint64_t args[6]; /* of the call as the program made it */
};

struct nthread {
	struct thread t; /* regs and sigmask are what it shall have */
	uint8_t *xstate;
	size_t xlen;
	int nice;
	struct restart restart;
};

struct nproc {
	struct eng_member m;
	uint32_t index;
	int ctl;	/* of its stub */
	bool own_ctl;	/* made by us */
	bool given;	/* the caller's stub: to be left a stub */
	bool have_stub; /* a process of this PID is ours to end */
	bool touched;	/* its old memory is gone */
	bool attached;
	struct proc p; /* as ptrace sees it; p.m.pid, p.mem, p.t[0] */
	struct blob_args args;
	struct buf vmas, fds, watches, actions, timers, threads, sigs, groups,
		auxv;
	struct buf extra; /* signals that came to the stub meanwhile */
	unsigned shared_first, nshared; /* in sigs */
	struct nthread *nt;
	unsigned nnt;
	bool have_mem, have_ids, have_signals;
	int oom_adj;
	uint64_t spot;	/* syscall instruction in the area */
	uint64_t ready_scratch; /* the area is gone: its own stack */
	uint32_t failed_step, failed_item; /* of the blob, for messages */
	int uffd; /* pager's, or -1 */
	struct lazy_run *lazy;
	unsigned nlazy;
};

struct new_file {
	int fd; /* open in the mover, or -1 */
};

struct new_desc;

struct eng_new {
	struct eng_new_opts o;
	pid_t root_pid;
	int root_ctl;
	struct nproc *p;
	unsigned np;
	struct eng_member *members;
	struct new_file *files, *shms;
	unsigned nfiles, nshms;
	struct new_desc *descs;
	unsigned ndescs;
	uint64_t xcr0;
	bool may_lazy; /* the source may leave pages behind */
	bool built, ready, resumed, lazy;
	struct pager *pager;
	uint64_t resumed_at_us;
	struct eng_times times;
};

/* restore.c; for the fuzz target, too. */
struct eng_new *eng_new_empty(void);
int eng_new_take(struct eng_new *n, struct img_reader *rd, struct img_rec *rec,
		 struct eng_report *rep);
int new_proc_at(struct eng_new *n, uint32_t index, struct nproc **ret);

/* res_files.c */
int desc_load(struct eng_new *n, struct img_rec *r, struct eng_report *rep);
int pipe_load(struct eng_new *n, struct img_rec *r);
void descs_close(struct eng_new *n);

/* res_mem.c */
int mem_load_pages(struct eng_new *n, struct nproc *p, struct img_rec *r);
int mem_load_lazy(struct eng_new *n, struct nproc *p, struct img_rec *r);

/* res_threads.c: of a thread of this process (the leader is index 0) */
int threads_own_creds(struct nproc *p, struct eng_report *rep);

/* Queued signals, private (of one thread) or of the whole process. */
int threads_save_queue(struct proc *p, struct thread *t, bool shared,
		       struct img_writer *w);
int threads_load_queue(struct nproc *p, struct wire_reader *b,
		       uint32_t *ret_first, uint32_t *ret_n);

/* res_timers.c */
void timers_drop_alarm(struct nproc *p);

/* lazy.c */
int pager_register(struct eng_new *n, struct nproc *p);
void pager_free(struct eng_new *n);

#endif
