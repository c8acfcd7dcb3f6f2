/* fake_migd.c -- see fake_migd.h. */
#include "fake_migd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ev.h>

#include "env.h"
#include "fd.h"
#include "hostdb_enum.h"
#include "hostdb_msg.h"
#include "migd_msg.h"
#include "rpc.h"

static char dir[64];
static pid_t server;

/* ---- the answers ----------------------------------------------------------- */

#define ANSWER(req, name, ...)                                              \
	do {                                                                \
		struct msg_##name a = { __VA_ARGS__ };                      \
		uint8_t room[4096];                                         \
		struct rpc_out o = { .code = MSG_##name, .body = room };    \
		if (msg_##name##_encode(&a, room, sizeof(room), &o.len))    \
			abort();                                            \
		rpc_reply(req, 0, &o);                                      \
	} while (0)

static void on_hosts(struct rpc_req *q, const struct rpc_msg *m)
{
	struct msg_migd_ask_hostdb ask;
	struct msg_hostdb_list list;
	struct msg_hostdb_explain why;
	uint8_t room[1024];
	struct wire_writer w = wire_writer(room, sizeof(room));
	struct msg_hostdb_host h = { .id = 1, .name = "h1", .type = "x86_64",
				     .state = HOST_ACTIVE, .why = WHY_INPUT,
				     .up_secs = 90061, .load1_centi = 123,
				     .idle_secs = 5, .slots = 1, .same_version = 1 };

	if (msg_migd_ask_hostdb_decode(m->body, m->len, &ask))
		abort();
	if (ask.code == MSG_hostdb_explain) {
		if (msg_hostdb_explain_decode(ask.body.p, ask.body.len, &why))
			abort();
		if (strcmp(why.host, "h2"))
			rpc_reply_err(q, -ENOENT, "there is no host of that name");
		else
			ANSWER(q, hostdb_reasons, .text = "h2 is free\n");
		return;
	}
	if (msg_hostdb_list_decode(ask.body.p, ask.body.len, &list))
		abort();
	/* In two parts. */
	if (list.from) {
		h.id = 2, h.name = "h2", h.state = HOST_IDLE, h.available = 1;
		h.idle_secs = 4000, h.why = 0, h.up_secs = 120;
		msg_hostdb_host_put(&w, &h);
		h.id = 3, h.name = "h3", h.state = HOST_DOWN;
	}
	msg_hostdb_host_put(&w, &h);
	ANSWER(q, hostdb_hosts, .hosts = { room, w.len },
	       .next = list.from ? 0 : 2);
}

static void on_ps(struct rpc_req *q, const struct rpc_msg *m)
{
	struct msg_migd_ps ps;
	uint8_t room[1024], body[256];
	struct wire_writer w = wire_writer(room, sizeof(room));
	struct msg_migd_procs head = { .count = 3, .silent = "" };
	struct rpc_out o = { .code = MSG_migd_procs, .body = body,
			     .payload = room };

	if (msg_migd_ps_decode(m->body, m->len, &ps))
		abort();
	msg_migd_proc_put(&w, &(struct msg_migd_proc){
		.pid = 16400, .kind = 2, .state = 'S', .home = 1, .host = 2,
		.command = "stub" });
	msg_migd_proc_put(&w, &(struct msg_migd_proc){
		.pid = 16400, .kind = 1, .state = 'R', .home = 1, .host = 2,
		.moves = 3, .cpu_ms = 61500, .command = "simulate \"x\"" });
	msg_migd_proc_put(&w, &(struct msg_migd_proc){
		.pid = 32800, .state = 'S', .home = 2, .host = 2,
		.command = "sh" });
	if (ps.uid != UINT32_MAX)
		head.count = 4, head.silent = "h3"; /* more than there are */
	if (msg_migd_procs_encode(&head, body, sizeof(body), &o.len))
		abort();
	o.payload_len = w.len;
	rpc_reply(q, 0, &o);
}

static struct msg_migd_move_record record(uint32_t pid, int status)
{
	return (struct msg_migd_move_record){
		.pid = pid, .from = 1, .to = 2, .cause = MIGD_ASKED,
		.strategy = MIGD_LAZY, .status = status, .procs = 1, .threads = 4,
		.bytes = 1 << 20, .freeze_us = 2500, .total_us = 40000,
		.why = status ? "the target went away" : ""
	};
}

static void on_migrate(struct rpc_req *q, const struct rpc_msg *m)
{
	struct msg_migd_migrate a;
	struct msg_migd_move_record rec;
	uint8_t room[512];
	struct wire_writer w = wire_writer(room, sizeof(room));

	if (msg_migd_migrate_decode(m->body, m->len, &a))
		abort();
	if (a.pid == 16401) {
		rpc_reply_err(q, -EOPNOTSUPP, "it has an epoll descriptor");
		return;
	}
	if (a.pid != 16400) {
		rpc_reply_err(q, -ESRCH, "there is no such process");
		return;
	}
	rec = record(a.pid, 0);
	msg_migd_move_record_put(&w, &rec);
	ANSWER(q, migd_migrated, .record = { room, w.len });
}

static void on_run(struct rpc_req *q, const struct rpc_msg *m)
{
	struct msg_migd_run a;
	struct msg_migd_run_ended end = { .pid = 16500, .why = "" };
	uint8_t room[64];
	struct rpc_out note = { .code = MSG_migd_run_ended, .body = room };
	struct rpc_conn *conn = rpc_req_conn(q);

	if (msg_migd_run_decode(m->body, m->len, &a) || m->nfds < 3)
		abort();
	if (!strcmp(a.host, "none")) {
		rpc_reply_err(q, -EAGAIN, "no host is idle");
		return;
	}
	if (!*a.host) {
		ANSWER(q, migd_run_started, .how = MIGD_RUN_HERE, .host_name = "",
		       .stub = "", .rejoin = "");
		return;
	}
	ANSWER(q, migd_run_started, .how = MIGD_WAIT, .pid = 16500,
	       .host_name = "h2", .stub = "", .rejoin = "");
	if (!strcmp(a.host, "exits")) {
		end.status = 3 << 8;
	} else {
		end.status = SIGTERM;
		end.why = "its host was lost";
	}
	if (msg_migd_run_ended_encode(&end, room, sizeof(room), &note.len) ||
	    rpc_conn_note(conn, &note))
		abort();
}

static void on_lists(struct rpc_req *q, const struct rpc_msg *m)
{
	uint8_t room[1024];
	struct wire_writer w = wire_writer(room, sizeof(room));
	struct msg_migd_move_record rec[2] = { record(16400, 0),
					       record(16401, -EPIPE) };

	if (m->code == MSG_migd_moves) {
		msg_migd_move_record_put(&w, &rec[0]);
		msg_migd_move_record_put(&w, &rec[1]);
		ANSWER(q, migd_moves_list, .records = { room, w.len });
		return;
	}
	msg_migd_eviction_put(&w, &(struct msg_migd_eviction){
		.cause = "console", .guests = 2, .frozen_us = 1500,
		.gone_us = 90000, .ago_ms = 2000 });
	ANSWER(q, migd_evictions_list, .records = { room, w.len });
}

static void on_request(void *arg, struct rpc_req *q, const struct rpc_msg *m)
{
	struct msg_migd_explain e;
	struct msg_migd_kill k;
	struct msg_migd_evict v;

	(void)arg;
	switch (m->code) {
	case MSG_migd_ask_hostdb:
		on_hosts(q, m);
		return;
	case MSG_migd_ps:
		on_ps(q, m);
		return;
	case MSG_migd_migrate:
		on_migrate(q, m);
		return;
	case MSG_migd_run:
		on_run(q, m);
		return;
	case MSG_migd_moves:
	case MSG_migd_evictions:
		on_lists(q, m);
		return;
	case MSG_migd_explain:
		if (msg_migd_explain_decode(m->body, m->len, &e))
			abort();
		ANSWER(q, migd_explained, .text = "it is at home\n");
		return;
	case MSG_migd_kill:
		if (msg_migd_kill_decode(m->body, m->len, &k))
			abort();
		rpc_reply_err(q, k.pid == -16400 && k.sig == SIGUSR1 ? 0 : -EPERM,
			      "it is not yours");
		return;
	case MSG_migd_evict:
		if (msg_migd_evict_decode(m->body, m->len, &v))
			abort();
		ANSWER(q, migd_evicted, .guests = 3, .left = *v.host ? 1 : 0,
		       .frozen_us = 900, .gone_us = 80000,
		       .why = *v.host ? "nobody takes 16401" : "");
		return;
	default:
		rpc_reply_err(q, -EOPNOTSUPP, "not known here");
	}
}

/* ---- the process ------------------------------------------------------------- */

static int no_key(void *arg, uint32_t host, uint8_t ret[32])
{
	(void)arg, (void)host, (void)ret;
	return -ENOENT;
}

static _Noreturn void serve(const char *path, int ready)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct env *env = env_ev_new(loop);
	const struct rpc_identity id = { .host = 1, .service = SVC_MIGD };
	const struct rpc_handler h = { .on_request = on_request };
	struct rpc *r = rpc_new(env, &id, no_key, NULL, &h);

	if (!r || rpc_listen_unix(r, path, 0666))
		_exit(1);
	(void)!write(ready, "", 1);
	close(ready);
	ev_run(loop, 0);
	_exit(0);
}

void fake_begin(void)
{
	char path[128], c;
	int p[2];

	strcpy(dir, "/tmp/sprite-verbs.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	setenv("SPRITE_RUN", dir, 1);
	setenv("SPRITE_STATE", dir, 1);
	snprintf(path, sizeof(path), "%s/host.conf", dir);
	cr_assert_eq(fd_write_file(path, "\n", 1, 0644), 0);
	snprintf(path, sizeof(path), "%s/migd.sock", dir);
	cr_assert_eq(pipe(p), 0);
	server = fork();
	cr_assert_geq(server, 0);
	if (server == 0) {
		close(p[0]);
		serve(path, p[1]);
	}
	close(p[1]);
	cr_assert_eq(read(p[0], &c, 1), 1, "the fake migd did not start");
	close(p[0]);
}

void fake_end(void)
{
	static const char *const files[] = { "host.conf", "migd.sock", "said" };
	char path[128];

	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
	}
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	rmdir(dir);
}

static _Noreturn void child(const struct verb *v, const char *line, int fd)
{
	char copy[512], *argv[32], *word;
	int argc = 0;

	dup2(fd, 1);
	dup2(fd, 2);
	snprintf(copy, sizeof(copy), "%s %s", v->name, line);
	for (word = strtok(copy, " "); word && argc < 31; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	argc = v->run(v, argc, argv);
	fflush(stdout);
	_exit(argc);
}

struct said say(const struct verb *v, const char *line)
{
	struct said s = { 0 };
	char path[128];
	ssize_t n;
	int fd, st;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/said", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(v, line, fd);
	cr_assert_eq(waitpid(pid, &st, 0), pid);
	s.code = WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
	n = pread(fd, s.out, sizeof(s.out) - 1, 0);
	s.out[n > 0 ? n : 0] = 0;
	close(fd);
	return s;
}
