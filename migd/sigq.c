/* sigq.c -- see sigq.h. */
#include "sigq.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guests.h"
#include "proc.h"
#include "stub_proto.h"

void sigq_add(struct list *q, int sig, const void *info, size_t len, bool group)
{
	struct sigq_item *i = calloc(1, sizeof(*i));

	if (!i)
		return;
	i->sig = sig;
	i->group = group;
	if (len <= sizeof(i->info)) {
		i->len = len;
		if (len)
			memcpy(i->info, info, len);
	}
	list_add_tail(q, &i->link);
}

void sigq_free(struct list *q)
{
	list_each_safe(i, q, struct sigq_item, link) {
		list_del(&i->link);
		free(i);
	}
}

void sigq_forward(struct migd *m, struct list *q, uint32_t host, uint32_t pid)
{
	list_each(i, q, struct sigq_item, link) {
		struct msg_migd_signal s = { .pid = pid,
					     .sig = (uint32_t)i->sig,
					     .group = i->group,
					     .info = { i->info, i->len } };
		struct body b;

		if (BODY(migd_signal, &s, &b) == 0)
			call_host(m, host, MSG_migd_signal, &b, CALL_MS, 0,
				  call_done_nothing, NULL);
	}
	sigq_free(q);
}

void sigq_deliver(struct migd *m, struct list *q, uint32_t pid)
{
	struct guest as = { .m = m, .pid = pid, .state = GUEST_RUNNING,
			    .dir = proc_open(m, pid) };

	list_each(i, q, struct sigq_item, link)
		guest_signal(&as, i->sig, i->info, i->len, i->group);
	if (as.dir >= 0)
		close(as.dir);
	sigq_free(q);
}

void sigq_drain_stub(struct list *q, int ctl)
{
	struct stub_msg msg;

	while (ctl >= 0 &&
	       recv(ctl, &msg, sizeof(msg), MSG_DONTWAIT) == sizeof(msg))
		if (msg.type == STUB_SIGNAL)
			sigq_add(q, msg.sig, msg.u.siginfo,
				 sizeof(msg.u.siginfo), false);
}
