/*
 * test_move.c -- programs moved between two worlds.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "log.h"
#include "prog.h"
#include "world.h"

static struct world a, b;
static int null_fd, listener = -1;
static char file[64];

static void open_both(void)
{
	if (getenv("SPRITE_SHOW"))
		log_level = LOG_DEBUG;
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	listener = stub_listen();
	snprintf(file, sizeof(file), "/tmp/sprite-mover-%d", getpid());
	cr_assert(zero(int, eng_kernel_open(&kernel)));
	world_open(&a, 5000);
	world_open(&b, 9000);
}

static void close_both(void)
{
	eng_kernel_close(kernel);
	kernel = NULL;
	world_close(&a);
	world_close(&b);
	close(null_fd);
	close(listener);
	unlink(stub_path);
	unlink(file);
}

TestSuite(move, .init = open_both, .fini = close_both, .timeout = 120);

static const char *program(const char *name)
{
	static char path[512];
	const char *dir = getenv("SPRITE_TEST_PROGRAMS");

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : ".", name);
	return path;
}

static struct move plan(pid_t pid, enum eng_memory memory, enum ending ending)
{
	return (struct move){ .pid = pid,
			      .memory = memory,
			      .ending = ending,
			      .cut = -1,
			      .flip = -1 };
}

static void explain(const struct move *m)
{
	char text[512];

	for (unsigned i = 0; i < m->srep.n; i++) {
		eng_reason_text(&m->srep, i, text, sizeof(text));
		fprintf(stderr, "source: %s\n", text);
	}
	for (unsigned i = 0; i < m->trep.n; i++) {
		eng_reason_text(&m->trep, i, text, sizeof(text));
		fprintf(stderr, "target: %s\n", text);
	}
}

static void must(struct world *from, struct world *to, int ctl, struct move *m)
{
	move(from, to, ctl, m);
	explain(m);
	if (m->source || m->target)
		fprintf(stderr, "source %d, target %d\n", m->source,
			m->target);
	cr_assert(zero(int, m->source));
	cr_assert(zero(int, m->target));
	if (getenv("SPRITE_SHOW"))
		fprintf(stderr,
			"check %lu freeze %lu save %lu frozen %lu restore %lu "
			"resume %lu lazy %lu release %lu us, %lu bytes, "
			"%lu + %lu pages, %lu faults\n",
			m->stimes.check_us, m->stimes.freeze_us,
			m->stimes.save_us, m->stimes.frozen_us,
			m->ttimes.restore_us, m->ttimes.resume_us,
			m->ttimes.lazy_us, m->stimes.release_us,
			m->stimes.bytes, m->stimes.pages, m->ttimes.lazy_pages,
			m->ttimes.lazy_faults);
}

static void start(struct guest *g, const char *name, const char *arg)
{
	char *argv[] = { (char *)(uintptr_t)program(name), (char *)(uintptr_t)arg,
			 NULL };

	guest_start(&a, g, argv, (int[]){ null_fd, null_fd, 2 });
}

Test(move, a_null_process)
{
	struct guest g;
	struct move m;
	int ctl;

	start(&g, "quiet", NULL);
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_KILL);
	must(&a, &b, ctl, &m);
	cr_expect(eq(int, guest_status(&g), SIGKILL));
	/* It waits for a signal, and then ends as it says. */
	cr_assert(zero(int, stub_call(b.root,
				      &(struct stub_msg){ .type = STUB_KILL,
							  .pid = g.pid,
							  .sig = SIGTERM },
				      NULL, 0, 5000, NULL, NULL, NULL)));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 5 << 8));
}

Test(move, a_busy_process)
{
	struct guest g;
	struct move m;
	int ctl;

	start(&g, "quiet", "-b");
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_KILL);
	must(&a, &b, ctl, &m);
	cr_expect(eq(int, guest_status(&g), SIGKILL));
	cr_assert(zero(int, stub_call(b.root,
				      &(struct stub_msg){ .type = STUB_KILL,
							  .pid = g.pid,
							  .sig = SIGTERM },
				      NULL, 0, 5000, NULL, NULL, NULL)));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 5 << 8));
}

static int kill_in(struct world *w, pid_t pid, int sig)
{
	return stub_call(w->root,
			 &(struct stub_msg){ .type = STUB_KILL,
					     .pid = pid,
					     .sig = sig },
			 NULL, 0, 5000, NULL, NULL, NULL);
}

