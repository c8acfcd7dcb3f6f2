/*
 * mover.c -- a program that notices if it was moved badly.
 *
 *	mover [-t MSECS] [-m MIB] [-f FILE] [-n SIGNALS] [-r READYFD]
 *
 * Four threads work until MSECS (3000) are over: one changes memory under a
 * running checksum, one keeps all vector registers live, one sleeps and waits
 * in every way that has to be begun again, the first reads and appends to FILE
 * at an offset.  SIGUSR1 and queued real-time signals are counted: with -n,
 * exactly SIGNALS of SIGUSR1 must have come by the end (it waits for them), and
 * the values queued with SIGRTMIN+1 must be 1, 2, 3...  An interval timer
 * and a POSIX timer must go on.  Prints nothing unless something is wrong; exit
 * status 42 if all was right, 1 if not.  -r: writes "r" there when it has begun.
 */
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t usr1, alarms, ticks, queued;
static volatile int stop;
static long msecs = 3000, mib = 64, want_signals = -1;
static const char *file;
static pid_t self;
static pthread_barrier_t filled; /* memory is in use from here on */

static void wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "mover: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	fflush(stderr);
	_exit(1);
}

static int64_t now_ns(clockid_t c)
{
	struct timespec t;

	clock_gettime(c, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void on_usr1(int sig)
{
	(void)sig;
	usr1++;
}

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void on_tick(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	if (si->si_value.sival_int != 77)
		wrong("timer value %d", si->si_value.sival_int);
	ticks++;
}

static void on_queued(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	if (si->si_value.sival_int != queued + 1)
		wrong("queued signal %d after %d", si->si_value.sival_int,
		      (int)queued);
	queued++;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 29;
	return x;
}

/* Every page carries a word that depends on its number and generation. */
static void *memory(void *arg)
{
	size_t pages = (size_t)mib << 8, words = 512;
	uint64_t *m = malloc(pages * 4096), sum = 0, seed = 1;
	uint32_t *gen = calloc(pages, sizeof(*gen));

	(void)arg;
	if (!m || !gen)
		wrong("no memory");
	for (size_t i = 0; i < pages * words; i += words) {
		for (size_t k = 0; k < words; k += 64)
			m[i + k] = mix(i + k);
		sum += m[i];
	}
	pthread_barrier_wait(&filled);
	while (!stop) {
		for (int n = 0; n < 2000; n++) {
			size_t i = (seed = mix(seed + n)) % pages;
			uint64_t *p = m + i * words;

			if (p[0] != mix(i * words) + gen[i])
				wrong("page %zu of %zu: %llx", i, pages,
				      (unsigned long long)p[0]);
			if (p[64] != mix(i * words + 64))
				wrong("page %zu, word 64", i);
			gen[i]++;
			p[0]++;
			sum++;
		}
	}
	for (size_t i = 0; i < pages; i++)
		sum -= m[i * words];
	if (sum)
		wrong("checksum off by %lld", (long long)sum);
	free(m);
	free(gen);
	return NULL;
}

__attribute__((target("avx2"))) static void avx2_round(void)
{
	uint64_t in[8][4], out[8][4];

	for (int i = 0; i < 8; i++)
		for (int k = 0; k < 4; k++)
			in[i][k] = mix((uint64_t)(i * 4 + k + 1));
	__asm__ volatile(
		"vmovdqu 0(%0),%%ymm0\n vmovdqu 32(%0),%%ymm1\n"
		"vmovdqu 64(%0),%%ymm2\n vmovdqu 96(%0),%%ymm3\n"
		"vmovdqu 128(%0),%%ymm12\n vmovdqu 160(%0),%%ymm13\n"
		"vmovdqu 192(%0),%%ymm14\n vmovdqu 224(%0),%%ymm15\n"
		"mov $200000,%%ecx\n 1: dec %%ecx\n jnz 1b\n"
		"vmovdqu %%ymm0,0(%1)\n vmovdqu %%ymm1,32(%1)\n"
		"vmovdqu %%ymm2,64(%1)\n vmovdqu %%ymm3,96(%1)\n"
		"vmovdqu %%ymm12,128(%1)\n vmovdqu %%ymm13,160(%1)\n"
		"vmovdqu %%ymm14,192(%1)\n vmovdqu %%ymm15,224(%1)\n"
		:
		: "r"(in), "r"(out)
		: "memory", "ecx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm12",
		  "xmm13", "xmm14", "xmm15");
	if (memcmp(in, out, sizeof(in)))
		wrong("AVX2 registers changed");
}

__attribute__((target("avx512f,avx512bw"))) static void avx512_round(void)
{
	uint64_t in[4][8], out[4][8], k = 0xa5a55a5a12345678ull, kout;

	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 8; j++)
			in[i][j] = mix((uint64_t)(i * 8 + j + 100));
	__asm__ volatile(
		"vmovdqu64 0(%1),%%zmm0\n vmovdqu64 64(%1),%%zmm15\n"
		"vmovdqu64 128(%1),%%zmm16\n vmovdqu64 192(%1),%%zmm31\n"
		"kmovq %3,%%k5\n"
		"mov $200000,%%ecx\n 1: dec %%ecx\n jnz 1b\n"
		"vmovdqu64 %%zmm0,0(%2)\n vmovdqu64 %%zmm15,64(%2)\n"
		"vmovdqu64 %%zmm16,128(%2)\n vmovdqu64 %%zmm31,192(%2)\n"
		"kmovq %%k5,%0\n"
		: "=r"(kout)
		: "r"(in), "r"(out), "r"(k)
		: "memory", "ecx", "xmm0", "xmm15", "xmm16", "xmm31", "k5");
	if (memcmp(in, out, sizeof(in)) || k != kout)
		wrong("AVX-512 registers changed");
}

static void *vectors(void *arg)
{
	int avx2 = __builtin_cpu_supports("avx2");
	int avx512 = __builtin_cpu_supports("avx512bw");

	(void)arg;
	while (!stop) {
		if (avx2)
			avx2_round();
		if (avx512)
			avx512_round();
		if (!avx2)
			usleep(1000);
	}
	return NULL;
}

static void slept(const char *how, int64_t since, int64_t ms)
{
	int64_t took = now_ns(CLOCK_MONOTONIC) - since;

	if (took < ms * 1000000)
		wrong("%s of %lld ms ended after %lld us", how, (long long)ms,
		      (long long)(took / 1000));
}

static void *waits(void *arg)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 99 };
	struct timespec t, ms = { .tv_nsec = 20000000 };
	int ep = epoll_create1(0), efd = eventfd(0, EFD_NONBLOCK);
	uint64_t n = 0, one = 1;
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	epoll_ctl(ep, EPOLL_CTL_ADD, efd, &ev);
	pthread_mutex_lock(&m);
	while (!stop) {
		int64_t t0 = now_ns(CLOCK_MONOTONIC);

		if (nanosleep(&ms, NULL))
			wrong("nanosleep: %s", strerror(errno));
		slept("nanosleep", t0, 20);
		t0 = now_ns(CLOCK_MONOTONIC);
		if (poll(NULL, 0, 20))
			wrong("poll: %s", strerror(errno));
		slept("poll", t0, 20);
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 20000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&c, &m, &t) != ETIMEDOUT)
			wrong("cond_timedwait");
		t0 = now_ns(CLOCK_MONOTONIC);
		if (epoll_wait(ep, &ev, 1, 20) != 0)
			wrong("epoll_wait: %s", strerror(errno));
		if (write(efd, &one, 8) != 8 ||
		    epoll_wait(ep, &ev, 1, 1000) != 1 || ev.data.u64 != 99 ||
		    read(efd, &n, 8) != 8 || n != 1)
			wrong("eventfd");
	}
	pthread_mutex_unlock(&m);
	return NULL;
}

