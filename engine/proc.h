#ifndef ENGINE_PROC_H
#define ENGINE_PROC_H
/*
 * proc.h -- what /proc says about processes, as structs.
 *
 * Everything here only reads and never stops anybody; on a running process
 * it is a snapshot that may be stale when it is returned.  -ESRCH when the
 * process is gone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ps_stat {
	pid_t pid, ppid, pgid, sid;
	char state;
	char name[16];
	uint64_t start_code, end_code, start_stack;
	uint64_t start_data, end_data, start_brk;
	uint64_t arg_start, arg_end, env_start, env_end;
	int exit_code; /* as wait(2), of a zombie */
};

struct ps_status {
	uint32_t uid[4], gid[4]; /* real, effective, saved, fs */
	uint32_t *groups;
	unsigned ngroups;
	uint32_t umask;
	pid_t tracer;
	uint64_t sigcgt, sigign;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	unsigned nnp, seccomp, thp_enabled;
	char name[16];
};

enum vma_kind {
	VMA_ANON,
	VMA_STACK, /* grows down */
	VMA_FILE,
	VMA_SHM,   /* shared memory without a name: /dev/zero, memfd */
	VMA_VVAR,  /* one of [vvar], [vvar_vclock] */
	VMA_VDSO,
	VMA_SKIP,  /* [vsyscall] */
	VMA_OTHER, /* cannot be carried */
};

struct vma {
	uint64_t start, end, off;
	int prot; /* PROT_* */
	bool shared;
	enum vma_kind kind;
	bool deleted;
	bool growsdown;
	uint32_t advice; /* BLOB_ADVICE_* */
	uint64_t dev, ino;
	char *path; /* into text; "" for anonymous */
};

struct vmas {
	struct vma *v;
	unsigned n;
	char *text;
};

int ps_stat(pid_t pid, struct ps_stat *ret);
/* tid of pid; 0 for the leader.  Groups are malloc'ed: ps_status_fini. */
int ps_status(pid_t pid, pid_t tid, struct ps_status *ret);
void ps_status_fini(struct ps_status *s);

/* All processes of this PID namespace; *ret is malloc'ed. */
int ps_all(struct ps_stat **ret, unsigned *ret_n);
/* All threads of pid, ascending; *ret is malloc'ed. */
int ps_threads(pid_t pid, pid_t **ret, unsigned *ret_n);
/* All descriptor numbers, ascending; *ret is malloc'ed. */
int ps_fds(pid_t pid, int **ret, unsigned *ret_n);

int ps_vmas(pid_t pid, struct vmas *ret);
/* Fill advice and growsdown from smaps, for mappings with the same bounds. */
int ps_vma_flags(pid_t pid, struct vmas *m);
void vmas_fini(struct vmas *m);

/*
 * Readlink of /proc/PID/what into buf, NUL-terminated.  " (deleted)" stays
 * behind the path only if the path does not lead to the object any more.
 */
int ps_link(pid_t pid, const char *what, char *buf, size_t cap);

/* The process is one of our stubs (it has the head of the stub's program). */
bool ps_is_stub(pid_t pid);

/* kcmp(2): true if both share the thing. */
bool ps_same(pid_t a, pid_t b, int type, unsigned long ia, unsigned long ib);

#endif
