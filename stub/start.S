/*
 * start.S -- entry of the stub, its head, and the few places where a stack
 * is changed.
 */
#include "blob.h"

	.section .stub_head, "a"
	.balign 8
	.globl stub_head
stub_head:
	.long STUB_HEAD_MAGIC
	.long STUB_HEAD_VERSION
	.long __stub_end
	.long blob_enter

	.text
	.globl _start
	.type _start, @function
_start:
	xor %ebp, %ebp
	mov %rsp, %rdi
	and $-16, %rsp
	call stub_main
	hlt

/* Entered by the engine: rdi = struct blob_args, rsp = a stack in the area. */
	.globl blob_enter
	.type blob_enter, @function
blob_enter:
	xor %ebp, %ebp
	and $-16, %rsp
	call blob_main
	hlt

/*
 * long blob_clone3(struct clone_args *, size_t, args, index): the new thread
 * starts on its own stack in blob_thread(args, index).
 */
	.globl blob_clone3
	.type blob_clone3, @function
blob_clone3:
	mov %rdx, %r8
	mov %rcx, %r9
	mov $435, %eax
	syscall
	test %rax, %rax
	jnz 1f
	xor %ebp, %ebp
	mov %r8, %rdi
	mov %r9, %rsi
	and $-16, %rsp
	call blob_thread
	hlt
1:	ret
	.section .note.GNU-stack, "", @progbits
