/*
 * mount.c -- the session with the kernel.
 *
 * /dev/fuse is opened and mounted here and given to libfuse by its custom-io
 * door, for two reasons: the loop reads it, and the answer to INIT passes
 * through our hands.  There we ask for what this libfuse knows nothing of:
 * lookups of one directory in parallel, mappings of files that bypass the page
 * cache, and no look at capabilities before each write.
 *
 * The mount point is a mount of its own below, shared, so that a mount made
 * anew by the next life of this daemon appears in the namespaces made from
 * this one, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>
#include <linux/fuse.h>

#include "buf.h"
#include "cleanup.h"
#include "fd.h"
#include "log.h"
#include "prog.h"
#include "ops.h"
#include "stream.h"

#define FSTYPE	     "fuse.sprite"
#define INPUT_MAX    ((1u << 20) + 8192)
#define TURN	     64 /* requests before others get their turn */
#define INIT_MS	     10000
#define NOTIFY_EPOCH 8 /* FUSE_NOTIFY_INC_EPOCH: newer than this header */
#define NOTIFY_RESEND 7 /* FUSE_NOTIFY_RESEND */
#define RESENT	     (1ULL << 63) /* FUSE_UNIQUE_RESEND, in a request's number */
#define DIRECT_MMAP  (1u << 4) /* FUSE_DIRECT_IO_ALLOW_MMAP, in flags2 */

struct session {
	int fd;
	ev_io watch;
	char *input;
	bool agreed; /* INIT was answered */
	bool replaying; /* what it was answered is not to be said again */
	bool mounted;
	uint32_t init_len;
	uint8_t init[KEEP_INIT_MAX];
	dev_t dev;
};

/* ---- mounts ---- */

/* Fields of a line of mountinfo; false: not of our mount point. */
static bool parse_line(char *line, const char *point, dev_t *ret_dev, char **ret_type)
{
	char *save = NULL, *f;
	unsigned major = 0, minor = 0;
	int i = 0;
	bool ours = false;

	for (f = strtok_r(line, " ", &save); f; f = strtok_r(NULL, " ", &save)) {
		if (i == 2)
			(void)sscanf(f, "%u:%u", &major, &minor);
		if (i++ == 4)
			ours = strcmp(f, point) == 0;
		if (strcmp(f, "-") == 0)
			break;
	}
	*ret_type = strtok_r(NULL, " ", &save);
	*ret_dev = makedev(major, minor);
	return ours && *ret_type;
}

struct mounts {
	unsigned fuse, other;
	dev_t dev; /* of the topmost */
};

