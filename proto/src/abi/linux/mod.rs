//! Structures that calls take and fill, with the layout of x86-64. Fields have the kernel's names and units.

/// Declares a structure of plain bytes and checks its size against the kernel's.
macro_rules! abi_struct {
    ($($(#[$meta:meta])* $size:literal struct $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$meta])*
            // The fields' names and meanings are those of the man page.
            #[allow(missing_docs)]
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq,
                zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
            )]
            #[repr(C)]
            pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

            impl $name {
                /// Size in bytes.
                pub const SIZE: usize = $size;
            }

            impl Default for $name {
                fn default() -> Self { <Self as zerocopy::FromZeros>::new_zeroed() }
            }

            const _: () = assert!(size_of::<$name>() == $size);
        )*
    };
}

mod fs;
mod net;
mod task;
mod term;
mod time;

pub use fs::*;
pub use net::*;
pub use task::*;
pub use term::*;
pub use time::*;

use zerocopy::FromBytes;

/// Reads a structure from the start of `bytes`; `None` when they are too few.
pub fn parse<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_prefix(bytes).ok().map(|(value, _)| value)
}

/// Size of a page.
pub const PAGE_SIZE: u64 = 4096;
/// Longest path, with its terminating zero.
pub const PATH_MAX: usize = 4096;
/// Longest name in a directory.
pub const NAME_MAX: usize = 255;
/// Most elements of an iovec array.
pub const IOV_MAX: usize = 1024;
/// Most bytes that one read or write moves.
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// The first address which is not the task's own.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Longest argument or environment string of `execve`.
pub const MAX_ARG_STRLEN: usize = 32 * 4096;
/// Longest host or domain name.
pub const NEW_UTS_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! same_size { ($($ours:ident $theirs:ident)*) => { $(assert_eq!($ours::SIZE, size_of::<libc::$theirs>(), stringify!($ours));)* } }

    #[test]
    fn sizes_are_the_hosts() {
        same_size! {
            Stat stat  Statx statx  Timespec timespec  Timeval timeval  Itimerspec itimerspec  Itimerval itimerval
            Iovec iovec  Msghdr msghdr  Mmsghdr mmsghdr  Cmsghdr cmsghdr  SockaddrIn sockaddr_in  SockaddrIn6 sockaddr_in6
            SockaddrUn sockaddr_un  SockaddrStorage sockaddr_storage  EpollEvent epoll_event  Pollfd pollfd  Rusage rusage
            Rlimit64 rlimit64  Sysinfo sysinfo  Utsname utsname  Flock flock  CloneArgs clone_args  Winsize winsize
            Siginfo siginfo_t  StackT stack_t  Ucred ucred  Linger linger  Tms tms  SignalfdSiginfo signalfd_siginfo
            InotifyEvent inotify_event  Timex timex  Statfs statfs OpenHow open_how
        }
    }

    #[test]
    fn short_bytes_are_no_struct() {
        assert_eq!(parse::<Timespec>(&[0; 15]), None);
        assert_eq!(parse::<Timespec>(&[0; 17]), Some(Timespec::default()));
    }
}
