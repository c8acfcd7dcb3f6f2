/*
 * journal.c -- see journal.h.
 *
 * An entry counts once `log_end` is behind it, and that is written last: a
 * process killed in the middle leaves the log as it was before.
 */
#include "journal.h"

#include <string.h>
#include <sys/mman.h>

#define ROOM_KEPT (1u << 20) /* for entries that must not fail */
#define LONG_BYTES (KEEP_LOG / 2)
#define GIVE_BACK (1u << 20) /* memory above is returned to the system */

struct head {
	uint32_t kind, len;
	uint64_t id, off;
	int64_t mtime;
	uint64_t mtime_ns;
};

static size_t size_of(size_t len)
{
	return sizeof(struct head) + ((len + 7) & ~(size_t)7);
}

bool journal_room(const struct keep *k, size_t len)
{
	return !k->mem ||
	       k->mem->log_end + size_of(len) + ROOM_KEPT <= KEEP_LOG;
}

bool journal_long(const struct keep *k)
{
	return k->mem && k->mem->log_end > LONG_BYTES;
}

void journal_add(struct keep *k, const struct journal_entry *e)
{
	struct head h = { .kind = (uint32_t)e->kind,
			  .len = (uint32_t)e->len,
			  .id = e->id,
			  .off = e->off,
			  .mtime = e->mtime.tv_sec,
			  .mtime_ns = (uint64_t)e->mtime.tv_nsec };
	uint8_t *p;

	if (!k->mem || k->mem->log_end + size_of(e->len) > KEEP_LOG)
		return;
	p = k->mem->log + k->mem->log_end;
	memcpy(p, &h, sizeof(h));
	if (e->len)
		memcpy(p + sizeof(h), e->data, e->len);
	__atomic_store_n(&k->mem->log_end, k->mem->log_end + size_of(e->len),
			 __ATOMIC_RELEASE);
}

void journal_reset(struct keep *k)
{
	uint64_t was;

	if (!k->mem || !k->mem->log_end)
		return;
	was = k->mem->log_end;
	__atomic_store_n(&k->mem->log_end, 0, __ATOMIC_RELEASE);
	if (was > GIVE_BACK)
		(void)madvise(k->mem->log + GIVE_BACK, KEEP_LOG - GIVE_BACK,
			      MADV_REMOVE);
}

bool journal_next(const struct keep *k, uint64_t *at, struct journal_entry *ret)
{
	struct head h;
	uint64_t end = k->mem ? k->mem->log_end : 0;

	if (end > KEEP_LOG || *at + sizeof(h) > end)
		return false;
	memcpy(&h, k->mem->log + *at, sizeof(h));
	if (*at + size_of(h.len) > end)
		return false;
	*ret = (struct journal_entry){
		.kind = (enum journal_kind)h.kind,
		.id = h.id,
		.off = h.off,
		.mtime = { h.mtime, (long)(h.mtime_ns % 1000000000) },
		.data = k->mem->log + *at + sizeof(h),
		.len = h.len,
	};
	*at += size_of(h.len);
	return true;
}
