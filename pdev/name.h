#ifndef PDEV_NAME_H
#define PDEV_NAME_H
/*
 * name.h -- which names pseudo-devices may have, and where each is registered.
 *
 * Inside Sprite a name has no leading slash and no mount point: "svc/echo",
 * "hosts/h1/status".
 */
#include <stdbool.h>
#include <stddef.h>

/*
 * Bring what a program wrote ("/sprite/svc/echo", "svc/echo") into that form.
 * mount is "/sprite".  -EINVAL: no place for a pseudo-device; -ENAMETOOLONG.
 */
int pdev_name_clean(const char *name, const char *mount, char *ret, size_t cap);
/* Is name of that form? */
bool pdev_name_valid(const char *name);
/* Is it a directory that holds names of that form? */
bool pdev_name_dir_valid(const char *dir);
/* The host whose fsd knows about name or directory: "" is the one that serves
 * the root.  ret has room for 64 bytes. */
void pdev_name_registry(const char *name, char ret[64]);
/* Is name in dir?  Then its last component, else NULL. */
const char *pdev_name_in(const char *name, const char *dir);

#endif
