/*
 * secure.c -- see secure.h.
 *
 * hello:  versions and AEADs offered, who, with whom, which pattern; Noise 1
 * answer: version and AEAD chosen; Noise 2
 * refuse: a reason.  Not authenticated: it only explains a failure that an
 *         attacker on the wire could bring about anyway.
 *
 * The clear part of the hello is the prologue of the handshake and that of
 * the answer is bound into it, so neither can be changed on the way.
 *
 * Records have implicit nonces: one lost, doubled or moved does not open.
 * Each direction derives a new key after REKEY_RECORDS or REKEY_BYTES, long
 * before AES-GCM's limits, and forgets the old one.
 */
#include "secure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "aead.h"
#include "noise.h"
#include "wire.h"

#define MAGIC	      0x31525053u /* "SPR1" */
#define REKEY_RECORDS (1u << 20)
#define REKEY_BYTES   (1u << 30)

enum { MSG_HELLO = 1, MSG_ANSWER, MSG_REFUSE };
enum { PATTERN_KK = 1, PATTERN_NKPSK };
enum { WHY_VERSION = 1, WHY_STRANGER, WHY_ELSEWHERE, WHY_DAMAGED };

#define MSG_HEAD     3u /* kind, length */
#define CLEAR_HELLO  36u
#define CLEAR_ANSWER 4u
#define MSG_MAX	     128u

struct direction {
	struct aead aead;
	uint64_t n;	/* records so far, also the nonce */
	uint32_t since; /* records and bytes since the last rekey */
	uint64_t bytes;
};

struct secure {
	struct secure_conf c;
	bool initiator;
	bool ready;
	bool failed;
	struct noise noise;
	uint8_t msg[MSG_HEAD + MSG_MAX];
	size_t have;
	unsigned offered;
	uint32_t host;
	uint8_t service;
	bool joiner;
	uint64_t token;
	enum secure_aead aead;
	struct direction out, in;
};

struct hello {
	uint16_t version_min, version_max;
	uint8_t pattern, aeads, prefers;
	uint8_t service, to_service;
	uint32_t host, to_host;
	uint64_t token;
};

int secure_new(const struct secure_conf *c, bool initiator, struct secure **ret)
{
	struct secure *s;

	if (sodium_init() < 0)
		return -ENOSYS;
	s = aligned_alloc(64, (sizeof(*s) + 63) & ~(size_t)63);
	if (!s)
		return -ENOMEM;
	*s = (struct secure){.c = *c, .initiator = initiator};
	if (!s->c.aeads)
		s->c.aeads = secure_aeads();
	if (!s->c.version_max) {
		s->c.version_min = SECURE_VERSION_MIN;
		s->c.version_max = SECURE_VERSION_MAX;
	}
	*ret = s;
	return 0;
}

void secure_free(struct secure *s)
{
	if (!s)
		return;
	sodium_memzero(s, sizeof(*s));
	free(s);
}

static int send_msg(struct buf *out, uint8_t kind, const void *p, size_t len)
{
	uint8_t head[MSG_HEAD];
	struct wire_writer w = wire_writer(head, sizeof(head));
	int r;

	wire_put_u8(&w, kind);
	wire_put_u16(&w, (uint16_t)len);
	r = buf_add(out, head, sizeof(head));
	return r ? r : buf_add(out, p, len);
}

static int refuse(struct buf *out, uint8_t why, int error)
{
	(void)send_msg(out, MSG_REFUSE, &why, 1);
	return error;
}

static void put_hello(const struct hello *h, uint8_t ret[CLEAR_HELLO])
{
	struct wire_writer w = wire_writer(ret, CLEAR_HELLO);

	wire_put_u32(&w, MAGIC);
	wire_put_u16(&w, h->version_min);
	wire_put_u16(&w, h->version_max);
	wire_put_u8(&w, h->pattern);
	wire_put_u8(&w, h->aeads);
	wire_put_u8(&w, h->prefers);
	wire_put_u8(&w, h->service);
	wire_put_u8(&w, h->to_service);
	for (int i = 0; i < 7; i++)
		wire_put_u8(&w, 0);
	wire_put_u32(&w, h->host);
	wire_put_u32(&w, h->to_host);
	wire_put_u64(&w, h->token);
}

