/*
 * proc.c -- see proc.h.
 *
 * The kernel has no file with the children of a process here
 * (CONFIG_PROC_CHILDREN), so a tree is found by reading every stat file: about
 * ten microseconds a process.
 */
#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blob.h"
#include "buf.h"
#include "cleanup.h"
#include "fd.h"

#define PROC_FILE_MAX (64u << 20)

static int read_proc(const char *path, struct buf *b)
{
	int r = fd_read_file(path, PROC_FILE_MAX, b);

	return r == -ENOENT ? -ESRCH : r;
}

/* Field n (3 = state) of the text after the name. */
static uint64_t field(const char *p, int n)
{
	for (int i = 3; i < n && p; i++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	return p ? strtoull(p, NULL, 10) : 0;
}

static int parse_stat(char *text, struct ps_stat *s)
{
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	const char *p;

	if (!open || !close || close[1] != ' ')
		return -EBADMSG;
	*s = (struct ps_stat){ .pid = atoi(text) };
	*close = 0;
	snprintf(s->name, sizeof(s->name), "%s", open + 1);
	p = close + 2;
	s->state = *p;
	s->ppid = (pid_t)field(p, 4);
	s->pgid = (pid_t)field(p, 5);
	s->sid = (pid_t)field(p, 6);
	s->start_code = field(p, 26);
	s->end_code = field(p, 27);
	s->start_stack = field(p, 28);
	s->start_data = field(p, 45);
	s->end_data = field(p, 46);
	s->start_brk = field(p, 47);
	s->arg_start = field(p, 48);
	s->arg_end = field(p, 49);
	s->env_start = field(p, 50);
	s->env_end = field(p, 51);
	s->exit_code = (int)field(p, 52);
	return 0;
}

int ps_stat(pid_t pid, struct ps_stat *ret)
{
	char path[64], text[2048];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	return parse_stat(text, ret);
}

static int parse_groups(const char *p, struct ps_status *s)
{
	unsigned cap = 0;

	for (;;) {
		char *end;
		unsigned long g = strtoul(p, &end, 10);

		if (end == p)
			return 0;
		if (s->ngroups == cap) {
			uint32_t *more;

			cap = cap ? cap * 2 : 16;
			more = realloc(s->groups, cap * sizeof(*more));
			if (!more)
				return -ENOMEM;
			s->groups = more;
		}
		s->groups[s->ngroups++] = (uint32_t)g;
		p = end;
	}
}

static void four(const char *p, uint32_t out[4])
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint32_t)strtoul(p, (char **)&p, 10);
}

static int status_line(char *key, char *val, struct ps_status *s)
{
	const struct {
		const char *key;
		uint64_t *to;
	} hex[] = {
		{ "SigCgt", &s->sigcgt },  { "SigIgn", &s->sigign },
		{ "CapInh", &s->cap_inh }, { "CapPrm", &s->cap_prm },
		{ "CapEff", &s->cap_eff }, { "CapBnd", &s->cap_bnd },
		{ "CapAmb", &s->cap_amb },
	};

	for (size_t i = 0; i < sizeof(hex) / sizeof(*hex); i++)
		if (!strcmp(key, hex[i].key))
			*hex[i].to = strtoull(val, NULL, 16);
	if (!strcmp(key, "Name"))
		snprintf(s->name, sizeof(s->name), "%s", val + 1);
	else if (!strcmp(key, "Uid"))
		four(val, s->uid);
	else if (!strcmp(key, "Gid"))
		four(val, s->gid);
	else if (!strcmp(key, "Groups"))
		return parse_groups(val, s);
	else if (!strcmp(key, "Umask"))
		s->umask = (uint32_t)strtoul(val, NULL, 8);
	else if (!strcmp(key, "TracerPid"))
		s->tracer = atoi(val);
	else if (!strcmp(key, "NoNewPrivs"))
		s->nnp = (unsigned)atoi(val);
	else if (!strcmp(key, "Seccomp"))
		s->seccomp = (unsigned)atoi(val);
	else if (!strcmp(key, "THP_enabled"))
		s->thp_enabled = (unsigned)atoi(val);
	return 0;
}

