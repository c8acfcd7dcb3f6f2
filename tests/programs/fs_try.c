/*
 * fs_try.c -- what the end-to-end tests of fs/ do with files, from several
 * hosts at once.  Each verb checks itself: exit status 0, or 1 and a sentence.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECORD 64

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int xopen(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		die("open %s", path);
	return fd;
}

/* append FILE TAG N: records that must neither get lost nor be torn. */
static void do_append(char **a)
{
	int fd = xopen(a[0], O_WRONLY | O_APPEND | O_CREAT), n = atoi(a[2]);
	char rec[RECORD + 1];

	for (int i = 0; i < n; i++) {
		memset(rec, '.', RECORD);
		rec[snprintf(rec, RECORD, "%.10s %08d", a[1], i)] = ' ';
		rec[RECORD - 1] = '\n';
		if (write(fd, rec, RECORD) != RECORD)
			die("append");
	}
}

/* appended FILE N: so many whole records. */
static void do_appended(char **a)
{
	int fd = xopen(a[0], O_RDONLY), n = 0;
	char rec[RECORD];
	ssize_t r;

	while ((r = read(fd, rec, RECORD)) == RECORD) {
		if (rec[RECORD - 1] != '\n' || memchr(rec, 0, RECORD))
			die("record %d is torn", n);
		n++;
	}
	if (r || n != atoi(a[1]))
		die("%d records instead of %s", n, a[1]);
}

/* names DIR TAG N: make, look at and remove the same few names as others. */
static void do_names(char **a)
{
	int n = atoi(a[2]);
	char p[512], q[512];
	struct stat st;

	for (int i = 0; i < n; i++) {
		int fd;

		snprintf(p, sizeof(p), "%s/n%d", a[0], i % 4);
		snprintf(q, sizeof(q), "%s/n%d", a[0], (i + 1) % 4);
		fd = open(p, O_CREAT | O_WRONLY, 0644);
		if (fd >= 0)
			close(fd);
		else if (errno != ENOENT && errno != ESTALE)
			die("create %s", p);
		if (stat(q, &st) && errno != ENOENT)
			die("stat %s", q);
		if (i % 3 == 0 && rename(p, q) && errno != ENOENT)
			die("rename %s", p);
		if (unlink(p) && errno != ENOENT)
			die("unlink %s", p);
	}
}

/* excl DIR N: prints how many names were won. */
static void do_excl(char **a)
{
	int n = atoi(a[1]), won = 0;
	char p[512];

	for (int i = 0; i < n; i++) {
		int fd;

		snprintf(p, sizeof(p), "%s/x%d", a[0], i);
		fd = open(p, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd >= 0) {
			won++;
			close(fd);
		} else if (errno != EEXIST) {
			die("create %s", p);
		}
	}
	printf("%d\n", won);
}

static void lock_it(int fd, const char *how, int on)
{
	struct flock l = { .l_type = (short)(on ? F_WRLCK : F_UNLCK),
			   .l_start = 100, .l_len = 10 };

	if (strcmp(how, "flock") == 0 ? flock(fd, on ? LOCK_EX : LOCK_UN) :
					fcntl(fd, F_SETLKW, &l))
		die("%s", how);
}

/* count FILE N flock|fcntl: add 1 to the number in it, N times. */
static void do_count(char **a)
{
	int fd = xopen(a[0], O_RDWR | O_CREAT), n = atoi(a[1]);
	char buf[32];

	for (int i = 0; i < n; i++) {
		ssize_t r;

		lock_it(fd, a[2], 1);
		r = pread(fd, buf, sizeof(buf) - 1, 0);
		if (r < 0)
			die("read");
		buf[r] = 0;
		r = snprintf(buf, sizeof(buf), "%d\n", atoi(buf) + 1);
		if (pwrite(fd, buf, (size_t)r, 0) != r)
			die("write");
		lock_it(fd, a[2], 0);
	}
}

/* trylock FILE flock|fcntl: prints "got" or "busy". */
static void do_trylock(char **a)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = 100, .l_len = 10 };
	int fd = xopen(a[0], O_RDWR | O_CREAT);
	int r = strcmp(a[1], "flock") == 0 ? flock(fd, LOCK_EX | LOCK_NB) :
					     fcntl(fd, F_SETLK, &l);

	if (r && errno != EAGAIN && errno != EACCES)
		die("lock");
	puts(r ? "busy" : "got");
}

static uint64_t get(int fd, uint64_t off)
{
	uint64_t v = 0;

	if (pread(fd, &v, sizeof(v), (off_t)off) < 0)
		die("pread");
	return v;
}

static void put(int fd, uint64_t off, uint64_t v)
{
	if (pwrite(fd, &v, sizeof(v), (off_t)off) != sizeof(v))
		die("pwrite");
}

/*
 * pingpong FILE DATA ME N: two hosts (ME 0 and 1) take turns through FILE, and
 * whoever is at turn must find in DATA what the other wrote before.  Both
 * keep their descriptors open; DATA is read through a descriptor that caches.
 */
