//! Linux error numbers: what a workload gets in `rax`.
//!
//! A newtype and not an enum: a number that is not known here is still passed on as it is. The codes by which a kernel tells
//! itself to restart a call are not errors; they are [`Restart`].

use std::fmt;

/// An error number of Linux, from 1 to 4095.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(u16);

/// Result of a call as the workload may see it.
pub type SysResult<T> = Result<T, Errno>;

macro_rules! errnos {
    ($($number:literal $name:ident $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($number);)*

            /// The name, as in `errno.h`.
            pub const fn name(self) -> &'static str {
                match self.0 { $($number => stringify!($name),)* _ => "E?" }
            }

            /// The text that `strerror` gives in the C locale.
            pub const fn text(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "Unknown error" }
            }

            /// The number of a name, for configuration and tables.
            pub fn from_name(name: &str) -> Option<Errno> {
                match name {
                    $(stringify!($name) => Some(Errno($number)),)*
                    "EWOULDBLOCK" => Some(Errno::EAGAIN),
                    "ENOTSUP" => Some(Errno::EOPNOTSUPP),
                    "EDEADLOCK" => Some(Errno::EDEADLK),
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    1 EPERM "Operation not permitted";
    2 ENOENT "No such file or directory";
    3 ESRCH "No such process";
    4 EINTR "Interrupted system call";
    5 EIO "Input/output error";
    6 ENXIO "No such device or address";
    7 E2BIG "Argument list too long";
    8 ENOEXEC "Exec format error";
    9 EBADF "Bad file descriptor";
    10 ECHILD "No child processes";
    11 EAGAIN "Resource temporarily unavailable";
    12 ENOMEM "Cannot allocate memory";
    13 EACCES "Permission denied";
    14 EFAULT "Bad address";
    15 ENOTBLK "Block device required";
    16 EBUSY "Device or resource busy";
    17 EEXIST "File exists";
    18 EXDEV "Invalid cross-device link";
    19 ENODEV "No such device";
    20 ENOTDIR "Not a directory";
    21 EISDIR "Is a directory";
    22 EINVAL "Invalid argument";
    23 ENFILE "Too many open files in system";
    24 EMFILE "Too many open files";
    25 ENOTTY "Inappropriate ioctl for device";
    26 ETXTBSY "Text file busy";
    27 EFBIG "File too large";
    28 ENOSPC "No space left on device";
    29 ESPIPE "Illegal seek";
    30 EROFS "Read-only file system";
    31 EMLINK "Too many links";
    32 EPIPE "Broken pipe";
    33 EDOM "Numerical argument out of domain";
    34 ERANGE "Numerical result out of range";
    35 EDEADLK "Resource deadlock avoided";
    36 ENAMETOOLONG "File name too long";
    37 ENOLCK "No locks available";
    38 ENOSYS "Function not implemented";
    39 ENOTEMPTY "Directory not empty";
    40 ELOOP "Too many levels of symbolic links";
    42 ENOMSG "No message of desired type";
    43 EIDRM "Identifier removed";
    44 ECHRNG "Channel number out of range";
    45 EL2NSYNC "Level 2 not synchronized";
    46 EL3HLT "Level 3 halted";
    47 EL3RST "Level 3 reset";
    48 ELNRNG "Link number out of range";
    49 EUNATCH "Protocol driver not attached";
    50 ENOCSI "No CSI structure available";
    51 EL2HLT "Level 2 halted";
    52 EBADE "Invalid exchange";
    53 EBADR "Invalid request descriptor";
    54 EXFULL "Exchange full";
    55 ENOANO "No anode";
    56 EBADRQC "Invalid request code";
    57 EBADSLT "Invalid slot";
    59 EBFONT "Bad font file format";
    60 ENOSTR "Device not a stream";
    61 ENODATA "No data available";
    62 ETIME "Timer expired";
    63 ENOSR "Out of streams resources";
    64 ENONET "Machine is not on the network";
    65 ENOPKG "Package not installed";
    66 EREMOTE "Object is remote";
    67 ENOLINK "Link has been severed";
    68 EADV "Advertise error";
    69 ESRMNT "Srmount error";
    70 ECOMM "Communication error on send";
    71 EPROTO "Protocol error";
    72 EMULTIHOP "Multihop attempted";
    73 EDOTDOT "RFS specific error";
    74 EBADMSG "Bad message";
    75 EOVERFLOW "Value too large for defined data type";
    76 ENOTUNIQ "Name not unique on network";
    77 EBADFD "File descriptor in bad state";
    78 EREMCHG "Remote address changed";
    79 ELIBACC "Can not access a needed shared library";
    80 ELIBBAD "Accessing a corrupted shared library";
    81 ELIBSCN ".lib section in a.out corrupted";
    82 ELIBMAX "Attempting to link in too many shared libraries";
    83 ELIBEXEC "Cannot exec a shared library directly";
    84 EILSEQ "Invalid or incomplete multibyte or wide character";
    85 ERESTART "Interrupted system call should be restarted";
    86 ESTRPIPE "Streams pipe error";
    87 EUSERS "Too many users";
    88 ENOTSOCK "Socket operation on non-socket";
    89 EDESTADDRREQ "Destination address required";
    90 EMSGSIZE "Message too long";
    91 EPROTOTYPE "Protocol wrong type for socket";
    92 ENOPROTOOPT "Protocol not available";
    93 EPROTONOSUPPORT "Protocol not supported";
    94 ESOCKTNOSUPPORT "Socket type not supported";
    95 EOPNOTSUPP "Operation not supported";
    96 EPFNOSUPPORT "Protocol family not supported";
    97 EAFNOSUPPORT "Address family not supported by protocol";
    98 EADDRINUSE "Address already in use";
    99 EADDRNOTAVAIL "Cannot assign requested address";
    100 ENETDOWN "Network is down";
    101 ENETUNREACH "Network is unreachable";
    102 ENETRESET "Network dropped connection on reset";
    103 ECONNABORTED "Software caused connection abort";
    104 ECONNRESET "Connection reset by peer";
    105 ENOBUFS "No buffer space available";
    106 EISCONN "Transport endpoint is already connected";
    107 ENOTCONN "Transport endpoint is not connected";
    108 ESHUTDOWN "Cannot send after transport endpoint shutdown";
    109 ETOOMANYREFS "Too many references: cannot splice";
    110 ETIMEDOUT "Connection timed out";
    111 ECONNREFUSED "Connection refused";
    112 EHOSTDOWN "Host is down";
    113 EHOSTUNREACH "No route to host";
    114 EALREADY "Operation already in progress";
    115 EINPROGRESS "Operation now in progress";
    116 ESTALE "Stale file handle";
    117 EUCLEAN "Structure needs cleaning";
    118 ENOTNAM "Not a XENIX named type file";
    119 ENAVAIL "No XENIX semaphores available";
    120 EISNAM "Is a named type file";
    121 EREMOTEIO "Remote I/O error";
    122 EDQUOT "Disk quota exceeded";
    123 ENOMEDIUM "No medium found";
    124 EMEDIUMTYPE "Wrong medium type";
    125 ECANCELED "Operation canceled";
    126 ENOKEY "Required key not available";
    127 EKEYEXPIRED "Key has expired";
    128 EKEYREVOKED "Key has been revoked";
    129 EKEYREJECTED "Key was rejected by service";
    130 EOWNERDEAD "Owner died";
    131 ENOTRECOVERABLE "State not recoverable";
    132 ERFKILL "Operation not possible due to RF-kill";
    133 EHWPOISON "Memory page has hardware error";
}

impl Errno {
    /// Another name of [`Errno::EAGAIN`].
    pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
    /// Another name of [`Errno::EOPNOTSUPP`].
    pub const ENOTSUP: Errno = Errno::EOPNOTSUPP;

    /// The largest number that a kernel returns as an error.
    pub const MAX: u16 = 4095;

    /// An error from a positive number; anything outside 1 to 4095 becomes `EIO`, because it cannot be told to a program.
    pub const fn new(number: i32) -> Errno {
        if number >= 1 && number <= Errno::MAX as i32 { Errno(number as u16) } else { Errno::EIO }
    }

    /// The positive number.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// What stands in `rax`: the negative number.
    pub const fn to_result(self) -> i64 {
        -(self.0 as i64)
    }

    /// The error that a value of `rax` stands for, if it is one.
    pub const fn of_result(result: i64) -> Option<Errno> {
        if result < 0 && result >= -(Errno::MAX as i64) { Some(Errno((-result) as u16)) } else { None }
    }

    /// The error of the host's last failed call in this thread.
    pub fn last() -> Errno {
        std::io::Error::last_os_error().into()
    }
}

/// `rax` as a result.
pub fn decode_result(result: i64) -> SysResult<i64> {
    Errno::of_result(result).map_or(Ok(result), Err)
}

/// A result as `rax`.
pub fn encode_result(result: SysResult<i64>) -> i64 {
    result.unwrap_or_else(Errno::to_result)
}

impl From<Errno> for i64 {
    fn from(errno: Errno) -> i64 {
        errno.to_result()
    }
}

impl From<Errno> for i32 {
    fn from(errno: Errno) -> i32 {
        errno.number()
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Errno {
        Errno::new(errno as i32)
    }
}

/// Host errors without a number (a short read, say) become `EIO`.
impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        Errno::new(error.raw_os_error().unwrap_or(0))
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> std::io::Error {
        std::io::Error::from_raw_os_error(errno.number())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "E?" => write!(f, "E{} (Unknown error {})", self.0, self.0),
            name => write!(f, "{name} ({})", self.text()),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "E?" => write!(f, "Errno({})", self.0),
            name => f.write_str(name),
        }
    }
}

