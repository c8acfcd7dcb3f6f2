/*
 * fs.c -- the namespace against the file system behind it, in one run.
 *
 *   fs SPRITE_DIR PLAIN_DIR
 *
 * Each operation is timed in short bursts that alternate between the two
 * folders; the best burst counts, since everything else is noise of the
 * machine.  Prints microseconds per operation and the ratio.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BURSTS 15

struct place {
	const char *dir;
	char file[600], fresh[600];
	int rd, wr;
	int n;
};

static char block[4096];

static void fail(const char *what, const char *path)
{
	fprintf(stderr, "bench fs: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void prepare(struct place *p, const char *dir)
{
	p->dir = dir;
	snprintf(p->file, sizeof(p->file), "%s/bench-fs.%d", dir, getpid());
	snprintf(p->fresh, sizeof(p->fresh), "%s/bench-fs.%d.new", dir, getpid());
	p->wr = open(p->file, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (p->wr < 0)
		fail("cannot create", p->file);
	for (int i = 0; i < 256; i++) {
		if (write(p->wr, block, sizeof(block)) != sizeof(block))
			fail("cannot write", p->file);
	}
	close(p->wr);
	p->rd = open(p->file, O_RDONLY);
	p->wr = open(p->file, O_WRONLY);
	if (p->rd < 0 || p->wr < 0)
		fail("cannot open", p->file);
}

static void op_stat(struct place *p)
{
	struct stat st;

	if (stat(p->file, &st))
		fail("stat", p->file);
}

static void op_getattr(struct place *p)
{
	struct statx sx;

	if (statx(p->rd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
		  STATX_BASIC_STATS, &sx))
		fail("statx", p->file);
}

static void op_absent(struct place *p)
{
	struct stat st;

	if (stat(p->fresh, &st) == 0)
		fail("is there", p->fresh);
}

static void op_read(struct place *p)
{
	if (pread(p->rd, block, sizeof(block), (p->n++ % 256) * 4096L) !=
	    sizeof(block))
		fail("read", p->file);
}

static void op_open(struct place *p)
{
	int fd = open(p->file, O_RDONLY);

	if (fd < 0)
		fail("open", p->file);
	close(fd);
}

static void op_write(struct place *p)
{
	if (pwrite(p->wr, block, sizeof(block), (p->n++ % 256) * 4096L) !=
	    sizeof(block))
		fail("write", p->file);
}

static void op_make(struct place *p)
{
	int fd = open(p->fresh, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (fd < 0 || write(fd, block, 100) != 100)
		fail("create", p->fresh);
	close(fd);
	if (unlink(p->fresh))
		fail("unlink", p->fresh);
}

static const struct {
	const char *name;
	void (*op)(struct place *p);
	int times;
	double budget; /* ratio, or 0 */
	double limit_us; /* or 0 */
} ops[] = {
	{ "warm stat", op_stat, 2000, 1.5, 0 },
	{ "stat of an absent name", op_absent, 2000, 0, 0 },
	{ "cached read of 4 KiB", op_read, 2000, 1.5, 0 },
	{ "getattr at the daemon", op_getattr, 300, 0, 0 },
	{ "open and close", op_open, 300, 0, 30 },
	{ "write of 4 KiB", op_write, 300, 0, 20 },
	{ "create, write, close, unlink", op_make, 100, 0, 0 },
};

static double burst(struct place *p, size_t i)
{
	double t = now_us();

	for (int k = 0; k < ops[i].times; k++)
		ops[i].op(p);
	return (now_us() - t) / ops[i].times;
}

int main(int argc, char **argv)
{
	struct place sprite = { 0 }, plain = { 0 };

	if (argc != 3) {
		fprintf(stderr, "usage: fs SPRITE_DIR PLAIN_DIR\n");
		return 2;
	}
	prepare(&sprite, argv[1]);
	prepare(&plain, argv[2]);
	for (int i = 0; i < 256; i++) {
		op_read(&sprite);
		op_read(&plain);
	}
	printf("%-30s %10s %10s %8s   %s\n", "operation", "sprite us",
	       "plain us", "ratio", "budget");
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		double a = 1e18, b = 1e18;
		char budget[32] = "";

		for (int k = 0; k < BURSTS; k++) {
			double x = burst(&sprite, i), y = burst(&plain, i);

			a = x < a ? x : a;
			b = y < b ? y : b;
		}
		if (ops[i].budget > 0)
			snprintf(budget, sizeof(budget), "%.1fx%s", ops[i].budget,
				 a <= b * ops[i].budget ? "" : " MISSED");
		else if (ops[i].limit_us > 0)
			snprintf(budget, sizeof(budget), "%.0f us%s",
				 ops[i].limit_us,
				 a <= ops[i].limit_us ? "" : " MISSED");
		printf("%-30s %10.2f %10.2f %8.1f   %s\n", ops[i].name, a, b,
		       a / b, budget);
	}
	close(sprite.rd);
	close(sprite.wr);
	close(plain.rd);
	close(plain.wr);
	unlink(sprite.file);
	unlink(plain.file);
	return 0;
}
