/* lab_status.c -- show a lab, or all labs; contract in lab.h. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cmd.h"
#include "daemons.h"
#include "lab.h"

struct host_state {
	unsigned k;
	pid_t init, pid[DAEMONS];
	int cut; /* 1 cut, 0 not, negative: no link */
	double quota, used_secs;
	long world;
};

static void look(const struct lab *l, int nl, unsigned k, struct host_state *h)
{
	char cgroup[64], name[16], run[64], path[96];
	FILE *f;

	*h = (struct host_state){ .k = k, .init = lab_init(l, k), .cut = -1 };
	snprintf(name, sizeof(name), "h%u", k);
	lab_cgroup(l, (int)k, cgroup);
	h->quota = cgroups_quota_get(&l->cg, cgroup);
	h->used_secs = cgroups_cpu_secs(&l->cg, cgroup);
	if (!h->init)
		return;
	if (nl >= 0)
		h->cut = net_is_cut(nl, name);
	snprintf(run, sizeof(run), "/proc/%d/root/run/sprite", (int)h->init);
	for (size_t i = 0; i < DAEMONS; i++)
		h->pid[i] = daemon_pid(run, &daemons[i]);
	snprintf(path, sizeof(path), "%s/world.pid", run);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fscanf(f, "%ld", &h->world) != 1)
		h->world = 0;
	fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/root/proc/%ld", (int)h->init,
		 h->world);
	if (access(path, F_OK))
		h->world = 0;
}

static void print_host(const struct host_state *h)
{
	char quota[16] = "-", list[64] = "";

	if (h->quota > 0)
		snprintf(quota, sizeof(quota), "%.2f", h->quota);
	for (size_t i = 0; i < DAEMONS; i++) {
		if (!h->pid[i])
			continue;
		strcat(list, *list ? " " : "");
		strcat(list, daemons[i].name);
	}
	printf("h%-4u " LAB_NET "%-5u %-5s %-5s %8.2f %-7ld %s\n", h->k, h->k,
	       !h->init	  ? "down" :
	       h->cut == 1 ? "cut" :
			     "up",
	       quota, h->used_secs, h->world, *list ? list : "-");
}

static void json_host(struct json *j, const struct host_state *h)
{
	char name[16], addr[32];

	snprintf(name, sizeof(name), "h%u", h->k);
	snprintf(addr, sizeof(addr), LAB_NET "%u", h->k);
	json_open(j, NULL, '{');
	json_str(j, "host", name);
	json_str(j, "address", addr);
	json_bool(j, "up", h->init != 0);
	json_bool(j, "cut", h->cut == 1);
	json_i64(j, "init", h->init);
	json_f64(j, "cpu_quota", h->quota);
	json_f64(j, "cpu_secs", h->used_secs);
	json_i64(j, "world", h->world);
	json_open(j, "daemons", '{');
	for (size_t i = 0; i < DAEMONS; i++) {
		if (h->pid[i])
			json_i64(j, daemons[i].name, h->pid[i]);
	}
	json_close(j, '}');
	json_close(j, '}');
}

int lab_status(const struct lab *l, bool as_json)
{
	unsigned k[LAB_HOSTS_MAX], n = lab_hosts(l, k);
	pid_t sw = lab_init(l, LAB_SWITCH);
	SCOPED(close) int nl = sw ? net_open(sw) : -1;
	struct buf b = { 0 };
	struct json j = { .out = &b };
	struct host_state h;

	if (!n)
		return fail(X_NOT_FOUND, "there is no lab '%s'; `sprite lab up "
			    "4` makes one, `sprite lab list` shows all", l->name);
	if (as_json) {
		json_open(&j, NULL, '{');
		json_str(&j, "lab", l->name);
		json_str(&j, "dir", l->dir);
		json_open(&j, "hosts", '[');
	} else {
		printf("lab '%s' in %s\n", l->name, l->dir);
		printf("HOST  ADDRESS       STATE CPU   USED_SEC WORLD   "
		       "DAEMONS\n");
	}
	for (unsigned i = 0; i < n; i++) {
		look(l, nl, k[i], &h);
		if (as_json)
			json_host(&j, &h);
		else
			print_host(&h);
	}
	if (!as_json)
		return X_OK_DONE;
	json_close(&j, ']');
	json_close(&j, '}');
	return json_print(&b, &j);
}

static void list_one(const char *name, struct json *j, bool as_json)
{
	unsigned k[LAB_HOSTS_MAX], n, up = 0;
	struct lab l;

	if (lab_open(&l, name, NULL))
		return;
	n = lab_hosts(&l, k);
	for (unsigned i = 0; i < n; i++)
		up += lab_init(&l, k[i]) != 0;
	if (!as_json) {
		printf("%-24s %5u %5u  %s\n", name, n, up, l.dir);
		return;
	}
	json_open(j, NULL, '{');
	json_str(j, "lab", name);
	json_u64(j, "hosts", n);
	json_u64(j, "up", up);
	json_str(j, "dir", l.dir);
	json_close(j, '}');
}

int lab_list(bool as_json)
{
	struct cgroups cg;
	struct buf b = { 0 };
	struct json j = { .out = &b };
	struct dirent *e;
	int r = cgroups_find(&cg);
	DIR *d = r ? NULL : opendir(cg.tree[0]);

	if (!d)
		return fail(X_FAILED, "cannot read the cgroups: %s",
			    strerror(r ? -r : errno));
	if (as_json)
		json_open(&j, NULL, '[');
	else
		printf("%-24s HOSTS    UP  FOLDER\n", "LAB");
	while ((e = readdir(d))) {
		if (strncmp(e->d_name, "sprite-", 7) == 0)
			list_one(e->d_name + 7, &j, as_json);
	}
	closedir(d);
	if (!as_json)
		return X_OK_DONE;
	json_close(&j, ']');
	return json_print(&b, &j);
}
