/* move.c -- what both sides of a migration share: records, history. */
#include "move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "chan.h"
#include "cleanup.h"
#include "log.h"
#include "sigq.h"

#define HISTORY 256

struct history {
	unsigned next;
	struct {
		struct msg_migd_move_record rec;
		char why[MOVER_TEXT];
		uint64_t at_ms;
	} item[HISTORY];
};

static const struct {
	const char *name;
	unsigned next;
} states[] = {
#define STATE(name, next) [MIG_##name] = { #name, next },
	MIGRATION_STATES(STATE)
#undef STATE
};

const char *mig_state_name(enum mig_state s)
{
	return states[s].name;
}

bool mig_may(enum mig_state from, enum mig_state to)
{
	return states[from].next & (1u << to);
}

struct move *move_new(struct migd *m, enum move_role role, uint32_t pid)
{
	struct move *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->m = m;
	v->id = ++m->job_seq;
	v->role = role;
	v->pid = pid;
	v->start_us = clock_us();
	list_init(&v->signals);
	list_add_tail(&m->moves, &v->link);
	return v;
}

struct move_ref *move_ref(struct move *v)
{
	struct move_ref *r = malloc(sizeof(*r));

	if (r)
		*r = (struct move_ref){ v->m, v->id };
	return r;
}

struct move *move_deref(struct move_ref *r)
{
	struct move *found = NULL;

	if (!r)
		return NULL;
	list_each(v, &r->m->moves, struct move, link)
		if (v->id == r->id)
			found = v;
	free(r);
	return found;
}

void move_free(struct move *v)
{
	env_cancel(v->m->env, &v->timer);
	list_del(&v->link);
	mover_free(v->mover);
	sigq_free(&v->signals);
	for (int i = 0; i < 3; i++)
		chan_close(v->chan[i]);
	if (v->role == MOVE_ARRIVE)
		for (unsigned i = 0; i < v->nstreams; i++)
			close_ptr(&v->stream_fd[i]);
	free(v);
}

struct move *move_by_token(struct migd *m, enum move_role role, uint64_t token)
{
	list_each(v, &m->moves, struct move, link)
		if (v->role == role && v->token && v->token == token)
			return v;
	return NULL;
}

struct move *move_by_pid(struct migd *m, enum move_role role, uint32_t pid)
{
	list_each(v, &m->moves, struct move, link)
		if (v->role == role && v->pid == pid)
			return v;
	return NULL;
}

static const char *const causes[] = { "", "asked for", "eviction", "balance",
				      "return" };
static const char *const strategies[] = { "auto", "direct", "lazy" };

void move_record(struct move *v, int status)
{
	struct history *h = v->m->history;
	struct msg_migd_move_record *r = &v->rec;

	r->pid = v->pid;
	r->cause = (uint8_t)v->cause;
	r->strategy = (uint8_t)(v->lazy ? MIGD_LAZY : MIGD_DIRECT);
	r->status = status;
	r->total_us = clock_us() - v->start_us;
	r->why = v->why;
	if (status)
		log_info("process %u does not move from %s to %s (%s): %s",
			 v->pid, host_name(v->m, r->from),
			 host_name(v->m, r->to), causes[r->cause], v->why);
	else
		log_info("process %u moved from %s to %s (%s, %s): frozen %llu "
			 "us of %llu, %u processes, %u threads, %llu KiB, %llu "
			 "pages + %llu later (%llu on demand)",
			 v->pid, host_name(v->m, r->from),
			 host_name(v->m, r->to), causes[r->cause],
			 strategies[r->strategy],
			 (unsigned long long)r->freeze_us,
			 (unsigned long long)r->total_us, r->procs, r->threads,
			 (unsigned long long)r->bytes / 1024,
			 (unsigned long long)r->pages,
			 (unsigned long long)r->lazy_pages,
			 (unsigned long long)r->lazy_faults);
	if (!h)
		return;
	h->item[h->next % HISTORY].rec = *r;
	h->item[h->next % HISTORY].at_ms = env_now_ms(v->m->env);
	memcpy(h->item[h->next % HISTORY].why, v->why, MOVER_TEXT);
	h->next++;
}

void on_migd_moves(struct migd *m, struct rpc_req *q,
		   const struct msg_migd_moves *b)
{
	uint8_t raw[15000];
	struct wire_writer w = wire_writer(raw, sizeof(raw));
	struct msg_migd_moves_list l;
	struct body body;

	for (unsigned i = 1; m->history && i <= HISTORY && i <= b->max &&
			     i <= m->history->next && w.left > 400; i++) {
		unsigned at = (m->history->next - i) % HISTORY;
		struct msg_migd_move_record r = m->history->item[at].rec;

		r.why = m->history->item[at].why;
		r.ago_ms = env_now_ms(m->env) - m->history->item[at].at_ms;
		msg_migd_move_record_put(&w, &r);
	}
	l.records = (wire_blob){ raw, w.len };
	if (BODY(migd_moves_list, &l, &body))
		rpc_reply(q, -EMSGSIZE, NULL);
	else
		reply_body(q, MSG_migd_moves_list, &body);
}

int migrations_open(struct migd *m)
{
	m->history = calloc(1, sizeof(*m->history));
	return m->history ? 0 : -ENOMEM;
}

void migrations_close(struct migd *m)
{
	leave_close(m);
	list_each_safe(v, &m->moves, struct move, link)
		move_free(v);
	free(m->history);
	m->history = NULL;
}
