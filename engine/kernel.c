/*
 * kernel.c -- a look at what the kernel keeps to itself: the restart block of
 * an interrupted system call, that is, until when a sleep goes on.
 *
 * A BPF task iterator of a dozen instructions copies it out of the task
 * struct; where it lies there, and what is where in it, is read once from the
 * kernel's own type information.  Five microseconds a thread, nothing runs in
 * the process.  Where BPF is not to be had, sleeps begin anew (restart.c).
 */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"
#define BTF_MAX	 (64u << 20)
#define BLOCK	 64u

struct eng_kernel {
	int prog;
	/* offsets in the block */
	uint32_t expires, clock, time, sec, nsec, uaddr, val, ufds, nfds, rmtp;
};

/* ---- type information ---- */

struct btf {
	const uint8_t *types, *strings;
	uint32_t types_len, strings_len, n;
	uint32_t *at; /* offset of each type */
};

struct btf_type {
	uint32_t name, info, size;
};

enum { KIND_STRUCT = 4, KIND_UNION = 5, KIND_FUNC = 12 };

/* Bytes behind the three words, by kind: fixed and per element. */
static const struct {
	uint8_t fixed, each;
} shapes[] = {
	[1] = { 4, 0 },	  [3] = { 12, 0 },  [4] = { 0, 12 },
	[5] = { 0, 12 },  [6] = { 0, 8 },   [13] = { 0, 8 },
	[14] = { 4, 0 },  [15] = { 0, 12 }, [17] = { 4, 0 },
	[19] = { 0, 12 },
};

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static struct btf_type type_of(const struct btf *b, uint32_t id)
{
	const uint8_t *p = b->types + b->at[id];

	return (struct btf_type){ u32_at(p), u32_at(p + 4), u32_at(p + 8) };
}

static const char *name_of(const struct btf *b, uint32_t off)
{
	return off < b->strings_len ? (const char *)b->strings + off : "";
}

static int index_types(struct btf *b)
{
	uint32_t off = 0, cap = 1u << 18;

	b->at = calloc(cap, sizeof(*b->at));
	if (!b->at)
		return -ENOMEM;
	b->n = 1; /* 0 is void */
	while (off + 12 <= b->types_len && b->n < cap) {
		uint32_t info = u32_at(b->types + off + 4);
		uint32_t kind = info >> 24 & 31, vlen = info & 0xffff;

		b->at[b->n++] = off;
		off += 12;
		if (kind < sizeof(shapes) / sizeof(*shapes))
			off += shapes[kind].fixed + vlen * shapes[kind].each;
	}
	return off == b->types_len ? 0 : -EBADMSG;
}

static uint32_t find_type(const struct btf *b, uint32_t kind, const char *name)
{
	for (uint32_t i = 1; i < b->n; i++) {
		struct btf_type t = type_of(b, i);

		if ((t.info >> 24 & 31) == kind &&
		    !strcmp(name_of(b, t.name), name))
			return i;
	}
	return 0;
}

/*
 * Offset in bytes and type of a member, also inside nameless ones.  Types of
 * members are taken as they are: none of ours is behind a typedef that matters.
 */
static bool member(const struct btf *b, uint32_t id, const char *name,
		   uint32_t *ret_off, uint32_t *ret_type)
{
	struct btf_type t;
	const uint8_t *m;
	uint32_t kind;

	if (!id || id >= b->n)
		return false;
	t = type_of(b, id);
	kind = t.info >> 24 & 31;
	if (kind != KIND_STRUCT && kind != KIND_UNION)
		return false;
	m = b->types + b->at[id] + 12;
	for (uint32_t i = 0; i < (t.info & 0xffff); i++, m += 12) {
		uint32_t bits = u32_at(m + 8), off, type = u32_at(m + 4);

		if (t.info >> 31)
			bits &= 0xffffff;
		if (!strcmp(name_of(b, u32_at(m)), name)) {
			*ret_off = bits / 8;
			*ret_type = type;
			return true;
		}
		if (!*name_of(b, u32_at(m)) &&
		    member(b, type, name, &off, ret_type)) {
			*ret_off = bits / 8 + off;
			return true;
		}
	}
	return false;
}

static bool path(const struct btf *b, uint32_t id, const char *first,
		 const char *second, uint32_t *ret_off)
{
	uint32_t one, two, type;

	if (!member(b, id, first, &one, &type) ||
	    !member(b, type, second, &two, &type))
		return false;
	*ret_off = one + two;
	return *ret_off + 8 <= BLOCK;
}

static int open_btf(struct buf *file, struct btf *b)
{
	const uint8_t *p;
	uint32_t hdr;
	int r = fd_read_file(BTF_FILE, BTF_MAX, file);

	if (r)
		return r;
	p = buf_data(file);
	if (buf_len(file) < 24 || p[0] != 0x9f || p[1] != 0xeb)
		return -EBADMSG;
	hdr = u32_at(p + 4);
	b->types_len = u32_at(p + 12);
	b->strings_len = u32_at(p + 20);
	if ((uint64_t)hdr + u32_at(p + 8) + b->types_len > buf_len(file) ||
	    (uint64_t)hdr + u32_at(p + 16) + b->strings_len > buf_len(file))
		return -EBADMSG;
	b->types = p + hdr + u32_at(p + 8);
	b->strings = p + hdr + u32_at(p + 16);
	return index_types(b);
}

/* ---- the program ---- */

#define INSN(c, d, s, o, i)                                                \
	{ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }

