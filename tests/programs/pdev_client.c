/*
 * pdev_client.c -- uses a pseudo-device as any program uses a file.  It needs
 * nothing of Sprite.
 *
 *   pdev_client NAME echo        read, write, ioctl, poll, O_NONBLOCK; 0 if all right
 *   pdev_client NAME two HOST    wakes a second stream; WHO says HOST
 *   pdev_client NAME read        one read: prints "errno N after T ms" or the data
 *   pdev_client NAME interrupt   a blocked read must end with EINTR by a signal
 *   pdev_client NAME open        prints "errno N" of open, 0 if it worked
 *   pdev_client NAME status      sprite/host.h: the figures, then poll
 *   pdev_client NAME pump SECS   numbers through an echo server and back: none is
 *                                lost or doubled, whatever the network does
 *   pdev_client NAME hold SECS   opens and waits for a line on stdin or SECS
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sprite/host.h>

#include "pdev_test.h"

#define MUST(x)                                                            \
	do {                                                               \
		if (!(x)) {                                                \
			fprintf(stderr, "line %d: %s (errno %d: %s)\n",    \
				__LINE__, #x, errno, strerror(errno));     \
			exit(1);                                           \
		}                                                          \
	} while (0)

static const char *name;

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int open_it(int flags)
{
	int fd = open(name, flags);

	MUST(fd >= 0);
	return fd;
}

static short poll_now(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	MUST(poll(&p, 1, ms) >= 0);
	return p.revents;
}

static void echo(void)
{
	struct pdev_test_add add = { 5, 6, 0 };
	char buf[8192];
	size_t put = 0;
	int fd = open_it(O_RDWR);

	MUST(poll_now(fd, 0) == POLLOUT);
	MUST(write(fd, "hello", 5) == 5);
	MUST(poll_now(fd, 0) == (POLLIN | POLLOUT));
	MUST(read(fd, buf, 2) == 2 && memcmp(buf, "he", 2) == 0);
	MUST(read(fd, buf, sizeof(buf)) == 3 && memcmp(buf, "llo", 3) == 0);
	MUST(lseek(fd, 0, SEEK_SET) < 0 && errno == ESPIPE);

	MUST(ioctl(fd, PDEV_TEST_ADD, &add) == 0 && add.sum == 11);
	MUST(ioctl(fd, PDEV_TEST_SET, &add) == 1);
	add.a = 1;
	MUST(ioctl(fd, PDEV_TEST_SET, &add) < 0 && errno == EINVAL);
	MUST(ioctl(fd, PDEV_TEST_NUMBER, 41) == 42);
	MUST(ioctl(fd, 0xabcd) < 0 && errno == ENOTTY);
	MUST(!isatty(fd));

	MUST(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	MUST(read(fd, buf, 1) < 0 && errno == EAGAIN);
	for (;;) {
		ssize_t n = write(fd, buf, 1000);

		if (n < 0)
			break;
		put += (size_t)n;
	}
	MUST(errno == EAGAIN && put == 4096);
	MUST(poll_now(fd, 0) == POLLIN);
	close(fd);
}

/* A reader waits in poll and in read until another process of this host writes
 * to the same open file. */
