/*
 * test_front.c -- the front under a real kernel: a mount with one served file,
 * the fsd of its host in this process, the server and its clients programs of
 * their own (tests/programs/pdev_*.c).  Needs root and /dev/fuse.
 */
#define FUSE_USE_VERSION 314
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ev.h>
#include <fuse_lowlevel.h>
#include <sodium.h>

#include "log.h"
#include "pdev_hooks.h"

#define NAME	  "hosts/h1/dev"
#define WAIT_SECS 20.0

static char dir[64], mnt[96];
static struct ev_loop *loop;
static struct env *env;
static struct rpc *rpc;
static struct pdev *pdev;
static struct hostconf conf;
static struct roster *roster;
static struct fuse_session *se;
static struct fuse_buf fbuf;
static ev_io fuse_io;

/* ---- the mount ---- */

static void attr_of(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){ .st_ino = ino,
			     .st_mode = ino == 1 ? S_IFDIR | 0755 :
						   S_IFREG | 0666,
			     .st_nlink = 1 };
}

static void t_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .ino = 2, .generation = 1 };

	(void)parent;
	if (strcmp(name, "dev")) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attr_of(2, &e.attr);
	fuse_reply_entry(req, &e);
}

static void t_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attr_of(ino, &st);
	fuse_reply_attr(req, &st, 0);
}

static void t_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int set,
		      struct fuse_file_info *fi)
{
	(void)st;
	(void)set;
	t_getattr(req, ino, fi);
}

static void t_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	pdev_open(pdev, req, NAME, NULL, fi);
}

static void t_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi)
{
	(void)ino;
	(void)off;
	front_read(req, size, fi);
}

static void t_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t n,
		    off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	(void)off;
	front_write(req, p, n, fi);
}

static void t_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
		    struct fuse_file_info *fi, unsigned flags, const void *in,
		    size_t in_size, size_t out_size)
{
	(void)ino;
	front_ioctl(req, cmd, arg, fi, flags, in, in_size, out_size);
}

static void t_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		   struct fuse_pollhandle *ph)
{
	(void)ino;
	front_poll(req, fi, ph);
}

static void t_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	front_release(req, fi);
}

static const struct fuse_lowlevel_ops ops = { .lookup = t_lookup,
					      .getattr = t_getattr,
					      .setattr = t_setattr,
					      .open = t_open,
					      .read = t_read,
					      .write = t_write,
					      .ioctl = t_ioctl,
					      .poll = t_poll,
					      .release = t_release };

static void on_fuse(struct ev_loop *l, ev_io *w, int revents)
{
	int n = fuse_session_receive_buf(se, &fbuf);

	(void)revents;
	if (n > 0)
		fuse_session_process_buf(se, &fbuf);
	else if (n != -EINTR && n != -EAGAIN)
		ev_io_stop(l, w);
}

static void wake(void *arg, struct fuse_pollhandle *ph)
{
	(void)arg;
	/* It takes no lock that a request could hold. */
	fuse_lowlevel_notify_poll(ph);
	fuse_pollhandle_destroy(ph);
}

