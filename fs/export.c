/*
 * export.c -- see export.h.
 *
 * Descriptors are kept for the objects used last, FDS_MAX of them; an object
 * whose descriptor was closed is opened again by handle.  Objects themselves
 * are kept while anybody holds them, and IDLE_MAX more.
 */
#include "export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <sodium.h>

#include "cleanup.h"
#include "fd.h"
#include "lock.h"
#include "log.h"

#define FDS_MAX	 4096
#define IDLE_MAX 16384
#define MAC_LEN	 crypto_shorthash_BYTES
#define TIGHT_BYTES (1ULL << 30)
#define TIGHT_EVERY 64 /* requests between two looks at the free space */

struct export {
	int root, hidden, orphans;
	int mount_id;
	dev_t dev;
	uint8_t key[crypto_shorthash_KEYBYTES];
	struct map objs;
	struct list lru; /* first: used last */
	size_t nfds;
	struct obj *root_obj;
	bool tight;
	unsigned tight_age;
};

struct handle {
	struct file_handle h;
	unsigned char room[MAX_HANDLE_SZ];
};

/* ---- handles ---- */

static void mac_of(const struct export *x, const uint8_t *fh, size_t len,
		   uint8_t *ret)
{
	crypto_shorthash(ret, fh, len, x->key);
}

/* fh: type, the kernel's bytes, seal. */
static int seal(const struct export *x, const struct file_handle *h,
		uint8_t *fh, size_t *ret_len)
{
	size_t n = h->handle_bytes;

	if (h->handle_type < 0 || h->handle_type > 255 ||
	    n + 1 + MAC_LEN > FS_HANDLE_MAX)
		return -EOPNOTSUPP;
	fh[0] = (uint8_t)h->handle_type;
	memcpy(fh + 1, h->f_handle, n);
	mac_of(x, fh, n + 1, fh + n + 1);
	*ret_len = n + 1 + MAC_LEN;
	return 0;
}

static int unseal(const struct export *x, const uint8_t *fh, size_t len,
		  struct handle *ret)
{
	uint8_t mac[MAC_LEN];
	size_t n = len - 1 - MAC_LEN;

	if (len < 1 + MAC_LEN || n > MAX_HANDLE_SZ)
		return -ESTALE;
	mac_of(x, fh, n + 1, mac);
	if (sodium_memcmp(mac, fh + n + 1, MAC_LEN))
		return -ESTALE;
	ret->h.handle_bytes = (unsigned)n;
	ret->h.handle_type = fh[0];
	memcpy(ret->h.f_handle, fh + 1, n);
	return 0;
}

static int handle_at(const struct export *x, int fd, const char *name,
		     uint8_t *fh, size_t *ret_len)
{
	struct handle h;
	int mount_id;

	h.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, name, &h.h, &mount_id,
			      *name ? 0 : AT_EMPTY_PATH))
		return -errno;
	/* Something is mounted there: it is not of this tree. */
	if (mount_id != x->mount_id)
		return -EXDEV;
	return seal(x, &h.h, fh, ret_len);
}

/* ---- objects ---- */

static void close_fds(struct export *x, struct obj *o)
{
	if (o->path_fd >= 0) {
		close(o->path_fd);
		x->nfds--;
	}
	if (o->io_fd >= 0) {
		close(o->io_fd);
		x->nfds--;
	}
	o->path_fd = o->io_fd = -1;
}

static void obj_free(struct export *x, struct obj *o)
{
	close_fds(x, o);
	lease_obj_fini(&o->lease);
	locks_free(o->locks);
	list_del(&o->lru);
	map_del(&x->objs, &o->node);
	free(o);
}

static bool idle(const struct obj *o)
{
	return !o->refs && !o->pins && list_empty(&o->lease.holds) &&
	       !o->lease.names.count && locks_none(o->locks);
}

static void orphan_name(const struct obj *o, char *buf)
{
	sodium_bin2hex(buf, FS_HANDLE_MAX * 2 + 1, o->fh, o->len);
}