static void file_round(int fd, uint64_t i)
{
	char line[32], back[32];
	off_t at = lseek(fd, 0, SEEK_CUR);

	if (at != (off_t)(i * 16))
		wrong("offset %lld, not %llu", (long long)at,
		      (unsigned long long)i * 16);
	snprintf(line, sizeof(line), "line %010llu",
		 (unsigned long long)i);
	line[15] = '\n';
	if (write(fd, line, 16) != 16)
		wrong("write: %s", strerror(errno));
	i = mix(i) % (i + 1);
	snprintf(line, sizeof(line), "line %010llu", (unsigned long long)i);
	line[15] = '\n';
	if (pread(fd, back, 16, (off_t)(i * 16)) != 16 ||
	    memcmp(line, back, 16))
		wrong("line %llu of the file is wrong", (unsigned long long)i);
}

static void handle(int sig, void (*h)(int), void (*sa)(int, siginfo_t *, void *))
{
	struct sigaction a = { .sa_flags = SA_RESTART | (sa ? SA_SIGINFO : 0) };

	if (sa)
		a.sa_sigaction = sa;
	else
		a.sa_handler = h;
	sigaction(sig, &a, NULL);
}

static timer_t start_timers(void)
{
	struct itimerval it = { { 0, 20000 }, { 0, 20000 } };
	struct itimerspec its = { { 0, 30000000 }, { 0, 30000000 } };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
			       .sigev_signo = SIGRTMIN + 2,
			       .sigev_value.sival_int = 77 };
	timer_t a, b;

	/* The first is deleted again, so that the numbers have a hole. */
	if (timer_create(CLOCK_MONOTONIC, &ev, &a) ||
	    timer_create(CLOCK_MONOTONIC, &ev, &b) || timer_delete(a) ||
	    timer_settime(b, 0, &its, NULL) ||
	    setitimer(ITIMER_REAL, &it, NULL))
		wrong("timers: %s", strerror(errno));
	return b;
}

