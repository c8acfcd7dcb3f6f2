/*
 * test_reasons.c -- what cannot move is refused by name, before anything is
 * stopped, and goes on undisturbed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "engine.h"

TestSuite(reasons, .timeout = 20);

static pid_t child;

/* A child that does prepare() and then waits for its end. */
static void with(void (*prepare)(void))
{
	int p[2];
	char c;

	cr_assert(zero(int, pipe2(p, O_CLOEXEC)));
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(p[1], 0);
		closefrom(3);
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		close(null);
		prepare();
		if (write(0, "r", 1) == 1)
			close(0);
		for (;;)
			pause();
	}
	close(p[1]);
	cr_assert(eq(long, read(p[0], &c, 1), 1));
	/* EOF: it has closed its end too. */
	cr_assert(eq(long, read(p[0], &c, 1), 0));
	close(p[0]);
}

static void expect(enum eng_reason why, int result)
{
	struct eng_report rep;
	struct eng *e = NULL;
	bool found = false;
	char text[400];
	int r = eng_freeze(child, NULL, &rep, &e);

	cr_expect(eq(int, r, result));
	for (unsigned i = 0; i < rep.n && i < ENG_REASONS_MAX; i++) {
		eng_reason_text(&rep, i, text, sizeof(text));
		found |= rep.item[i].reason == why;
		if (getenv("SPRITE_SHOW"))
			fprintf(stderr, "%s\n", text);
	}
	cr_expect(eq(int, found, 1), "not found: %s", eng_reason_name(why));
	eng_free(e);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void nothing(void)
{
}

Test(reasons, none_for_a_plain_process)
{
	struct eng_report rep;
	int p[2];
	char c;

	cr_assert(zero(int, pipe2(p, O_CLOEXEC)));
	child = fork();
	if (child == 0) {
		dup2(p[1], 1);
		closefrom(3);
		execl("/bin/sh", "sh", "-c",
		      "printf r; exec sleep 1000 </dev/null >/dev/null 2>&1",
		      (char *)NULL);
		_exit(1);
	}
	close(p[1]);
	while (read(p[0], &c, 1) == 1)
		;
	close(p[0]);
	cr_expect(zero(int, eng_check(child, NULL, &rep)));
	cr_expect(eq(u32, rep.n, 0));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

Test(reasons, a_process_that_is_gone)
{
	struct eng_report rep;

	with(nothing);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	cr_expect(eq(int, eng_check(child, NULL, &rep), -ESRCH));
	cr_expect(eq(int, rep.item[0].reason, ENG_GONE));
}

static void get_shm(void)
{
	int id = shmget(IPC_PRIVATE, 4096, 0600);

	shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
}

Test(reasons, system_v_shared_memory)
{
	with(get_shm);
	expect(ENG_SYSV_SHM, -EOPNOTSUPP);
}

static void get_inotify(void)
{
	inotify_init();
}

Test(reasons, a_descriptor_of_a_kind_not_known)
{
	with(get_inotify);
	expect(ENG_FD_KIND, -EOPNOTSUPP);
}

static void get_tcp(void)
{
	socket(AF_INET, SOCK_STREAM, 0);
}

Test(reasons, a_socket)
{
	with(get_tcp);
	expect(ENG_FD_OUTSIDE, -EOPNOTSUPP);
}

static void keep_pipe(void)
{
	int p[2];

	if (pipe(p) == 0)
		close(p[0]);
}

Test(reasons, half_a_pipe)
{
	with(keep_pipe);
	expect(ENG_FD_OUTSIDE, -EOPNOTSUPP);
}

static void get_lock(void)
{
	char name[] = "/tmp/sprite-lock-XXXXXX";
	int fd = mkstemp(name);

	flock(fd, LOCK_EX);
	unlink(name);
}

Test(reasons, a_file_lock)
{
	with(get_lock);
	expect(ENG_LOCKS, -EOPNOTSUPP);
}

static void get_deleted(void)
{
	char name[] = "/tmp/sprite-gone-XXXXXX";

	mkstemp(name);
	unlink(name);
}

Test(reasons, a_deleted_file)
{
	with(get_deleted);
	expect(ENG_DELETED, -EOPNOTSUPP);
}

static char again[] = "/tmp/sprite-again-XXXXXX";

/* The kernel calls it deleted for good, but its name is there again. */
static void get_deleted_and_linked(void)
{
	char aside[64];

	mkstemp(again);
	snprintf(aside, sizeof(aside), "%s.aside", again);
	if (link(again, aside) || unlink(again) || rename(aside, again))
		_exit(1);
}

Test(reasons, a_file_whose_name_is_there_again)
{
	char link[64], path[128];
	struct eng_report rep;
	ssize_t n;

	with(get_deleted_and_linked);
	snprintf(link, sizeof(link), "/proc/%d/fd/3", child);
	n = readlink(link, path, sizeof(path) - 1);
	cr_assert(gt(long, n, 10));
	path[n] = 0;
	cr_assert(not(zero(ptr, strstr(path, " (deleted)"))), "%s", path);
	(void)eng_check(child, NULL, &rep);
	for (unsigned i = 0; i < rep.n && i < ENG_REASONS_MAX; i++)
		cr_expect(ne(int, rep.item[i].reason, ENG_DELETED));
	path[n - 10] = 0;
	unlink(path);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* Allow everything: still a filter that would be lost. */
static void get_seccomp(void)
{
	struct sock_filter all = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog prog = { 1, &all };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(1);
}

Test(reasons, a_seccomp_filter)
{
	with(get_seccomp);
	expect(ENG_SECCOMP, -EOPNOTSUPP);
}

Test(reasons, a_debugger)
{
	with(nothing);
	cr_assert(zero(long, ptrace(PTRACE_SEIZE, child, 0, 0)));
	expect(ENG_TRACED, -EOPNOTSUPP);
}

static void get_namespace(void)
{
	if (unshare(CLONE_NEWUTS))
		_exit(1);
}

Test(reasons, another_namespace)
{
	with(get_namespace);
	expect(ENG_NAMESPACE, -EOPNOTSUPP);
}

static void get_root(void)
{
	if (chroot("/usr") || chdir("/"))
		_exit(1);
}

Test(reasons, another_root)
{
	with(get_root);
	expect(ENG_ROOT, -EOPNOTSUPP);
}

static void *shared;

static void use_shared(void)
{
	*(char *)shared = 1;
}

Test(reasons, memory_shared_with_somebody_else)
{
	pid_t other;

	/* The looker itself does not count, so a third one shares it. */
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	other = fork();
	if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	with(use_shared);
	expect(ENG_SHARED_MEM, -EOPNOTSUPP);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

Test(reasons, children_of_one_that_shall_move_alone)
{
	struct eng_opts o = { .single = true };
	struct eng_report rep;

	/* This very process has a child. */
	with(nothing);
	cr_expect(eq(int, eng_check(getpid(), &o, &rep), -EOPNOTSUPP));
	cr_expect(ge(u32, rep.n, 1));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

Test(reasons, every_reason_has_a_text)
{
	struct eng_report rep = { .n = 1 };
	char text[400];

#define REASON(num, name, sentence, next)                                     \
	rep.item[0].reason = ENG_##name;                                      \
	strcpy(rep.item[0].detail, "D");                                      \
	eng_reason_text(&rep, 0, text, sizeof(text));                         \
	cr_expect(eq(str, (char *)(uintptr_t)eng_reason_name(ENG_##name),     \
		     (char *)#name));                                         \
	cr_expect(ne(ptr, strstr(text, "; "), NULL));
#include "reasons.def"
}