static void mount_it(void)
{
	char arg0[] = "test", *argv[] = { arg0, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	snprintf(mnt, sizeof(mnt), "%s/mnt", dir);
	cr_assert_eq(mkdir(mnt, 0755), 0);
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	cr_assert_not_null(se);
	cr_assert_eq(fuse_session_mount(se, mnt), 0);
	fcntl(fuse_session_fd(se), F_SETFL,
	      fcntl(fuse_session_fd(se), F_GETFL) | O_NONBLOCK);
	ev_io_init(&fuse_io, on_fuse, fuse_session_fd(se), EV_READ);
	ev_io_start(loop, &fuse_io);
	fuse_opt_free_args(&args);
}

/* ---- the fsd ---- */

static int no_key(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg;
	(void)host;
	(void)ret;
	return -ENOENT;
}

static void on_request(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	(void)arg;
	pdev_request(pdev, q, m);
}

static void on_note(void *arg, struct rpc_conn *c, const struct rpc_msg *m)
{
	(void)arg;
	pdev_note(pdev, c, m);
}

static void on_open(void *arg, struct rpc_conn *c)
{
	(void)arg;
	pdev_conn_open(pdev, c);
}

static void on_close(void *arg, struct rpc_conn *c)
{
	(void)arg;
	pdev_conn_close(pdev, c);
}

static void start(void)
{
	static const struct rpc_handler h = { .on_request = on_request,
					      .on_note = on_note,
					      .on_open = on_open,
					      .on_close = on_close };
	struct rpc_identity id = { .host = 1, .service = SVC_FSD };
	char path[128];

	log_level = LOG_ERROR;
	cr_assert(sodium_init() >= 0);
	strcpy(dir, "/tmp/sprite-pdev-front.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	setenv("SPRITE_RUN", dir, 1);
	setenv("SPRITE_STATE", dir, 1);
	loop = ev_default_loop(EVFLAG_AUTO); /* it watches children */
	env = env_ev_new(loop);
	hostconf_init(&conf);
	conf.host = 1;
	strcpy(conf.name, "h1");
	strcpy(conf.mount, "/sprite");
	roster = roster_new(&conf, NULL, NULL);
	rpc = rpc_new(env, &id, no_key, NULL, &h);
	cr_assert(roster && rpc);
	cr_assert_eq(pdev_new(&(struct pdev_conf){ .env = env,
						   .rpc = rpc,
						   .roster = roster,
						   .host = &conf,
						   .wake = wake },
			      &pdev),
		     0);
	snprintf(path, sizeof(path), "%s/fsd.sock", dir);
	cr_assert_eq(rpc_listen_unix(rpc, path, 0666), 0);
	mount_it();
}

static void stop(void)
{
	struct pdev *p = pdev;
	char path[128];

	ev_io_stop(loop, &fuse_io);
	pdev = NULL;
	pdev_free(p);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	free(fbuf.mem);
	fbuf.mem = NULL;
	rpc_free(rpc);
	roster_free(roster);
	env_ev_free(env);
	snprintf(path, sizeof(path), "%s/fsd.sock", dir);
	unlink(path);
	rmdir(mnt);
	rmdir(dir);
}

TestSuite(front, .init = start, .fini = stop, .timeout = 60);

/* ---- programs ---- */

struct child {
	pid_t pid;
	int out; /* its standard output */
	bool ended, late;
	int status;
	char said[4096];
	size_t len;
	ev_child end;
	ev_io rd;
};

static void on_end(struct ev_loop *l, ev_child *w, int revents)
{
	struct child *c = w->data;

	(void)revents;
	ev_child_stop(l, w);
	c->ended = true;
	c->status = w->rstatus;
}

static void on_said(struct ev_loop *l, ev_io *w, int revents)
{
	struct child *c = w->data;
	ssize_t n = read(c->out, c->said + c->len, sizeof(c->said) - 1 - c->len);

	(void)revents;
	if (n <= 0)
		ev_io_stop(l, w);
	else
		c->len += (size_t)n;
	c->said[c->len] = 0;
}

static void begin(struct child *c, const char *prog, const char *name,
		  const char *what, const char *more)
{
	const char *programs = getenv("SPRITE_TEST_PROGRAMS");
	char path[512];
	int p[2];

	cr_assert_not_null(programs);
	snprintf(path, sizeof(path), "%s/%s", programs, prog);
	*c = (struct child){ 0 };
	cr_assert_eq(pipe(p), 0);
	c->pid = fork();
	cr_assert(c->pid >= 0);
	if (c->pid == 0) {
		dup2(p[1], 1);
		close(p[0]);
		close(p[1]);
		execl(path, prog, name, what, more, NULL);
		_exit(127);
	}
	close(p[1]);
	c->out = p[0];
	ev_io_init(&c->rd, on_said, p[0], EV_READ);
	c->rd.data = c;
	ev_io_start(loop, &c->rd);
	ev_child_init(&c->end, on_end, c->pid, 0);
	c->end.data = c;
	ev_child_start(loop, &c->end);
}

static void on_late(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)revents;
	*(bool *)w->data = true;
	ev_break(l, EVBREAK_ALL);
}

/* Until c has said what (NULL: has ended). */
static bool wait_for(struct child *c, const char *what)
{
	bool late = false;
	ev_timer t;

	ev_timer_init(&t, on_late, WAIT_SECS, 0);
	t.data = &late;
	ev_timer_start(loop, &t);
	while (!late && (what ? !strstr(c->said, what) : !c->ended))
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &t);
	return !late;
}

static void end(struct child *c, int sig)
{
	if (!c->ended)
		kill(c->pid, sig);
	cr_expect(wait_for(c, NULL), "it does not end");
	ev_run(loop, EVRUN_NOWAIT);
	ev_io_stop(loop, &c->rd);
	close(c->out);
}

static void serve(struct child *c, const char *mode)
{
	begin(c, "pdev_server", NAME, mode, NULL);
	cr_assert(wait_for(c, "serving"), "the server does not serve");
}

static void client(struct child *c, const char *what, const char *more)
{
	static char file[128];

	snprintf(file, sizeof(file), "%s/dev", mnt);
	begin(c, "pdev_client", file, what, more);
}

/* A client that must succeed. */
static void use(const char *what, const char *more)
{
	struct child c;

	client(&c, what, more);
	cr_expect(wait_for(&c, NULL), "%s: not finished", what);
	cr_expect_eq(c.status, 0, "%s: status %x", what, c.status);
	end(&c, SIGKILL);
}

Test(front, everything_a_file_can_do)
{
	struct child s;

	serve(&s, "echo");
	use("echo", NULL);
	use("two", "h1");
	use("interrupt", NULL);
	cr_expect_eq(pdev_counts(pdev).streams_open, 0);
	end(&s, SIGTERM);
	cr_expect_eq(s.status, 0);
}

Test(front, without_a_server_there_is_no_device)
{
	struct child c;

	client(&c, "open", NULL);
	cr_expect(wait_for(&c, "errno 6"), "%s", c.said);
	end(&c, SIGKILL);
}

Test(front, a_server_killed_in_the_middle_of_a_read)
{
	struct child s, c;

	serve(&s, "hold");
	client(&c, "read", NULL);
	cr_assert(wait_for(&s, "holding"));
	end(&s, SIGKILL);
	cr_expect(wait_for(&c, "errno 5 "), "%s", c.said);
	cr_expect(wait_for(&c, NULL));
	end(&c, SIGKILL);
	cr_expect_eq(c.status, 0, "later calls fail at once, poll says so");
}

Test(front, a_server_that_hangs_costs_its_timeout)
{
	struct child s, c;

	serve(&s, "hang");
	client(&c, "read", NULL);
	cr_expect(wait_for(&c, "errno 110 "), "%s", c.said);
	end(&c, SIGKILL);
	end(&s, SIGKILL);
}

Test(front, a_killed_client_does_not_wait_for_the_server)
{
	struct child s, c;

	serve(&s, "hold");
	client(&c, "read", NULL);
	cr_assert(wait_for(&s, "holding"));
	end(&c, SIGKILL);
	cr_expect(wait_for(&s, "cancel"), "the server is told");
	cr_expect(wait_for(&s, "close"), "the stream is closed");
	end(&s, SIGTERM);
}