void obj_tidy(struct export *x, struct obj *o)
{
	char name[FS_HANDLE_MAX * 2 + 1];

	if (!idle(o) || o == x->root_obj)
		return;
	if (o->orphan) {
		orphan_name(o, name);
		if (unlinkat(x->orphans, name, 0) && errno != ENOENT)
			log_warn("cannot remove the nameless file %s: %s", name,
				 strerror(errno));
		obj_free(x, o);
	} else if (o->gone || x->objs.count > IDLE_MAX) {
		obj_free(x, o);
	}
}

void obj_put(struct export *x, struct obj *o)
{
	if (o && --o->refs == 0)
		obj_tidy(x, o);
}

static void trim_fds(struct export *x, const struct obj *spare)
{
	struct list *l = x->lru.prev;

	while (x->nfds > FDS_MAX && l != &x->lru) {
		struct obj *o = container_of(l, struct obj, lru);

		l = l->prev;
		if (o != spare && !o->refs && o != x->root_obj)
			close_fds(x, o);
	}
}

static struct obj *find(const struct export *x, const uint8_t *fh, size_t len)
{
	return map_entry(map_get_str(&x->objs, fh, len), struct obj, node);
}

static int obj_new(struct export *x, const uint8_t *fh, size_t len,
		   struct obj **ret)
{
	struct obj *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	lease_obj_init(&o->lease);
	o->path_fd = o->io_fd = -1;
	o->len = len;
	memcpy(o->fh, fh, len);
	if (map_put_str(&x->objs, o->fh, len, &o->node)) {
		free(o);
		return -ENOMEM;
	}
	list_add_head(&x->lru, &o->lru);
	*ret = o;
	return 0;
}

