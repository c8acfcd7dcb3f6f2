/*
 * lsan.c -- what LeakSanitizer finds in Criterion itself is not ours: its
 * parent process does not free all that it knows of the tests.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libcriterion\n";
}

/* A report file means a leak; a list of what was suppressed is none. */
const char *__lsan_default_options(void)
{
	return "print_suppressions=0";
}
