/*
 * remote_true.c -- what it costs to run `true` on another host instead of
 * here, from fork to the end of wait.
 *
 *	remote_true HOST [ROUNDS]	in the world of a host; bench/run calls it
 *
 * The local and the remote run alternate, so that both see the same machine.
 * "remote" is the whole command as a user types it: sprite is executed, asks,
 * turns into the stub, and the stub ends as true ended.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 1000
#define BUDGET_MS  5.0

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Milliseconds of one fork, exec and wait; negative: it failed. */
static double once(char *const *argv)
{
	double begun = now_ms();
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 ? now_ms() - begun : -1;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), ascending);
	return v[n / 2];
}

int main(int argc, char **argv)
{
	static double here[ROUNDS_MAX], there[ROUNDS_MAX];
	int rounds = argc > 2 ? atoi(argv[2]) : 100;
	char *local[] = { (char *)"/bin/true", NULL };
	char *remote[] = { (char *)"sprite", (char *)"run", (char *)"-h", NULL,
			   (char *)"/bin/true", NULL };
	double a, b;

	if (argc < 2 || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: remote_true HOST [ROUNDS]\n");
		return 2;
	}
	remote[3] = argv[1];
	for (int i = -3; i < rounds; i++) {
		a = once(local);
		b = once(remote);
		if (a < 0 || b < 0) {
			fprintf(stderr, "remote_true: true failed %s\n",
				a < 0 ? "here" : argv[1]);
			return 1;
		}
		if (i >= 0) {
			here[i] = a;
			there[i] = b;
		}
	}
	a = median(here, rounds);
	b = median(there, rounds);
	printf("remote true, more than local fork+exec+wait|%.2f ms|%.2f ms|%.1f x|5 ms|%s\n",
	       b - a, a, b / a, b - a <= BUDGET_MS ? "ok" : "over");
	return 0;
}
