#ifndef CMD_MAKE_TOKENS_H
#define CMD_MAKE_TOKENS_H
/*
 * make_tokens.h -- the jobserver pipe, from its owner's side.
 *
 * A byte in the pipe lets some make below us begin one more recipe; each make
 * has one for itself besides.  More bytes act at once.  Fewer is a race that
 * make mostly wins, as it takes a freed byte again at once: what could not be
 * read back is owed and read back at the next occasions.  Nothing may depend on it;
 * how many recipes *run* is decided where slots are given.
 */
#include <stdint.h>

struct tokens {
	int r, w;	  /* make's ends; inherited by it only */
	int own;	  /* the same pipe, read without blocking */
	unsigned issued;  /* in the pipe or in some make's hands */
	unsigned wanted;
	unsigned missing; /* the least number not accounted for since */
	uint64_t since_ms;
};

int tokens_open(struct tokens *t);
void tokens_close(struct tokens *t);
/* How many there shall be.  Adds now, takes back as far as it can. */
void tokens_want(struct tokens *t, unsigned n);
/* Take back what is owed, if there is something to take. */
void tokens_settle(struct tokens *t);
/*
 * A make that dies by SIGKILL takes its tokens with it.  alive: how many
 * recipes are known to live, none of which holds more than one.  What was
 * neither in the pipe nor in anybody's hand for some seconds on end is lost,
 * and put back.  Returns how many were.
 */
unsigned tokens_check(struct tokens *t, unsigned alive, uint64_t now_ms);

#endif
