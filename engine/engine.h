#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
/*
 * engine.h -- moving processes: freeze, save, restore, resume.
 *
 * The engine knows nothing of network, daemons or policy.  It reads and
 * writes images (image.h) through two functions of its caller, asks its
 * caller how descriptors that lead out of the tree are to be carried, and
 * drives processes with ptrace.  All calls block.
 *
 * Callers are *movers*: single-threaded processes, root with all capabilities
 * but CAP_SYS_RESOURCE, inside the PID and mount namespaces of the processes
 * to be moved (/proc must be that namespace's).  ptrace binds to a thread:
 * one thread makes all calls on one eng or eng_new.  If the mover dies before
 * eng_become_stub or eng_kill the source goes on as if nothing had happened;
 * if it dies before eng_resume the half-made target dies with it.
 *
 * One move:
 *
 *	source				target
 *	eng_check			(stubs for parent, session, group made;
 *	eng_freeze			 root stub in its place in the tree)
 *	eng_save  ---- image ---->	eng_restore
 *	   ---- commit (the caller's, at home) ----
 *	eng_lazy_serve <-pages->	eng_resume, eng_lazy_wait
 *	eng_become_stub or eng_kill	eng_new_free
 *	eng_free
 *
 * Before the commit: eng_thaw at the source and eng_abort at the target put
 * everything back.  eng_save only reads (its few injected calls have no
 * effect and every touched byte and register is put back), so eng_thaw is
 * exact: timers, sleeps and queued signals go on untouched.
 *
 * Functions return 0 or a negative errno.  -EOPNOTSUPP comes with reasons in
 * a struct eng_report (reasons.def); -EBUSY means: the same call can succeed
 * a moment later (a vfork under way); -EBADMSG: the image is damaged or from
 * another version; -ESRCH: a process is gone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- why something cannot move -------------------------------------- */

enum eng_reason {
#define REASON(num, name, sentence, next) ENG_##name = num,
#include "reasons.def"
};

#define ENG_REASONS_MAX 16

struct eng_report {
	unsigned n; /* found; the first ENG_REASONS_MAX are kept */
	struct {
		enum eng_reason reason;
		pid_t pid;
		char detail[160];
	} item[ENG_REASONS_MAX];
};

const char *eng_reason_name(enum eng_reason r);
/* "sentence with detail; next step" into buf; always NUL-terminated. */
void eng_reason_text(const struct eng_report *rep, unsigned i, char *buf,
		     size_t cap);

/* ---- descriptors ----------------------------------------------------- */

enum eng_fd_kind {
	ENG_FD_FILE = 1, /* regular file */
	ENG_FD_DIR,
	ENG_FD_PIPE,	/* pipe with an end outside of the tree */
	ENG_FD_PIPE_IN, /* pipe wholly inside: the engine moves it */
	ENG_FD_FIFO,
	ENG_FD_TTY,	/* terminal, by name (also /dev/tty) */
	ENG_FD_SOCKET,
	ENG_FD_CHAR,	/* /dev/null, zero, full, random, urandom */
	ENG_FD_EVENTFD,
	ENG_FD_TIMERFD,
	ENG_FD_SIGNALFD,
	ENG_FD_EPOLL,
	ENG_FD_MEMFD,
	ENG_FD_PATH, /* O_PATH */
	ENG_FD_OTHER,
};

/* One open file description of the tree.  Strings are borrowed for the call. */
struct eng_fd_info {
	enum eng_fd_kind kind;
	uint32_t desc;	/* number of the description within this image */
	pid_t pid;	/* one holder and the number it has there */
	int fd;
	uint32_t flags; /* O_* of the description */
	uint64_t pos;
	uint64_t dev, ino, rdev, size;
	uint32_t mode;
	uint64_t mtime_ns;
	const char *path; /* what /proc/PID/fd says; deleted: no such path */
	bool deleted;
	uint32_t holders; /* processes of the tree that hold it */
};

