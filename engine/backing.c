/*
 * backing.c -- what lies behind mappings: files, found again by path at the
 * target, and nameless shared memory, made again there.
 *
 * A file is the same if path, size and modification time agree; a
 * directory (the cwd) only has to exist.  Clean pages of files never travel.
 */
#include "new.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

#define PATH_CAP 4200

enum use { USE_MAP, USE_DIR };

void backings_fini(struct backings *b)
{
	for (unsigned i = 0; i < b->n; i++)
		free(b->b[i].path);
	free(b->b);
	*b = (struct backings){ 0 };
}

static struct backing *lookup(const struct backings *b, uint64_t dev,
			      uint64_t ino, const char *path)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->b[i].dev == dev && b->b[i].ino == ino &&
		    !strcmp(b->b[i].path, path))
			return &b->b[i];
	return NULL;
}

static int note(struct backings *b, const struct backing *x)
{
	struct backing *at = lookup(b, x->dev, x->ino, x->path), *more;

	if (at) {
		at->write |= x->write;
		if (x->size > at->size)
			at->size = x->size;
		return 0;
	}
	more = realloc(b->b, (b->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	b->b = more;
	b->b[b->n] = *x;
	b->b[b->n].path = strdup(x->path);
	if (!b->b[b->n].path)
		return -ENOMEM;
	b->n++;
	return 0;
}

static struct backing of_vma(const struct vma *v)
{
	return (struct backing){
		.dev = v->dev,
		.ino = v->ino,
		.path = v->path,
		.write = v->shared && (v->prot & PROT_WRITE),
		.size = v->off + (v->end - v->start),
	};
}

int backing_of_vma(const struct eng *e, const struct vma *v)
{
	const struct backings *b = v->kind == VMA_SHM ? &e->shms : &e->files;
	const struct backing *at = lookup(b, v->dev, v->ino, v->path);

	return at ? (int)(at - b->b) : -1;
}

int backing_of_path(const struct eng *e, const char *path)
{
	const struct backing *at = lookup(&e->files, 0, 0, path);

	return at ? (int)(at - e->files.b) : -1;
}

static int collect(struct eng *e, struct proc *p)
{
	static const char *const links[] = { "exe", "cwd" };
	char path[PATH_CAP];
	int r = 0;

	for (unsigned i = 0; i < p->maps.n && r == 0; i++) {
		struct vma *v = &p->maps.v[i];
		struct backing x = of_vma(v);

		if (v->kind == VMA_FILE)
			r = note(&e->files, &x);
		else if (v->kind == VMA_SHM)
			r = note(&e->shms, &x);
	}
	for (int i = 0; i < 2 && r == 0; i++) {
		r = ps_link(p->m.pid, links[i], path, sizeof(path));
		if (r == 0)
			r = note(&e->files, &(struct backing){ .path = path });
	}
	return r;
}

static int save_file(struct img_writer *w, const struct backing *b,
		     struct eng_report *rep)
{
	struct stat st;

	if (stat(b->path, &st))
		return refuse(rep, ENG_DELETED, 0, "%s", b->path);
	if (b->ino && st.st_ino != b->ino)
		return refuse(rep, ENG_DELETED, 0, "%s", b->path);
	img_begin(w);
	img_str(w, b->path);
	img_u32(w, S_ISDIR(st.st_mode) ? USE_DIR : USE_MAP);
	img_u32(w, b->write);
	img_u64(w, (uint64_t)st.st_size);
	img_u64(w, (uint64_t)st.st_mtim.tv_sec * 1000000000u +
			   (uint64_t)st.st_mtim.tv_nsec);
	return img_send(w, IMG_FILE, 0);
}

int backing_save_all(struct eng *e, struct img_writer *w,
		     struct eng_report *rep)
{
	int r = 0;

	for (unsigned i = 0; i < e->np && r == 0; i++)
		if (!e->p[i].m.zombie)
			r = collect(e, &e->p[i]);
	for (unsigned i = 0; i < e->files.n && r == 0; i++)
		r = save_file(w, &e->files.b[i], rep);
	for (unsigned i = 0; i < e->shms.n && r == 0; i++) {
		img_begin(w);
		img_u64(w, e->shms.b[i].size);
		r = img_send(w, IMG_SHM, 0);
	}
	return r;
}

/* ---- target ---- */

static int grow(struct new_file **v, unsigned *n, int fd)
{
	struct new_file *more = realloc(*v, (*n + 1) * sizeof(*more));

	if (!more) {
		close(fd);
		return -ENOMEM;
	}
	*v = more;
	(*v)[(*n)++].fd = fd;
	return 0;
}

int backing_load_file(struct eng_new *n, struct img_rec *r,
		      struct eng_report *rep)
{
	const char *path = wire_get_str(&r->body);
	uint32_t use = wire_get_u32(&r->body);
	uint32_t write = wire_get_u32(&r->body);
	uint64_t size = wire_get_u64(&r->body);
	uint64_t mtime = wire_get_u64(&r->body);
	struct stat st;
	int fd;

	if (wire_read_end(&r->body) || use > USE_DIR)
		return -EBADMSG;
	fd = open(path, (use == USE_DIR ? O_PATH | O_DIRECTORY
			 : write	? O_RDWR
					: O_RDONLY) |
				O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return refuse(rep, ENG_FILE_MISSING, 0, "%s", path);
	if (use == USE_MAP &&
	    (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	     (!write && ((uint64_t)st.st_size != size ||
			 (uint64_t)st.st_mtim.tv_sec * 1000000000u +
					 (uint64_t)st.st_mtim.tv_nsec !=
				 mtime)))) {
		close(fd);
		return refuse(rep, ENG_FILE_DIFFERS, 0, "%s", path);
	}
	return grow(&n->files, &n->nfiles, fd);
}

int backing_load_shm(struct eng_new *n, struct img_rec *r)
{
	uint64_t size = wire_get_u64(&r->body);
	int fd, err;

	if (wire_read_end(&r->body) || size > 1ull << 46)
		return -EBADMSG;
	fd = memfd_create("sprite-shared", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size)) {
		err = -errno;
		close(fd);
		return err;
	}
	return grow(&n->shms, &n->nshms, fd);
}