impl std::error::Error for Errno {}

/// How an interrupted call goes on: codes which the host's kernel turns into a restart or `EINTR`, and no program ever sees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Restart {
    /// -512: restarted after a handler with `SA_RESTART` or when there is no handler, else `EINTR`.
    Sys,
    /// -513: always restarted.
    NoIntr,
    /// -514: restarted only when no handler ran, else `EINTR`.
    NoHand,
    /// -516: goes on by `restart_syscall` when no handler ran, else `EINTR`.
    Block,
}

impl Restart {
    /// What stands in `rax` at the signal's delivery stop.
    pub const fn to_result(self) -> i64 {
        match self {
            Restart::Sys => -512,
            Restart::NoIntr => -513,
            Restart::NoHand => -514,
            Restart::Block => -516,
        }
    }

    /// The code that a value of `rax` stands for, if it is one.
    pub const fn of_result(result: i64) -> Option<Restart> {
        match result {
            -512 => Some(Restart::Sys),
            -513 => Some(Restart::NoIntr),
            -514 => Some(Restart::NoHand),
            -516 => Some(Restart::Block),
            _ => None,
        }
    }

    /// The name that strace prints.
    pub const fn name(self) -> &'static str {
        match self {
            Restart::Sys => "ERESTARTSYS",
            Restart::NoIntr => "ERESTARTNOINTR",
            Restart::NoHand => "ERESTARTNOHAND",
            Restart::Block => "ERESTART_RESTARTBLOCK",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_there_and_back() {
        for number in 1..=i32::from(Errno::MAX) {
            let errno = Errno::new(number);
            assert_eq!(Errno::of_result(errno.to_result()), Some(errno));
            if errno.name() != "E?" {
                assert_eq!(Errno::from_name(errno.name()), Some(errno));
            }
        }
        assert_eq!(decode_result(-4096), Ok(-4096));
        assert_eq!(decode_result(-2), Err(Errno::ENOENT));
        assert_eq!(encode_result(Err(Errno::EPERM)), -1);
        assert_eq!(Errno::new(0), Errno::EIO);
        assert_eq!(Errno::new(5000), Errno::EIO);
    }

    #[test]
    fn numbers_are_the_hosts() {
        assert_eq!(Errno::ENOSYS.number(), libc::ENOSYS);
        assert_eq!(Errno::EHWPOISON.number(), libc::EHWPOISON);
        assert_eq!(Errno::EOPNOTSUPP.number(), libc::EOPNOTSUPP);
        assert_eq!(Errno::ENOENT.to_string(), "ENOENT (No such file or directory)");
    }
}
