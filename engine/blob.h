#ifndef ENGINE_BLOB_H
#define ENGINE_BLOB_H
/*
 * blob.h -- what the engine tells the code that rebuilds a process from
 * inside (stub/blob.c).
 *
 * The engine stops a stub with ptrace, maps one anonymous *area* in a hole
 * that is free in the stub and in the image, and fills it: these
 * arguments, tables, a copy of the stub's code, one stack per thread.  The
 * blob runs in stages; after each it stores the stage's number and executes
 * int3, so the engine's waitpid is the only rendezvous:
 *
 *	BLOB_MAPPED	old memory gone, all mappings of the image there;
 *			the engine now fills in pages
 *	BLOB_READY	everything else done, threads parked in pause(2);
 *			the engine sets registers and removes the area
 *	BLOB_FAILED	err and step say why
 *
 * Offsets are from the start of the area.  Included by start.S as well.
 */
#define STUB_HEAD_MAGIC	  0x42555453 /* "STUB" */
#define STUB_HEAD_VERSION 1
#define STUB_BASE	  0x200000 /* where stub.ld puts the segment */
#define STUB_HEAD	  0x200100 /* and the head in it */

#ifndef __ASSEMBLER__
#include <linux/prctl.h>
#include <stdint.h>

struct stub_head {
	uint32_t magic, version;
	uint32_t end;	/* address behind the code, which starts at STUB_BASE */
	uint32_t enter; /* address of blob_enter */
};

enum blob_stage { BLOB_START, BLOB_MAPPED, BLOB_READY, BLOB_FAILED };

enum blob_step {
	BLOB_STEP_UNMAP = 1,
	BLOB_STEP_VDSO,
	BLOB_STEP_PIDFD,
	BLOB_STEP_MAP,
	BLOB_STEP_UFFD,
	BLOB_STEP_MM,
	BLOB_STEP_FDS,
	BLOB_STEP_CWD,
	BLOB_STEP_WATCH,
	BLOB_STEP_ACTION,
	BLOB_STEP_THREAD,
	BLOB_STEP_QUEUE,
	BLOB_STEP_TIMER,
	BLOB_STEP_IDS,
	BLOB_STEP_RSEQ,
	BLOB_STEP_PRCTL,
};

#define BLOB_ADVICE_DONTFORK 1u
#define BLOB_ADVICE_DONTDUMP 2u
#define BLOB_ADVICE_WIPE     4u
#define BLOB_ADVICE_HUGE     8u
#define BLOB_ADVICE_NOHUGE   16u
#define BLOB_ADVICE_MERGE    32u
#define BLOB_ADVICE_LOCK     64u

struct blob_vma {
	uint64_t addr, len, off;
	uint32_t prot, flags; /* for mmap, MAP_FIXED_NOREPLACE is added */
	int32_t fd;	      /* number in the mover, or -1 */
	uint32_t advice;
};

struct blob_fd {
	int32_t from; /* number in the mover */
	int32_t to;
	uint32_t cloexec;
	uint32_t pad;
};

/* What an epoll watches; the numbers are those of the process. */
struct blob_watch {
	int32_t epfd, fd;
	uint32_t events, pad;
	uint64_t data;
};

struct blob_action {
	uint32_t sig, pad;
	struct {
		uint64_t handler, flags, restorer, mask;
	} act; /* as the kernel has it */
};

struct blob_timer {
	int32_t id, clock;
	uint8_t sigev[64];	      /* struct sigevent */
	int64_t interval_s, interval_ns; /* struct itimerspec */
	int64_t value_s, value_ns;
};

struct blob_siginfo {
	uint8_t raw[128];
};

struct blob_creds {
	uint32_t ruid, euid, suid, fsuid;
	uint32_t rgid, egid, sgid, fsgid;
	uint32_t ngroups, groups_off;
	uint32_t cap_eff[2], cap_prm[2], cap_inh[2];
	uint32_t cap_bnd[2], cap_amb[2];
	uint32_t securebits, nnp;
	uint32_t change; /* 0: the stub already has exactly these */
};

struct blob_thread {
	int32_t tid;
	uint32_t stack_off; /* end of its stack in the area */
	uint64_t clear_tid;
	uint64_t robust, robust_len;
	uint64_t rseq;
	uint32_t rseq_len, rseq_sig;
	uint64_t alt_sp, alt_size;
	uint32_t alt_flags;
	uint32_t queue_off, nqueue; /* struct blob_siginfo, private ones */
	char name[16];
	int32_t err;
	uint32_t step;
	struct blob_creds creds;
};

struct blob_args {
	uint64_t area, area_len;
	uint32_t stage, step;
	int32_t err;
	uint32_t item; /* index of the table entry that failed */

	uint64_t vdso_start; /* of [vvar], 0: none */
	int32_t mover;	     /* PID descriptors are taken from */
	int32_t pidfd;	     /* number to use for it, not wanted by the image */
	uint32_t want_uffd;  /* make one; its number is left in uffd */
	int32_t uffd;
	uint32_t nvmas, vmas_off;
	uint32_t nfds, fds_off;
	uint32_t nwatches, watches_off;
	uint32_t nactions, actions_off;
	uint32_t ntimers, timers_off;
	uint32_t nthreads, threads_off; /* [0] is the leader */
	uint32_t nqueue, queue_off;	/* the shared queue */
	struct prctl_mm_map mm;		/* exe_fd: number in the mover */
	int32_t cwd_fd;			/* number in the mover */
	uint32_t umask, personality;
	uint32_t dumpable, pdeathsig, subreaper, thp_disable, keepcaps;
	uint64_t timerslack;
	struct {
		int64_t interval_s, interval_us, value_s, value_us;
	} itimer[3];
	struct {
		uint64_t cur, max;
	} rlimit[16];
	uint32_t ready;	 /* threads that are parked, futex */
};
#endif
#endif
