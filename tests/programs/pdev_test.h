#ifndef PDEV_TEST_H
#define PDEV_TEST_H
/* pdev_test.h -- the commands of pdev_server.c. */
#include <stdint.h>
#include <sys/ioctl.h>

struct pdev_test_add {
	int32_t a, b;
	int64_t sum;
};

struct pdev_test_who {
	char host[64];
	int32_t pid;
	uint32_t uid;
};

#define PDEV_TEST_ADD	 _IOWR('T', 1, struct pdev_test_add)
#define PDEV_TEST_SET	 _IOW('T', 2, struct pdev_test_add)
#define PDEV_TEST_WHO	 _IOR('T', 3, struct pdev_test_who)
#define PDEV_TEST_NUMBER _IO('T', 4)
#define PDEV_TEST_LATER	 _IO('T', 5)

#endif