static int look_at_mounts(const char *point, struct mounts *ret)
{
	SCOPED(buf_free) struct buf b = { 0 };
	int r = fd_read_file("/proc/self/mountinfo", 16u << 20, &b);
	char *save = NULL, *line, *type;

	*ret = (struct mounts){ 0 };
	if (r)
		return r;
	for (line = strtok_r((char *)buf_data(&b), "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		dev_t dev;

		if (!parse_line(line, point, &dev, &type))
			continue;
		ret->dev = dev;
		if (strncmp(type, "fuse", 4) == 0)
			ret->fuse++;
		else
			ret->other++;
	}
	return 0;
}

/* What an earlier life of this daemon left; nobody can use it any more. */
static int detach_old(const char *point)
{
	struct mounts at;
	int r = look_at_mounts(point, &at);

	while (!r && at.fuse--) {
		if (umount2(point, MNT_DETACH))
			r = errno == EINVAL ? 0 : -errno;
	}
	return r;
}

static int make_point(const char *point)
{
	struct mounts at;
	int r = detach_old(point);

	if (!r)
		r = mkdir_p(point, 0755);
	if (!r)
		r = look_at_mounts(point, &at);
	if (r || at.other)
		return r;
	if (mount(point, point, NULL, MS_BIND, NULL) ||
	    mount(NULL, point, NULL, MS_SHARED, NULL))
		return -errno;
	return 0;
}

static int do_mount(struct session *s, const char *point)
{
	struct mounts at;
	char opts[160];
	int r;

	s->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (s->fd < 0)
		return -errno;
	snprintf(opts, sizeof(opts),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,"
		 "allow_other,max_read=%u", s->fd, FS_IO_MAX);
	if (mount("sprite", point, FSTYPE, MS_NODEV, opts))
		return -errno;
	s->mounted = true;
	r = look_at_mounts(point, &at);
	s->dev = at.dev;
	return r;
}

/* ---- what passes between libfuse and the kernel ---- */

static void ask_for_more(const struct fuse_out_header *h, struct fuse_init_out *out)
{
	if (h->error)
		return;
	out->flags |= FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 |
		      FUSE_INIT_EXT;
	out->flags2 |= DIRECT_MMAP;
}

static ssize_t fuse_out(int fd, struct iovec *iov, int count, void *data)
{
	struct mnt *m = data;
	struct session *s = m->session;

	if (!s->agreed && count == 2 &&
	    iov[0].iov_len == sizeof(struct fuse_out_header) &&
	    iov[1].iov_len == sizeof(struct fuse_init_out)) {
		ask_for_more(iov[0].iov_base, iov[1].iov_base);
		s->agreed = true;
		if (s->replaying)
			return (ssize_t)(iov[0].iov_len + iov[1].iov_len);
	}
	return writev(fd, iov, count);
}

static ssize_t fuse_in(int fd, void *buf, size_t len, void *data)
{
	(void)data;
	return read(fd, buf, len);
}

static const struct fuse_custom_io io = { .writev = fuse_out, .read = fuse_in };

/* 1: one request; 0: none now; negative: the end. */
static int take_one(struct mnt *m)
{
	struct session *s = m->session;
	ssize_t n = read(s->fd, s->input, INPUT_MAX);
	struct fuse_buf b = { .mem = s->input };

	if (n < 0) {
		if (errno == EINTR || errno == ENOENT)
			return 1;
		return errno == EAGAIN ? 0 : -errno;
	}
	if (n == 0)
		return -ENODEV;
	if (!s->agreed && (size_t)n <= sizeof(s->init)) {
		memcpy(s->init, s->input, (size_t)n);
		s->init_len = (uint32_t)n;
	}
	b.size = (size_t)n;
	m->resent = (((const struct fuse_in_header *)(const void *)s->input)->unique &
		     RESENT) != 0;
	fuse_session_process_buf(m->se, &b);
	m->resent = false;
	return 1;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct mnt *m = w->data;
	int r = 1;

	(void)revents;
	for (int i = 0; r > 0 && i < TURN; i++)
		r = take_one(m);
	if (r >= 0)
		return;
	log_error("the mount at %s is gone: %s", m->conf->mount, strerror(-r));
	ev_io_stop(loop, w);
	ev_break(loop, EVBREAK_ALL);
}

static void on_init(void *data, struct fuse_conn_info *c)
{
	(void)data;
	c->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
			       FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			       FUSE_CAP_WRITEBACK_CACHE |
			       FUSE_CAP_HANDLE_KILLPRIV);
	c->want |= c->capable &
		   (FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS |
		    FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_ATOMIC_O_TRUNC |
		    FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
		    FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_CACHE_SYMLINKS |
		    FUSE_CAP_ASYNC_DIO);
	c->max_write = FS_IO_MAX;
	c->max_readahead = FS_IO_MAX;
	c->max_background = 64;
	c->congestion_threshold = 48;
	c->time_gran = 1;
}

/* ---- invalidations ---- */

static int inval_inode(void *arg, uint64_t id, int64_t off, int64_t len)
{
	struct mnt *m = arg;

	return fuse_lowlevel_notify_inval_inode(m->se, id, off, len);
}

static int inval_entry(void *arg, uint64_t dir, const char *name)
{
	struct mnt *m = arg;

	return fuse_lowlevel_notify_inval_entry(m->se, dir, name, strlen(name));
}

int mnt_inval_attr(struct mnt *m, const struct node *n)
{
	return fuse_lowlevel_notify_inval_inode(m->se, n->id, -1, 0);
}

static int notify_bare(struct mnt *m, int code)
{
	struct fuse_out_header h = { .len = sizeof(h), .error = code };

	return write(m->session->fd, &h, sizeof(h)) == sizeof(h) ? 0 : -errno;
}

void mnt_raise_epoch(struct mnt *m)
{
	m->stats.epochs++;
	if (notify_bare(m, NOTIFY_EPOCH))
		log_error("this kernel has no epochs for FUSE mounts (6.16 has): "
			  "a name changed by another host may be seen late");
}

static void raise_epoch(void *arg)
{
	mnt_raise_epoch(arg);
}

