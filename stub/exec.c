/*
 * exec.c -- a stub becomes a program: the exec image is turned into the state
 * of the process, then execve.
 *
 * Order matters: descriptors first (they may need the stub's own high
 * limit), then what needs privilege, ids last of those, then what must not
 * be disturbed any more (signals).
 */
#include "stub.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "sys.h"

enum step {
	STEP_IMAGE = 1,
	STEP_FDS,
	STEP_CWD,
	STEP_LIMITS,
	STEP_IDS,
	STEP_SIGNALS,
	STEP_EXEC,
};

#define SIG_IGN_VALUE 1

static bool inside(const struct stub_exec *x, uint64_t off, uint64_t n,
		   uint64_t size)
{
	return off >= sizeof(*x) && off <= x->size &&
	       n <= (x->size - off) / size;
}

static long map_image(int fd, struct stub_exec **ret)
{
	struct stub_exec head, *x;
	long r = SYS(SYS_pread64, fd, P(&head), sizeof(head), 0);

	if (r != sizeof(head) || head.magic != STUB_EXEC_MAGIC ||
	    head.size < sizeof(head) || head.size > 64u << 20)
		return -EBADMSG;
	r = SYS(SYS_mmap, 0, head.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		0);
	if (r < 0 && r > -4096)
		return r;
	x = (struct stub_exec *)r;
	if (!inside(x, x->argv_off, (uint64_t)x->argc + 1, 8) ||
	    !inside(x, x->envp_off, (uint64_t)x->envc + 1, 8) ||
	    !inside(x, x->groups_off, x->ngroups, 4) ||
	    !inside(x, x->fds_off, x->nfds, sizeof(struct stub_exec_fd)) ||
	    x->path_off >= x->size || x->cwd_off >= x->size)
		return -EBADMSG;
	*ret = x;
	return 0;
}

static char **to_pointers(struct stub_exec *x, uint32_t off, uint32_t n)
{
	uint64_t *p = (uint64_t *)((char *)x + off);

	for (uint32_t i = 0; i < n; i++)
		p[i] = (uintptr_t)x + (p[i] < x->size ? p[i] : 0);
	p[n] = 0;
	return (char **)p;
}

/* Everything goes above the highest number wanted, then down to its place. */
static long place_fds(struct stub *s, const struct stub_exec *x,
		      const int *fds)
{
	const struct stub_exec_fd *want =
		(const void *)((const char *)x + x->fds_off);
	int up[STUB_FDS_MAX];
	int max = STUB_SIGFD;
	long r;

	for (uint32_t i = 0; i < x->nfds; i++)
		if (want[i].fd > max)
			max = want[i].fd;
	for (uint32_t i = 0; i < x->nfds; i++) {
		if (want[i].fd < 0)
			return -EBADF;
		r = SYS(SYS_fcntl, fds[i], F_DUPFD_CLOEXEC, max + 1);
		if (r < 0)
			return r;
		up[i] = (int)r;
	}
	r = SYS(SYS_fcntl, s->ctl, F_DUPFD_CLOEXEC, max + 1);
	if (r < 0)
		return r;
	s->ctl = (int)r;
	SYS(SYS_close_range, 0, max, 0);
	for (uint32_t i = 0; i < x->nfds; i++) {
		r = SYS(SYS_dup3, up[i], want[i].fd,
			want[i].cloexec ? O_CLOEXEC : 0);
		if (r < 0)
			return r;
	}
	return 0;
}

static long set_limits(const struct stub_exec *x)
{
	long r;

	SYS(SYS_umask, x->umask);
	if (x->flags & STUB_EXEC_NICE) {
		r = SYS(SYS_setpriority, PRIO_PROCESS, 0, x->nice);
		if (r < 0)
			return r;
	}
	for (int i = 0; i < STUB_RLIMITS; i++) {
		struct rlimit l = { x->rlimit[i].cur, x->rlimit[i].max };
		struct rlimit now;

		if (!(x->rlimit_set & 1u << i))
			continue;
		/* A hard limit can be lowered, not always raised. */
		if (SYS(SYS_prlimit64, 0, i, P(&l), 0) == 0 ||
		    SYS(SYS_prlimit64, 0, i, 0, P(&now)))
			continue;
		l.rlim_max = now.rlim_max;
		if (l.rlim_cur > l.rlim_max)
			l.rlim_cur = l.rlim_max;
		SYS(SYS_prlimit64, 0, i, P(&l), 0);
	}
	return 0;
}

static long set_ids(const struct stub_exec *x)
{
	long r = 0;

	if (x->flags & STUB_EXEC_IDS) {
		r = SYS(SYS_setgroups, x->ngroups, P((const char *)x + x->groups_off));
		if (r == 0)
			r = SYS(SYS_setresgid, x->rgid, x->egid, x->sgid);
		if (r == 0)
			r = SYS(SYS_setresuid, x->ruid, x->euid, x->suid);
	}
	if (r == 0 && (x->flags & STUB_EXEC_NNP))
		r = SYS(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return r;
}

static void set_signals(const struct stub_exec *x)
{
	struct {
		long handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} act = { 0 };

	for (int sig = 1; sig <= 64; sig++) {
		act.handler = x->sigign >> (sig - 1) & 1 ? SIG_IGN_VALUE : 0;
		SYS(SYS_rt_sigaction, sig, P(&act), 0, 8);
	}
}

int stub_exec(struct stub *s, const int *fds, unsigned nfds, uint32_t *ret_step)
{
	const uint64_t all = ~0ull;
	struct stub_exec *x = 0;
	unsigned skip;
	char **argv, **envp;
	int cwd = -1;
	long r;

	*ret_step = STEP_IMAGE;
	if (nfds < 1)
		return -EINVAL;
	r = map_image(fds[0], &x);
	if (r)
		return (int)r;
	skip = 1 + (x->flags & STUB_EXEC_CWD_FD ? 1 : 0);
	if (nfds != skip + x->nfds)
		return -EINVAL;
	argv = to_pointers(x, x->argv_off, x->argc);
	envp = to_pointers(x, x->envp_off, x->envc);
	if (skip == 2)
		cwd = fds[1];

	*ret_step = STEP_CWD;
	if (cwd >= 0)
		r = SYS(SYS_fchdir, cwd);
	else if (x->cwd_off)
		r = SYS(SYS_chdir, P((char *)x + x->cwd_off));
	if (r < 0)
		return (int)r;
	*ret_step = STEP_FDS;
	r = place_fds(s, x, fds + skip);
	if (r < 0)
		goto fail;
	*ret_step = STEP_LIMITS;
	r = set_limits(x);
	if (r < 0)
		goto fail;
	*ret_step = STEP_IDS;
	r = set_ids(x);
	if (r < 0)
		goto fail;
	*ret_step = STEP_EXEC;
	set_signals(x);
	SYS(SYS_rt_sigprocmask, 2, P(&x->sigmask), 0, 8);
	r = SYS(SYS_execve, P((char *)x + x->path_off), P(argv), P(envp));
	SYS(SYS_rt_sigprocmask, 2, P(&all), 0, 8);
fail:
	/* Back to the stub's own two descriptors. */
	SYS(SYS_dup3, s->ctl, STUB_CTL, O_CLOEXEC);
	s->ctl = STUB_CTL;
	SYS(SYS_close_range, STUB_CTL + 1, ~0u, 0);
	SYS(SYS_signalfd4, -1, P(&all), 8, O_CLOEXEC);
	return (int)r;
}
