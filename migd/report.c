/*
 * report.c -- see report.h.
 *
 * A report goes out every report_ms, and at once when a guest more or less or
 * a change of the gate makes the last one wrong.
 */
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include "away.h"
#include "buf.h"
#include "cleanup.h"
#include "console.h"
#include "evict.h"
#include "fd.h"
#include "grants.h"
#include "guests.h"
#include "hostdb_msg.h"
#include "log.h"
#include "sprite/host.h"
#include "world.h"

#define SOON_MS 5

struct report {
	struct migd *m;
	struct console console;
	struct load_sampler sampler;
	struct load_avg avg;
	struct load_gate gate;
	struct timer sample, regular, soon;
	unsigned cpus;
	uint32_t mhz;
	unsigned told_guests;
	uint64_t born_ms;
};

/* FNV-1a. */
static uint64_t hash(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
	return h;
}

uint64_t report_version(void)
{
	uint64_t h = hash(0xcbf29ce484222325u, "sprite", 6) + MIGRATION_VERSION;
	SCOPED(buf_free) struct buf b = { 0 };
	struct utsname u;
	const char *at, *end;

	if (uname(&u) == 0) {
		h = hash(h, u.machine, strlen(u.machine));
		h = hash(h, u.release, strlen(u.release));
	}
	if (fd_read_file("/proc/cpuinfo", 8u << 20, &b))
		return h;
	at = strstr((char *)buf_data(&b), "\nflags");
	end = at ? strchr(at + 1, '\n') : NULL;
	return end ? hash(h, at, (size_t)(end - at)) : h;
}

static uint32_t processor_mhz(void)
{
	SCOPED(buf_free) struct buf b = { 0 };
	const char *at;

	if (fd_read_file("/proc/cpuinfo", 8u << 20, &b))
		return 0;
	at = strstr((char *)buf_data(&b), "cpu MHz");
	at = at ? strchr(at, ':') : NULL;
	return at ? (uint32_t)strtod(at + 1, NULL) : 0;
}

static uint64_t idle_secs(const struct report *r)
{
	return console_idle_secs(&r->console);
}

void report_now(struct migd *m)
{
	struct report *r = m->report;
	struct utsname u;
	struct sysinfo si;
	struct msg_hostdb_report h;
	struct rpc_peer *p = hostdb_peer(m);
	struct rpc_out o = { .code = MSG_hostdb_report };
	bool barred;
	struct body b;

	if (!r || !p || uname(&u) || sysinfo(&si))
		return;
	barred = evict_active(m) || m->ending;
	h = (struct msg_hostdb_report){
		.name = m->conf.name, .type = u.machine,
		.allow = r->gate.allow && !barred,
		.why = (uint8_t)(barred ? WHY_INPUT : r->gate.why),
		.idle_secs = idle_secs(r),
		.load1_centi = load_centi(r->avg.v[0]),
		.load5_centi = load_centi(r->avg.v[1]),
		.load15_centi = load_centi(r->avg.v[2]),
		.guests = guests_count(m), .slots = m->conf.slots,
		.up_secs = (env_now_ms(m->env) - r->born_ms) / 1000,
		.version = report_version(), .cpus = r->cpus, .mhz = r->mhz,
		.mem_kib = si.totalram / 1024 * si.mem_unit,
		.mem_free_kib = (si.freeram + si.bufferram) / 1024 * si.mem_unit,
	};
	r->told_guests = h.guests;
	env_after(m->env, &r->regular, m->conf.report_ms);
	if (BODY(hostdb_report, &h, &b))
		return;
	o.body = b.b;
	o.len = b.len;
	rpc_call(p, &o, CALL_MS, RPC_IDEMPOTENT, call_done_nothing, NULL, NULL);
}

static void on_regular(struct timer *t)
{
	report_now(t->data);
}

void report_changed(struct migd *m)
{
	struct report *r = m->report;
	unsigned n = guests_count(m);

	if (r && (n == 0) != (r->told_guests == 0))
		env_after(m->env, &r->soon, SOON_MS);
}