static void options(int argc, char **argv, int *ready)
{
	int c;

	while ((c = getopt(argc, argv, "t:m:f:n:r:")) != -1) {
		switch (c) {
		case 't':
			msecs = atol(optarg);
			break;
		case 'm':
			mib = atol(optarg);
			break;
		case 'f':
			file = optarg;
			break;
		case 'n':
			want_signals = atol(optarg);
			break;
		case 'r':
			*ready = atoi(optarg);
			break;
		default:
			exit(64);
		}
	}
}

int main(int argc, char **argv)
{
	void *(*const work[])(void *) = { memory, vectors, waits };
	int ready = -1, fd = -1;
	int64_t last, end;
	uint64_t lines = 0;
	pthread_t t[3];

	options(argc, argv, &ready);
	self = getpid();
	handle(SIGUSR1, on_usr1, NULL);
	handle(SIGALRM, on_alarm, NULL);
	handle(SIGRTMIN + 1, NULL, on_queued);
	handle(SIGRTMIN + 2, NULL, on_tick);
	if (file && (fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600)) < 0)
		wrong("%s: %s", file, strerror(errno));
	pthread_barrier_init(&filled, NULL, 2);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&t[i], NULL, work[i], NULL))
			wrong("pthread_create");
	pthread_barrier_wait(&filled);
	start_timers();
	if (ready >= 0 && write(ready, "r", 1) == 1)
		close(ready);
	last = now_ns(CLOCK_MONOTONIC);
	end = last + msecs * 1000000;
	while (last < end || (want_signals >= 0 && usr1 < want_signals)) {
		int64_t now = now_ns(CLOCK_MONOTONIC);

		if (now < last)
			wrong("the clock went back by %lld ns",
			      (long long)(last - now));
		if (now > end + 60000000000ll)
			wrong("only %d of %ld signals came", (int)usr1,
			      want_signals);
		last = now;
		if (fd >= 0)
			file_round(fd, lines++);
		if (getpid() != self)
			wrong("my PID was %d", self);
		usleep(2000);
	}
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	if (want_signals >= 0 && usr1 != want_signals)
		wrong("%d signals instead of %ld", (int)usr1, want_signals);
	if (alarms < msecs / 200 || ticks < msecs / 300)
		wrong("timers: %d alarms, %d ticks", (int)alarms, (int)ticks);
	return 42;
}