/*
 * The caller's part.  arg comes first in every call.  A NULL member means:
 * only what the engine can carry by itself.
 */
struct eng_fd_ops {
	void *arg;

	/*
	 * Before the freeze: can this one be carried?  1: I do it (fd_save
	 * will be asked), 0: let the engine, -EOPNOTSUPP: neither; detail
	 * (at most cap bytes) says why.  For kinds PIPE, FIFO, TTY, SOCKET and
	 * OTHER, and for deleted files, 0 means refusal.
	 */
	int (*fd_check)(void *arg, const struct eng_fd_info *in, char *detail,
			size_t cap);

	/*
	 * Source, frozen: once for each description for which fd_check said 1.
	 * copy is a descriptor of the same description, valid for the call
	 * (dup it to keep it, for instance to pump the pipe).  Write at
	 * most cap bytes of blob, which the target's fd_open is given.
	 */
	int (*fd_save)(void *arg, const struct eng_fd_info *in, int copy,
		       void *blob, size_t cap, size_t *ret_len);

	/*
	 * Target: make the description again; the engine takes the descriptor
	 * over.  Flags (O_NONBLOCK, O_APPEND, ...) and position are set by
	 * the engine afterwards for kinds FILE and DIR, flags only for others.
	 */
	int (*fd_open)(void *arg, const struct eng_fd_info *in,
		       const void *blob, size_t len, int *ret_fd);
};

#define ENG_FD_BLOB_MAX 4096

/* ---- bytes ------------------------------------------------------------ */

/* Both move n bytes or fail with a negative errno. */
struct eng_io {
	void *arg;
	int (*read)(void *arg, void *p, size_t n);
	int (*write)(void *arg, const void *p, size_t n);
};

/* ---- figures ---------------------------------------------------------- */

/* Microseconds of each phase; zero where it did not take place. */
struct eng_times {
	uint64_t check_us;
	uint64_t freeze_us;   /* until every thread stood still */
	uint64_t save_us;     /* records and pages written */
	uint64_t frozen_us;   /* source: from the first stop to eng_frozen_end */
	uint64_t restore_us;  /* from the first record to ready */
	uint64_t resume_us;
	uint64_t lazy_us;     /* from resume until no page was left behind */
	uint64_t release_us;  /* become stub or kill */
	uint64_t bytes;	      /* image bytes */
	uint64_t pages;	      /* pages in the image */
	uint64_t lazy_pages;  /* pages moved afterwards */
	uint64_t lazy_faults; /* of them on demand */
	uint32_t procs, threads;
};

/* ---- one process of a tree -------------------------------------------- */

struct eng_member {
	pid_t pid, ppid, pgid, sid;
	uint32_t uid;
	bool zombie;  /* ended, not yet waited for; status as wait(2) */
	bool stopped; /* by a job control signal */
	int status;
	char name[16];
};

/* ---- source ------------------------------------------------------------ */

struct eng;

/*
 * What is learnt about the kernel once per daemon (about 20 ms) and then lent to
 * all its movers, which inherit it by fork: with it, interrupted sleeps, polls
 * and futex waits go on for exactly the time left; without, they begin anew
 * (longer, never shorter).  An error only means that it cannot be had.
 */
struct eng_kernel;
int eng_kernel_open(struct eng_kernel **ret);
void eng_kernel_close(struct eng_kernel *k);

enum eng_memory {
	ENG_DIRECT, /* everything at the freeze */
	ENG_LAZY,   /* large runs stay and are pulled and pushed afterwards */
};

struct eng_opts {
	const struct eng_fd_ops *fds;	 /* may be NULL */
	const struct eng_kernel *kernel; /* may be NULL */
	enum eng_memory memory;
	/* Runs of this many bytes and more are lazy; 0 means 1 MiB. */
	uint64_t lazy_min;
	/* Give up freezing after this long; 0 means 2000 ms. */
	uint32_t freeze_ms;
	bool single; /* refuse (reason CHILDREN) instead of moving a tree */
};

