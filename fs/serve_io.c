/*
 * serve_io.c -- data.
 *
 * What is in the page cache is read and written on the loop: that is quicker
 * than waking a thread.  Reads that would wait for the disk, and whatever is
 * meant to wait for it, go to the pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "server.h"

/* Something that a thread does with a descriptor of its own. */
struct job {
	struct work work;
	struct sreq *q;
	struct obj *o;
	int fd;
	int result;
	uint64_t changes;
	/* read */
	uint8_t *data;
	size_t size;
	uint64_t off;
	/* sync, allocate */
	bool data_only;
	int mode;
	uint64_t len;
	uint8_t want;
};

static enum lease_level level_of(uint8_t want)
{
	return want <= LEASE_WRITE ? (enum lease_level)want : LEASE_READ;
}

static struct job *job_new(struct sreq *q, struct obj *o, int fd)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (j->fd < 0) {
		free(j);
		return NULL;
	}
	j->q = q;
	j->o = o;
	j->changes = o->changes;
	return j;
}

static void job_free(struct job *j)
{
	if (!j)
		return;
	close(j->fd);
	free(j->data);
	free(j);
}

static int job_start(struct job *j, void (*run)(struct work *),
		     void (*done)(struct work *))
{
	j->work.run = run;
	j->work.done = done;
	sreq_busy(j->q);
	pool_add(j->q->s->pool, &j->work);
	return 0;
}

/* ---- reading ---- */

static int answer_data(struct sreq *q, struct obj *o, enum lease_level want,
		       uint8_t *data, size_t n)
{
	struct msg_fs_data a = { 0 };
	struct given g;
	struct stat st;
	uint8_t body[FS_ATTR_MAX + 64];
	struct rpc_out out = { .code = MSG_fs_data,
			       .body = body,
			       .payload = data,
			       .payload_len = n,
			       .free_payload = free,
			       .free_arg = data };
	int r = obj_stat(q->s->x, o, &st);

	if (!r)
		r = sreq_give(q, o, &st, want, &g);
	if (r)
		return r;
	q->s->stats.reads++;
	q->s->stats.read_bytes += n;
	a.attr = g.attr;
	a.lease = (uint8_t)g.lease;
	a.seq = g.seq;
	(void)msg_fs_data_encode(&a, body, sizeof(body), &out.len);
	return sreq_answer(q, 0, &out);
}

