#ifndef STUB_SYS_H
#define STUB_SYS_H
/*
 * sys.h -- system calls and the few string functions of a program without
 * libc.  Every call returns the kernel's value: negative errno on failure.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define P(x) ((long)(uintptr_t)(x))
#define SYS_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define SYS(...)                                                           \
	SYS_PICK(__VA_ARGS__, SYS_6, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, SYS_0) \
	(__VA_ARGS__)
#define SYS_0(nr)		  sys6(nr, 0, 0, 0, 0, 0, 0)
#define SYS_1(nr, a)		  sys6(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(nr, a, b)		  sys6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(nr, a, b, c)	  sys6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(nr, a, b, c, d)	  sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(nr, a, b, c, d, e)  sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(nr, a, b, c, d, e, f) \
	sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

void *memset(void *p, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);

#endif