static void do_pingpong(char **a)
{
	int f = xopen(a[0], O_RDWR | O_CREAT), dw = xopen(a[1], O_RDWR | O_CREAT);
	int fr = xopen(a[0], O_RDONLY), dr = xopen(a[1], O_RDONLY);
	uint64_t me = (uint64_t)atoi(a[2]), n = (uint64_t)atoi(a[3]);
	double end = now() + 60;

	for (uint64_t turn = me; turn < n; turn += 2) {
		uint64_t seen;

		while ((seen = get(fr, 0)) < turn) {
			if (now() > end)
				die("turn %lu never came", (unsigned long)turn);
		}
		if (seen != turn)
			die("turn %lu was skipped", (unsigned long)turn);
		for (int i = 0; turn && i < 4; i++) {
			if (get(dr, (uint64_t)i * 5000) != turn)
				die("turn %lu: data %d is %lu", (unsigned long)turn,
				    i, (unsigned long)get(dr, (uint64_t)i * 5000));
		}
		for (int i = 0; i < 4; i++)
			put(dw, (uint64_t)i * 5000, turn + 1);
		put(f, 0, turn + 1);
	}
}

/* mapped FILE N: dirty it through a shared mapping, and see it by read. */
static void do_mapped(char **a)
{
	size_t len = (size_t)atoi(a[1]);
	int fd = xopen(a[0], O_RDWR | O_CREAT | O_TRUNC);
	unsigned char *p, b;

	if (ftruncate(fd, (off_t)len))
		die("ftruncate");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 7 + 3);
	if (msync(p, len, MS_SYNC))
		die("msync");
	if (pread(fd, &b, 1, 1000) != 1 || b != (unsigned char)(1000 * 7 + 3))
		die("read after msync gives %d", b);
	munmap(p, len);
	close(fd);
}

static void do_check_mapped(char **a)
{
	int fd = xopen(a[0], O_RDONLY);
	size_t len = (size_t)atoi(a[1]);
	unsigned char *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < len; i++) {
		if (p[i] != (unsigned char)(i * 7 + 3))
			die("byte %zu is %d", i, p[i]);
	}
}

/*
 * steady FILE SECONDS: keep the file open, write a counter at growing offsets,
 * read back and compare, for so long; whatever happens to the server.
 */
static void do_steady(char **a)
{
	int fd = xopen(a[0], O_RDWR | O_CREAT | O_TRUNC);
	double end = now() + atof(a[1]);
	uint64_t i = 0;

	while (now() < end) {
		uint64_t at = i % 512;

		put(fd, i * 8, i ^ 0x5a5a);
		if (i % 64 == 0 && fsync(fd))
			die("fsync");
		if (get(fd, (i - at) * 8) != ((i - at) ^ 0x5a5a))
			die("what was written at %lu is not there",
			    (unsigned long)(i - at));
		i++;
		poll(NULL, 0, 1);
	}
	for (uint64_t k = 0; k < i; k++) {
		if (get(fd, k * 8) != (k ^ 0x5a5a))
			die("at the end %lu is missing", (unsigned long)k);
	}
	if (fsync(fd) || close(fd))
		die("at the end");
	printf("%lu\n", (unsigned long)i);
}

/* hold FILE: open it, say "open", then after each line of input print all of
 * what it holds. */
static void do_hold(char **a)
{
	int fd = xopen(a[0], O_RDWR);
	char line[64], buf[4096];

	puts("open");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		ssize_t n = pread(fd, buf, sizeof(buf), 0);

		if (n < 0)
			die("read");
		fwrite(buf, 1, (size_t)n, stdout);
		fflush(stdout);
	}
}

/* fill FILE: write until the disk is full; that must be said, at close at the
 * latest.  Prints the bytes acknowledged. */
static void do_fill(char **a)
{
	int fd = xopen(a[0], O_WRONLY | O_CREAT | O_TRUNC);
	static char buf[65536];
	size_t total = 0;

	memset(buf, 'x', sizeof(buf));
	for (;;) {
		ssize_t n = write(fd, buf, sizeof(buf));

		if (n < 0)
			break;
		total += (size_t)n;
		if (total > 1u << 30)
			die("a gigabyte and not full");
	}
	if (errno != ENOSPC)
		die("write ended otherwise");
	printf("%zu\n", total);
}

static const struct {
	const char *name;
	void (*fn)(char **);
	int nargs;
} verbs[] = {
	{ "append", do_append, 3 },	{ "appended", do_appended, 2 },
	{ "names", do_names, 3 },	{ "excl", do_excl, 2 },
	{ "count", do_count, 3 },	{ "trylock", do_trylock, 2 },
	{ "pingpong", do_pingpong, 4 }, { "mapped", do_mapped, 2 },
	{ "check-mapped", do_check_mapped, 2 },
	{ "steady", do_steady, 2 },	{ "hold", do_hold, 1 },
	{ "fill", do_fill, 1 },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (strcmp(argv[1], verbs[i].name) == 0 &&
		    argc - 2 == verbs[i].nargs) {
			verbs[i].fn(argv + 2);
			return 0;
		}
	}
	fprintf(stderr, "usage: fs_try VERB ARGUMENTS; see the source\n");
	return 2;
}
