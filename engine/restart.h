#ifndef ENGINE_RESTART_H
#define ENGINE_RESTART_H
/*
 * restart.h -- interrupted system calls: what the stop did to them, and how
 * they are begun again elsewhere.
 */
#include "new.h"

/*
 * Source: what must be done for a thread seen at its stop.  regs are the
 * image's copy and are changed where the kernel of the target will then do the
 * right thing by itself; restart is filled where it cannot.
 */
void restart_examine(const struct eng_kernel *k, struct proc *p,
		     const struct thread *t,
		     struct user_regs_struct *regs, struct restart *ret);

/*
 * Target, thread held: make the kernel's restart block again by running the
 * call with the time left and interrupting it at once.  code is the address of a
 * syscall instruction, scratch of 32 writable bytes.
 */
int restart_arm(struct nproc *p, struct thread *t, const struct restart *r,
		uint64_t code, uint64_t scratch);

#endif
