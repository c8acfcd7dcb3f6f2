/* name.c -- see name.h. */
#include "name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HOST_MAX      63u
#define COMPONENT_MAX 255u

/* The length of the component at s, or 0 if it cannot be a file's name. */
static size_t component(const char *s, size_t max)
{
	size_t n = strcspn(s, "/");

	if (n == 0 || n > max || (n == 1 && s[0] == '.') ||
	    (n == 2 && s[0] == '.' && s[1] == '.'))
		return 0;
	return n;
}

/* Behind the directory that name begins with; NULL if it is none of ours. */
static const char *behind_dir(const char *name)
{
	size_t n;

	if (strncmp(name, "svc", 3) == 0 && (!name[3] || name[3] == '/'))
		return name + 3;
	if (strncmp(name, "hosts/", 6))
		return NULL;
	n = component(name + 6, HOST_MAX);
	return n ? name + 6 + n : NULL;
}

bool pdev_name_valid(const char *name)
{
	const char *last = behind_dir(name);
	size_t n;

	if (!last || *last++ != '/')
		return false;
	n = component(last, COMPONENT_MAX);
	return n && !last[n];
}

bool pdev_name_dir_valid(const char *dir)
{
	const char *end = behind_dir(dir);

	return end && !*end;
}

int pdev_name_clean(const char *name, const char *mount, char *ret, size_t cap)
{
	size_t n = strlen(mount);

	if (name[0] == '/') {
		if (strncmp(name, mount, n) || name[n] != '/')
			return -EINVAL;
		name += n + 1;
	}
	n = strlen(name);
	if (n >= cap)
		return -ENAMETOOLONG;
	memcpy(ret, name, n + 1);
	return pdev_name_valid(ret) ? 0 : -EINVAL;
}

void pdev_name_registry(const char *name, char ret[64])
{
	size_t n = 0;

	if (strncmp(name, "hosts/", 6) == 0) {
		n = component(name + 6, HOST_MAX);
		memcpy(ret, name + 6, n);
	}
	ret[n] = 0;
}

const char *pdev_name_in(const char *name, const char *dir)
{
	size_t n = strlen(dir);

	if (strncmp(name, dir, n) || name[n] != '/')
		return NULL;
	return name + n + 1;
}
