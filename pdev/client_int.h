#ifndef PDEV_CLIENT_INT_H
#define PDEV_CLIENT_INT_H
/*
 * client_int.h -- the inside of the library, for the client*.c files.
 *
 *   client.c         the connection with fsd, the program's turns
 *   client_stream.c  streams and requests: callbacks and their answers
 */
#include <stdbool.h>

#include "buf.h"
#include "frame.h"
#include "list.h"
#include "map.h"
#include "sprite/pdev.h"

struct sprite_pdev {
	struct sprite_pdev_ops ops;
	void *arg;
	int fd;
	int stop_fd; /* an eventfd: stop may be called from a signal handler */
	int broken;  /* negative errno, for good */
	int status;  /* of the service; 1: not known yet */
	char sentence[256];
	struct frame_in in;
	uint8_t *rx;
	struct buf tx;
	struct map by_id;
	struct list streams;
};

struct sprite_pdev_stream {
	struct sprite_pdev *d;
	struct map_node node;
	struct list link;
	uint64_t id;
	bool opened;
	uint32_t bits;
	struct list requests;
	struct sprite_pdev_client client;
	char host_name[64];
	void *data;
};

struct sprite_pdev_request {
	struct sprite_pdev_stream *s;
	struct list link;
	uint64_t frame; /* of the call that carries it */
	uint64_t id;	/* fsd's number */
	uint16_t code;
	bool held; /* LATER was returned */
	int32_t pid;
	uint32_t flags;
	uint64_t arg;
	size_t room; /* for data of the answer */
};

/* client.c */
void pdev_client_put(struct sprite_pdev *d, struct frame f, const void *body,
		     const void *payload);
void pdev_client_flush(struct sprite_pdev *d);

/* client_stream.c */
void pdev_client_request(struct sprite_pdev *d, const struct frame_msg *f);
void pdev_client_note(struct sprite_pdev *d, const struct frame_msg *f);
/* fsd is gone, or we go: every stream is closed. */
void pdev_client_end_streams(struct sprite_pdev *d);

#endif
