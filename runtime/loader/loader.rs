//! The resident loader: the only program that the host's kernel ever executes for a workload.
//!
//! The supervisor writes a script below the new stack and enters with its address in `rdi`. Each step is eight words:
//! operation, and for system calls the number and six arguments.
//!
//! | operation | does |
//! | --- | --- |
//! | 0 | leaves for the address in word 1 with registers as the kernel leaves them at an exec |
//! | 1 | a system call that must not fail |
//! | 2 | a system call that may fail |
//! | 3 | zeroes word 3 bytes at word 2 |
//!
//! It has no data and no relocations, so it may lie anywhere.
#![no_std]
#![no_main]

core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "    mov rbx, rdi",
    "    cld",
    "2:  mov rbp, [rbx]",
    "    test rbp, rbp",
    "    jz 5f",
    "    cmp rbp, 3",
    "    je 4f",
    "    mov rax, [rbx + 8]",
    "    mov rdi, [rbx + 16]",
    "    mov rsi, [rbx + 24]",
    "    mov rdx, [rbx + 32]",
    "    mov r10, [rbx + 40]",
    "    mov r8, [rbx + 48]",
    "    mov r9, [rbx + 56]",
    "    syscall",
    "    cmp rbp, 1",
    "    jne 3f",
    "    cmp rax, -4095",
    "    jae 6f",
    "3:  add rbx, 64",
    "    jmp 2b",
    "4:  mov rdi, [rbx + 16]",
    "    mov rcx, [rbx + 24]",
    "    xor eax, eax",
    "    rep stosb",
    "    jmp 3b",
    "5:  push qword ptr [rbx + 8]",
    "    push 0x202",
    "    xor eax, eax",
    "    xor ebx, ebx",
    "    xor ecx, ecx",
    "    xor edx, edx",
    "    xor esi, esi",
    "    xor edi, edi",
    "    xor ebp, ebp",
    "    xor r8d, r8d",
    "    xor r9d, r9d",
    "    xor r10d, r10d",
    "    xor r11d, r11d",
    "    xor r12d, r12d",
    "    xor r13d, r13d",
    "    xor r14d, r14d",
    "    xor r15d, r15d",
    "    popfq",
    "    ret",
    // A mapping failed after the point of no return: the kernel kills such a task too.
    "6:  hlt",
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
