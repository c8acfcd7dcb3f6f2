#ifndef ENGINE_STUB_PROTO_H
#define ENGINE_STUB_PROTO_H
/*
 * stub_proto.h -- what is said between a stub and whoever controls it.
 *
 * A stub is a process without libc and with a few pages of memory that holds
 * a PID (and with it a place as parent, child, group and session member) on a
 * host where the process of that PID does not compute.  It is also the
 * nursery: a body is made by pouring an image into a stub (engine.h) or by
 * EXEC.
 *
 * One AF_UNIX SOCK_SEQPACKET socket per stub; every packet is one struct
 * stub_msg, never more, never less.  Both ends are on one machine and made by
 * one build, hence a plain struct; HELLO carries STUB_PROTO to be sure.
 *
 *	sprite-stub FD		the control socket is inherited as FD
 *	sprite-stub @PATH	connect to the unix socket PATH (SEQPACKET)
 *	sprite-stub FD @PATH	start with FD, use PATH when FD is lost
 *
 * A stub blocks every signal, closes every other descriptor, says HELLO, and
 * from then on reports each signal that reaches it and each change of each
 * child.  Commands are executed in order.
 *
 * Losing the control socket does not end a stub: it holds a PID.  With a
 * @PATH it connects again (every 100 ms until it succeeds) and says HELLO with
 * STUB_HELLO_AGAIN; without one it waits for ever.  While it has no
 * socket it reads no signals and reaps nobody, so nothing is lost: the kernel
 * keeps them.  A report that could not be sent is sent after the next HELLO.
 *
 * Stopped stubs.  SIGSTOP stops a stub like any process, which is what its
 * parent expects to see, but it then executes no command.  Before EXIT or
 * anything else to a stub that may be stopped, send it SIGCONT.
 *
 * Privilege.  SPAWN with a chosen pid and coming home into a stub need root
 * in the PID namespace's owner.  A stub executed by an ordinary user's process
 * has it only if the program file is set-user-ID root; the stub then obeys only a
 * socket whose other end was made by root (SO_PEERCRED), and its real uid
 * stays the user's, so that the user may still signal it.
 */
#include <stdint.h>

#define STUB_PROTO   1u
#define STUB_FDS_MAX 200 /* descriptors with one EXEC, cwd and image included */

enum stub_type {
	/* ---- commands ---- */

	/*
	 * Make a child stub: clone3 with set_tid = pid (0: any).  One passed
	 * descriptor: the child's end of its control socket.  sid != 0: the
	 * child calls setsid().  pgid: 0 = a group of its own, > 0 = join it,
	 * -1 = stay.  Answered by SPAWNED; the child says HELLO on its own
	 * socket (after setsid/setpgid succeeded; if they fail it reports ERR
	 * there and exits 126).
	 *
	 * A pid at or above pid_max of the namespace is -EINVAL: the caller
	 * raises /proc/sys/kernel/pid_max before and lowers it after.
	 */
	STUB_SPAWN = 1,
	STUB_SETSID,	/* answered by OK or ERR, as are the next seven */
	STUB_SETPGID,	/* setpgid(pid, pgid); pid 0 = itself */
	STUB_CTTY,	/* one fd: becomes the session's controlling tty */
	STUB_TCSETPGRP, /* one fd of that tty; pgid */
	STUB_IDS,	/* ids.uid, ids.gid become the real ones; effective stay */
	STUB_NAME,	/* name[16]: what ps shows */
	STUB_KILL,	/* kill(pid, sig); pid may be negative as for kill(2) */
	STUB_STOP,	/* raise SIGSTOP; OK is sent before stopping */

	/*
	 * Become a program.  fds[0] is the exec image (eng_exec_image_build),
	 * fds[1] the working directory (or none: flag in the image), the rest
	 * in the order of the image's descriptor list.  Success: the control
	 * socket closes.  Failure: ERR with errno and the step; the stub stays
	 * a stub without descriptors, but ids and limits may have been changed:
	 * all that is left is EXIT.
	 */
	STUB_EXEC,

	/*
	 * Die with this wait status: exit code, or the signal natively (no
	 * core).  No answer; the socket closes.
	 */
	STUB_EXIT,
	STUB_PING, /* answered by OK */

	/* ---- reports ---- */
	STUB_HELLO = 64, /* pid, hello.* */
	STUB_SPAWNED,	 /* pid, err: 0 or a negative errno */
	STUB_OK,	 /* to: the command */
	STUB_ERR,	 /* to: the command, err: a negative errno */
	STUB_SIGNAL,	 /* siginfo: exactly as the kernel gave it */
	STUB_CHILD,	 /* pid, child.*; the stub has reaped it if it ended */
};

#define STUB_HELLO_AGAIN 1u /* flags of HELLO: connected again after a loss */
#define STUB_HELLO_EXECD 2u /* started with @PATH: an exec made this stub */

struct stub_msg {
	uint32_t type;
	uint32_t to;  /* reports: the command answered */
	int32_t pid;
	int32_t pgid;
	int32_t sid;
	int32_t sig;
	int32_t err;
	int32_t status; /* EXIT, CHILD: as wait(2) gives it */
	uint32_t flags;
	uint32_t seq; /* free for the controller; answers carry it back */
	union {
		uint8_t siginfo[128]; /* SIGNAL: siginfo_t */
		struct {
			int32_t code;	/* CLD_EXITED, CLD_KILLED, CLD_DUMPED,
					   CLD_STOPPED, CLD_CONTINUED */
			int32_t uid;
			int64_t utime_us, stime_us;
			int64_t maxrss_kb, minflt, majflt;
		} child;
		struct {
			uint32_t proto;
			int32_t ppid, pgid, sid;
		} hello;
		struct {
			uint32_t uid, gid;
		} ids;
		char name[16];
	} u;
};

/*
 * The exec image: one memfd, this header, then a body of little-endian
 * words and strings at the offsets given (all from the start of the file).
 * Made by eng_exec_image_build() only; the stub trusts it as it trusts its
 * control socket, but checks that the sizes lie inside.
 */
#define STUB_EXEC_MAGIC	 0x58455053u /* "SPEX" */
#define STUB_RLIMITS	 16
#define STUB_EXEC_CWD_FD 1u /* a descriptor for the cwd was passed */
#define STUB_EXEC_NICE	 2u
#define STUB_EXEC_IDS	 4u
#define STUB_EXEC_NNP	 8u /* no_new_privs */

struct stub_exec {
	uint32_t magic;
	uint32_t size;	/* of the whole image */
	uint32_t flags; /* STUB_EXEC_* */
	uint32_t umask;
	uint64_t sigmask; /* bit n-1 = signal n blocked */
	uint64_t sigign;
	uint32_t ruid, euid, suid, rgid, egid, sgid;
	int32_t nice;
	uint32_t rlimit_set; /* bit n: rlimit[n] is meant */
	struct {
		uint64_t cur, max;
	} rlimit[STUB_RLIMITS];
	uint32_t ngroups, groups_off; /* u32 each */
	uint32_t nfds, fds_off;	      /* struct stub_exec_fd each */
	uint32_t path_off, cwd_off;   /* NUL-terminated; cwd_off 0 = none */
	uint32_t argc, argv_off;      /* u64 offsets of strings, then a 0 */
	uint32_t envc, envp_off;
	uint32_t reserved[2];
};

struct stub_exec_fd {
	int32_t fd;	  /* the number wanted */
	uint32_t cloexec;
};

#endif