/* It ends after msecs, but not before SIGUSR1 says that it was moved enough. */
static void start_mover(struct guest *g, const char *msecs, const char *mib)
{
	char *argv[] = { (char *)(uintptr_t)program("mover"),
			 (char *)"-r", (char *)"9", (char *)"-f", file,
			 (char *)"-t", (char *)(uintptr_t)msecs,
			 (char *)"-m", (char *)(uintptr_t)mib,
			 (char *)"-n", (char *)"1", NULL };

	guest_start(&a, g, argv, (int[]){ null_fd, null_fd, 2 });
}

Test(move, a_program_that_checks_itself)
{
	struct guest g;
	struct move m;
	int ctl;

	start_mover(&g, "1500", "64");
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_KILL);
	must(&a, &b, ctl, &m);
	cr_expect(eq(int, guest_status(&g), SIGKILL));
	cr_assert(zero(int, kill_in(&b, g.pid, SIGUSR1)));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 42 << 8));
}

Test(move, letting_go_changes_nothing)
{
	struct guest g;
	struct move m;
	int ctl;

	start_mover(&g, "1500", "16");
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_THAW);
	must(&a, &b, ctl, &m);
	cr_assert(zero(int, kill_in(&a, g.pid, SIGUSR1)));
	cr_expect(eq(int, guest_status(&g), 42 << 8));
}

/* There and back, the home stub kept; as often as asked. */
static void round_trips(enum eng_memory memory, int n, const char *msecs)
{
	struct guest g;
	int home, away, st;

	start_mover(&g, msecs, "64");
	for (int i = 0; i < n; i++) {
		struct move m = plan(g.pid, memory, END_STUB);

		away = nursery(&b, g.pid);
		must(&a, &b, away, &m);
		close(away);
		home = stub_accept(listener, g.pid);
		m = plan(g.pid, memory, END_KILL);
		must(&b, &a, home, &m);
		close(home);
		cr_expect(eq(int, end_of_child(b.root, g.pid), SIGKILL));
	}
	cr_assert(zero(int, kill_in(&a, g.pid, SIGUSR1)));
	st = guest_status(&g);
	cr_expect(eq(int, st, 42 << 8));
}

Test(move, there_and_back_into_its_own_stub)
{
	round_trips(ENG_DIRECT, 5, "5000");
}

Test(move, there_and_back_with_pages_on_demand)
{
	round_trips(ENG_LAZY, 5, "5000");
}

static const char tree[] =
	"printf r >&9; exec 9>&-;"
	"(i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); sleep 0.03; done)"
	" | (s=0; while read x; do s=$((s+x)); done;"
	" [ $s = 1770 ] && exit 9; exit 1); exit $?";

static void start_script(struct guest *g, const char *text)
{
	char script[128], *argv[] = { (char *)"/bin/sh", script, NULL };
	int fd;

	snprintf(script, sizeof(script), "%s", file);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(eq(long, write(fd, text, strlen(text)),
		     (long)strlen(text)));
	close(fd);
	guest_start(&a, g, argv, (int[]){ null_fd, null_fd, 2 });
}

Test(move, a_shell_with_a_pipeline)
{
	struct guest g;
	struct move m;
	int ctl;

	start_script(&g, tree);
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_KILL);
	must(&a, &b, ctl, &m);
	cr_expect(gt(u32, m.stimes.procs, 2));
	cr_expect(eq(int, guest_status(&g), SIGKILL));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 9 << 8));
}

Test(move, a_shell_with_a_pipeline_let_go)
{
	struct guest g;
	struct move m;
	int ctl;

	start_script(&g, tree);
	for (int i = 0; i < 5; i++) {
		ctl = nursery(&b, g.pid);
		m = plan(g.pid, ENG_LAZY, END_THAW);
		must(&a, &b, ctl, &m);
		close(ctl);
		end_of_child(b.root, g.pid);
	}
	cr_expect(eq(int, guest_status(&g), 9 << 8));
}

Test(move, every_signal_arrives_exactly_once)
{
	char *argv[] = { (char *)(uintptr_t)program("mover"), (char *)"-r",
			 (char *)"9", (char *)"-m", (char *)"1", (char *)"-t",
			 (char *)"300", (char *)"-n", (char *)"3", NULL };
	struct guest g;
	struct move m;
	struct stub_msg got;
	int ctl, home;

	guest_start(&a, &g, argv, (int[]){ null_fd, null_fd, 2 });
	cr_assert(zero(int, kill_in(&a, g.pid, SIGUSR1)));
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_STUB);
	must(&a, &b, ctl, &m);
	home = stub_accept(listener, g.pid);
	/* At home there is a stub now: the signal is relayed. */
	cr_assert(zero(int, kill_in(&a, g.pid, SIGUSR1)));
	do {
		cr_assert(zero(int, stub_recv(home, &got, 5000)));
	} while (got.type != STUB_SIGNAL);
	cr_expect(eq(int, got.sig, SIGUSR1));
	cr_assert(zero(int, kill_in(&b, g.pid, got.sig)));
	/* And one that is sent where it runs. */
	m = plan(g.pid, ENG_DIRECT, END_KILL);
	must(&b, &a, home, &m);
	cr_assert(zero(int, kill_in(&a, g.pid, SIGUSR1)));
	cr_expect(eq(int, guest_status(&g), 42 << 8));
}