static int load(uint32_t block_off, uint32_t iter_id)
{
	const struct bpf_insn code[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 7, 6, 8, 0), /* ->task */
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 12, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -(int)BLOCK),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (int)BLOCK),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 7, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, (int)block_off),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 6, 0, 0), /* ->meta */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 1, 0, 0), /* ->seq */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -(int)BLOCK),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, (int)BLOCK),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_seq_write),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr a = { 0 };
	long fd;

	a.prog_type = BPF_PROG_TYPE_TRACING;
	a.expected_attach_type = BPF_TRACE_ITER;
	a.insn_cnt = sizeof(code) / sizeof(*code);
	a.insns = (uintptr_t)code;
	/* The helpers used are open to programs under this licence only. */
	a.license = (uintptr_t) "GPL";
	a.attach_btf_id = iter_id;
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	return fd < 0 ? -errno : (int)fd;
}

int eng_kernel_open(struct eng_kernel **ret)
{
	SCOPED(buf_free) struct buf file = { 0 };
	SCOPED(free) uint32_t *index = NULL;
	struct eng_kernel k = { 0 };
	struct btf b = { 0 };
	uint32_t task, block, off, type, iter;
	int r = open_btf(&file, &b);

	index = b.at;
	if (r)
		return r;
	task = find_type(&b, KIND_STRUCT, "task_struct");
	block = find_type(&b, KIND_STRUCT, "restart_block");
	iter = find_type(&b, KIND_FUNC, "bpf_iter_task");
	if (!iter || !member(&b, task, "restart_block", &off, &type) ||
	    !path(&b, block, "nanosleep", "expires", &k.expires) ||
	    !path(&b, block, "nanosleep", "clockid", &k.clock) ||
	    !path(&b, block, "nanosleep", "rmtp", &k.rmtp) ||
	    !path(&b, block, "futex", "time", &k.time) ||
	    !path(&b, block, "futex", "uaddr", &k.uaddr) ||
	    !path(&b, block, "futex", "val", &k.val) ||
	    !path(&b, block, "poll", "ufds", &k.ufds) ||
	    !path(&b, block, "poll", "nfds", &k.nfds))
		return -ENOENT;
	if (path(&b, block, "poll", "end_time", &k.sec))
		k.nsec = k.sec + 8;
	else if (!path(&b, block, "poll", "tv_sec", &k.sec) ||
		 !path(&b, block, "poll", "tv_nsec", &k.nsec))
		return -ENOENT;
	k.prog = load(off, iter);
	if (k.prog < 0)
		return k.prog;
	*ret = malloc(sizeof(k));
	if (!*ret) {
		close(k.prog);
		return -ENOMEM;
	}
	**ret = k;
	return 0;
}

void eng_kernel_close(struct eng_kernel *k)
{
	if (!k)
		return;
	close(k->prog);
	free(k);
}

static int read_block(const struct eng_kernel *k, pid_t tid, uint8_t *block)
{
	union bpf_iter_link_info info = { 0 };
	union bpf_attr a = { 0 };
	long link, iter;
	ssize_t n;

	info.task.tid = (uint32_t)tid;
	a.link_create.prog_fd = (uint32_t)k->prog;
	a.link_create.attach_type = BPF_TRACE_ITER;
	a.link_create.iter_info = (uintptr_t)&info;
	a.link_create.iter_info_len = sizeof(info);
	link = syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof(a));
	if (link < 0)
		return -errno;
	a = (union bpf_attr){ 0 };
	a.iter_create.link_fd = (uint32_t)link;
	iter = syscall(SYS_bpf, BPF_ITER_CREATE, &a, sizeof(a));
	close((int)link);
	if (iter < 0)
		return -errno;
	n = read((int)iter, block, BLOCK);
	close((int)iter);
	return n == BLOCK ? 0 : -EIO;
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

int kernel_deadline(const struct eng_kernel *k, pid_t tid,
		    enum restart_kind kind, uint64_t *ret_ns,
		    clockid_t *ret_clock)
{
	uint8_t b[BLOCK];
	int r = read_block(k, tid, b);

	if (r)
		return r;
	*ret_clock = CLOCK_MONOTONIC;
	switch (kind) {
	case RESTART_SLEEP:
		*ret_clock = (clockid_t)u32_at(b + k->clock);
		*ret_ns = u64_at(b + k->expires);
		return 0;
	case RESTART_FUTEX:
		*ret_ns = u64_at(b + k->time);
		return 0;
	case RESTART_POLL:
		*ret_ns = u64_at(b + k->sec) * 1000000000u +
			  u64_at(b + k->nsec);
		return 0;
	default:
		return -EINVAL;
	}
}

int kernel_interrupted(const struct eng_kernel *k, pid_t tid,
		       const struct user_regs_struct *g, uint64_t *ret_nr)
{
	uint8_t b[BLOCK];
	int r = read_block(k, tid, b);

	if (r)
		return r;
	if (u64_at(b + k->uaddr) == g->rdi &&
	    u32_at(b + k->val) == (uint32_t)g->rdx)
		*ret_nr = SYS_futex;
	else if (u64_at(b + k->ufds) == g->rdi &&
		 u32_at(b + k->nfds) == (uint32_t)g->rsi)
		*ret_nr = SYS_poll;
	else if (u64_at(b + k->rmtp) == g->rsi)
		*ret_nr = SYS_nanosleep;
	else
		*ret_nr = SYS_clock_nanosleep;
	return 0;
}