static int open_handle(struct export *x, const struct obj *o, int flags)
{
	struct handle h;
	int fd, r;

	if (o == x->root_obj) {
		fd = openat(x->root, ".", flags | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	r = unseal(x, o->fh, o->len, &h);
	if (r)
		return r;
	fd = open_by_handle_at(x->root, &h.h, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int export_obj(struct export *x, const void *fh, size_t len, struct obj **ret)
{
	struct stat st;
	struct obj *o;
	int r, fd;

	o = len ? find(x, fh, len) : x->root_obj;
	if (o) {
		o->refs++;
		*ret = o;
		return 0;
	}
	if (len > FS_HANDLE_MAX)
		return -ESTALE;
	r = obj_new(x, fh, len, &o);
	if (r)
		return r;
	r = obj_path_fd(x, o, &fd);
	if (!r && (fstat(fd, &st) || st.st_nlink == 0))
		r = -ESTALE;
	if (r) {
		obj_free(x, o);
		return r == -ENOENT ? -ESTALE : r;
	}
	o->ino = st.st_ino;
	o->mode = st.st_mode;
	o->refs++;
	*ret = o;
	return 0;
}

/* Of what is known by handle: an object, with the type it has now. */
static int obj_get(struct export *x, const uint8_t *fh, size_t len,
		   const struct stat *st, struct obj **ret)
{
	struct obj *o = find(x, fh, len);
	int r = o ? 0 : obj_new(x, fh, len, &o);

	if (r)
		return r;
	o->ino = st->st_ino;
	o->mode = st->st_mode;
	o->refs++;
	*ret = o;
	return 0;
}

int export_child(struct export *x, struct obj *dir, const char *name,
		 struct obj **ret, struct stat *st)
{
	uint8_t fh[FS_HANDLE_MAX];
	struct stat room;
	size_t len;
	int fd, r;

	st = st ? st : &room;
	r = obj_path_fd(x, dir, &fd);
	if (!r)
		r = handle_at(x, fd, name, fh, &len);
	if (!r && fstatat(fd, name, st, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	return r ? r : obj_get(x, fh, len, st, ret);
}

int export_of_fd(struct export *x, int fd, struct obj **ret, struct stat *st)
{
	uint8_t fh[FS_HANDLE_MAX];
	size_t len;
	int r = fstat(fd, st) ? -errno : 0;

	if (!r)
		r = handle_at(x, fd, "", fh, &len);
	if (!r)
		r = obj_get(x, fh, len, st, ret);
	if (r || (*ret)->io_fd >= 0) {
		close(fd);
		return r;
	}
	(*ret)->io_fd = fd;
	(*ret)->io_rdonly = false;
	x->nfds++;
	trim_fds(x, *ret);
	return 0;
}

static void used(struct export *x, struct obj *o)
{
	list_del(&o->lru);
	list_add_head(&x->lru, &o->lru);
}

int obj_path_fd(struct export *x, struct obj *o, int *ret_fd)
{
	int fd;

	used(x, o);
	if (o->path_fd >= 0 || o->io_fd >= 0) {
		*ret_fd = o->path_fd >= 0 ? o->path_fd : o->io_fd;
		return 0;
	}
	fd = open_handle(x, o, O_PATH);
	if (fd < 0)
		return fd;
	o->path_fd = fd;
	x->nfds++;
	trim_fds(x, o);
	*ret_fd = fd;
	return 0;
}

/* Never opens what is not a file or directory: opening a device can do harm. */
int obj_io_fd(struct export *x, struct obj *o, bool write, int *ret_fd)
{
	int fd, flags = S_ISDIR(o->mode) ? O_RDONLY | O_DIRECTORY : O_RDWR;

	used(x, o);
	if (!S_ISREG(o->mode) && !S_ISDIR(o->mode))
		return -EINVAL;
	if (o->io_fd < 0) {
		fd = open_handle(x, o, flags | O_NONBLOCK);
		o->io_rdonly = S_ISDIR(o->mode);
		if (fd == -EROFS || fd == -EPERM || fd == -EACCES) {
			fd = open_handle(x, o, O_RDONLY | O_NONBLOCK);
			o->io_rdonly = true;
		}
		if (fd < 0)
			return fd;
		o->io_fd = fd;
		x->nfds++;
		trim_fds(x, o);
	}
	if (write && o->io_rdonly)
		return S_ISDIR(o->mode) ? -EISDIR : -EROFS;
	*ret_fd = o->io_fd;
	return 0;
}

int obj_stat(struct export *x, struct obj *o, struct stat *ret)
{
	int fd, r = obj_path_fd(x, o, &fd);

	if (r)
		return r;
	if (fstat(fd, ret))
		return -errno;
	if (o->orphan && ret->st_nlink)
		ret->st_nlink--;
	return 0;
}

/* ---- orphans ---- */

int export_orphan(struct export *x, struct obj *o)
{
	char name[FS_HANDLE_MAX * 2 + 1];
	int fd, r = obj_path_fd(x, o, &fd);

	if (r)
		return r;
	orphan_name(o, name);
	if (linkat(fd, "", x->orphans, name, AT_EMPTY_PATH) && errno != EEXIST)
		return -errno;
	o->orphan = true;
	return 0;
}

void export_unorphan(struct export *x, struct obj *o)
{
	char name[FS_HANDLE_MAX * 2 + 1];

	orphan_name(o, name);
	(void)unlinkat(x->orphans, name, 0);
	o->orphan = false;
}

void export_gone(struct export *x, struct obj *o)
{
	o->gone = true;
	close_fds(x, o);
}

static void adopt(struct export *x, const char *hex)
{
	uint8_t fh[FS_HANDLE_MAX];
	struct obj *o;
	size_t len;

	if (sodium_hex2bin(fh, sizeof(fh), hex, strlen(hex), NULL, &len, NULL))
		return;
	if (export_obj(x, fh, len, &o))
		return;
	o->orphan = true;
	o->refs--; /* kept, idle, until export_sweep */
}

/* Those that nobody claims after a restart go with export_sweep. */
static int adopt_orphans(struct export *x)
{
	int fd = openat(x->orphans, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (e->d_name[0] != '.')
			adopt(x, e->d_name);
	}
	closedir(d);
	return 0;
}

void export_sweep(struct export *x)
{
	list_each_safe(o, &x->lru, struct obj, lru) {
		if (o->orphan)
			obj_tidy(x, o);
	}
}

/* ---- opening ---- */

static int open_hidden(struct export *x)
{
	if (mkdirat(x->root, EXPORT_HIDDEN, 0700) && errno != EEXIST)
		return -errno;
	x->hidden = openat(x->root, EXPORT_HIDDEN,
			   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (x->hidden < 0)
		return -errno;
	if (mkdirat(x->hidden, "orphans", 0700) && errno != EEXIST)
		return -errno;
	x->orphans = openat(x->hidden, "orphans",
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return x->orphans < 0 ? -errno : 0;
}

static int open_key(struct export *x)
{
	SCOPED(close) int fd = openat(x->hidden, "key",
				      O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
				      0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, x->key, sizeof(x->key));
	if (n == (ssize_t)sizeof(x->key))
		return 0;
	if (n != 0)
		return n < 0 ? -errno : -EBADMSG;
	randombytes_buf(x->key, sizeof(x->key));
	if (fd_write_full(fd, x->key, sizeof(x->key)) || fsync(fd))
		return -EIO;
	return 0;
}

/* The world's /tmp is bound to it. */
static int make_tmp(struct export *x)
{
	if (mkdirat(x->root, "tmp", 01777) == 0)
		return fchmodat(x->root, "tmp", 01777, 0) ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

static int open_root(struct export *x, const char *dir)
{
	uint8_t fh[FS_HANDLE_MAX];
	struct handle h;
	struct stat st;
	size_t len;
	int r;

	x->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->root < 0 || fstat(x->root, &st))
		return -errno;
	h.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(x->root, "", &h.h, &x->mount_id, AT_EMPTY_PATH))
		return -errno;
	x->dev = st.st_dev;
	r = open_hidden(x);
	if (!r)
		r = open_key(x);
	if (!r)
		r = make_tmp(x);
	if (!r)
		r = seal(x, &h.h, fh, &len);
	if (!r)
		r = obj_get(x, fh, len, &st, &x->root_obj);
	if (r)
		return r;
	x->root_obj->path_fd = fcntl(x->root, F_DUPFD_CLOEXEC, 0);
	x->root_obj->len = 0;
	return x->root_obj->path_fd < 0 ? -errno : adopt_orphans(x);
}

int export_open(const char *dir, struct export **ret, char *err, size_t cap)
{
	struct export *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->root = x->hidden = x->orphans = -1;
	list_init(&x->lru);
	r = mkdir_p(dir, 0755);
	if (!r)
		r = open_root(x, dir);
	if (r) {
		snprintf(err, cap, "cannot export %s: %s%s", dir, strerror(-r),
			 r == -EOPNOTSUPP ? " (its file system has no file "
					    "handles; use ext4, xfs, btrfs or "
					    "tmpfs)" : "");
		export_close(x);
		return r;
	}
	*ret = x;
	return 0;
}

void export_close(struct export *x)
{
	if (!x)
		return;
	list_each_safe(o, &x->lru, struct obj, lru)
		obj_free(x, o);
	map_fini(&x->objs);
	if (x->orphans >= 0)
		close(x->orphans);
	if (x->hidden >= 0)
		close(x->hidden);
	if (x->root >= 0)
		close(x->root);
	sodium_memzero(x->key, sizeof(x->key));
	free(x);
}

uint64_t export_domain(const struct export *x)
{
	return (uint64_t)x->dev << 32 ^ x->root_obj->ino;
}

struct obj *export_root(struct export *x)
{
	return x->root_obj;
}

int export_name_ok(struct export *x, const struct obj *dir, const char *name)
{
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return -EINVAL;
	if (strlen(name) > FS_NAME_MAX)
		return -ENAMETOOLONG;
	if (dir == x->root_obj && strcmp(name, EXPORT_HIDDEN) == 0)
		return -EPERM;
	return 0;
}

bool export_tight(struct export *x)
{
	struct statvfs v;

	if (x->tight_age-- == 0) {
		x->tight_age = TIGHT_EVERY;
		x->tight = fstatvfs(x->root, &v) == 0 &&
			   v.f_bavail * v.f_frsize < TIGHT_BYTES;
	}
	return x->tight;
}

size_t export_count(const struct export *x)
{
	return x->objs.count;
}

struct obj *export_first(struct export *x)
{
	return list_first(&x->lru, struct obj, lru);
}

struct obj *export_next(struct export *x, struct obj *o)
{
	return o->lru.next == &x->lru ?
		       NULL :
		       container_of(o->lru.next, struct obj, lru);
}
