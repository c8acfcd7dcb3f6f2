#ifndef TESTS_ENGINE_WORLD_H
#define TESTS_ENGINE_WORLD_H
/*
 * world.h -- two PID namespaces to move programs between, and movers in them.
 *
 * The test is what a migration daemon is in real life: it holds the control
 * sockets of all stubs, starts movers, decides about the commit.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine.h"
#include "stub_proto.h"

struct world {
	pid_t outer; /* of its init, in our own namespace */
	int cmd;
	int root; /* control socket of a stub that makes others */
	pid_t root_pid;
};

/* PIDs of the world begin above first_pid. */
void world_open(struct world *w, int first_pid);
void world_close(struct world *w);

/*
 * Run fn in a new process of the world; arg is copied, fds are there under
 * the numbers fds[].  fn's own socket to the test is fds[0] there.
 * Returns the test's end of it.
 */
typedef int job(void *arg, const int *fds, unsigned nfds);
int world_run(struct world *w, job *fn, const void *arg, size_t len,
	      const int *fds, unsigned nfds);

/* A program in the world, with these as 0, 1, 2; its parent tells the end. */
struct guest {
	pid_t pid;   /* in its world */
	int parent;  /* socket: wait status when it ends */
	int ready;   /* pipe: "r" */
};
void guest_start(struct world *w, struct guest *g, char *const *argv,
		 const int stdio[3]);
int guest_status(struct guest *g);

/* One move.  Everything is decided before, except the commit. */
enum ending { END_KILL, END_STUB, END_THAW };

struct move {
	pid_t pid;
	enum eng_memory memory;
	enum ending ending;
	bool abort_target;
	long cut; /* >= 0: end of file after so many bytes of image */
	long flip; /* >= 0: change this byte */
	uint64_t lazy_min;
	/* more stubs that are there already */
	int nhave;
	pid_t have_pid[4];
	int have_ctl[4];
	/* results */
	int source, target; /* 0 or -errno of the first failing call */
	struct eng_times stimes, ttimes;
	struct eng_report srep, trep;
	int image_bytes;
	unsigned zombies;
};

/* ctl: control of the stub of that PID in `to`. */
void move(struct world *from, struct world *to, int ctl, struct move *m);

/* A stub with this PID below the root stub of the world. */
int nursery(struct world *w, pid_t pid);

/* Where stubs made by exec connect to; shared by both worlds. */
extern char stub_path[64];
/* Shared by all source movers, if it can be had. */
extern struct eng_kernel *kernel;
/* If set (before world_open): the program that home stubs are made of. */
extern char stub_file[512];
int stub_listen(void);
int stub_accept(int l, pid_t pid);
/* Whichever comes next. */
int stub_accept_any(int l, pid_t *ret_pid);

/* Wait for the report of a child's end at a stub; other reports are skipped. */
int end_of_child(int ctl, pid_t pid);

#endif
