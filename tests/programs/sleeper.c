/*
 * sleeper.c -- three threads sleep, poll and wait for a futex for five seconds
 * each; status 42 if none of them was shorter, or longer than six.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECS 5

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void judge(const char *how, int64_t since, int64_t result)
{
	int64_t took = now_ms() - since;

	if (result || took < SECS * 1000 || took > SECS * 1000 + 1000) {
		fprintf(stderr, "sleeper: %s took %lld ms, result %lld\n", how,
			(long long)took, (long long)result);
		fflush(stderr);
		_exit(1);
	}
}

static void *polls(void *arg)
{
	int64_t t = now_ms();

	(void)arg;
	judge("poll", t, poll(NULL, 0, SECS * 1000));
	return NULL;
}

static void *waits(void *arg)
{
	struct timespec five = { .tv_sec = SECS };
	uint32_t word = 7;
	int64_t t = now_ms();
	long r;

	(void)arg;
	r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &five, NULL, 0);
	judge("futex", t, r == -1 && errno == ETIMEDOUT ? 0 : r - 1);
	return NULL;
}

int main(void)
{
	struct timespec five = { .tv_sec = SECS };
	pthread_t a, b;
	int64_t t;

	pthread_create(&a, NULL, polls, NULL);
	pthread_create(&b, NULL, waits, NULL);
	if (write(9, "r", 1) == 1)
		close(9);
	t = now_ms();
	judge("nanosleep", t, nanosleep(&five, NULL));
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	return 42;
}