Test(move, a_stub_half_filled_becomes_a_stub_again)
{
	struct guest g;
	struct move m;
	int ctl, again;

	start_mover(&g, "800", "8");
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_THAW);
	m.abort_target = true;
	must(&a, &b, ctl, &m);
	again = stub_accept(listener, g.pid);
	cr_expect(zero(int, stub_call(again,
				      &(struct stub_msg){ .type = STUB_PING },
				      NULL, 0, 5000, NULL, NULL, NULL)));
	/* And it can be filled after all. */
	m = plan(g.pid, ENG_LAZY, END_KILL);
	must(&a, &b, again, &m);
	cr_expect(eq(int, guest_status(&g), SIGKILL));
	cr_assert(zero(int, kill_in(&b, g.pid, SIGUSR1)));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 42 << 8));
}

Test(move, a_stopped_program_stays_stopped)
{
	struct guest g;
	struct stub_msg got;
	struct move m;
	int ctl;

	start(&g, "quiet", NULL);
	cr_assert(zero(int, kill_in(&a, g.pid, SIGSTOP)));
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_KILL);
	must(&a, &b, ctl, &m);
	do {
		cr_assert(zero(int, stub_recv(b.root, &got, 5000)));
	} while (got.type != STUB_CHILD);
	cr_expect(eq(int, got.u.child.code, CLD_STOPPED));
	cr_assert(zero(int, kill_in(&b, g.pid, SIGTERM)));
	cr_assert(zero(int, kill_in(&b, g.pid, SIGCONT)));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 5 << 8));
	cr_expect(eq(int, guest_status(&g), SIGKILL));
}

/* A damaged or cut image never crashes anybody and leaves nothing. */
static void damage(bool cut)
{
	struct guest g;
	struct move m;
	int ctl, size;

	start(&g, "quiet", NULL);
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_THAW);
	must(&a, &b, ctl, &m);
	close(ctl);
	end_of_child(b.root, g.pid);
	size = m.image_bytes;
	for (int i = 0; i < 40; i++) {
		struct stub_msg bye = { .type = STUB_EXIT };

		ctl = nursery(&b, g.pid);
		m = plan(g.pid, ENG_DIRECT, END_THAW);
		if (cut)
			m.cut = (long)size * i / 40;
		else
			m.flip = (long)size * i / 40 + i % 7;
		move(&a, &b, ctl, &m);
		cr_expect(eq(int, m.target, cut ? -EPIPE : -EBADMSG));
		stub_send(ctl, &bye, NULL, 0);
		end_of_child(b.root, g.pid);
		close(ctl);
	}
	cr_assert(zero(int, kill_in(&a, g.pid, SIGTERM)));
	cr_expect(eq(int, guest_status(&g), 5 << 8));
}

Test(move, a_cut_image_is_refused)
{
	damage(true);
}

Test(move, a_damaged_image_is_refused)
{
	damage(false);
}

/* Somebody's process: ids travel, and it comes home only with help. */
static void users_process(bool privileged)
{
	char *argv[] = { (char *)"/usr/bin/setpriv", (char *)"--reuid=1234",
			 (char *)"--regid=77", (char *)"--groups=7,9",
			 (char *)(uintptr_t)program("mover"), (char *)"-r",
			 (char *)"9", (char *)"-m", (char *)"8", (char *)"-t",
			 (char *)"800", NULL };
	struct guest g;
	struct move m;
	int ctl, home;

	guest_start(&a, &g, argv, (int[]){ null_fd, null_fd, 2 });
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_DIRECT, END_STUB);
	must(&a, &b, ctl, &m);
	home = stub_accept(listener, g.pid);
	m = plan(g.pid, ENG_LAZY, END_KILL);
	if (privileged) {
		must(&b, &a, home, &m);
		cr_expect(eq(int, guest_status(&g), 42 << 8));
		return;
	}
	move(&b, &a, home, &m);
	cr_expect(eq(int, m.target, -EOPNOTSUPP));
	cr_expect(eq(int, m.trep.item[0].reason, ENG_PRIVILEGE));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 42 << 8));
	cr_assert(zero(int, stub_send(home,
				      &(struct stub_msg){ .type = STUB_EXIT,
							  .status = 42 << 8 },
				      NULL, 0)));
	cr_expect(eq(int, guest_status(&g), 42 << 8));
}

