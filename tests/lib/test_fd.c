/* test_fd.c -- files, descriptors over sockets, paths of programs and state. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "fd.h"
#include "log.h"
#include "prog.h"

static char dir[64], file[128];

static void start(void)
{
	snprintf(dir, sizeof(dir), "/tmp/sprite-lib-test.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/file", dir);
}

static void stop(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	cr_expect_eq(system(cmd), 0);
}

TestSuite(fd, .init = start, .fini = stop, .timeout = 10);

Test(fd, a_file_is_replaced_whole)
{
	struct buf b = {0};
	struct stat st;

	cr_assert_eq(fd_write_file(file, "first and long", 14, 0640), 0);
	cr_assert_eq(fd_write_file(file, "second", 6, 0600), 0);
	cr_assert_eq(stat(file, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(fd_read_file(file, 100, &b), 0);
	cr_expect_str_eq((char *)buf_data(&b), "second");
	buf_free(&b);
	cr_expect_eq(fd_read_file(file, 5, &b), -EFBIG);
	cr_expect_eq(fd_read_file("/nonexistent", 5, &b), -ENOENT);
	cr_expect_eq(fd_write_file("/nonexistent/x", "", 0, 0600), -ENOENT);
}

Test(fd, a_large_file_is_read_whole)
{
	static char big[300000];
	struct buf b = {0};

	memset(big, 'q', sizeof(big));
	cr_assert_eq(fd_write_file(file, big, sizeof(big), 0600), 0);
	cr_assert_eq(fd_read_file(file, sizeof(big), &b), 0);
	cr_expect_eq(buf_len(&b), sizeof(big));
	cr_expect_eq(memcmp(buf_data(&b), big, sizeof(big)), 0);
	buf_free(&b);
}

Test(fd, the_end_before_all_is_EPIPE)
{
	int p[2];
	char x[4];

	cr_assert_eq(pipe(p), 0);
	cr_assert_eq(fd_write_full(p[1], "abc", 3), 0);
	close(p[1]);
	cr_expect_eq(fd_read_full(p[0], x, 4), -EPIPE);
	close(p[0]);
}

Test(fd, descriptors_travel_and_are_close_on_exec)
{
	int s[2], got[2], p[2];
	size_t n = 2;
	char x[3];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	cr_assert_eq(pipe(p), 0);
	cr_assert_eq(fd_send(s[0], "ab", 2, p, 2), 2);
	cr_assert_eq(fd_recv(s[1], x, 3, 0, got, &n), 2);
	cr_expect_eq(n, 2);
	cr_expect(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(write(got[1], "!", 1), 1);
	cr_expect_eq(read(p[0], x, 1), 1);
	/* No room: nothing leaks. */
	cr_assert_eq(fd_send(s[0], "ab", 2, p, 2), 2);
	n = 0;
	cr_assert_eq(fd_recv(s[1], x, 3, 0, got, &n), 2);
	cr_expect_eq(n, 0);
	cr_expect_eq(fd_send(s[0], "a", 1, p, FD_PASS_MAX + 1), -E2BIG);
	for (int i = 0; i < 2; i++) {
		close(s[i]);
		close(p[i]);
		close(got[i]);
	}
}

Test(fd, unix_sockets_listen_where_a_dead_one_was)
{
	char path[128];
	int a, b, c;

	snprintf(path, sizeof(path), "%s/s", dir);
	a = unix_listen(path, SOCK_STREAM, 0600);
	cr_assert_geq(a, 0);
	close(a);
	cr_expect_eq(unix_connect(path, SOCK_STREAM), -ECONNREFUSED);
	b = unix_listen(path, SOCK_STREAM, 0600);
	cr_assert_geq(b, 0);
	c = unix_connect(path, SOCK_STREAM);
	cr_expect_geq(c, 0);
	close(b);
	close(c);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	cr_expect_eq(unix_connect(path, SOCK_STREAM), -ENAMETOOLONG);
}

