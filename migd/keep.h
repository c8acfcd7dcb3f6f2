#ifndef MIGD_KEEP_H
#define MIGD_KEEP_H
/*
 * keep.h -- what is said between sprite-migd and the first process of its
 * world (world_init.c), which outlives it.
 *
 * One AF_UNIX SOCK_SEQPACKET connection at run/world.sock, root only; a new
 * connection replaces the old one.  Both ends are of one machine; HELLO
 * carries KEEP_PROTO because the two may be of different builds.  A packet
 * is struct keep_msg up to the used part of data, with at most KEEP_FDS
 * descriptors.
 *
 * The keeper's store: items of a key, bytes and descriptors.  It survives
 * migd, not the world.
 */
#include <stddef.h>
#include <stdint.h>

#define KEEP_PROTO	1u
#define KEEP_DATA_MAX	16384
#define KEEP_FDS	4
#define KEEP_ITEMS_MAX	65536
#define KEEP_KEY(kind, id) ((uint64_t)(kind) << 56 | (id))
#define KEEP_KIND(key)	((unsigned)((key) >> 56))

enum keep_kind { KEEP_GUEST = 1, KEEP_AWAY, KEEP_HSTREAM, KEEP_GSTREAM,
		 KEEP_MIRROR, KEEP_MOVE, KEEP_SUB };

enum keep_op {
	/* ---- from migd ---- */
	KEEP_STORE = 1, /* key, data, fds: put or replace */
	KEEP_DROP,	/* key */
	KEEP_FETCH,	/* answered by ITEM..., then ITEMS_END */
	KEEP_ACK,	/* pid, seq: of an EXIT */
	/*
	 * Make a child of the first process: pid (0: any), flags, one fd (its
	 * control socket); data: path of the stub, NUL, rejoin argument or
	 * "", NUL, cgroup.procs file to join or "", NUL.  Answered by SPAWNED
	 * with the same seq.
	 */
	KEEP_SPAWN,
	KEEP_PIDS, /* pid: first, status: how many.  Steer within */
	/* flags 1: numbers beyond the own block may be made; 0: no more.
	 * Answered by WIDE. */
	KEEP_WIDEN,

	/* ---- to migd ---- */
	KEEP_HELLO = 64, /* flags: KEEP_PROTO */
	KEEP_ITEM,
	KEEP_ITEMS_END,
	KEEP_EXIT, /* pid, status, seq, times: repeated until acknowledged */
	KEEP_SPAWNED, /* pid, err */
	KEEP_WIDE,
};

#define KEEP_SPAWN_SETSID 1u

struct keep_msg {
	uint32_t op;
	uint32_t seq;
	uint64_t key;
	int32_t pid;
	int32_t status;
	int32_t err;
	uint32_t flags;
	int64_t utime_us, stime_us, maxrss_kb;
	uint32_t len;
	uint32_t reserved;
	uint8_t data[KEEP_DATA_MAX];
};

#define KEEP_HEAD offsetof(struct keep_msg, data)

/* sprite-migd --world-init SOCKET-PATH READY-FD: never returns. */
int world_init_main(const char *sock_path, int ready_fd);

#endif