int ps_status(pid_t pid, pid_t tid, struct ps_status *ret)
{
	SCOPED(buf_free) struct buf b = { 0 };
	struct ps_status s = { .thp_enabled = 1 };
	char path[64], *save = NULL;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid,
		 tid ? tid : pid);
	r = read_proc(path, &b);
	if (r)
		return r;
	for (char *l = strtok_r((char *)buf_data(&b), "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(l, ':');

		if (!colon)
			continue;
		*colon = 0;
		r = status_line(l, colon + 1, &s);
		if (r) {
			ps_status_fini(&s);
			return r;
		}
	}
	*ret = s;
	return 0;
}

void ps_status_fini(struct ps_status *s)
{
	free(s->groups);
	s->groups = NULL;
	s->ngroups = 0;
}

static int compare_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* The names of a folder that are numbers, ascending. */
static int numbers(const char *path, int **ret, unsigned *ret_n)
{
	DIR *d = opendir(path);
	int *v = NULL;
	unsigned n = 0, cap = 0;
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (n == cap) {
			int *more;

			cap = cap ? cap * 2 : 32;
			more = realloc(v, cap * sizeof(*v));
			if (!more) {
				free(v);
				closedir(d);
				return -ENOMEM;
			}
			v = more;
		}
		v[n++] = atoi(e->d_name);
	}
	closedir(d);
	if (n)
		qsort(v, n, sizeof(*v), compare_int);
	*ret = v;
	*ret_n = n;
	return 0;
}

int ps_threads(pid_t pid, pid_t **ret, unsigned *ret_n)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	return numbers(path, ret, ret_n);
}

int ps_fds(pid_t pid, int **ret, unsigned *ret_n)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	return numbers(path, ret, ret_n);
}