Test(fd, folders_are_made_on_the_way)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/a/b/c", dir);
	cr_assert_eq(mkdir_p(path, 0700), 0);
	cr_assert_eq(mkdir_p(path, 0700), 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect(S_ISDIR(st.st_mode));
	cr_assert_eq(fd_write_file(file, "", 0, 0600), 0);
	snprintf(path, sizeof(path), "%s/x", file);
	cr_expect_eq(mkdir_p(path, 0700), -ENOTDIR);
}

Test(fd, nonblock_goes_on_and_off)
{
	int p[2];

	cr_assert_eq(pipe(p), 0);
	cr_assert_eq(fd_nonblock(p[0], 1), 0);
	cr_expect(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	cr_assert_eq(fd_nonblock(p[0], 0), 0);
	cr_expect(!(fcntl(p[0], F_GETFL) & O_NONBLOCK));
	close(p[0]);
	close(p[1]);
	cr_expect_eq(fd_nonblock(-1, 1), -EBADF);
}

static int scoped(int *ret_fd)
{
	SCOPED(close) int fd = open("/dev/null", O_RDONLY);
	SCOPED(close) int kept = open("/dev/null", O_RDONLY);

	*ret_fd = fd;
	return take_fd(&kept);
}

Test(fd, scopes_close_what_they_hold_and_not_what_was_taken)
{
	int closed, kept = scoped(&closed);

	cr_expect_eq(fcntl(closed, F_GETFD), -1);
	cr_expect_geq(fcntl(kept, F_GETFD), 0);
	close(kept);
}

Test(fd, state_and_programs_are_found_by_environment)
{
	char path[PATH_MAX], small[4];

	setenv("SPRITE_STATE", dir, 1);
	setenv("SPRITE_RUN", dir, 1);
	setenv("SPRITE_BIN", dir, 1);
	cr_assert_eq(state_path("file", path, sizeof(path)), 0);
	cr_expect_str_eq(path, file);
	cr_assert_eq(run_path("file", path, sizeof(path)), 0);
	cr_expect_str_eq(path, file);
	cr_assert_eq(prog_path("file", path, sizeof(path)), 0);
	cr_expect_str_eq(path, file);
	cr_expect_eq(run_path("file", small, sizeof(small)), -ENAMETOOLONG);
	unsetenv("SPRITE_STATE");
	cr_assert_eq(state_path("x", path, sizeof(path)), 0);
	cr_expect_str_eq(path, "/var/lib/sprite/x");
	unsetenv("SPRITE_BIN");
	cr_expect_eq(prog_path("no-such-program", path, sizeof(path)), -ENOENT);
}

Test(fd, a_started_daemon_says_READY_once)
{
	char num[16], x[16] = {0};
	int p[2];

	cr_assert_eq(pipe(p), 0);
	snprintf(num, sizeof(num), "%d", p[1]);
	setenv("SPRITE_READY_FD", num, 1);
	prog_ready();
	cr_expect_eq(read(p[0], x, sizeof(x)), 6);
	cr_expect_str_eq(x, "READY\n");
	cr_expect_eq(read(p[0], x, sizeof(x)), 0, "and closes it");
	prog_ready();
	close(p[0]);
}

Test(fd, a_log_line_is_one_write_and_ends)
{
	char x[4096] = {0}, longer[3000];
	int p[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	cr_assert_eq(pipe(p), 0);
	dup2(p[1], STDERR_FILENO);
	log_open("test");
	log_debug("not at this level");
	errno = ENOENT;
	log_warn("number %d", 5);
	memset(longer, 'l', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	log_info("%s", longer);
	dup2(saved, STDERR_FILENO);
	close(saved);
	cr_expect_eq(errno, ENOENT);
	n = read(p[0], x, sizeof(x) - 1);
	cr_assert_gt(n, 0);
	cr_expect(strstr(x, " warn test: number 5\n"), "%s", x);
	cr_expect(strstr(x, " info test: llll"));
	cr_expect(!strstr(x, "not at"));
	cr_expect_eq(x[n - 1], '\n');
	close(p[0]);
	close(p[1]);
}