static void read_run(struct work *w)
{
	struct job *j = container_of(w, struct job, work);
	size_t got = 0;

	while (got < j->size) {
		ssize_t n = pread(j->fd, j->data + got, j->size - got,
				  (off_t)(j->off + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			j->result = -errno;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	j->size = got;
}

static void read_done(struct work *w)
{
	struct job *j = container_of(w, struct job, work);
	struct sreq *q = j->q;
	int r = j->result;

	q->busy = false;
	/* Somebody wrote meanwhile: what was read may be of before, and a lease
	 * given now would vouch for it. */
	if (j->changes != j->o->changes ||
	    !lease_free_for(&j->o->lease, &q->h->lease, LEASE_READ)) {
		job_free(j);
		sreq_again(q);
		return;
	}
	if (!r)
		r = answer_data(q, j->o, level_of(j->want), j->data, j->size);
	if (r)
		sreq_answer(q, r, NULL);
	else
		j->data = NULL;
	job_free(j);
}

static int read_later(struct sreq *q, struct obj *o, int fd,
		      const struct msg_fs_read *m, uint8_t *data)
{
	struct job *j = job_new(q, o, fd);

	if (!j) {
		free(data);
		return -ENOMEM;
	}
	j->data = data;
	j->size = m->size;
	j->off = m->off;
	j->want = m->want;
	return job_start(j, read_run, read_done);
}

int serve_fs_read(struct sreq *q, const struct msg_fs_read *m)
{
	struct iovec v = { .iov_len = m->size };
	struct obj *o;
	ssize_t n;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_io_fd(q->s->x, o, false, &fd);
	if (!r && (m->size > FS_IO_MAX || m->off > INT64_MAX))
		r = -EINVAL;
	if (r)
		return r;
	if (!sreq_need(q, o, LEASE_READ) ||
	    (m->want >= LEASE_READ && !sreq_settled(q, o)))
		return SERVE_PARK;
	v.iov_base = malloc(m->size ? m->size : 1);
	if (!v.iov_base)
		return -ENOMEM;
	n = preadv2(fd, &v, 1, (off_t)m->off, RWF_NOWAIT);
	/* Short because of what is not cached, or because of the end? */
	if (n < (ssize_t)m->size) {
		struct stat st;

		if (fstat(fd, &st) || n < 0 || (off_t)m->off + n < st.st_size)
			return read_later(q, o, fd, m, v.iov_base);
	}
	r = answer_data(q, o, level_of(m->want), v.iov_base, (size_t)n);
	if (r)
		free(v.iov_base);
	return r;
}

/* ---- writing ---- */

static int kill_bits(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!(st.st_mode & (S_ISUID | S_ISGID)))
		return 0;
	return fchmod(fd, st.st_mode & 07777 & ~(mode_t)(S_ISUID | S_ISGID)) ?
		       -errno :
		       0;
}

static int write_all(int fd, const uint8_t *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t put = pwrite(fd, p, n, (off_t)off);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		p += put;
		off += (size_t)put;
		n -= (size_t)put;
	}
	return 0;
}

/*
 * An append that is sent again, because the server restarted before it had
 * answered: if its bytes are the last ones of the file, it was done.
 */
static bool appended_already(const struct sreq *q, int fd, uint64_t size)
{
	size_t n = q->m.payload_len;
	uint8_t *p;
	bool same;

	if (!q->m.replayed || n == 0 || n > size || !(p = malloc(n)))
		return false;
	same = pread(fd, p, n, (off_t)(size - n)) == (ssize_t)n &&
	       memcmp(p, q->m.payload, n) == 0;
	free(p);
	return same;
}

static int write_now(struct sreq *q, struct obj *o, int fd,
		     const struct msg_fs_write *m, uint64_t *ret_off)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT },
				 { m->mtime, (long)(m->mtime_ns % 1000000000) } };
	uint64_t off = m->off;
	struct stat st;
	int r = 0;

	if (m->flags & WR_APPEND) {
		if (fstat(fd, &st))
			return -errno;
		off = (uint64_t)st.st_size;
		if (appended_already(q, fd, off)) {
			*ret_off = off - q->m.payload_len;
			return 0;
		}
	}
	if (off > INT64_MAX - FS_IO_MAX)
		return -EFBIG;
	if (m->flags & WR_KILL)
		r = kill_bits(fd);
	o->changes++;
	if (!r)
		r = write_all(fd, q->m.payload, q->m.payload_len, off);
	if (!r && m->flags & WR_MTIME && futimens(fd, t))
		r = -errno;
	q->s->stats.writes++;
	q->s->stats.write_bytes += q->m.payload_len;
	*ret_off = off;
	return r;
}

int serve_fs_write(struct sreq *q, const struct msg_fs_write *m)
{
	struct given g;
	struct stat st;
	struct obj *o;
	uint64_t off = 0;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_io_fd(q->s->x, o, true, &fd);
	if (!r && q->m.payload_len > FS_IO_MAX)
		r = -EMSGSIZE;
	if (r)
		return r;
	if (!sreq_need(q, o, LEASE_WRITE))
		return SERVE_PARK;
	r = write_now(q, o, fd, m, &off);
	if (!r)
		r = obj_stat(q->s->x, o, &st);
	if (!r)
		r = sreq_give(q, o, &st, level_of(m->want), &g);
	if (r)
		return r;
	return ANSWER(q, fs_written, .off = off, .attr = g.attr,
		      .lease = (uint8_t)g.lease, .seq = g.seq,
		      .tight = export_tight(q->s->x));
}