/*
 * Look at the tree below root without stopping anything.  0: it can move as
 * things stand; -EOPNOTSUPP or -EBUSY with rep filled.  May be called
 * at any time, as often as wanted.
 */
int eng_check(pid_t root, const struct eng_opts *o, struct eng_report *rep);

/*
 * Check, then stop root and all its descendants.  On failure everything runs
 * as before and *ret is untouched.  o is copied, o->fds borrowed until
 * eng_free.
 */
int eng_freeze(pid_t root, const struct eng_opts *o, struct eng_report *rep,
	       struct eng **ret);

/*
 * The tree, root first, parents before children.  Valid until eng_free.
 * Stubs among the descendants are not part of it: they stand for processes that
 * are elsewhere, and stay what and where they are.
 */
unsigned eng_members(const struct eng *e, const struct eng_member **ret);

/*
 * Write the image.  May fail with -EOPNOTSUPP for what only shows now (rep);
 * the caller then thaws.  May be called once.
 */
int eng_save(struct eng *e, const struct eng_io *io, struct eng_report *rep);

/* Let everything go on exactly as it was.  e stays valid for eng_free. */
int eng_thaw(struct eng *e);

/*
 * After the commit, ENG_LAZY only: serve pages until the target has all.
 * req carries the target's requests and their answers, push only pages
 * to the target; they must be two connections (a fault must not queue behind
 * a push).  Starts one thread, which ends before the return.  Without a
 * word on either connection if no page was left (eng_new_lazy is false then).
 * Deadlines are the business of io.
 */
int eng_lazy_serve(struct eng *e, const struct eng_io *req,
		   const struct eng_io *push);

/*
 * After the commit, at home: turn every member (zombies excepted) into a stub
 * in place, by exec of stub_exe with "@ctl_path".  Parent, children,
 * group, session and signals that arrived since the freeze stay; signals that
 * went with the image are taken out.  Each stub says HELLO on ctl_path, not
 * necessarily before the return.  A member that could not be
 * turned is killed and the first error returned: its body is elsewhere.
 */
int eng_become_stub(struct eng *e, const char *stub_exe, const char *ctl_path);

/* After the commit, away from home: the frozen originals die, bottom up. */
int eng_kill(struct eng *e);

/* For the figures: the body runs elsewhere now. */
void eng_frozen_end(struct eng *e);
const struct eng_times *eng_times(const struct eng *e);

/* Thaws what is still frozen.  NULL is fine. */
void eng_free(struct eng *e);

/* ---- target ------------------------------------------------------------ */

struct eng_new;

struct stub_msg;

/* A stub and its control socket (stub_proto.h). */
struct eng_stub {
	pid_t pid;
	int ctl;
};

struct eng_new_opts {
	const struct eng_fd_ops *fds; /* fd_open only; may be NULL */
	/*
	 * Called with true before PIDs of the image are made and with false
	 * afterwards: raise and lower pid_max.  May be NULL.
	 */
	int (*pid_space)(void *arg, bool open);
	/*
	 * Is there a stub of this PID already, a child of the right parent?
	 * 0: its control socket (which stays the caller's and is dead
	 * when eng_restore succeeds), -ENOENT: the engine makes one.
	 * So a tree comes home into its own stubs.  May be NULL.
	 */
	int (*find_stub)(void *arg, pid_t pid, int *ret_ctl);
	/*
	 * Reports of the root stub that came while its descendants were being
	 * made, in their order.  NULL: they are dropped.
	 */
	void (*on_report)(void *arg, const struct stub_msg *m);
	void *arg;
	/*
	 * For eng_abort into a home stub: as for eng_become_stub.  NULL: the
	 * root dies with the rest.
	 */
	const char *stub_exe;
	const char *ctl_path;
};

