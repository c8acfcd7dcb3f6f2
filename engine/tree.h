#ifndef ENGINE_TREE_H
#define ENGINE_TREE_H
/*
 * tree.h -- the source side inside the engine: a frozen tree.
 */
#include <sys/user.h>

#include "engine.h"
#include "image.h"
#include "proc.h"

/* A thread that stands still under our ptrace. */
struct thread {
	pid_t tid;
	bool held;	 /* seized and stopped by us */
	bool sigstop;	 /* a SIGSTOP came by and was kept back */
	int nice;	 /* what it had before it was boosted */
	bool touched;	 /* registers or mask differ from what is below */
	struct user_regs_struct regs;
	uint64_t sigmask;
	uint64_t set_mask; /* what is set now, if touched */
};

/* A queued signal that went with the image. */
struct taken {
	int sig;
};

struct proc {
	struct eng_member m;
	uint32_t index;
	struct thread *t; /* [0] is the leader */
	unsigned nt;
	bool frozen;
	int mem; /* /proc/PID/mem */
	struct vmas maps;
	uint64_t syscall_ip; /* a syscall instruction in its vdso */
	uint64_t scratch;    /* writable memory for injected calls */
	bool sigtrap_ignored;
	struct ps_status st;
	struct taken *taken;
	unsigned ntaken;
	struct lazy_run *lazy;
	unsigned nlazy;
	uint64_t *hot; /* pages the kernel itself may touch at any time */
	unsigned nhot;
	struct vmas early; /* with the flags of smaps, read before the freeze */
};

/* Pages that stayed at the source: [addr, addr + len). */
struct lazy_run {
	uint64_t addr, len;
};

/* Something behind mappings: a file, or an object of shared memory. */
struct backing {
	uint64_t dev, ino;
	char *path;
	bool write;
	uint64_t size; /* shared memory: highest byte mapped */
};

struct backings {
	struct backing *b;
	unsigned n;
};

struct desc_table;

struct eng {
	struct eng_opts o;
	struct proc *p;
	unsigned np;
	struct eng_member *members; /* copies, for eng_members */
	struct desc_table *descs;
	struct backings files, shms;
	struct eng_times times;
	uint64_t froze_at_us;
	bool saved;
};

uint64_t now_us(void);

/* ---- inject.c: system calls in a stopped thread ---- */

/* Where a syscall instruction lies in a vdso at this address; 0: none. */
uint64_t vdso_syscall(uint64_t vdso_start);
/* What of the processor's state programs may use here (XCR0). */
uint64_t xstate_features(void);
/* The vdso's size and a checksum of its code, the same on equal kernels. */
void vdso_facts(uint64_t *ret_len, uint32_t *ret_crc);

/*
 * Wait until tid stops; *ret_status as waitpid.  -ETIMEDOUT after
 * end_us (now_us clock; 0 = never), -ESRCH if it died.
 */
int wait_stop(pid_t tid, uint64_t end_us, int *ret_status);

/* -ESRCH or what ptrace said; the call's own result is in *ret. */
int inject(struct proc *p, struct thread *t, long *ret, long nr, long a, long b,
	   long c, long d, long e, long f);

/* Memory of a process; both move everything or fail. */
int mem_read(const struct proc *p, uint64_t addr, void *to, size_t n);
int mem_write(const struct proc *p, uint64_t addr, const void *from, size_t n);

/* Borrow n bytes of the process's memory for results; give them back. */
#define SCRATCH_LEN 1024
int scratch_open(struct proc *p, uint8_t saved[SCRATCH_LEN]);
int scratch_close(struct proc *p, const uint8_t saved[SCRATCH_LEN]);

/* Put registers and mask of a touched thread back. */
int thread_untouch(struct thread *t);

/* ---- boost.c ---- */

void boost_self(void);
void calm_self(void);
/* Returns the niceness to give back. */
int boost_thread(pid_t tid);
void calm_thread(pid_t tid, int nice);

/* ---- freeze.c ---- */

int proc_freeze(struct proc *p, uint64_t end_us, struct eng_report *rep);
int proc_thaw(struct proc *p);
void proc_fini(struct proc *p);

/* ---- become.c ---- */

/*
 * Exec stub_exe in a held process; its other threads end.  On success it
 * runs, detached.
 */
int exec_stub(struct proc *p, const char *stub_exe, const char *ctl_path);

/* Kill a held process and take the news of it. */
void kill_held(struct proc *p);

/* ---- kinds of state: res_*.c ---- */

struct nproc;
struct eng_new;

/*
 * One kind of state.  save writes its records for one process, reading only.
 * load takes one record into the plan of the new process, trusting
 * nothing.  finish sets from outside what can only be set so, when the new
 * process stands ready.  Undoing is never needed: before the commit nothing has
 * been changed at the source and the target is simply killed.
 */
struct res_ops {
	const char *name;
	enum img_tag tag;
	int (*save)(struct eng *e, struct proc *p, struct img_writer *w,
		    struct eng_report *rep);
	int (*load)(struct eng_new *n, struct nproc *p, struct img_rec *r,
		    struct eng_report *rep);
	int (*finish)(struct eng_new *n, struct nproc *p);
};

extern const struct res_ops res_mem, res_threads, res_signals, res_timers,
	res_ids, res_fds;

/* res_mem.c: contents, after everything else. */
int mem_save_pages(struct eng *e, struct proc *p, struct img_writer *w);
/* backing.c: files behind mappings, exe and cwd; shared objects. */
int backing_save_all(struct eng *e, struct img_writer *w,
		     struct eng_report *rep);
/* Their index in the image; -1: unknown. */
int backing_of_vma(const struct eng *e, const struct vma *v);
int backing_of_path(const struct eng *e, const char *path);
void backings_fini(struct backings *b);
int backing_load_file(struct eng_new *n, struct img_rec *r,
		      struct eng_report *rep);
int backing_load_shm(struct eng_new *n, struct img_rec *r);

/* res_files.c: descriptors of the whole tree. */
int fds_collect(struct eng *e, struct eng_report *rep);
int fds_save_descs(struct eng *e, struct img_writer *w, struct eng_report *rep);
void fds_free(struct desc_table *d);
/* check.c: the part of eng_check about one process's descriptors. */
int fds_check(const pid_t *pids, unsigned n, const struct eng_opts *o,
	      struct eng_report *rep);

#endif
