/*
 * freezer.c -- see freezer.h.
 *
 * Groups are made below migd's own: BASE/guests, and BASE/move-PID beside it
 * (not below, since a frozen parent freezes its children).
 */
#include "freezer.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"
#include "log.h"

/* Path of our own group in the hierarchy whose line begins with key. */
static int own_group(const char *controller, char *ret, size_t cap)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char *line, *save;
	int r = fd_read_file("/proc/self/cgroup", 65536, &b);

	if (r)
		return r;
	for (line = strtok_r((char *)buf_data(&b), "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *name = strchr(line, ':');
		char *path = name ? strchr(name + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		if (strcmp(name + 1, controller) == 0)
			return snprintf(ret, cap, "%s", path) < (int)cap ?
				       0 : -ENAMETOOLONG;
	}
	return -ENOENT;
}

static int find_base(char *ret, size_t cap)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char old[512] = "", new[512] = "", group[512];
	struct mntent *e;

	if (!f)
		return -errno;
	while ((e = getmntent(f))) {
		if (strcmp(e->mnt_type, "cgroup") == 0 &&
		    hasmntopt(e, "freezer"))
			snprintf(old, sizeof(old), "%s", e->mnt_dir);
		else if (strcmp(e->mnt_type, "cgroup2") == 0)
			snprintf(new, sizeof(new), "%s", e->mnt_dir);
	}
	endmntent(f);
	if (*old && own_group("freezer", group, sizeof(group)) == 0)
		return snprintf(ret, cap, "%s%s", old,
				strcmp(group, "/") ? group : "") < (int)cap ?
			       0 : -ENAMETOOLONG;
	if (*new && own_group("", group, sizeof(group)) == 0)
		return snprintf(ret, cap, "%s%s", new,
				strcmp(group, "/") ? group : "") < (int)cap ?
			       0 : -ENAMETOOLONG;
	return -ENOSYS;
}

int freezer_open(struct migd *m)
{
	char base[900], dir[1024];
	int r = find_base(base, sizeof(base));

	m->guests_procs[0] = 0;
	if (r)
		return r;
	/* Several migds on one machine (virtual hosts without groups of their
	 * own) must not share one. */
	snprintf(dir, sizeof(dir), "%s/sprite-guests-%u", base, m->conf.host);
	if (mkdir(dir, 0755) && errno != EEXIST)
		return -errno;
	snprintf(m->guests_procs, sizeof(m->guests_procs), "%s/cgroup.procs",
		 dir);
	return 0;
}

void freezer_close(struct migd *m)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", m->guests_procs);
	if (!*dir)
		return;
	*strrchr(dir, '/') = 0;
	rmdir(dir);
}

const char *freezer_guests(const struct migd *m)
{
	return m->guests_procs;
}

/* guests: .../sprite-guests-N/cgroup.procs -> .../sprite-guests-N */
static void folder_of(const char *procs, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s", procs);
	*strrchr(ret, '/') = 0;
}

static int set_state(const char *dir, bool frozen)
{
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/freezer.state", dir);
	if (access(path, F_OK) == 0)
		return fd_write_str(path, frozen ? "FROZEN" : "THAWED");
	snprintf(path, sizeof(path), "%s/cgroup.freeze", dir);
	r = fd_write_str(path, frozen ? "1" : "0");
	return r;
}

int freezer_freeze(struct migd *m, bool frozen)
{
	char dir[PATH_MAX];

	if (!*m->guests_procs)
		return -ENOSYS;
	folder_of(m->guests_procs, dir, sizeof(dir));
	return set_state(dir, frozen);
}

bool freezer_still(const struct migd *m)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char dir[PATH_MAX], path[PATH_MAX + 32];

	if (!*m->guests_procs)
		return false;
	folder_of(m->guests_procs, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/freezer.state", dir);
	if (fd_read_file(path, 4096, &b) == 0)
		return strncmp((char *)buf_data(&b), "FROZEN", 6) == 0;
	snprintf(path, sizeof(path), "%s/cgroup.events", dir);
	return fd_read_file(path, 4096, &b) == 0 &&
	       strstr((char *)buf_data(&b), "frozen 1");
}

static void tree_folder(const char *guests, uint32_t root, char *ret,
			size_t cap)
{
	char dir[PATH_MAX];

	folder_of(guests, dir, sizeof(dir));
	snprintf(ret, cap, "%s", dir);
	snprintf(strrchr(ret, '/'), 32, "/sprite-move-%u", root);
}

static int join(const char *dir, uint32_t pid)
{
	char path[PATH_MAX + 32], s[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(s, sizeof(s), "%u", pid);
	return fd_write_str(path, s);
}

bool freezer_on(const char *guests)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char dir[PATH_MAX], path[PATH_MAX + 32];

	if (!*guests)
		return false;
	folder_of(guests, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/freezer.state", dir);
	if (fd_read_file(path, 4096, &b) == 0)
		return strncmp((char *)buf_data(&b), "THAWED", 6) != 0;
	snprintf(path, sizeof(path), "%s/cgroup.freeze", dir);
	return fd_read_file(path, 4096, &b) == 0 && *buf_data(&b) == '1';
}

int freezer_tree(const char *guests, uint32_t root, bool frozen,
		 const uint32_t *pids, size_t n)
{
	char dir[PATH_MAX];
	int r = 0;

	if (!*guests)
		return -ENOSYS;
	tree_folder(guests, root, dir, sizeof(dir));
	if (mkdir(dir, 0755) && errno != EEXIST)
		return -errno;
	set_state(dir, frozen);
	for (size_t i = 0; i < n && (!r || r == -ESRCH); i++)
		r = join(dir, pids[i]);
	return r == -ESRCH ? 0 : r;
}

int freezer_tree_freeze(const char *guests, uint32_t root, bool frozen)
{
	char dir[PATH_MAX];

	if (!*guests)
		return -ENOSYS;
	tree_folder(guests, root, dir, sizeof(dir));
	return set_state(dir, frozen);
}

int freezer_tree_done(const char *guests, uint32_t root, bool guest)
{
	SCOPED(buf_free) struct buf b = { 0 };
	char dir[PATH_MAX], path[PATH_MAX + 32], to[PATH_MAX];
	char *line, *save;

	if (!*guests)
		return -ENOSYS;
	tree_folder(guests, root, dir, sizeof(dir));
	folder_of(guests, to, sizeof(to));
	if (!guest)
		*strrchr(to, '/') = 0;
	set_state(dir, false);
	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	if (fd_read_file(path, 1u << 20, &b) == 0 && buf_len(&b))
		for (line = strtok_r((char *)buf_data(&b), "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			join(to, (uint32_t)strtoul(line, NULL, 10));
	return rmdir(dir) ? -errno : 0;
}
