#ifndef CMD_MAKE_PROTO_H
#define CMD_MAKE_PROTO_H
/*
 * make_proto.h -- what sprite-sh and `sprite make` say to each other.
 *
 * `sprite make` listens on an abstract SOCK_SEQPACKET socket, $SPRITE_MAKE_SOCK;
 * every sprite-sh below it makes one connection.  Both ends are of one build
 * and one user (checked with SO_PEERCRED by both), hence plain structs.
 *
 *	SLOT	where shall this recipe run?  The answer comes when there is
 *		room for it, however long that takes.  Hanging up before the
 *		answer means that the recipe is no longer wanted.
 *	KEPT	a recipe that runs at home without a slot (a make below this
 *		one): told, so that the owner of the tokens knows it lives.
 *		No answer.
 *	AGAIN	after an answer: the host was lost, give the recipe a slot at
 *		home instead.  Answered like SLOT.  why tells what happened.
 *
 * A slot is given to the asking *process* and is free again when that process
 * ends, whatever it has become by then (a shell, a stub) and whatever children
 * it left behind: the owner holds a pidfd of it.
 */
#include <limits.h>
#include <stdint.h>

#define MAKE_PROTO 1u
#define MAKE_LABEL_MAX 48
#define MAKE_WHY_MAX   200

#define MAKE_SOCK_ENV  "SPRITE_MAKE_SOCK"
#define MAKE_SHELL_ENV "SPRITE_REAL_SHELL" /* the shell recipes are meant for */

enum make_kind { MAKE_SLOT = 1, MAKE_KEPT, MAKE_AGAIN };

struct make_ask {
	uint32_t proto;
	uint32_t kind;
	uint64_t line; /* line_hash() of the recipe line */
	char label[MAKE_LABEL_MAX]; /* for people */
	char why[MAKE_WHY_MAX];
	char cwd[PATH_MAX];	    /* NUL-terminated; the rest is not sent */
};

struct make_answer {
	uint32_t proto;
	uint32_t host; /* where; 0: at home, without Sprite */
	uint64_t grant; /* what entitles us to it */
	int32_t nice;  /* at home: to be added to the recipe's niceness */
	char name[64];
};

#endif