static void on_sample(struct timer *t)
{
	struct migd *m = t->data;
	struct report *r = m->report;
	struct load_limits l = load_limits_for(&m->conf, r->cpus);
	struct load_facts f;
	int n = load_sample(&r->sampler);

	env_after(m->env, t, m->conf.sample_ms);
	if (n >= 0)
		load_avg_add(&r->avg, n);
	f = (struct load_facts){
		.refuses = strcmp(m->conf.import_policy, "none") == 0,
		.touched = r->console.touched,
		.idle_secs = idle_secs(r), .avg = r->avg,
	};
	if (load_gate_step(&r->gate, &f, &l))
		report_now(m);
}

bool report_owner_here(const struct migd *m, bool asked)
{
	const struct report *r = m->report;

	return r && !asked && !r->gate.allow && r->gate.why == WHY_INPUT;
}

static void on_touch(void *arg, const char *device)
{
	struct migd *m = arg;
	struct report *r = m->report;

	if (r->gate.allow) {
		r->gate.allow = false;
		r->gate.why = WHY_INPUT;
	}
	if (guests_count(m))
		evict_start(m, device, 0, NULL);
	report_now(m);
}

int report_open(struct migd *m)
{
	struct report *r = calloc(1, sizeof(*r));
	int s;

	if (!r)
		return -ENOMEM;
	m->report = r;
	r->m = m;
	r->gate = (struct load_gate)LOAD_GATE_START;
	r->born_ms = env_now_ms(m->env);
	r->mhz = processor_mhz();
	r->sample = (struct timer){ .fire = on_sample, .data = m };
	r->regular = (struct timer){ .fire = on_regular, .data = m };
	r->soon = (struct timer){ .fire = on_regular, .data = m };
	s = load_sampler_init(&r->sampler);
	if (s)
		log_warn("the load of this host cannot be sampled: %s",
			 strerror(-s));
	r->cpus = load_cpus(&r->sampler);
	s = console_open(&r->console, m->loop, m->conf.console, on_touch, m);
	if (s)
		log_warn("the console cannot be watched: %s", strerror(-s));
	env_after(m->env, &r->sample, 1);
	return 0;
}

void report_close(struct migd *m)
{
	struct report *r = m->report;

	if (!r)
		return;
	env_cancel(m->env, &r->sample);
	env_cancel(m->env, &r->regular);
	env_cancel(m->env, &r->soon);
	console_close(&r->console);
	free(r);
	m->report = NULL;
}

void report_load(const struct migd *m, struct sprite_host_load *ret)
{
	const struct report *r = m->report;

	*ret = (struct sprite_host_load){
		.load1_centi = load_centi(r->avg.v[0]),
		.load5_centi = load_centi(r->avg.v[1]),
		.load15_centi = load_centi(r->avg.v[2]),
		.guests = guests_count(m), .away = away_count(m, 0),
		.slots = m->conf.slots, .cpus = r->cpus,
		.allow = r->gate.allow && !evict_active(m),
		.evicting = evict_active(m),
		.idle_secs = idle_secs(r),
		.up_secs = (env_now_ms(m->env) - r->born_ms) / 1000,
	};
}

void migd_status_text(struct migd *m, struct buf *out)
{
	struct report *r = m->report;

	buf_addf(out, "host %s (%u)\n", m->conf.name, m->conf.host);
	if (evict_active(m))
		buf_addf(out, "guests: being sent away\n");
	else
		buf_addf(out, "guests: %s\n",
			 r->gate.allow ? "allowed" :
			 r->gate.why == WHY_INPUT ? "not now, its owner is here" :
			 r->gate.why == WHY_LOAD ? "not now, it is busy" :
			 r->gate.why == WHY_POLICY ? "not wanted" : "not yet");
	buf_addf(out, "here for others: %u\naway from here: %u\n",
		 guests_count(m), away_count(m, 0));
	buf_addf(out, "load: %.2f %.2f %.2f\n", r->avg.v[0], r->avg.v[1],
		 r->avg.v[2]);
	buf_addf(out, "console idle: %llu s\n",
		 (unsigned long long)idle_secs(r));
	buf_addf(out, "up: %llu s\n",
		 (unsigned long long)(env_now_ms(m->env) - r->born_ms) / 1000);
	buf_addf(out, "world: %d, /tmp %s\n", (int)world_pid(m),
		 world_has_tmp(m) ? "shared" : "not shared yet");
}