/* ---- what waits for the disk ---- */

static void sync_run(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	if (j->data_only ? fdatasync(j->fd) : fsync(j->fd))
		j->result = -errno;
}

static void plain_done(struct work *w)
{
	struct job *j = container_of(w, struct job, work);

	sreq_answer(j->q, j->result, NULL);
	job_free(j);
}

int serve_fs_sync(struct sreq *q, const struct msg_fs_sync *m)
{
	struct obj *o;
	struct job *j;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_io_fd(q->s->x, o, false, &fd);
	if (r)
		return r;
	j = job_new(q, o, fd);
	if (!j)
		return -ENOMEM;
	j->data_only = m->data;
	return job_start(j, sync_run, plain_done);
}

int serve_fs_allocate(struct sreq *q, const struct msg_fs_allocate *m)
{
	struct given g;
	struct stat st;
	struct obj *o;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_io_fd(q->s->x, o, true, &fd);
	if (!r && (m->off > INT64_MAX || m->len > INT64_MAX))
		r = -EFBIG;
	if (r)
		return r;
	if (!sreq_need(q, o, LEASE_WRITE))
		return SERVE_PARK;
	o->changes++;
	if (fallocate(fd, (int)m->mode, (off_t)m->off, (off_t)m->len))
		return -errno;
	r = obj_stat(q->s->x, o, &st);
	if (!r)
		r = sreq_give(q, o, &st, level_of(m->want), &g);
	if (r)
		return r;
	return ANSWER(q, fs_attrs, .attr = g.attr, .lease = (uint8_t)g.lease,
		      .seq = g.seq, .tight = export_tight(q->s->x));
}

int serve_fs_seek(struct sreq *q, const struct msg_fs_seek *m)
{
	struct obj *o;
	off_t at;
	int fd, r = sreq_obj(q, m->fh, &o);

	if (!r)
		r = obj_io_fd(q->s->x, o, false, &fd);
	if (!r && m->whence != SEEK_DATA && m->whence != SEEK_HOLE)
		r = -EINVAL;
	if (r)
		return r;
	if (!sreq_need(q, o, LEASE_READ))
		return SERVE_PARK;
	at = lseek(fd, (off_t)m->off, (int)m->whence);
	return at < 0 ? -errno : ANSWER(q, fs_sought, .off = (uint64_t)at);
}

/* At most FS_IO_MAX at once, so that the loop goes on; callers repeat. */
int serve_fs_copy(struct sreq *q, const struct msg_fs_copy *m)
{
	off_t from_off = (off_t)m->from_off, to_off = (off_t)m->to_off;
	struct obj *from, *to;
	struct given g;
	struct stat st;
	ssize_t n;
	int in, out, r = sreq_obj(q, m->from, &from);

	if (!r)
		r = sreq_obj(q, m->to, &to);
	if (!r)
		r = obj_io_fd(q->s->x, from, false, &in);
	if (!r)
		r = obj_io_fd(q->s->x, to, true, &out);
	if (!r && (m->from_off > INT64_MAX || m->to_off > INT64_MAX))
		r = -EINVAL;
	if (r)
		return r;
	r = sreq_need(q, to, LEASE_WRITE) ? 0 : SERVE_PARK;
	if (from != to && !sreq_need(q, from, LEASE_READ))
		r = SERVE_PARK;
	if (r)
		return r;
	to->changes++;
	n = copy_file_range(in, &from_off, out, &to_off,
			    m->len < FS_IO_MAX ? m->len : FS_IO_MAX, 0);
	if (n < 0)
		return -errno;
	r = obj_stat(q->s->x, to, &st);
	if (!r)
		r = sreq_give(q, to, &st, LEASE_READ, &g);
	if (r)
		return r;
	return ANSWER(q, fs_copied, .len = (uint64_t)n, .attr = g.attr,
		      .lease = (uint8_t)g.lease, .seq = g.seq);
}
