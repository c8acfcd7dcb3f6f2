#ifndef CMD_RUN_STATE_H
#define CMD_RUN_STATE_H
/*
 * run_state.h -- everything a program inherits from whoever executes it, made
 * into a migd_run request.
 */
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "rpc.h"

#define RUN_PATH_MAX 4096

struct run_want {
	uint32_t flags; /* enum migd_run_flags */
	const char *host;
	uint64_t grant; /* of `sprite make`'s lease; 0: none */
	char *const *argv;
	char *const *envp;
};

struct run_request {
	struct rpc_out out;
	int fds[RPC_FDS_MAX];
	uint8_t *body;
	struct buf payload;
};

/*
 * Where name is, as execvp would find it; absolute.  -ENOENT: nowhere,
 * -EACCES: cannot be executed.
 */
int run_find(const char *name, char ret[RUN_PATH_MAX]);
/*
 * Our working directory, masks, limits and every descriptor that would survive
 * an exec.  -EMFILE: more than RPC_FDS_MAX; -E2BIG: arguments and environment
 * are too long.  Release with run_request_free.
 */
int run_request_make(const struct run_want *w, const char *path,
		     struct run_request *ret);
void run_request_free(struct run_request *q);

#endif
