/* json.c -- see json.h. */
#include "json.h"

static void put(struct json *j, const char *s, size_t n)
{
	if (buf_add(j->out, s, n))
		j->failed = true;
}

static void quoted(struct json *j, const char *s)
{
	put(j, "\"", 1);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			put(j, "\\", 1);
			put(j, s, 1);
		} else if (c < 0x20) {
			if (buf_addf(j->out, "\\u%04x", c))
				j->failed = true;
		} else {
			put(j, s, 1);
		}
	}
	put(j, "\"", 1);
}

static void begin(struct json *j, const char *key)
{
	if (j->comma)
		put(j, ",", 1);
	j->comma = true;
	if (key) {
		quoted(j, key);
		put(j, ":", 1);
	}
}

void json_open(struct json *j, const char *key, char bracket)
{
	begin(j, key);
	put(j, &bracket, 1);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	put(j, &bracket, 1);
	j->comma = true;
}

void json_str(struct json *j, const char *key, const char *v)
{
	begin(j, key);
	if (v)
		quoted(j, v);
	else
		put(j, "null", 4);
}

void json_u64(struct json *j, const char *key, uint64_t v)
{
	begin(j, key);
	if (buf_addf(j->out, "%llu", (unsigned long long)v))
		j->failed = true;
}

void json_i64(struct json *j, const char *key, int64_t v)
{
	begin(j, key);
	if (buf_addf(j->out, "%lld", (long long)v))
		j->failed = true;
}

void json_f64(struct json *j, const char *key, double v)
{
	begin(j, key);
	if (buf_addf(j->out, "%.6g", v))
		j->failed = true;
}

void json_bool(struct json *j, const char *key, bool v)
{
	begin(j, key);
	put(j, v ? "true" : "false", v ? 4 : 5);
}
