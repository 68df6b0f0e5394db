//! The Linux ABI of x86-64 as rsc sees it: error numbers, structures, flags, ELF headers.
//!
//! Structures are plain bytes with the kernel's layout (`zerocopy`), so that they are parsed once, with their length checked,
//! and written without `unsafe`. Flags are `bitflags`: `from_bits` tells of unknown bits.

pub mod elf;
mod errno;
pub mod flags;
pub mod linux;

pub use errno::{Errno, Restart, SysResult, decode_result, encode_result};
pub use flags::*;
pub use linux::*;
