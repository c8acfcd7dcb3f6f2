#ifndef NET_STATUS_H
#define NET_STATUS_H
/*
 * status.h -- 0 or a negative errno, as number on the wire and as a sentence.
 */
#include <stddef.h>
#include <stdint.h>

/* 0 stays 0; an errno without a number becomes that of EIO. */
uint32_t status_to_wire(int status);
/* An unknown number becomes -EIO. */
int status_from_wire(uint32_t number);
/* Static, begins small, has no full stop. */
const char *status_text(int status);
/* The sentence that a negative answer carries as its body, else status_text. */
const char *status_sentence(int status, const void *body, size_t len);

#endif
