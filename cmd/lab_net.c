/*
 * lab_net.c -- the lab's wires, by route netlink; contract in lab.h.
 *
 * The bridge lives in a namespace of its own, so the machine's network gets
 * neither a link nor an address.  A cut cable is a bridge port taken out of
 * forwarding: frames vanish in both directions while both ends keep their
 * carrier, which is what a broken switch looks like to a host: silence.
 *
 * A host's hardware address follows from its number, so that its peers' ARP
 * tables stay right when it is booted again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "lab.h"

#define PREFIX_BITS 24
#define HEAD sizeof(struct nlattr)

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* One request under construction. */
struct req {
	union {
		struct nlmsghdr h;
		uint8_t room[1024];
	};
};

static void *req_tail(struct req *q, size_t n)
{
	size_t at = align4(q->h.nlmsg_len);

	if (at + align4(n) > sizeof(q->room))
		return NULL;
	q->h.nlmsg_len = (uint32_t)(at + n);
	return memset(q->room + at, 0, align4(n));
}

static void req_init(struct req *q, uint16_t type, uint16_t flags)
{
	q->h = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN,
				  .nlmsg_type = type,
				  .nlmsg_flags = (uint16_t)(NLM_F_REQUEST |
							    NLM_F_ACK | flags),
				  .nlmsg_seq = 1 };
}

static void req_link(struct req *q, uint16_t type, uint16_t flags, uint8_t family,
		     int index, unsigned up)
{
	struct ifinfomsg *i;

	req_init(q, type, flags);
	i = req_tail(q, sizeof(*i));
	i->ifi_family = family;
	i->ifi_index = index;
	i->ifi_flags = i->ifi_change = up;
}

/* All our requests are far below the room; the sizes here are constants. */
static void put(struct req *q, uint16_t type, const void *p, size_t n)
{
	struct nlattr *a = req_tail(q, HEAD + n);

	if (!a)
		return;
	a->nla_type = type;
	a->nla_len = (uint16_t)(HEAD + n);
	if (n)
		memcpy((uint8_t *)a + HEAD, p, n);
}

static void put_str(struct req *q, uint16_t type, const char *s)
{
	put(q, type, s, strlen(s) + 1);
}

static void put_u32(struct req *q, uint16_t type, uint32_t v)
{
	put(q, type, &v, sizeof(v));
}

static size_t nest(struct req *q, uint16_t type)
{
	size_t at = align4(q->h.nlmsg_len);

	put(q, type, NULL, 0);
	return at;
}

static void unnest(struct req *q, size_t at)
{
	struct nlattr *a = (struct nlattr *)(void *)(q->room + at);

	a->nla_len = (uint16_t)(q->h.nlmsg_len - at);
}

/* Send, then read until the kernel's word; a copy of its first answer if wanted. */
static int ask(int nl, struct req *q, void *ret, size_t cap, size_t *ret_len)
{
	union {
		struct nlmsghdr h;
		uint8_t room[32768];
	} in;

	if (send(nl, q, q->h.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(nl, &in, sizeof(in), 0);
		struct nlmsghdr *h = &in.h;
		size_t left;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		left = (size_t)n;
		for (; NLMSG_OK(h, (unsigned)left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (ret && h->nlmsg_len <= cap) {
				memcpy(ret, h, h->nlmsg_len);
				*ret_len = h->nlmsg_len;
			}
		}
	}
}

static int ask_plain(int nl, struct req *q)
{
	return ask(nl, q, NULL, 0, NULL);
}

int net_open(pid_t pid)
{
	char path[64];
	SCOPED(close) int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	SCOPED(close) int there = -1;
	int nl, r;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET))
		return -errno;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	r = nl < 0 ? -errno : nl;
	if (setns(here, CLONE_NEWNET)) {
		r = -errno;
		if (nl >= 0)
			close(nl);
	}
	return r;
}

struct link {
	union {
		struct nlmsghdr h;
		uint8_t room[16384];
	};
	size_t len;
};

static int link_get(int nl, const char *name, struct link *ret)
{
	struct req q;

	req_link(&q, RTM_GETLINK, 0, AF_UNSPEC, 0, 0);
	put_str(&q, IFLA_IFNAME, name);
	ret->len = 0;
	return ask(nl, &q, ret->room, sizeof(ret->room), &ret->len);
}

