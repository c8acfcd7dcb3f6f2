/*
 * hostconf.c -- see hostconf.h.  host.conf is lines of key=value; # begins a
 * comment line.  The table below is the list of the keys, their limits and
 * defaults, and the order in which they are written.
 */
#include "hostconf.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "cleanup.h"
#include "fd.h"
#include "prog.h"

#define FILE_MAX (64u << 10)

enum kind { STR, U16, U32, CENTI3, KEY };

struct key {
	const char *name;
	enum kind kind;
	size_t at, size;
	uint32_t min, max;
	const char *initial; /* NULL: must be given */
};

#define AT(field) offsetof(struct hostconf, field)
#define S(name, field, initial)                                                \
	{                                                                      \
		name, STR, AT(field), sizeof(((struct hostconf *)0)->field),   \
			0, 0, initial                                          \
	}
#define N(name, field, min, max, initial)                                      \
	{                                                                      \
		name, U32, AT(field), 4, min, max, initial                     \
	}
#define P(name, field, initial)                                                \
	{                                                                      \
		name, U16, AT(field), 2, 1, 65535, initial                     \
	}

static const struct key keys[] = {
	/* who this host is */
	S("cell", cell, NULL),
	N("host", host, 1, 65535, NULL),
	S("name", name, NULL),
	S("addr", addr, NULL),
	P("port_named", port[SVC_NAMED], "7710"),
	P("port_fsd", port[SVC_FSD], "7711"),
	P("port_migd", port[SVC_MIGD], "7712"),
	P("port_hostdb", port[SVC_HOSTDB], "7713"),
	/* where the name server is */
	N("named_host", named_host, 1, 65535, NULL),
	S("named_addr", named_addr, NULL),
	P("named_port", named_port, "7710"),
	{"named_key", KEY, AT(named_key), 32, 0, 0, NULL},
	/* PIDs of this host: 22 bits in all */
	N("pid_block", pid_block, 300, 1u << 22, NULL),
	N("pid_block_size", pid_block_size, 256, 1u << 20, "16384"),
	/* names */
	S("mount", mount, "/sprite"),
	S("export", export_dir, ""),
	N("writeback_ms", writeback_ms, 0, 3600000, "30000"),
	/* when this host is idle, and how much it lends */
	S("console", console, ""),
	N("idle_secs", idle_secs, 0, 86400, "30"),
	{"load_in_centi", CENTI3, AT(load_in_centi), 12, 0, 100000,
	 "75,100,150"},
	{"load_out_centi", CENTI3, AT(load_out_centi), 12, 0, 100000,
	 "250,275,300"},
	N("sample_ms", sample_ms, 100, 600000, "5000"),
	N("report_ms", report_ms, 100, 3600000, "60000"),
	N("down_ms", down_ms, 1000, 86400000, "180000"),
	N("slots", slots, 0, 1024, "1"),
	/* whose processes come and go: none, root, all */
	S("import_policy", import_policy, "all"),
	S("export_policy", export_policy, "all"),
};

#define KEYS (sizeof(keys) / sizeof(*keys))

/* ---- values ---- */

static int get_number(const char *s, const struct key *k, char **end,
		      uint32_t *ret)
{
	unsigned long v;

	errno = 0;
	if (*s < '0' || *s > '9')
		return -EINVAL;
	v = strtoul(s, end, 10);
	if (errno || v < k->min || v > k->max)
		return -ERANGE;
	*ret = (uint32_t)v;
	return 0;
}

static int get_numbers(const char *s, const struct key *k, uint32_t *ret,
		       unsigned n)
{
	uint32_t v[3];
	char *end;

	for (unsigned i = 0; i < n; i++) {
		int r = get_number(s, k, &end, &v[i]);

		if (r)
			return r;
		if (*end != (i + 1 < n ? ',' : 0))
			return -EINVAL;
		s = end + 1;
	}
	memcpy(ret, v, n * sizeof(*v));
	return 0;
}

