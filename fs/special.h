#ifndef FS_SPECIAL_H
#define FS_SPECIAL_H
/*
 * special.h -- names below the mount that no file server has:
 *
 *   hosts/          a directory per member of the cell
 *   hosts/<name>/   what that host's programs serve there (status, ...)
 *   svc/            what programs of any host serve there
 *   .stream/<hex>   an imported stream (stream.h); root only, never listed
 *
 * Served names are pseudo-devices: pdev/ finds who serves them and does their
 * I/O.  Nothing here is cached by the kernel.
 *
 * Functions that return bool have answered the request when they return true.
 */
#include "mnt.h"

enum special_kind { SP_HOSTS, SP_HOST, SP_SVC, SP_SERVED, SP_STREAMS };

bool special_lookup(struct mnt *m, fuse_req_t req, struct node *p, const char *name);
/* Nobody makes, renames or removes anything there, or takes these names. */
bool special_refuses(fuse_req_t req, const struct node *p, const char *name);
bool special_getattr(struct mnt *m, fuse_req_t req, struct node *n);
bool special_setattr(struct mnt *m, fuse_req_t req, struct node *n);
bool special_open(struct mnt *m, fuse_req_t req, struct node *n,
		  struct fuse_file_info *fi);
bool special_release(struct mnt *m, fuse_req_t req, struct node *n,
		     struct fuse_file_info *fi);
bool special_read(struct mnt *m, fuse_req_t req, struct node *n, size_t size,
		  off_t off, struct fuse_file_info *fi);
bool special_write(struct mnt *m, fuse_req_t req, struct node *n, const char *p,
		   size_t size, struct fuse_file_info *fi);
bool special_ioctl(struct mnt *m, fuse_req_t req, struct node *n, unsigned cmd,
		   void *arg, struct fuse_file_info *fi, unsigned flags,
		   const void *in, size_t in_size, size_t out_size);
bool special_readdir(struct mnt *m, fuse_req_t req, struct node *n, size_t size,
		     off_t off, int plus);
/* Entries of the root that are ours: to leave out of the server's listing... */
bool special_hides(const char *name);
/* ...and to put at its end; off is the kernel's.  Returns bytes filled. */
size_t special_list_root(struct mnt *m, fuse_req_t req, char *buf, size_t size,
			 uint64_t off, int plus);

#endif