/* Both worlds, with a copy of the stub that has this mode. */
static void open_with_stub(const char *mode)
{
	char cmd[2048], from[512];

	cr_assert(zero(int, prog_path("sprite-stub", from, sizeof(from))));
	snprintf(stub_file, sizeof(stub_file), "/tmp/sprite-stub-%d",
		 getpid());
	snprintf(cmd, sizeof(cmd), "cp %s %s && chmod %s %s", from, stub_file,
		 mode, stub_file);
	cr_assert(zero(int, system(cmd)));
	open_both();
}

static void open_plain(void)
{
	open_with_stub("755");
}

static void open_setuid(void)
{
	open_with_stub("4755");
}

Test(move, a_users_process_and_its_stub_without_rights, .init = open_plain)
{
	cr_assert(zero(int, chmod(stub_path, 0666)));
	users_process(false);
	unlink(stub_file);
}

Test(move, a_users_process_comes_home, .init = open_setuid)
{
	users_process(true);
	unlink(stub_file);
}

static const char forks[] =
	"printf r >&9; exec 9>&-; i=0; s=0;"
	"while [ $i -lt 800 ]; do i=$((i+1)); x=$(echo $i); s=$((s+x)); done;"
	"[ $s = 320400 ] && exit 9; exit 1";

/* There and back of a whole tree, each into its own stub at home. */
static void tree_round_trips(struct guest *g, int n, uint64_t lazy_min)
{
	for (int i = 0; i < n; i++) {
		struct move m = plan(g->pid, ENG_LAZY, END_STUB), back;
		struct stub_msg bye = { .type = STUB_EXIT };
		int away = nursery(&b, g->pid), home = -1;
		unsigned procs;

		m.lazy_min = lazy_min;
		must(&a, &b, away, &m);
		close(away);
		back = plan(g->pid, ENG_LAZY, END_KILL);
		back.lazy_min = lazy_min;
		procs = m.stimes.procs - m.zombies;
		while (procs--) {
			pid_t pid;
			int fd = stub_accept_any(listener, &pid);

			if (pid == g->pid) {
				home = fd;
				continue;
			}
			back.have_pid[back.nhave] = pid;
			back.have_ctl[back.nhave++] = fd;
		}
		must(&b, &a, home, &back);
		close(home);
		end_of_child(b.root, g->pid);
		/* Whoever ended abroad meanwhile ends at home, too. */
		for (int k = 0; k < back.nhave; k++) {
			stub_send(back.have_ctl[k], &bye, NULL, 0);
			close(back.have_ctl[k]);
		}
	}
}

Test(move, a_shell_that_forks_all_the_time)
{
	struct guest g;

	start_script(&g, forks);
	tree_round_trips(&g, 3, 4096);
	cr_expect(eq(int, guest_status(&g), 9 << 8));
}

Test(move, a_pipeline_there_and_back)
{
	struct guest g;

	start_script(&g, tree);
	tree_round_trips(&g, 3, 0);
	cr_expect(eq(int, guest_status(&g), 9 << 8));
}

Test(move, a_large_program_with_pages_on_demand)
{
	struct guest g;
	struct move m;
	int ctl;

	start_mover(&g, "2500", "256");
	ctl = nursery(&b, g.pid);
	m = plan(g.pid, ENG_LAZY, END_KILL);
	must(&a, &b, ctl, &m);
	cr_expect(eq(int, guest_status(&g), SIGKILL));
	cr_assert(zero(int, kill_in(&b, g.pid, SIGUSR1)));
	cr_expect(eq(int, end_of_child(b.root, g.pid), 42 << 8));
}

/* Sleeps of five seconds, moved over and over: none gets longer by it. */
Test(move, a_sleep_ends_when_it_should)
{
	char *argv[] = { (char *)(uintptr_t)program("sleeper"), NULL };
	struct guest g;
	int home, away;

	guest_start(&a, &g, argv, (int[]){ null_fd, null_fd, 2 });
	for (int i = 0; i < 4; i++) {
		struct move m = plan(g.pid, ENG_DIRECT, END_STUB);

		away = nursery(&b, g.pid);
		must(&a, &b, away, &m);
		close(away);
		home = stub_accept(listener, g.pid);
		m = plan(g.pid, ENG_DIRECT, END_KILL);
		must(&b, &a, home, &m);
		close(home);
		end_of_child(b.root, g.pid);
	}
	cr_expect(eq(int, guest_status(&g), 42 << 8));
}