int ps_all(struct ps_stat **ret, unsigned *ret_n)
{
	SCOPED(free) int *pids = NULL;
	struct ps_stat *s;
	unsigned n, m = 0;
	int r = numbers("/proc", &pids, &n);

	if (r)
		return r;
	s = calloc(n ? n : 1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (ps_stat(pids[i], &s[m]) == 0)
			m++;
	*ret = s;
	*ret_n = m;
	return 0;
}

static enum vma_kind kind_of(const struct vma *v)
{
	const char *p = v->path;

	if (!strcmp(p, "[vvar]") || !strcmp(p, "[vvar_vclock]"))
		return VMA_VVAR;
	if (!strcmp(p, "[vdso]"))
		return VMA_VDSO;
	if (!strcmp(p, "[vsyscall]"))
		return VMA_SKIP;
	if (!strcmp(p, "[stack]"))
		return VMA_STACK;
	if (!*p || !strcmp(p, "[heap]") || !strncmp(p, "[anon:", 6))
		return v->shared ? VMA_OTHER : VMA_ANON;
	if (v->deleted && (!strcmp(p, "/dev/zero") ||
			   !strncmp(p, "/memfd:", 7)))
		return v->shared ? VMA_SHM : VMA_OTHER;
	if (*p == '/' && strncmp(p, "/SYSV", 5) && strncmp(p, "/[aio]", 6) &&
	    strncmp(p, "/dev/", 5))
		return VMA_FILE;
	if (!strcmp(p, "/dev/zero") && !v->shared)
		return VMA_ANON;
	return VMA_OTHER;
}

/* "start-end perms offset maj:min inode   path" */
/*
 * Cut " (deleted)" off a path of /proc.  The kernel writes it behind every name
 * it no longer caches, and a file service that came back makes it forget names
 * of files that are still there; so true only if the path does not lead to the
 * object any more.
 */
static bool cut_deleted(char *path, dev_t dev, ino_t ino)
{
	size_t len = strlen(path);
	struct stat st;

	if (*path != '/' || len <= 10 || strcmp(path + len - 10, " (deleted)"))
		return false;
	path[len - 10] = 0;
	return stat(path, &st) || st.st_dev != dev || st.st_ino != ino;
}

static int parse_vma(char *l, struct vma *v)
{
	unsigned long long start, end, off, ino;
	unsigned maj, min;
	char perms[5];
	int at = 0;

	if (sscanf(l, "%llx-%llx %4s %llx %x:%x %llu%n", &start, &end, perms,
		   &off, &maj, &min, &ino, &at) != 7)
		return -EBADMSG;
	*v = (struct vma){ .start = start, .end = end, .off = off, .ino = ino };
	v->dev = (uint64_t)maj << 32 | min;
	v->prot = (perms[0] == 'r' ? PROT_READ : 0) |
		  (perms[1] == 'w' ? PROT_WRITE : 0) |
		  (perms[2] == 'x' ? PROT_EXEC : 0);
	v->shared = perms[3] == 's';
	l += at;
	while (*l == ' ')
		l++;
	v->path = l;
	v->deleted = cut_deleted(l, makedev(maj, min), (ino_t)ino);
	v->kind = kind_of(v);
	v->growsdown = v->kind == VMA_STACK;
	return 0;
}

int ps_vmas(pid_t pid, struct vmas *ret)
{
	SCOPED(buf_free) struct buf b = { 0 };
	struct vmas m = { 0 };
	char path[64], *save = NULL;
	unsigned lines = 0;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	r = read_proc(path, &b);
	if (r)
		return r;
	m.text = strdup(buf_len(&b) ? (char *)buf_data(&b) : "");
	if (!m.text)
		return -ENOMEM;
	for (const char *p = m.text; *p; p++)
		lines += *p == '\n';
	m.v = calloc(lines + 1, sizeof(*m.v));
	r = m.v ? 0 : -ENOMEM;
	for (char *l = strtok_r(m.text, "\n", &save); l && r == 0;
	     l = strtok_r(NULL, "\n", &save)) {
		r = parse_vma(l, &m.v[m.n]);
		if (m.n < lines)
			m.n++;
	}
	if (r) {
		vmas_fini(&m);
		return r;
	}
	*ret = m;
	return 0;
}

static uint32_t advice_of(const char *flags, bool *ret_growsdown)
{
	static const struct {
		char name[4];
		uint32_t bit;
	} table[] = {
		{ "dc", BLOB_ADVICE_DONTFORK }, { "dd", BLOB_ADVICE_DONTDUMP },
		{ "wf", BLOB_ADVICE_WIPE },	{ "hg", BLOB_ADVICE_HUGE },
		{ "nh", BLOB_ADVICE_NOHUGE },	{ "mg", BLOB_ADVICE_MERGE },
		{ "lo", BLOB_ADVICE_LOCK },
	};
	uint32_t advice = 0;

	for (const char *p = flags; *p; p++) {
		while (*p == ' ')
			p++;
		if (!strncmp(p, "gd", 2))
			*ret_growsdown = true;
		for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
			if (!strncmp(p, table[i].name, 2))
				advice |= table[i].bit;
		p = strchr(p, ' ');
		if (!p)
			break;
	}
	return advice;
}

int ps_vma_flags(pid_t pid, struct vmas *m)
{
	SCOPED(buf_free) struct buf b = { 0 };
	unsigned long long start = 0, end = 0;
	char path[64], *save = NULL;
	unsigned at = 0;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	r = read_proc(path, &b);
	if (r || !buf_len(&b))
		return r;
	for (char *l = strtok_r((char *)buf_data(&b), "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save)) {
		if (isxdigit((unsigned char)*l) && strchr(l, '-') &&
		    sscanf(l, "%llx-%llx", &start, &end) == 2)
			continue;
		if (strncmp(l, "VmFlags:", 8))
			continue;
		while (at < m->n && m->v[at].start < start)
			at++;
		if (at < m->n && m->v[at].start == start &&
		    m->v[at].end == end)
			m->v[at].advice =
				advice_of(l + 8, &m->v[at].growsdown);
	}
	return 0;
}

void vmas_fini(struct vmas *m)
{
	free(m->v);
	free(m->text);
	*m = (struct vmas){ 0 };
}

int ps_link(pid_t pid, const char *what, char *buf, size_t cap)
{
	char path[64];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	n = readlink(path, buf, cap - 1);
	if (n < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if ((size_t)n == cap - 1)
		return -ENAMETOOLONG;
	buf[n] = 0;
	/* What is really gone keeps its mark. */
	if (stat(path, &st) == 0 && cut_deleted(buf, st.st_dev, st.st_ino))
		buf[n - 10] = ' ';
	return 0;
}

bool ps_same(pid_t a, pid_t b, int type, unsigned long ia, unsigned long ib)
{
	return syscall(SYS_kcmp, a, b, type, ia, ib) == 0;
}

bool ps_is_stub(pid_t pid)
{
	struct stub_head h = { 0 };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (pread(fd, &h, sizeof(h), STUB_HEAD) != sizeof(h))
		h.magic = 0;
	close(fd);
	return h.magic == STUB_HEAD_MAGIC;
}
