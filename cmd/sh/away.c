#include "away.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
bool away_run(const char *host, char **argv, int *st) { (void)host; (void)argv; (void)st; return false; }
_Noreturn void away_end_like(int status) { _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1); }
