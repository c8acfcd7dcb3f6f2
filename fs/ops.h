#ifndef FS_OPS_H
#define FS_OPS_H
/* ops.h -- what the ops_*.c share among themselves; see mnt.h. */
#include "mnt.h"

static inline struct mnt *mnt_of(fuse_req_t req)
{
	struct mnt *m = fuse_req_userdata(req);

	m->stats.requests++;
	return m;
}

/* NULL: the kernel means something that we do not know; answered. */
static inline struct node *node_of(struct mnt *m, fuse_req_t req, fuse_ino_t ino)
{
	struct node *n = node_by_id(&m->nodes, ino);

	if (!n)
		fuse_reply_err(req, 116 /* ESTALE */);
	return n;
}

/* An op with copies of the names.  NULL: answered. */
struct op *op_named(struct mnt *m, fuse_req_t req, struct node *n,
		    struct node *n2, const char *name, const char *name2);

/* An open file of the kernel: how fi says it was opened. */
void node_opened(struct mnt *m, struct node *n, struct fuse_file_info *fi);
void node_closed(struct mnt *m, struct node *n, const struct fuse_file_info *fi);
/* Kept in fi->fh. */
enum { FH_WRITE = 1, FH_DIRECT = 2 };

/* A notify_done_fn of a write: the kernel's old pages are gone, answer. */
void pages_dropped(void *arg, int status);
/* Answer with the node's attributes. */
void reply_attr(struct op *op, const struct stat *st, bool valid);
/* An fs_attrs answer taken over; *ret is what to tell. */
int take_attrs(struct op *op, const struct rpc_msg *msg, struct stat *ret,
	       bool *ret_valid);
void lost_name(struct mnt *m, wire_blob fh, wire_blob attr, uint8_t lease,
	       uint64_t seq);
/* Release what an owner has locked (flush, release), then go on. */
bool has_locks(const struct node *n, uint64_t owner, bool flock);
void unlock_owner(struct mnt *m, struct node *n, uint64_t owner, bool flock);

op_reply_fn on_lookup, on_made, on_removed, on_renamed, on_setattr;
/* op->st and op->set: begin a setattr; with op->flags it ends as an open. */
void setattr_start(struct op *op);
void finish_open(struct op *op);

void op_lookup(fuse_req_t, fuse_ino_t, const char *);
void op_forget(fuse_req_t, fuse_ino_t, uint64_t);
void op_forget_multi(fuse_req_t, size_t, struct fuse_forget_data *);
void op_getattr(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_setattr(fuse_req_t, fuse_ino_t, struct stat *, int, struct fuse_file_info *);
void op_readlink(fuse_req_t, fuse_ino_t);
void op_mknod(fuse_req_t, fuse_ino_t, const char *, mode_t, dev_t);
void op_mkdir(fuse_req_t, fuse_ino_t, const char *, mode_t);
void op_unlink(fuse_req_t, fuse_ino_t, const char *);
void op_rmdir(fuse_req_t, fuse_ino_t, const char *);
void op_symlink(fuse_req_t, const char *, fuse_ino_t, const char *);
void op_rename(fuse_req_t, fuse_ino_t, const char *, fuse_ino_t, const char *, unsigned int);
void op_link(fuse_req_t, fuse_ino_t, fuse_ino_t, const char *);
void op_open(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_read(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_write(fuse_req_t, fuse_ino_t, const char *, size_t, off_t, struct fuse_file_info *);
void op_flush(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_release(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_fsync(fuse_req_t, fuse_ino_t, int, struct fuse_file_info *);
void op_opendir(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_readdir(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_readdirplus(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_releasedir(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_fsyncdir(fuse_req_t, fuse_ino_t, int, struct fuse_file_info *);
void op_statfs(fuse_req_t, fuse_ino_t);
void op_setxattr(fuse_req_t, fuse_ino_t, const char *, const char *, size_t, int);
void op_getxattr(fuse_req_t, fuse_ino_t, const char *, size_t);
void op_listxattr(fuse_req_t, fuse_ino_t, size_t);
void op_removexattr(fuse_req_t, fuse_ino_t, const char *);
void op_create(fuse_req_t, fuse_ino_t, const char *, mode_t, struct fuse_file_info *);
void op_getlk(fuse_req_t, fuse_ino_t, struct fuse_file_info *, struct flock *);
void op_setlk(fuse_req_t, fuse_ino_t, struct fuse_file_info *, struct flock *, int);
void op_flock(fuse_req_t, fuse_ino_t, struct fuse_file_info *, int);
void op_fallocate(fuse_req_t, fuse_ino_t, int, off_t, off_t, struct fuse_file_info *);
void op_copy_file_range(fuse_req_t, fuse_ino_t, off_t, struct fuse_file_info *,
			fuse_ino_t, off_t, struct fuse_file_info *, size_t, int);
void op_lseek(fuse_req_t, fuse_ino_t, off_t, int, struct fuse_file_info *);
void op_poll(fuse_req_t, fuse_ino_t, struct fuse_file_info *, struct fuse_pollhandle *);
void op_ioctl(fuse_req_t, fuse_ino_t, unsigned int, void *, struct fuse_file_info *,
	      unsigned, const void *, size_t, size_t);

#endif