static int get_hello(const uint8_t p[CLEAR_HELLO], struct hello *ret)
{
	struct wire_reader r = wire_reader(p, CLEAR_HELLO);
	uint32_t magic = wire_get_u32(&r);
	struct hello h;

	h.version_min = wire_get_u16(&r);
	h.version_max = wire_get_u16(&r);
	h.pattern = wire_get_u8(&r);
	h.aeads = wire_get_u8(&r);
	h.prefers = wire_get_u8(&r);
	h.service = wire_get_u8(&r);
	h.to_service = wire_get_u8(&r);
	for (int i = 0; i < 7; i++)
		(void)wire_get_u8(&r); /* room for later versions */
	h.host = wire_get_u32(&r);
	h.to_host = wire_get_u32(&r);
	h.token = wire_get_u64(&r);
	if (wire_read_end(&r) || magic != MAGIC ||
	    (h.pattern != PATTERN_KK && h.pattern != PATTERN_NKPSK))
		return -EBADMSG;
	*ret = h;
	return 0;
}

/* Prologue: what the session is about and all that was said in clear. */
static void start_noise(struct secure *s, const uint8_t clear[CLEAR_HELLO],
			const uint8_t remote[32], const uint8_t psk[32],
			bool join)
{
	static const char name[] = "Sprite session 1";
	uint8_t prologue[sizeof(name) + CLEAR_HELLO];
	struct noise_keys keys;

	memcpy(prologue, name, sizeof(name));
	memcpy(prologue + sizeof(name), clear, CLEAR_HELLO);
	memcpy(keys.secret, s->c.secret, 32);
	memcpy(keys.public_key, s->c.public_key, 32);
	memcpy(keys.remote, remote, 32);
	memcpy(keys.psk, psk, 32);
	noise_init(&s->noise, s->initiator, join, &keys, prologue,
		   sizeof(prologue));
	sodium_memzero(&keys, sizeof(keys));
}

int secure_start(struct secure *s, struct buf *out)
{
	uint8_t msg[CLEAR_HELLO + NOISE_MSG];
	struct hello h = {.version_min = s->c.version_min,
			  .version_max = s->c.version_max,
			  .pattern = s->c.join ? PATTERN_NKPSK : PATTERN_KK,
			  .aeads = (uint8_t)s->c.aeads,
			  .prefers = (uint8_t)secure_fastest(),
			  .service = s->c.service,
			  .to_service = s->c.to_service,
			  .host = s->c.host,
			  .to_host = s->c.to_host,
			  .token = s->c.token};
	int r;

	put_hello(&h, msg);
	start_noise(s, msg, s->c.to_key, s->c.psk, s->c.join);
	s->host = s->c.to_host;
	s->service = s->c.to_service;
	r = noise_write_1(&s->noise, msg + CLEAR_HELLO);
	return r ? r : send_msg(out, MSG_HELLO, msg, sizeof(msg));
}

static void agreed(struct secure *s, enum secure_aead aead)
{
	uint8_t send[32], recv[32];

	s->aead = aead;
	noise_split(&s->noise, send, recv);
	aead_init(&s->out.aead, aead, send);
	aead_init(&s->in.aead, aead, recv);
	sodium_memzero(send, sizeof(send));
	sodium_memzero(recv, sizeof(recv));
	sodium_memzero(s->c.psk, sizeof(s->c.psk));
	sodium_memzero(s->c.secret, sizeof(s->c.secret));
	s->ready = true;
}

