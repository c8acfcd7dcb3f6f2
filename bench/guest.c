/*
 * guest.c -- a process to be moved: MIB of memory, all of it touched, and
 * nothing to do until it is told to end.
 *
 *	guest MIB	writes a line once it stands
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t n = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) << 20;

	if (n) {
		char *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return 1;
		for (size_t i = 0; i < n; i += 4096)
			memset(p + i, (int)(i >> 12) | 1, 64);
	}
	if (write(STDOUT_FILENO, "stands\n", 7) != 7)
		return 1;
	for (;;)
		pause();
}