static int get_value(struct hostconf *c, const struct key *k, const char *s)
{
	void *to = (char *)c + k->at;
	uint32_t v;
	size_t len;
	int r;

	switch (k->kind) {
	case STR:
		if (strlen(s) >= k->size)
			return -ENAMETOOLONG;
		memcpy(to, s, strlen(s) + 1);
		return 0;
	case U16:
		r = get_numbers(s, k, &v, 1);
		if (!r)
			*(uint16_t *)to = (uint16_t)v;
		return r;
	case U32:
		return get_numbers(s, k, to, 1);
	case CENTI3:
		return get_numbers(s, k, to, 3);
	case KEY:
		return sodium_hex2bin(to, 32, s, strlen(s), NULL, &len, NULL) ||
				       len != 32 || strlen(s) != 64
			       ? -EINVAL
			       : 0;
	}
	return -EINVAL;
}

static int put_value(struct buf *b, const struct hostconf *c,
		     const struct key *k)
{
	const void *from = (const char *)c + k->at;
	const uint32_t *n = from;
	char hex[65];

	switch (k->kind) {
	case STR:
		if (strchr(from, '\n'))
			return -EINVAL;
		return buf_addf(b, "%s=%s\n", k->name, (const char *)from);
	case U16:
		return buf_addf(b, "%s=%u\n", k->name, *(const uint16_t *)from);
	case U32:
		return buf_addf(b, "%s=%u\n", k->name, *n);
	case CENTI3:
		return buf_addf(b, "%s=%u,%u,%u\n", k->name, n[0], n[1], n[2]);
	case KEY:
		sodium_bin2hex(hex, sizeof(hex), from, 32);
		return buf_addf(b, "%s=%s\n", k->name, hex);
	}
	return -EINVAL;
}

/* ---- the file ---- */

static const char *what_is_wrong(int r)
{
	switch (r) {
	case -ERANGE:
		return "the number is out of range";
	case -ENAMETOOLONG:
		return "the value is too long";
	default:
		return "the value is not of the right form";
	}
}

static int policy_ok(const char *s)
{
	return strcmp(s, "none") == 0 || strcmp(s, "root") == 0 ||
	       strcmp(s, "all") == 0;
}

static int take_line(struct hostconf *c, char *line, bool seen[KEYS],
		     const char **ret_wrong)
{
	char *eq = strchr(line, '=');
	int r;

	if (*line == '#' || !*line)
		return 0;
	if (!eq) {
		*ret_wrong = "there is no '='";
		return -EINVAL;
	}
	*eq = 0;
	for (size_t i = 0; i < KEYS; i++) {
		if (strcmp(keys[i].name, line) != 0)
			continue;
		seen[i] = true;
		r = get_value(c, &keys[i], eq + 1);
		if (r)
			*ret_wrong = what_is_wrong(r);
		return r ? -EINVAL : 0;
	}
	*ret_wrong = "there is no such key";
	return -EINVAL;
}

static int take_file(struct hostconf *c, char *text, bool seen[KEYS], char *err,
		     size_t errcap)
{
	unsigned number = 0;

	while (text) {
		const char *wrong = NULL;
		char *end = strchr(text, '\n');

		number++;
		if (end)
			*end++ = 0;
		if (take_line(c, text, seen, &wrong)) {
			snprintf(err, errcap, "host.conf, line %u: %s", number,
				 wrong);
			return -EINVAL;
		}
		text = end;
	}
	return 0;
}

static int check(const struct hostconf *c, const bool seen[KEYS], char *err,
		 size_t errcap)
{
	for (size_t i = 0; i < KEYS; i++) {
		if (keys[i].initial || seen[i])
			continue;
		snprintf(err, errcap, "host.conf: %s= is missing",
			 keys[i].name);
		return -EINVAL;
	}
	if (!policy_ok(c->import_policy) || !policy_ok(c->export_policy)) {
		snprintf(err, errcap,
			 "host.conf: a policy is none, root or all");
		return -EINVAL;
	}
	return 0;
}