/* AES only where both have it and neither is slower for it. */
static enum secure_aead choose_aead(const struct secure *s,
				    const struct hello *h)
{
	if (!(h->aeads & s->c.aeads & AEAD_CHACHA))
		return AEAD_AES;
	if (!(h->aeads & s->c.aeads & AEAD_AES))
		return AEAD_CHACHA;
	return h->prefers == AEAD_AES && secure_fastest() == AEAD_AES
		       ? AEAD_AES
		       : AEAD_CHACHA;
}

static int answer(struct secure *s, const struct hello *h, struct buf *out)
{
	enum secure_aead aead = choose_aead(s, h);
	uint16_t version = h->version_max < s->c.version_max ? h->version_max
							     : s->c.version_max;
	uint8_t msg[CLEAR_ANSWER + NOISE_MSG];
	struct wire_writer w = wire_writer(msg, sizeof(msg));
	int r;

	wire_put_u16(&w, version);
	wire_put_u8(&w, (uint8_t)aead);
	wire_put_u8(&w, 0);
	noise_bind(&s->noise, msg, CLEAR_ANSWER);
	r = noise_write_2(&s->noise, msg + CLEAR_ANSWER);
	if (!r)
		r = send_msg(out, MSG_ANSWER, msg, sizeof(msg));
	if (r)
		return r;
	agreed(s, aead);
	return 1;
}

static int on_hello(struct secure *s, const uint8_t *p, size_t len,
		    struct buf *out)
{
	uint8_t remote[32] = {0}, psk[32] = {0};
	struct hello h;
	int r;

	if (len != CLEAR_HELLO + NOISE_MSG || get_hello(p, &h))
		return refuse(out, WHY_DAMAGED, -EBADMSG);
	if (h.version_min > s->c.version_max ||
	    h.version_max < s->c.version_min)
		return refuse(out, WHY_VERSION, -EPROTONOSUPPORT);
	if (!(h.aeads & s->c.aeads & (AEAD_CHACHA | AEAD_AES)))
		return refuse(out, WHY_VERSION, -EPROTONOSUPPORT);
	s->joiner = h.pattern == PATTERN_NKPSK;
	s->host = s->joiner ? 0 : h.host;
	s->service = h.service;
	s->token = s->joiner ? h.token : 0;
	if (h.to_service != s->c.service ||
	    (!s->joiner && h.to_host != s->c.host))
		return refuse(out, WHY_ELSEWHERE, -ECONNREFUSED);
	if (s->joiner)
		r = s->c.psk_of ? s->c.psk_of(s->c.psk_arg, h.token, psk)
				: -ENOENT;
	else
		r = s->c.key_of ? s->c.key_of(s->c.key_arg, h.host, remote)
				: -ENOENT;
	if (r)
		return refuse(out, WHY_STRANGER, -EKEYREJECTED);
	start_noise(s, p, remote, psk, s->joiner);
	sodium_memzero(psk, sizeof(psk));
	if (noise_read_1(&s->noise, p + CLEAR_HELLO))
		return refuse(out, WHY_STRANGER, -EKEYREJECTED);
	return answer(s, &h, out);
}

static int on_answer(struct secure *s, const uint8_t *p, size_t len)
{
	struct wire_reader r = wire_reader(p, len);
	uint16_t version = wire_get_u16(&r);
	uint8_t aead = wire_get_u8(&r);

	if (len != CLEAR_ANSWER + NOISE_MSG)
		return -EBADMSG;
	noise_bind(&s->noise, p, CLEAR_ANSWER);
	if (noise_read_2(&s->noise, p + CLEAR_ANSWER))
		return -EKEYREJECTED;
	if (version < s->c.version_min || version > s->c.version_max ||
	    (aead != AEAD_AES && aead != AEAD_CHACHA) || !(aead & s->c.aeads))
		return -EBADMSG;
	agreed(s, aead);
	return 1;
}