/*
 * Read an image and build its processes.  The root is poured into *root, which
 * must be an idle stub with the root's PID (its controller must neither
 * read nor write on ctl meanwhile; pending reports are left in the
 * socket); descendants are made below it with their PIDs, groups and sessions.
 * The root's own group and session are what the stub has.
 *
 * 0: all stand ready, stopped, one step before running.  ctl of root is dead
 * from then on (EOF), and the caller closes it.  On failure nothing is
 * left behind: the root is the stub it was if the failure came early enough,
 * else it was re-made by stub_exe or is dead.
 *
 * rep is filled for -EOPNOTSUPP, for instance a mapped file that differs here.
 */
int eng_restore(const struct eng_io *io, const struct eng_stub *root,
		const struct eng_new_opts *o, struct eng_report *rep,
		struct eng_new **ret);

unsigned eng_new_members(const struct eng_new *n,
			 const struct eng_member **ret);

/* The image left pages behind: eng_lazy_start is due before eng_resume. */
bool eng_new_lazy(const struct eng_new *n);

/*
 * Start pulling and receiving pages in two threads of the mover.  Both io
 * are borrowed until eng_lazy_wait returned.
 */
int eng_lazy_start(struct eng_new *n, const struct eng_io *req,
		   const struct eng_io *push);

/* After the commit: let them go. */
int eng_resume(struct eng_new *n);

/* Before the commit: undo.  See stub_exe above. */
int eng_abort(struct eng_new *n);

/*
 * Wait until no page is left behind.  An error means that the source was lost
 * with pages on it: the processes have been killed (-EIO).
 */
int eng_lazy_wait(struct eng_new *n);

const struct eng_times *eng_new_times(const struct eng_new *n);

/* Aborts what was not resumed.  NULL is fine. */
void eng_new_free(struct eng_new *n);

/* ---- starting a program through a stub --------------------------------- */

struct eng_exec {
	const char *path;
	char *const *argv;
	char *const *envp;
	const char *cwd; /* used if no cwd descriptor is passed */
	bool cwd_fd;	 /* one is passed as second descriptor */
	bool set_ids;
	uint32_t ruid, euid, suid, rgid, egid, sgid;
	const uint32_t *groups;
	unsigned ngroups;
	uint32_t rlimit_set; /* bit n: rlimit[n] */
	struct {
		uint64_t cur, max;
	} rlimit[16];
	uint32_t umask;
	bool set_nice;
	int nice;
	uint64_t sigmask; /* bit n-1: signal n */
	uint64_t sigign;
	bool no_new_privs;
	/* The number wanted for each passed descriptor, in passing order. */
	const int *fds;
	const bool *cloexec; /* may be NULL: none */
	unsigned nfds;
};

/* A sealed memfd for STUB_EXEC.  -E2BIG, -EINVAL, -ENOMEM... */
int eng_exec_image_build(const struct eng_exec *x, int *ret_memfd);

/* ---- talking to a stub -------------------------------------------------- */

struct stub_msg;

/* Blocking; both check that the other end is there (-EPIPE if not). */
int stub_send(int ctl, const struct stub_msg *m, const int *fds, unsigned nfds);
/* timeout_ms < 0: for ever.  -ETIMEDOUT. */
int stub_recv(int ctl, struct stub_msg *ret, int timeout_ms);

/*
 * Send a command and wait for its answer (OK, ERR or SPAWNED).  Reports that
 * come in between are given to on_report if it is not NULL, else dropped:
 * use it only where there can be none or where they do not matter.
 */
int stub_call(int ctl, const struct stub_msg *m, const int *fds, unsigned nfds,
	      int timeout_ms,
	      void (*on_report)(void *arg, const struct stub_msg *m), void *arg,
	      struct stub_msg *ret);

/*
 * Start a first stub, the root of all others: fork, exec stub_exe with its
 * end of a new socket pair.  For nurseries and tests; waits for HELLO.
 */
int stub_start(const char *stub_exe, pid_t *ret_pid, int *ret_ctl);

/* SPAWN through a parent stub, wait for SPAWNED and the child's HELLO. */
int stub_spawn(int ctl, pid_t pid, bool setsid, int pgid, pid_t *ret_pid,
	       int *ret_ctl);

#endif
