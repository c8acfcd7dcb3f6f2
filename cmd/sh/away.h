#ifndef CMD_SH_AWAY_H
#define CMD_SH_AWAY_H
/*
 * away.h -- run one recipe on another host.
 *
 * A child turns into the home stub of the recipe, as `sprite run` would; the
 * caller stays, to be able to run the recipe again at home if its host is
 * lost.  A recipe only writes what the rerun writes again.
 */
#include <stdbool.h>

#include "make_proto.h"

/*
 * argv[0] is the program's path, where says the host.  True: it ran and
 * *ret_status is its wait status.  False: it did not run, or its host was
 * lost, or its owner wanted the host back and it could not be moved; ret_why
 * says which.
 */
bool away_run(const struct make_answer *where, char **argv, int *ret_status,
	      char ret_why[MAKE_WHY_MAX]);
/* End with a child's wait status. */
_Noreturn void away_end_like(int status);

#endif