static int on_refuse(const uint8_t *p, size_t len)
{
	if (len != 1)
		return -EBADMSG;
	switch (*p) {
	case WHY_VERSION:
		return -EPROTONOSUPPORT;
	case WHY_STRANGER:
		return -EKEYREJECTED;
	case WHY_ELSEWHERE:
		return -ECONNREFUSED;
	default:
		return -EBADMSG;
	}
}

static int on_msg(struct secure *s, struct buf *out)
{
	uint8_t kind = s->msg[0];
	const uint8_t *p = s->msg + MSG_HEAD;
	size_t len = s->have - MSG_HEAD;

	if (kind == MSG_HELLO && !s->initiator)
		return on_hello(s, p, len, out);
	if (kind == MSG_ANSWER && s->initiator)
		return on_answer(s, p, len);
	if (kind == MSG_REFUSE && s->initiator)
		return on_refuse(p, len);
	return -EBADMSG;
}

/* How many bytes the message in s->msg has in all, as far as is known. */
static size_t msg_size(const struct secure *s)
{
	return s->have < MSG_HEAD ? MSG_HEAD
				  : MSG_HEAD + (size_t)s->msg[1] +
					    ((size_t)s->msg[2] << 8);
}

int secure_feed(struct secure *s, const uint8_t *p, size_t n, size_t *ret_used,
		struct buf *out)
{
	size_t used = 0;
	int r = s->failed || s->ready ? -EBADMSG : 0;

	while (r == 0 && used < n) {
		size_t size = msg_size(s);

		if (size > sizeof(s->msg)) {
			r = -EBADMSG;
			break;
		}
		s->msg[s->have++] = p[used++];
		if (s->have >= MSG_HEAD && s->have == msg_size(s))
			r = on_msg(s, out);
	}
	*ret_used = used;
	if (r < 0) {
		s->failed = true;
		noise_wipe(&s->noise);
	}
	return r;
}

bool secure_ready(const struct secure *s)
{
	return s->ready;
}

uint32_t secure_host(const struct secure *s)
{
	return s->host;
}

uint8_t secure_service(const struct secure *s)
{
	return s->service;
}

bool secure_joiner(const struct secure *s)
{
	return s->joiner;
}

uint64_t secure_token(const struct secure *s)
{
	return s->token;
}

enum secure_aead secure_aead(const struct secure *s)
{
	return s->aead;
}

static void count(struct direction *d, size_t n)
{
	d->n++;
	d->since++;
	d->bytes += n;
	if (d->since < REKEY_RECORDS && d->bytes < REKEY_BYTES)
		return;
	aead_rekey(&d->aead);
	d->since = 0;
	d->bytes = 0;
}

void secure_seal(struct secure *s, const void *plain, size_t n, uint8_t *out)
{
	struct wire_writer w = wire_writer(out, SECURE_HEAD);

	wire_put_u32(&w, (uint32_t)(n + SECURE_TAG));
	aead_seal(&s->out.aead, s->out.n, plain, n, out + SECURE_HEAD);
	count(&s->out, n);
}

long secure_record(const uint8_t *p, size_t n)
{
	struct wire_reader r = wire_reader(p, SECURE_HEAD);
	uint32_t len;

	if (n < SECURE_HEAD)
		return 0;
	len = wire_get_u32(&r);
	if (len <= SECURE_TAG || len > SECURE_RECORD + SECURE_TAG)
		return -EBADMSG;
	return (long)(len + SECURE_HEAD);
}

int secure_open(struct secure *s, const uint8_t *rec, size_t len, uint8_t *out)
{
	if (s->failed || len <= SECURE_OVERHEAD ||
	    aead_open(&s->in.aead, s->in.n, rec + SECURE_HEAD,
		      len - SECURE_HEAD, out)) {
		s->failed = true;
		return -EBADMSG;
	}
	count(&s->in, len - SECURE_OVERHEAD);
	return 0;
}
