#ifndef LIB_JSON_H
#define LIB_JSON_H
/*
 * json.h -- write JSON into a buffer; commas and escaping are its business.
 *
 *   json_open(j, NULL, '{'); json_str(j, "host", name); json_close(j, '}');
 *
 * key is NULL inside arrays and at the top.  Errors are sticky in j->failed.
 */
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

struct json {
	struct buf *out;
	bool comma;
	bool failed;
};

void json_open(struct json *j, const char *key, char bracket); /* { or [ */
void json_close(struct json *j, char bracket);		       /* } or ] */
void json_str(struct json *j, const char *key, const char *v);
void json_u64(struct json *j, const char *key, uint64_t v);
void json_i64(struct json *j, const char *key, int64_t v);
void json_f64(struct json *j, const char *key, double v);
void json_bool(struct json *j, const char *key, bool v);

#endif
