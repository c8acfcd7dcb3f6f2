/* run_state.c -- see run_state.h. */
#include "run_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migd_msg.h"

#define BODY_MAX 32768

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	       access(path, X_OK) == 0;
}

static int make_absolute(const char *path, char ret[RUN_PATH_MAX])
{
	char cwd[RUN_PATH_MAX];

	if (path[0] == '/')
		return snprintf(ret, RUN_PATH_MAX, "%s", path) < RUN_PATH_MAX ?
			       0 :
			       -ENAMETOOLONG;
	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	return snprintf(ret, RUN_PATH_MAX, "%s/%s", cwd, path) < RUN_PATH_MAX ?
		       0 :
		       -ENAMETOOLONG;
}

int run_find(const char *name, char ret[RUN_PATH_MAX])
{
	const char *at = getenv("PATH");
	char try[RUN_PATH_MAX];
	int worst = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/')) {
		if (is_program(name))
			return make_absolute(name, ret);
		return access(name, F_OK) ? -errno : -EACCES;
	}
	if (!at)
		at = "/usr/local/bin:/usr/bin:/bin";
	for (;;) {
		size_t n = strcspn(at, ":");

		/* An empty element is the current folder. */
		if (snprintf(try, sizeof(try), "%.*s%s%s", (int)n, at,
			     n ? "/" : "", name) < (int)sizeof(try)) {
			if (is_program(try))
				return make_absolute(try, ret);
			if (access(try, F_OK) == 0)
				worst = -EACCES;
		}
		if (!at[n])
			return worst;
		at += n + 1;
	}
}

/* Every descriptor that an exec would keep, in ascending order. */
static int gather_fds(struct run_request *q, struct wire_writer *w)
{
	DIR *d = opendir("/proc/self/fd");
	bool present[1024] = { false };
	struct dirent *e;
	int top = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		long fd = strtol(e->d_name, NULL, 10);
		int flags;

		if (e->d_name[0] == '.' || fd == dirfd(d))
			continue;
		flags = fcntl((int)fd, F_GETFD);
		if (flags < 0 || (flags & FD_CLOEXEC))
			continue;
		if (fd >= 1024) {
			closedir(d);
			return -EMFILE;
		}
		present[fd] = true;
		top = (int)fd > top ? (int)fd : top;
	}
	closedir(d);
	for (int fd = 0; fd <= top; fd++) {
		if (!present[fd])
			continue;
		if (q->out.nfds == RPC_FDS_MAX)
			return -EMFILE;
		q->fds[q->out.nfds++] = fd;
		msg_migd_fd_put(w, &(struct msg_migd_fd){ .fd = fd });
	}
	return 0;
}

static void gather_limits(struct wire_writer *w)
{
	for (unsigned i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit l;

		if (getrlimit((__rlimit_resource_t)i, &l))
			continue;
		msg_migd_limit_put(w, &(struct msg_migd_limit){
					       .resource = i,
					       .cur = l.rlim_cur,
					       .max = l.rlim_max });
	}
}

static void gather_signals(uint64_t *ret_mask, uint64_t *ret_ignored)
{
	sigset_t set;

	*ret_mask = *ret_ignored = 0;
	sigemptyset(&set);
	(void)sigprocmask(SIG_BLOCK, NULL, &set);
	for (int s = 1; s <= 64; s++) {
		struct sigaction sa;

		if (sigismember(&set, s) == 1)
			*ret_mask |= UINT64_C(1) << (s - 1);
		if (sigaction(s, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			*ret_ignored |= UINT64_C(1) << (s - 1);
	}
}

static int add_strings(struct buf *b, char *const *v, uint32_t *ret_n)
{
	int r = 0;

	for (*ret_n = 0; !r && v[*ret_n]; (*ret_n)++)
		r = buf_add(b, v[*ret_n], strlen(v[*ret_n]) + 1);
	return r == -ENOBUFS ? -E2BIG : r;
}

static uint32_t current_umask(void)
{
	mode_t m = umask(0);

	umask(m);
	return m;
}

static int fill(const struct run_want *w, const char *path,
		struct run_request *q)
{
	uint8_t fd_room[RPC_FDS_MAX * 8], limit_room[RLIM_NLIMITS * 24];
	struct wire_writer fds = wire_writer(fd_room, sizeof(fd_room));
	struct wire_writer limits = wire_writer(limit_room, sizeof(limit_room));
	char cwd[RUN_PATH_MAX];
	struct msg_migd_run m = { .flags = w->flags, .host = w->host,
				  .grant = w->grant, .path = path, .cwd = cwd };
	int r;

	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	r = gather_fds(q, &fds);
	if (r)
		return r;
	gather_limits(&limits);
	gather_signals(&m.sigmask, &m.sigign);
	m.umask = current_umask();
	errno = 0;
	m.nice = getpriority(PRIO_PROCESS, 0);
	m.fds = (wire_blob){ fd_room, fds.len };
	m.limits = (wire_blob){ limit_room, limits.len };
	r = wire_write_end(&fds) ? -EMFILE : wire_write_end(&limits);
	if (!r)
		r = add_strings(&q->payload, w->argv, &m.argc);
	if (!r)
		r = add_strings(&q->payload, w->envp, &m.envc);
	if (!r)
		r = msg_migd_run_encode(&m, q->body, BODY_MAX, &q->out.len);
	return r;
}

int run_request_make(const struct run_want *w, const char *path,
		     struct run_request *ret)
{
	int r;

	*ret = (struct run_request){ .payload = { .max = RPC_PAYLOAD_MAX } };
	ret->body = malloc(BODY_MAX);
	r = ret->body ? fill(w, path, ret) : -ENOMEM;
	if (r) {
		run_request_free(ret);
		return r;
	}
	ret->out.code = MSG_migd_run;
	ret->out.body = ret->body;
	ret->out.fds = ret->fds;
	ret->out.payload = buf_data(&ret->payload);
	ret->out.payload_len = buf_len(&ret->payload);
	return 0;
}

void run_request_free(struct run_request *q)
{
	free(q->body);
	q->body = NULL;
	buf_free(&q->payload);
}