/* ---- beginning and end ---- */

const struct fuse_lowlevel_ops mnt_ops = {
	.init = on_init,
	.lookup = op_lookup, .getattr = op_getattr, .setattr = op_setattr,
	.readlink = op_readlink, .mknod = op_mknod, .mkdir = op_mkdir,
	.unlink = op_unlink, .rmdir = op_rmdir, .symlink = op_symlink,
	.rename = op_rename, .link = op_link, .open = op_open,
	.read = op_read, .write = op_write, .flush = op_flush,
	.release = op_release, .fsync = op_fsync, .opendir = op_opendir,
	.readdir = op_readdir, .readdirplus = op_readdirplus,
	.releasedir = op_releasedir, .fsyncdir = op_fsyncdir,
	.statfs = op_statfs, .setxattr = op_setxattr,
	.getxattr = op_getxattr, .listxattr = op_listxattr,
	.removexattr = op_removexattr, .create = op_create,
	.getlk = op_getlk, .setlk = op_setlk, .flock = op_flock,
	.fallocate = op_fallocate, .copy_file_range = op_copy_file_range,
	.lseek = op_lseek, .ioctl = op_ioctl, .poll = op_poll,
	.forget = op_forget, .forget_multi = op_forget_multi,
};

static int new_session(struct mnt *m)
{
	char *argv[] = { (char *)"sprite-fsd", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	m->se = fuse_session_new(&args, &mnt_ops, sizeof(mnt_ops), m);
	fuse_opt_free_args(&args);
	return m->se ? 0 : -ENOMEM;
}

static int keeper_path(char *buf, size_t cap)
{
	return run_path("fsd-keep.sock", buf, cap);
}

static int start_keeper(struct mnt *m)
{
	struct session *s = m->session;
	char path[PATH_MAX];
	int r = keeper_path(path, sizeof(path));

	if (!r)
		r = keep_start(&m->keep, path, s->fd);
	if (r)
		return r;
	m->keep.mem->dev = s->dev;
	m->keep.mem->init_len = s->init_len;
	memcpy(m->keep.mem->init, s->init, s->init_len);
	m->nodes.keep = &m->keep;
	return 0;
}

static int mount_anew(struct mnt *m)
{
	struct session *s = m->session;
	struct pollfd p;
	int r = make_point(m->conf->mount);

	if (!r)
		r = do_mount(s, m->conf->mount);
	if (!r)
		r = fuse_session_custom_io(m->se, &io, s->fd);
	/* The first request is INIT, and it is answered here and now. */
	p = (struct pollfd){ .fd = s->fd, .events = POLLIN };
	if (!r && poll(&p, 1, INIT_MS) != 1)
		r = -ETIMEDOUT;
	if (!r)
		r = take_one(m);
	if (r < 0)
		return r;
	return s->agreed ? start_keeper(m) : -EPROTO;
}

/* libfuse must hear INIT as well; the kernel has its answer since long. */
static int replay_init(struct mnt *m)
{
	struct session *s = m->session;
	struct fuse_buf b = { .mem = s->input, .size = m->keep.mem->init_len };

	if (b.size > KEEP_INIT_MAX)
		return -EPROTO;
	memcpy(s->input, m->keep.mem->init, b.size);
	s->replaying = true;
	fuse_session_process_buf(m->se, &b);
	s->replaying = false;
	return s->agreed ? 0 : -EPROTO;
}

/* 0: the mount of our earlier life is ours again.  Else there is none. */
static int take_over(struct mnt *m)
{
	struct session *s = m->session;
	char path[PATH_MAX];
	struct mounts at;
	int r = keeper_path(path, sizeof(path));

	if (!r)
		r = keep_take(&m->keep, path);
	if (!r)
		r = look_at_mounts(m->conf->mount, &at);
	if (!r && (!at.fuse || at.dev != m->keep.mem->dev))
		r = -ESTALE;
	if (!r)
		r = fuse_session_custom_io(m->se, &io, m->keep.dev_fd);
	if (!r) {
		s->fd = m->keep.dev_fd;
		s->dev = at.dev;
		s->mounted = true;
		m->nodes.keep = &m->keep;
		r = replay_init(m);
	}
	if (!r)
		r = nodes_restore(&m->nodes);
	if (!r) {
		m->taken_over = true;
		dirty_replay(m);
		return 0;
	}
	if (s->fd < 0 && m->keep.dev_fd >= 0)
		close(m->keep.dev_fd);
	keep_end(&m->keep);
	return r;
}

/* What cannot be taken over is replaced. */
static int start_session(struct mnt *m)
{
	int r = new_session(m);

	if (r || !take_over(m))
		return r;
	fuse_session_destroy(m->se);
	nodes_fini(&m->nodes);
	m->session->fd = -1;
	m->session->agreed = m->session->mounted = false;
	r = nodes_init(&m->nodes);
	if (!r)
		r = new_session(m);
	return r ? r : mount_anew(m);
}

int mnt_open(struct mnt *m, char *err, size_t cap)
{
	struct notify_ops ops = { .inval_inode = inval_inode,
				  .inval_entry = inval_entry,
				  .raise_epoch = raise_epoch,
				  .arg = m };
	struct session *s = calloc(1, sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (!r) {
		s->fd = -1;
		m->session = s;
		list_init(&m->dirty);
		list_init(&m->streams);
		list_init(&m->calls);
		list_init(&m->flush_waits);
		forget_init(m);
		keep_init(&m->keep);
		r = nodes_init(&m->nodes);
	}
	if (!r && !(s->input = aligned_alloc(4096, INPUT_MAX)))
		r = -ENOMEM;
	if (!r)
		r = start_session(m);
	if (!r)
		r = notifier_new(m->loop, m->env, &ops, &m->notifier);
	if (r) {
		snprintf(err, cap, "cannot mount %s: %s%s", m->conf->mount,
			 strerror(-r),
			 r == -ENOENT || r == -ENODEV ?
				 " (is /dev/fuse there? `modprobe fuse`)" :
				 "");
		return r;
	}
	flush_start_timer(m);
	return 0;
}

/*
 * What the kernel has cached was true when our earlier life ended; and what it
 * had asked and not been told, it asks again.
 */
static void catch_up(struct mnt *m)
{
	mnt_raise_epoch(m);
	for (struct map_node *i = map_next(&m->nodes.by_id, NULL); i;
	     i = map_next(&m->nodes.by_id, i)) {
		const struct node *n = container_of(i, struct node, by_id);

		(void)mnt_inval_attr(m, n);
		if (S_ISREG(n->st.st_mode))
			(void)notify_inode(m->notifier, n->id, 0, 0, NULL, NULL);
	}
	if (notify_bare(m, NOTIFY_RESEND))
		log_warn("this kernel does not repeat requests: programs that "
			 "were waiting for one may wait for ever");
	log_info("the mount of before is taken over, with %zu objects",
		 m->nodes.by_id.count);
}

void mnt_start(struct mnt *m)
{
	struct session *s = m->session;

	if (ev_is_active(&s->watch))
		return;
	if (m->taken_over)
		catch_up(m);
	ev_io_init(&s->watch, on_readable, s->fd, EV_READ);
	s->watch.data = m;
	ev_io_start(m->loop, &s->watch);
}

dev_t mnt_dev(const struct mnt *m)
{
	return m->session->dev;
}

void mnt_now(const struct mnt *m, struct timespec *ret)
{
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, ret);
	ns = ret->tv_nsec + m->clock_ns % 1000000000;
	ret->tv_sec += m->clock_ns / 1000000000 + (ns < 0 ? -1 : ns / 1000000000);
	ret->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
}

/*
 * The mount goes before the descriptor: whoever mounts there after us must not
 * lose his mount to us.  Closing the descriptor frees whoever still waits.
 */
void mnt_close(struct mnt *m, bool unmount)
{
	struct session *s = m->session;

	if (!s)
		return;
	env_cancel(m->env, &m->scan);
	if (s->mounted && unmount)
		(void)umount2(m->conf->mount, MNT_DETACH);
	if (ev_is_active(&s->watch))
		ev_io_stop(m->loop, &s->watch);
	streams_free(m);
	if (m->se)
		fuse_session_destroy(m->se); /* closes the descriptor */
	else if (s->fd >= 0)
		close(s->fd);
	if (unmount)
		keep_end(&m->keep);
	notifier_free(m->notifier);
	forget_fini(m);
	nodes_unkeep(&m->nodes);
	nodes_fini(&m->nodes);
	keep_fini(&m->keep);
	free(s->input);
	free(s);
	m->session = NULL;
}