void hostconf_init(struct hostconf *ret)
{
	*ret = (struct hostconf){0};
	for (size_t i = 0; i < KEYS; i++) {
		if (keys[i].initial)
			(void)get_value(ret, &keys[i], keys[i].initial);
	}
}

int hostconf_load(struct hostconf *ret, char *err, size_t errcap)
{
	SCOPED(buf_free) struct buf b = {0};
	bool seen[KEYS] = {false};
	char path[PATH_MAX];
	struct hostconf c;
	int r = state_path("host.conf", path, sizeof(path));

	if (!r)
		r = fd_read_file(path, FILE_MAX, &b);
	if (r == -ENOENT) {
		snprintf(err, errcap,
			 "this host is in no cell; use sprite init or sprite "
			 "join");
		return r;
	}
	if (r || (buf_len(&b) && strlen((char *)buf_data(&b)) != buf_len(&b))) {
		snprintf(err, errcap, "cannot read %s: %s", path,
			 r ? strerror(-r) : "it holds a zero byte");
		return r ? r : -EINVAL;
	}
	hostconf_init(&c);
	if (buf_len(&b))
		r = take_file(&c, (char *)buf_data(&b), seen, err, errcap);
	if (!r)
		r = check(&c, seen, err, errcap);
	if (!r)
		*ret = c;
	return r;
}

int hostconf_save(const struct hostconf *c)
{
	SCOPED(buf_free) struct buf b = {0};
	char path[PATH_MAX];
	int r = state_path("", path, sizeof(path));

	if (!r)
		r = mkdir_p(path, 0755);
	if (!r)
		r = state_path("host.conf", path, sizeof(path));
	for (size_t i = 0; i < KEYS && !r; i++)
		r = put_value(&b, c, &keys[i]);
	return r ? r : fd_write_file(path, buf_data(&b), buf_len(&b), 0644);
}

/* ---- the key ---- */

int hostkey_load(uint8_t ret_secret[32], uint8_t ret_public[32])
{
	struct buf b = {0};
	char path[PATH_MAX];
	struct stat st;
	int r = state_path("host.key", path, sizeof(path));

	if (r)
		return r;
	if (stat(path, &st))
		return -errno;
	if (st.st_mode & 077)
		return -EACCES; /* others could have read it */
	r = fd_read_file(path, 32, &b);
	if (!r && buf_len(&b) != 32)
		r = -EBADMSG;
	if (!r) {
		memcpy(ret_secret, buf_data(&b), 32);
		crypto_scalarmult_base(ret_public, ret_secret);
	}
	if (b.mem)
		sodium_memzero(b.mem, b.cap);
	buf_free(&b);
	return r;
}

int hostkey_make(uint8_t ret_secret[32], uint8_t ret_public[32])
{
	char path[PATH_MAX];
	int r = hostkey_load(ret_secret, ret_public);

	if (r != -ENOENT)
		return r;
	if (sodium_init() < 0)
		return -ENOSYS;
	r = state_path("", path, sizeof(path));
	if (!r)
		r = mkdir_p(path, 0755);
	if (!r)
		r = state_path("host.key", path, sizeof(path));
	if (r)
		return r;
	randombytes_buf(ret_secret, 32);
	r = fd_write_file(path, ret_secret, 32, 0600);
	return r ? r : hostkey_load(ret_secret, ret_public);
}

int hostconf_identity(const struct hostconf *c, enum rpc_service s,
		      struct rpc_identity *ret)
{
	struct rpc_identity id = {.host = c->host, .service = s};
	int r = hostkey_load(id.secret, id.public_key);

	if (!r)
		*ret = id;
	sodium_memzero(&id, sizeof(id));
	return r;
}