static void two(const char *host)
{
	struct pdev_test_who who;
	struct pollfd p;
	char buf[16];
	int fd = open_it(O_RDWR), other = open_it(O_RDWR);
	int go[2], status;
	pid_t pid;

	MUST(ioctl(fd, PDEV_TEST_WHO, &who) == 0);
	if (strcmp(who.host, host) || who.pid != getpid() ||
	    who.uid != getuid()) {
		fprintf(stderr, "opened by %s, pid %d, uid %u; this is %d\n",
			who.host, who.pid, who.uid, (int)getpid());
		exit(1);
	}
	MUST(pipe(go) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		/* First the poll below is woken, then the read. */
		MUST(read(go[0], buf, 1) == 1);
		MUST(write(fd, "one", 3) == 3);
		MUST(read(go[0], buf, 1) == 1);
		MUST(write(fd, "two", 3) == 3);
		/* Again and again, since the ioctl may not be there yet. */
		p = (struct pollfd){ .fd = go[0], .events = POLLIN };
		do
			MUST(write(other, "x", 1) == 1);
		while (poll(&p, 1, 20) == 0);
		_exit(0);
	}
	p = (struct pollfd){ .fd = fd, .events = POLLIN };
	MUST(poll(&p, 1, 0) == 0);
	MUST(write(go[1], "g", 1) == 1);
	MUST(poll(&p, 1, 10000) == 1 && p.revents == POLLIN);
	MUST(read(fd, buf, 16) == 3 && memcmp(buf, "one", 3) == 0);
	MUST(write(go[1], "g", 1) == 1);
	MUST(read(fd, buf, 16) == 3 && memcmp(buf, "two", 3) == 0);
	MUST(ioctl(fd, PDEV_TEST_LATER) == 11);
	MUST(write(go[1], "g", 1) == 1);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

static void one_read(void)
{
	char buf[256];
	int fd = open_it(O_RDONLY);
	long begin = now_ms();
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0)
		printf("errno %d after %ld ms\n", errno, now_ms() - begin);
	else
		printf("%.*s\n", (int)n, buf);
	fflush(stdout);
	begin = now_ms();
	if (n < 0 && errno == EIO) {
		MUST(read(fd, buf, 1) < 0 && errno == EIO);
		MUST(poll_now(fd, 0) & POLLHUP);
		MUST(now_ms() - begin < 1000);
	}
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void interrupt(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	int fd = open_it(O_RDONLY);
	char c;
	long begin;

	sigaction(SIGALRM, &sa, NULL);
	alarm(1);
	begin = now_ms();
	MUST(read(fd, &c, 1) < 0 && errno == EINTR);
	MUST(now_ms() - begin < 5000);
}

static void status(void)
{
	struct sprite_host_load load;
	struct pollfd p;
	char buf[4096];
	ssize_t n, len = 0;
	int fd = open_it(O_RDONLY);

	while ((n = read(fd, buf, sizeof(buf) - 1)) > 0)
		len += n;
	MUST(n == 0 && len > 0);
	MUST(ioctl(fd, SPRITE_HOST_LOAD, &load) == 0);
	MUST(load.cpus > 0);
	printf("cpus %u slots %u guests %u\n", load.cpus, load.slots,
	       load.guests);
	fflush(stdout);
	p = (struct pollfd){ .fd = fd, .events = POLLIN };
	MUST(poll(&p, 1, 30000) == 1 && p.revents & POLLIN);
	MUST(read(fd, buf, sizeof(buf)) > 0);
	printf("changed\n");
}

static void pump(int secs)
{
	int fd = open_it(O_RDWR);
	long end = now_ms() + secs * 1000L;
	uint32_t n = 0, got;

	do {
		n++;
		MUST(write(fd, &n, sizeof(n)) == sizeof(n));
		MUST(read(fd, &got, sizeof(got)) == sizeof(got));
		MUST(got == n);
		if (n == 1) {
			printf("pumping\n");
			fflush(stdout);
		}
	} while (now_ms() < end);
	printf("%u\n", n);
}

static void hold(int secs)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };

	(void)open_it(O_RDWR);
	printf("open\n");
	fflush(stdout);
	(void)poll(&p, 1, secs * 1000);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 3) {
		fprintf(stderr, "usage: pdev_client NAME WHAT\n");
		return 2;
	}
	name = argv[1];
	if (strcmp(argv[2], "echo") == 0) {
		echo();
	} else if (strcmp(argv[2], "two") == 0 && argc == 4) {
		two(argv[3]);
	} else if (strcmp(argv[2], "read") == 0) {
		one_read();
	} else if (strcmp(argv[2], "interrupt") == 0) {
		interrupt();
	} else if (strcmp(argv[2], "status") == 0) {
		status();
	} else if (strcmp(argv[2], "pump") == 0 && argc == 4) {
		pump(atoi(argv[3]));
	} else if (strcmp(argv[2], "hold") == 0 && argc == 4) {
		hold(atoi(argv[3]));
	} else if (strcmp(argv[2], "open") == 0) {
		fd = open(name, O_RDWR);
		printf("errno %d\n", fd < 0 ? errno : 0);
	} else {
		return 2;
	}
	return 0;
}
