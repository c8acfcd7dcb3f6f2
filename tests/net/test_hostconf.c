/* test_hostconf.c -- host.conf and host.key in a directory of the test's own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failalloc.h"
#include "fd.h"
#include "hostconf.h"

static char dir[64], file[128];
static char err[256];

static void start(void)
{
	snprintf(dir, sizeof(dir), "/tmp/sprite-conf-test.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	setenv("SPRITE_STATE", dir, 1);
	snprintf(file, sizeof(file), "%s/host.conf", dir);
}

static void stop(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	cr_expect_eq(system(cmd), 0);
}

TestSuite(hostconf, .init = start, .fini = stop, .timeout = 10);

static struct hostconf some(void)
{
	struct hostconf c;

	hostconf_init(&c);
	strcpy(c.cell, "lab");
	strcpy(c.name, "h2");
	strcpy(c.addr, "10.83.0.2");
	strcpy(c.named_addr, "10.83.0.1");
	c.host = 2;
	c.named_host = 1;
	c.pid_block = 32768;
	memset(c.named_key, 0xab, 32);
	return c;
}

Test(hostconf, what_is_saved_is_loaded)
{
	struct hostconf c = some(), got;

	c.load_in_centi[1] = 123;
	c.slots = 3;
	strcpy(c.export_dir, "/srv/a = b");
	cr_assert_eq(hostconf_save(&c), 0);
	cr_assert_eq(hostconf_load(&got, err, sizeof(err)), 0, "%s", err);
	cr_expect_eq(got.host, 2);
	cr_expect_eq(got.pid_block, 32768);
	cr_expect_eq(got.pid_block_size, 16384);
	cr_expect_eq(got.load_in_centi[1], 123);
	cr_expect_eq(got.slots, 3);
	cr_expect_eq(got.port[SVC_MIGD], PORT_MIGD);
	cr_expect_str_eq(got.export_dir, "/srv/a = b");
	cr_expect_str_eq(got.cell, "lab");
	cr_expect_eq(memcmp(got.named_key, c.named_key, 32), 0);
	c.cell[1] = '\n';
	cr_expect_eq(hostconf_save(&c), -EINVAL);
}

Test(hostconf, a_host_in_no_cell_is_told_what_to_do)
{
	struct hostconf got;

	cr_expect_eq(hostconf_load(&got, err, sizeof(err)), -ENOENT);
	cr_expect(strstr(err, "sprite init"), "%s", err);
}

static void bad(const char *line, const char *says)
{
	struct hostconf c = some(), got;
	struct buf b = {0};

	cr_assert_eq(hostconf_save(&c), 0);
	cr_assert_eq(fd_read_file(file, 1 << 20, &b), 0);
	buf_addf(&b, "# a comment\n\n%s\n", line);
	cr_assert_eq(fd_write_file(file, buf_data(&b), buf_len(&b), 0644), 0);
	buf_free(&b);
	cr_expect_eq(hostconf_load(&got, err, sizeof(err)), -EINVAL, "%s",
		     line);
	cr_expect(strstr(err, says), "%s: %s", line, err);
}

Test(hostconf, what_is_wrong_is_said_with_its_line)
{
	char longer[600];

	bad("no such thing", "no '='");
	bad("hots=3", "no such key");
	bad("host=0", "out of range");
	bad("host=65536", "out of range");
	bad("host=99999999999999999999", "out of range");
	bad("host=-1", "right form");
	bad("host=3x", "right form");
	bad("host=", "right form");
	bad("port_fsd=65536", "out of range");
	bad("load_in_centi=1,2", "right form");
	bad("load_in_centi=1,2,3,4", "right form");
	bad("named_key=abcd", "right form");
	bad("import_policy=some", "policy");
	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "mount=", 6);
	longer[sizeof(longer) - 1] = 0;
	bad(longer, "too long");
	bad("hots=3", "line 30");
}

Test(hostconf, a_missing_key_is_named)
{
	struct hostconf got;

	cr_assert_eq(fd_write_file(file, "cell=a\nname=b\n", 14, 0644), 0);
	cr_expect_eq(hostconf_load(&got, err, sizeof(err)), -EINVAL);
	cr_expect_str_eq(err, "host.conf: host= is missing");
}

Test(hostconf, the_key_is_made_once_and_kept_secret)
{
	uint8_t s1[32], p1[32], s2[32], p2[32];
	char path[128];
	struct stat st;

	cr_expect_eq(hostkey_load(s1, p1), -ENOENT);
	cr_assert_eq(hostkey_make(s1, p1), 0);
	cr_assert_eq(hostkey_make(s2, p2), 0);
	cr_expect_eq(memcmp(s1, s2, 32), 0);
	cr_expect_eq(memcmp(p1, p2, 32), 0);
	cr_expect_neq(memcmp(s1, p1, 32), 0);
	snprintf(path, sizeof(path), "%s/host.key", dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(chmod(path, 0644), 0);
	cr_expect_eq(hostkey_load(s1, p1), -EACCES);
}

Test(hostconf, survives_any_failed_allocation)
{
	struct hostconf c = some(), got;
	unsigned n = 0;
	int r;

	cr_assert_eq(hostconf_save(&c), 0);
	do {
		failalloc_nth(++n);
		r = hostconf_load(&got, err, sizeof(err));
	} while (failalloc_stop());
	cr_expect_eq(r, 0);
	n = 0;
	do {
		failalloc_nth(++n);
		r = hostconf_save(&c);
	} while (failalloc_stop());
	cr_expect_eq(r, 0);
	cr_expect_gt(n, 1);
}
