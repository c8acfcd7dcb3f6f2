/*
 * main.c -- the user's command: a table of verbs, one file each.
 *
 * The one other name this program answers to is that of a virtual host's
 * first process (lab_host.c), which has to outlive the command that made it.
 */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "lab.h"

#ifndef SPRITE_VERSION
#define SPRITE_VERSION "0.1"
#endif

static const struct verb *const verbs[] = {
	/* groups stand together */
	&verb_init,    &verb_token,   &verb_join,   &verb_remove,
	&verb_up,      &verb_down,    &verb_status,
	&verb_run,     &verb_make,    &verb_ps,
	&verb_hosts,   &verb_migrate, &verb_evict,
	&verb_kill,    &verb_explain, &verb_moves,
	&verb_lab,
};
#define VERBS (sizeof(verbs) / sizeof(*verbs))

static void print_verbs(FILE *to)
{
	const char *group = "";

	fprintf(to, "usage: sprite VERB [ARGUMENTS]\n");
	for (size_t i = 0; i < VERBS; i++) {
		if (strcmp(group, verbs[i]->group)) {
			group = verbs[i]->group;
			fprintf(to, "\n%s\n", group);
		}
		fprintf(to, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
	}
	fprintf(to, "\n`sprite VERB --help` tells the rest; `man sprite` has "
		    "exit codes and files.\n");
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < VERBS; i++) {
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	}
	return NULL;
}

static int help(int argc, char **argv)
{
	const struct verb *v = argc > 1 ? find_verb(argv[1]) : NULL;

	if (argc > 1 && !v)
		return fail(X_USAGE, "there is no verb '%s'; `sprite --help` "
				     "lists them", argv[1]);
	if (v)
		fputs(v->help, stdout);
	else
		print_verbs(stdout);
	return X_OK_DONE;
}

int main(int argc, char **argv)
{
	const struct verb *v;

	if (argc > 0 && strcmp(argv[0], LAB_INIT_NAME) == 0)
		return lab_init_main();
	if (argc < 2) {
		print_verbs(stderr);
		return X_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help"))
		return help(argc - 1, argv + 1);
	if (!strcmp(argv[1], "--version")) {
		puts("sprite " SPRITE_VERSION);
		return X_OK_DONE;
	}
	v = find_verb(argv[1]);
	if (!v)
		return fail(X_USAGE, "there is no verb '%s'; `sprite --help` "
				     "lists them", argv[1]);
	return v->run(v, argc - 1, argv + 1);
}
