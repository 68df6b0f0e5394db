//! System calls without the C library, whose functions are the ones that this library replaces.

use std::arch::asm;

/// Makes a call; its result, or minus an error number.
///
/// # Safety
/// The arguments must be what the call takes: it reads and writes the memory they point to.
pub unsafe fn call(nr: u32, args: &[u64; 6]) -> i64 {
    let result: i64;
    // SAFETY: the caller's promise; the kernel clobbers rcx and r11 and no other register.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") u64::from(nr) => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// A call whose arguments are numbers alone, and harmless whatever they are.
pub fn number(nr: u32, args: [u64; 6]) -> i64 {
    // SAFETY: used for calls without pointers only: close, fcntl, socket, gettid, shutdown…
    unsafe { call(nr, &args) }
}

/// The program's own call, as it made it.
pub fn program(nr: u32, args: &[u64; 6]) -> i64 {
    // SAFETY: what the arguments point to is the program's promise, to us as to the kernel.
    unsafe { call(nr, args) }
}
