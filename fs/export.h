#ifndef FS_EXPORT_H
#define FS_EXPORT_H
/*
 * export.h -- the exported tree and its objects.
 *
 * An object is found by its kernel file handle, which outlives renames,
 * unlinks and restarts; a path is never walked.  What the wire carries is the
 * kernel's handle sealed with a key of the export, because the kernel would
 * open any handle of the file system, also of files outside the export.
 *
 * The export keeps a hidden directory ".sprite" in its root: the key, and the
 * objects that have lost their last name but not their last user ("orphans"),
 * so that these survive a restart of the server.
 *
 * Functions return 0 or a negative errno.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lease.h"
#include "list.h"
#include "map.h"
#include "proto.h"

#define EXPORT_HIDDEN ".sprite"

struct locks;
struct export;

struct obj {
	struct map_node node; /* export's, by wire handle */
	struct lease_obj lease;
	uint8_t fh[FS_HANDLE_MAX]; /* on the wire; the root's is empty */
	size_t len;
	uint64_t ino;
	mode_t mode;
	unsigned refs;	 /* requests and recalls under way */
	unsigned pins;	 /* streams between two hosts */
	uint64_t changes; /* of data: counts writes and truncations */
	bool orphan;	 /* nameless, but for the hidden directory */
	bool gone;	 /* without any name: not to be kept for the next use */
	int path_fd, io_fd; /* -1: not open now */
	bool io_rdonly;
	struct list lru;
	struct locks *locks; /* lock.h; NULL: never locked */
};

/* dir is made if needed; on failure err holds a sentence. */
int export_open(const char *dir, struct export **ret, char *err, size_t cap);
void export_close(struct export *x);
/* The number that a prefix table carries for this tree. */
uint64_t export_domain(const struct export *x);
struct obj *export_root(struct export *x);

/*
 * The object of a wire handle.  Referenced; give it back by obj_put.
 * -ESTALE: there is no such object (any more), or it is not our handle.
 */
int export_obj(struct export *x, const void *fh, size_t len, struct obj **ret);
/* The same for one name in dir.  -ENOENT.  st may be NULL. */
int export_child(struct export *x, struct obj *dir, const char *name,
		 struct obj **ret, struct stat *st);
/* Of an open descriptor, which becomes the object's if it has none. */
int export_of_fd(struct export *x, int fd, struct obj **ret, struct stat *st);
/*
 * Objects without references, holds, pins and locks may be dropped at any
 * time, and an orphan among them is removed for good.
 */
void obj_put(struct export *x, struct obj *o);
void obj_tidy(struct export *x, struct obj *o);

/* Descriptors are borrowed until the next call of the loop. */
int obj_path_fd(struct export *x, struct obj *o, int *ret_fd);
int obj_io_fd(struct export *x, struct obj *o, bool write, int *ret_fd);
int obj_stat(struct export *x, struct obj *o, struct stat *ret);

/* Give the object its place among the orphans, before its last name goes. */
int export_orphan(struct export *x, struct obj *o);
/* The name did not go after all. */
void export_unorphan(struct export *x, struct obj *o);
/* Its last name is gone and nobody uses it: nor may we, it takes up space. */
void export_gone(struct export *x, struct obj *o);
/* Orphans of an earlier life that nobody has claimed: remove them. */
void export_sweep(struct export *x);
/* May a client name this in dir?  Refuses "", ".", "..", "a/b", ".sprite". */
int export_name_ok(struct export *x, const struct obj *dir, const char *name);
/* Little space is left: writes should not be delayed. */
bool export_tight(struct export *x);
size_t export_count(const struct export *x);
/* Walk; the next must be fetched before an object may go. */
struct obj *export_first(struct export *x);
struct obj *export_next(struct export *x, struct obj *o);

#endif
