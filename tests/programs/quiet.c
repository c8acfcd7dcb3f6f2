/*
 * quiet.c -- does nothing until SIGTERM, then ends with status 5.  With "-b"
 * it does nothing without a system call.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void on_term(int sig)
{
	(void)sig;
	ended = 1;
}

int main(int argc, char **argv)
{
	sigset_t term, old;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &old);
	signal(SIGTERM, on_term);
	if (write(9, "r", 1) == 1)
		close(9);
	if (argc > 1 && !strcmp(argv[1], "-b")) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		while (!ended)
			;
	}
	while (!ended)
		sigsuspend(&old);
	return 5;
}
