/*
 * test_stub.c -- the promises of stub_proto.h: a stub holds its place, tells
 * everything, dies as told, becomes a program.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "engine.h"
#include "prog.h"
#include "stub_proto.h"

#define SOON 5000

static char exe[512];
static pid_t pid;
static int ctl = -1;

static void start(void)
{
	cr_assert(zero(int, prog_path("sprite-stub", exe, sizeof(exe))));
	cr_assert(zero(int, stub_start(exe, &pid, &ctl)));
}

static void stop(void)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ctl);
}

TestSuite(stub, .init = start, .fini = stop, .timeout = 20);

static struct stub_msg wait_for(int fd, uint32_t type)
{
	struct stub_msg m;

	do {
		cr_assert(zero(int, stub_recv(fd, &m, SOON)));
	} while (m.type != type);
	return m;
}

static int call(int fd, struct stub_msg m)
{
	return stub_call(fd, &m, NULL, 0, SOON, NULL, NULL, NULL);
}

static int status_of(pid_t p)
{
	int st = -1;

	cr_assert(eq(int, waitpid(p, &st, 0), p));
	return st;
}

Test(stub, answers_a_ping)
{
	cr_expect(zero(int, call(ctl, (struct stub_msg){ .type = STUB_PING })));
}

Test(stub, refuses_what_it_does_not_know)
{
	cr_expect(eq(int, call(ctl, (struct stub_msg){ .type = 55 }), -EINVAL));
}

Test(stub, relays_a_signal_with_its_siginfo)
{
	union sigval v = { .sival_int = 4711 };
	struct stub_msg m;
	siginfo_t si;

	cr_assert(zero(int, sigqueue(pid, SIGUSR1, v)));
	m = wait_for(ctl, STUB_SIGNAL);
	memcpy(&si, m.u.siginfo, sizeof(si));
	cr_expect(eq(int, m.sig, SIGUSR1));
	cr_expect(eq(int, si.si_pid, getpid()));
	cr_expect(eq(int, si.si_value.sival_int, 4711));
	cr_expect(eq(int, si.si_code, SI_QUEUE));
}

Test(stub, relays_every_signal_but_the_two)
{
	for (int sig = 1; sig < 32; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		cr_assert(zero(int, kill(pid, sig)));
		cr_expect(eq(int, wait_for(ctl, STUB_SIGNAL).sig, sig));
	}
}

Test(stub, dies_with_the_exit_code_it_is_told)
{
	struct stub_msg m = { .type = STUB_EXIT, .status = 42 << 8 };

	cr_assert(zero(int, stub_send(ctl, &m, NULL, 0)));
	cr_expect(eq(int, status_of(pid), 42 << 8));
}

Test(stub, dies_by_the_signal_it_is_told)
{
	struct stub_msg m = { .type = STUB_EXIT, .status = SIGSEGV };
	struct stub_msg k = { .type = STUB_EXIT, .status = SIGKILL };
	pid_t other;
	int other_ctl;

	cr_assert(zero(int, stub_start(exe, &other, &other_ctl)));
	cr_assert(zero(int, stub_send(ctl, &m, NULL, 0)));
	cr_assert(zero(int, stub_send(other_ctl, &k, NULL, 0)));
	cr_expect(eq(int, status_of(pid), SIGSEGV));
	cr_expect(eq(int, status_of(other), SIGKILL));
	close(other_ctl);
}

Test(stub, stops_and_goes_on_as_its_parent_expects)
{
	int st;

	cr_assert(zero(int, call(ctl, (struct stub_msg){ .type = STUB_STOP })));
	cr_assert(eq(int, waitpid(pid, &st, WUNTRACED), pid));
	cr_expect(eq(int, WIFSTOPPED(st), 1));
	cr_assert(zero(int, kill(pid, SIGCONT)));
	cr_assert(eq(int, waitpid(pid, &st, WCONTINUED), pid));
	cr_expect(eq(int, WIFCONTINUED(st) != 0, 1));
	cr_expect(eq(int, wait_for(ctl, STUB_SIGNAL).sig, SIGCONT));
}

Test(stub, reports_what_becomes_of_its_children)
{
	struct stub_msg m = { .type = STUB_EXIT, .status = 7 << 8 }, got;
	pid_t child;
	int cctl;

	cr_assert(zero(int, stub_spawn(ctl, 0, false, -1, &child, &cctl)));
	cr_assert(zero(int, call(cctl, (struct stub_msg){ .type = STUB_STOP })));
	got = wait_for(ctl, STUB_CHILD);
	cr_expect(eq(int, got.pid, child));
	cr_expect(eq(int, got.u.child.code, CLD_STOPPED));
	cr_assert(zero(int, kill(child, SIGCONT)));
	cr_expect(eq(int, wait_for(ctl, STUB_CHILD).u.child.code,
		     CLD_CONTINUED));
	cr_assert(zero(int, stub_send(cctl, &m, NULL, 0)));
	got = wait_for(ctl, STUB_CHILD);
	cr_expect(eq(int, got.status, 7 << 8));
	cr_expect(eq(int, got.u.child.code, CLD_EXITED));
	close(cctl);
}

Test(stub, makes_a_child_with_the_pid_wanted)
{
	pid_t child, want = 32000;
	int cctl, second;

	while (kill(want, 0) == 0)
		want--;
	cr_assert(zero(int, stub_spawn(ctl, want, true, -1, &child, &cctl)));
	cr_expect(eq(int, child, want));
	cr_expect(eq(int, getsid(want), want));
	cr_expect(eq(int,
		     stub_spawn(ctl, want, false, -1, &child, &second),
		     -EEXIST));
	kill(want, SIGKILL);
	close(cctl);
}

Test(stub, a_child_joins_a_group)
{
	pid_t a, b, c;
	int actl, bctl, cctl;

	cr_assert(zero(int, stub_spawn(ctl, 0, false, 0, &a, &actl)));
	cr_assert(zero(int, stub_spawn(ctl, 0, false, a, &b, &bctl)));
	cr_expect(eq(int, getpgid(a), a));
	cr_expect(eq(int, getpgid(b), a));
	cr_expect(lt(int, stub_spawn(ctl, 0, false, 1, &c, &cctl), 0));
	kill(a, SIGKILL);
	kill(b, SIGKILL);
}

static int exec_image(struct eng_exec *x)
{
	static char *argv[] = { (char *)"sh", (char *)"-c", NULL, NULL };
	static char *envp[] = { (char *)"PATH=/usr/bin:/bin",
				(char *)"COLOR=blue", NULL };
	int fd;

	argv[2] = (char *)(uintptr_t)x->path;
	x->path = "/bin/sh";
	x->argv = argv;
	x->envp = envp;
	cr_assert(zero(int, eng_exec_image_build(x, &fd)));
	return fd;
}

static void become(struct eng_exec *x, const int *more, unsigned n)
{
	struct stub_msg m = { .type = STUB_EXEC };
	int fds[8] = { exec_image(x) };

	for (unsigned i = 0; i < n; i++)
		fds[i + 1] = more[i];
	cr_assert(zero(int, stub_send(ctl, &m, fds, n + 1)));
	close(fds[0]);
}

Test(stub, becomes_a_program)
{
	int out[2], want[2] = { 1, 5 };
	struct eng_exec x = {
		.path = "echo $COLOR $PWD $(umask) $(ulimit -n) >&5; exit 3",
		.cwd = "/usr",
		.umask = 027,
		.fds = want,
		.nfds = 2,
		.rlimit_set = 1u << 7,
		.rlimit[7] = { 333, 444 },
		.cwd_fd = false,
	};
	char buf[256];
	ssize_t n;
	struct stub_msg m;

	cr_assert(zero(int, pipe(out)));
	become(&x, (int[]){ out[1], out[1] }, 2);
	close(out[1]);
	n = read(out[0], buf, sizeof(buf) - 1);
	cr_assert(gt(long, n, 0));
	buf[n] = 0;
	cr_expect(eq(str, buf, (char *)"blue /usr 0027 333\n"));
	cr_expect(eq(int, stub_recv(ctl, &m, SOON), -EPIPE));
	cr_expect(eq(int, status_of(pid), 3 << 8));
}

Test(stub, a_program_starts_with_the_ids_and_signals_given)
{
	int out[2], want[1] = { 1 };
	uint32_t groups[2] = { 7, 9 };
	struct eng_exec x = {
		.path = "id -u; id -g; id -G; grep SigI /proc/$$/status",
		.fds = want,
		.nfds = 1,
		.set_ids = true,
		.ruid = 1234, .euid = 1234, .suid = 1234,
		.rgid = 77, .egid = 77, .sgid = 77,
		.groups = groups, .ngroups = 2,
		.sigign = 1u << (SIGUSR1 - 1),
	};
	char buf[512];
	size_t len = 0;
	ssize_t n;

	cr_assert(zero(int, pipe(out)));
	become(&x, &out[1], 1);
	close(out[1]);
	while ((n = read(out[0], buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = 0;
	cr_expect(eq(str, buf,
		     (char *)"1234\n77\n77 7 9\n"
			     "SigIgn:\t0000000000000200\n"));
}

Test(stub, a_program_starts_with_the_signals_blocked_that_are_given)
{
	char *argv[] = { (char *)"grep", (char *)"-q",
			 (char *)"SigBlk:.0000000000000800",
			 (char *)"/proc/self/status", NULL };
	struct eng_exec x = { .path = "/usr/bin/grep",
			      .argv = argv,
			      .sigmask = 1u << (SIGUSR2 - 1) };
	struct stub_msg m = { .type = STUB_EXEC };
	int fd;

	cr_assert(zero(int, eng_exec_image_build(&x, &fd)));
	cr_assert(zero(int, stub_send(ctl, &m, &fd, 1)));
	cr_expect(zero(int, status_of(pid)));
}

Test(stub, says_why_an_exec_failed_and_stays_a_stub)
{
	char *argv[] = { (char *)"x", NULL };
	struct eng_exec x = { .path = "/no/such/program", .argv = argv };
	struct stub_msg m = { .type = STUB_EXEC };
	int fd;

	cr_assert(zero(int, eng_exec_image_build(&x, &fd)));
	cr_expect(eq(int, stub_call(ctl, &m, &fd, 1, SOON, NULL, NULL, NULL),
		     -ENOENT));
	cr_expect(zero(int, call(ctl, (struct stub_msg){ .type = STUB_PING })));
	m = (struct stub_msg){ .type = STUB_EXIT, .status = 127 << 8 };
	cr_assert(zero(int, stub_send(ctl, &m, NULL, 0)));
	cr_expect(eq(int, status_of(pid), 127 << 8));
}

Test(stub, stays_when_its_controller_goes)
{
	close(ctl);
	ctl = -1;
	cr_expect(zero(int, kill(pid, 0)));
	cr_expect(eq(int, waitpid(pid, NULL, WNOHANG), 0));
}

Test(stub, finds_its_controller_again_and_has_lost_nothing)
{
	char path[64], at[70];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct stub_msg m;
	int l, c;
	pid_t p;

	snprintf(path, sizeof(path), "/tmp/sprite-test-%d.sock", getpid());
	snprintf(at, sizeof(at), "@%s", path);
	strcpy(un.sun_path, path);
	l = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert(zero(int, bind(l, (void *)&un, sizeof(un))));
	cr_assert(zero(int, listen(l, 4)));
	p = fork();
	if (p == 0) {
		execl(exe, exe, at, (char *)NULL);
		_exit(127);
	}
	c = accept(l, NULL, NULL);
	m = wait_for(c, STUB_HELLO);
	cr_expect(eq(int, m.pid, p));
	cr_expect(eq(u32, m.flags, STUB_HELLO_EXECD));
	close(c);
	kill(p, SIGUSR1);
	kill(p, SIGUSR2);
	c = accept(l, NULL, NULL);
	m = wait_for(c, STUB_HELLO);
	cr_expect(eq(u32, m.flags, STUB_HELLO_EXECD | STUB_HELLO_AGAIN));
	cr_expect(eq(int, wait_for(c, STUB_SIGNAL).sig, SIGUSR1));
	cr_expect(eq(int, wait_for(c, STUB_SIGNAL).sig, SIGUSR2));
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
	unlink(path);
	close(c);
	close(l);
}