static int link_index(int nl, const char *name)
{
	struct link l;
	int r = link_get(nl, name, &l);

	if (r)
		return r;
	if (l.len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
		return -EPROTO;
	return ((struct ifinfomsg *)NLMSG_DATA(&l.h))->ifi_index;
}

/* The attribute of a type among those in [p, p+n). */
static const struct nlattr *find(const void *p, size_t n, uint16_t type)
{
	const uint8_t *at = p;

	while (n >= HEAD) {
		const struct nlattr *a = (const void *)at;
		size_t len = align4(a->nla_len);

		if (a->nla_len < HEAD || a->nla_len > n)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		if (len >= n)
			return NULL;
		at += len;
		n -= len;
	}
	return NULL;
}

static const struct nlattr *find_in(const struct nlattr *a, uint16_t type)
{
	return a ? find((const uint8_t *)a + HEAD,
			a->nla_len - HEAD, type) :
		   NULL;
}

int net_bridge(int nl, const char *name)
{
	struct req q;
	size_t info, data;

	if (link_index(nl, name) > 0)
		return 0;
	req_link(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0, IFF_UP);
	put_str(&q, IFLA_IFNAME, name);
	info = nest(&q, IFLA_LINKINFO);
	put_str(&q, IFLA_INFO_KIND, "bridge");
	data = nest(&q, IFLA_INFO_DATA);
	/* A group of a handful of hosts: multicast goes to all. */
	put(&q, IFLA_BR_MCAST_SNOOPING, &(uint8_t){ 0 }, 1);
	unnest(&q, data);
	unnest(&q, info);
	return ask_plain(nl, &q);
}

int net_cable(int nl, const char *name, pid_t pid, unsigned k)
{
	const uint8_t mac[6] = { 0x02, 0x53, 0x50, 0, (uint8_t)(k >> 8), (uint8_t)k };
	struct req q;
	size_t info, data, peer;

	req_link(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0, IFF_UP);
	put_str(&q, IFLA_IFNAME, name);
	info = nest(&q, IFLA_LINKINFO);
	put_str(&q, IFLA_INFO_KIND, "veth");
	data = nest(&q, IFLA_INFO_DATA);
	peer = nest(&q, VETH_INFO_PEER);
	(void)req_tail(&q, sizeof(struct ifinfomsg));
	put_str(&q, IFLA_IFNAME, "eth0");
	put(&q, IFLA_ADDRESS, mac, sizeof(mac));
	put_u32(&q, IFLA_NET_NS_PID, (uint32_t)pid);
	unnest(&q, peer);
	unnest(&q, data);
	unnest(&q, info);
	return ask_plain(nl, &q);
}

int net_unplug(int nl, const char *name)
{
	int port = link_index(nl, name);
	struct req q;
	int r;

	if (port < 0)
		return port == -ENODEV ? 0 : port;
	req_link(&q, RTM_DELLINK, 0, AF_UNSPEC, port, 0);
	r = ask_plain(nl, &q);
	return r == -ENODEV ? 0 : r;
}

int net_plug(int nl, const char *name, const char *bridge)
{
	int port = link_index(nl, name);
	int br = link_index(nl, bridge);
	struct req q;

	if (port < 0 || br < 0)
		return port < 0 ? port : br;
	req_link(&q, RTM_NEWLINK, 0, AF_UNSPEC, port, 0);
	put_u32(&q, IFLA_MASTER, (uint32_t)br);
	return ask_plain(nl, &q);
}

int net_cut(int nl, const char *name, bool cut)
{
	int port = link_index(nl, name);
	uint8_t state = cut ? BR_STATE_DISABLED : BR_STATE_FORWARDING;
	struct req q;
	size_t info;

	if (port < 0)
		return port;
	req_link(&q, RTM_SETLINK, 0, AF_BRIDGE, port, 0);
	info = nest(&q, IFLA_PROTINFO | NLA_F_NESTED);
	put(&q, IFLA_BRPORT_STATE, &state, 1);
	unnest(&q, info);
	return ask_plain(nl, &q);
}

int net_is_cut(int nl, const char *name)
{
	struct link l;
	int r = link_get(nl, name, &l);
	const size_t head = NLMSG_LENGTH(sizeof(struct ifinfomsg));
	const struct nlattr *a;

	if (r)
		return r;
	if (l.len < head)
		return -EPROTO;
	a = find(l.room + head, l.len - head, IFLA_LINKINFO);
	a = find_in(find_in(a, IFLA_INFO_SLAVE_DATA), IFLA_BRPORT_STATE);
	if (!a || a->nla_len != HEAD + 1)
		return -ENODATA;
	return *((const uint8_t *)a + HEAD) != BR_STATE_FORWARDING;
}

static int set_up(int nl, const char *name)
{
	struct req q;
	int i = link_index(nl, name);

	if (i < 0)
		return i;
	req_link(&q, RTM_NEWLINK, 0, AF_UNSPEC, i, IFF_UP);
	return ask_plain(nl, &q);
}

int net_address(int nl, unsigned k)
{
	char text[32];
	struct in_addr addr;
	struct ifaddrmsg *m;
	struct req q;
	int i, r = set_up(nl, "lo");

	if (!r)
		r = set_up(nl, "eth0");
	if (r)
		return r;
	i = link_index(nl, "eth0");
	if (i < 0)
		return i;
	snprintf(text, sizeof(text), LAB_NET "%u", k);
	if (inet_pton(AF_INET, text, &addr) != 1)
		return -EINVAL;
	req_init(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
	m = req_tail(&q, sizeof(*m));
	*m = (struct ifaddrmsg){ .ifa_family = AF_INET,
				 .ifa_prefixlen = PREFIX_BITS,
				 .ifa_index = (uint32_t)i };
	put(&q, IFA_LOCAL, &addr, sizeof(addr));
	put(&q, IFA_ADDRESS, &addr, sizeof(addr));
	return ask_plain(nl, &q);
}
