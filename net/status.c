/* status.c -- see status.h; the table is status.def. */
#include "status.h"

#include <errno.h>
#include <string.h>

static const struct {
	uint32_t number;
	int err;
	const char *text;
} statuses[] = {
#define STATUS(number, err, text) {number, err, text},
#include "status.def"
};

#define COUNT	 (sizeof(statuses) / sizeof(*statuses))
#define WIRE_EIO 5u

uint32_t status_to_wire(int status)
{
	if (status == 0)
		return 0;
	for (size_t i = 0; i < COUNT; i++) {
		if (statuses[i].err == -status)
			return statuses[i].number;
	}
	return WIRE_EIO;
}

/* The numbers are dense: the table's order is the numbers' (tested). */
int status_from_wire(uint32_t number)
{
	if (number == 0)
		return 0;
	if (number <= COUNT && statuses[number - 1].number == number)
		return -statuses[number - 1].err;
	return -EIO;
}

const char *status_text(int status)
{
	if (status == 0)
		return "success";
	for (size_t i = 0; i < COUNT; i++) {
		if (statuses[i].err == -status)
			return statuses[i].text;
	}
	return "unknown error";
}

const char *status_sentence(int status, const void *body, size_t len)
{
	const char *s = body;

	if (status && s && len > 1 && memchr(s, 0, len) == s + len - 1)
		return s;
	return status_text(status);
}
