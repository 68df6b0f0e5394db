//! A call in strace's format: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3`.
//!
//! Made from the table, the registers and the segments that went up and came down; memory is not read again. Whatever was not
//! shipped is shown as its address. Lines are bounded whatever the workload passes.

use std::fmt::Write;

use super::marshal::{find, resolve, scalar};
use super::strace_flags as names;
use super::{Dir, FlagSet, Kind, Scalar, Shape, Size, Syscall, lookup, nr};
use crate::abi::{self, Errno, OpenFlags, Restart, parse};
use crate::v1::Segment;

/// Bytes of a buffer that are shown, as strace's `-s`.
const STRING_MAX: usize = 32;
/// Bytes of a path that are shown.
const PATH_SHOWN: usize = 4096;
/// Elements of an array that are shown.
const ARRAY_MAX: usize = 32;
/// No more arguments' text than this.
const LINE_MAX: usize = 16 * 1024;

/// Renders a call. `input` is what the marshaller shipped, `output` what the answer wrote; no result: it did not return.
pub fn render(nr: u32, args: &[u64; 6], input: &[Segment], result: Option<i64>, output: &[Segment]) -> String {
    let mut line = String::with_capacity(128);
    let Some(call) = lookup(nr) else {
        let _ = write!(line, "syscall_{nr:#x}(");
        for (index, arg) in args.iter().enumerate() {
            let _ = write!(line, "{}{arg:#x}", if index == 0 { "" } else { ", " });
        }
        line.push(')');
        push_result(&mut line, nr, result);
        return line;
    };
    let view = View { call, args, input, output, result };
    line.push_str(call.name);
    line.push('(');
    for index in 0..view.shown() {
        if index > 0 {
            line.push_str(", ");
        }
        if line.len() > LINE_MAX {
            line.push_str("...");
            break;
        }
        view.argument(&mut line, index);
    }
    line.push(')');
    push_result(&mut line, nr, result);
    view.poll_result(&mut line);
    line
}

/// Appends ` = RESULT` with its error's name and text.
fn push_result(line: &mut String, nr: u32, result: Option<i64>) {
    line.push_str(" = ");
    let Some(result) = result else {
        line.push('?');
        return;
    };
    let _ = if let Some(restart) = Restart::of_result(result) {
        write!(line, "? {} (To be restarted)", restart.name())
    } else if let Some(errno) = Errno::of_result(result) {
        write!(line, "-1 {errno}")
    } else if matches!(nr, nr::MMAP | nr::MREMAP | nr::BRK | nr::SHMAT) {
        write!(line, "{result:#x}")
    } else if nr == nr::UMASK {
        write!(line, "0{result:o}")
    } else {
        write!(line, "{result}")
    };
}

struct View<'a> {
    call: &'static Syscall,
    args: &'a [u64; 6],
    input: &'a [Segment],
    output: &'a [Segment],
    result: Option<i64>,
}

impl View<'_> {
    /// How many arguments count: `open` has a mode only when it creates, `fcntl` an argument only for some commands.
    fn shown(&self) -> usize {
        let all = self.call.args.len();
        let creates = |flags: u64| flags as u32 & (OpenFlags::O_CREAT | OpenFlags::__O_TMPFILE).bits() != 0;
        match self.call.nr {
            nr::OPEN if !creates(self.arg(1)) => 2,
            nr::OPENAT if !creates(self.arg(2)) => 3,
            nr::FCNTL if matches!(self.arg(1) as u32, 1 | 3 | 9 | 11 | 1025 | 1032 | 1034) => 2,
            nr::PRCTL => 2,
            _ => all,
        }
    }

    fn arg(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or(0)
    }

    fn failed(&self) -> bool {
        self.result.is_none_or(|result| result < 0)
    }

    fn argument(&self, line: &mut String, index: usize) {
        let value = self.arg(index);
        match resolve(self.call.args, self.args, index) {
            Some(Kind::Value(kind)) => push_scalar(line, kind, value),
            Some(Kind::Pointer(..)) if value == 0 => line.push_str("NULL"),
            Some(Kind::Pointer(dir, shape)) => {
                let from = line.len();
                if self.pointer(line, dir, shape, value).is_none() {
                    line.truncate(from);
                    let _ = write!(line, "{value:#x}");
                }
            }
            Some(Kind::Sub(_)) | None => {
                let _ = write!(line, "{value:#x}");
            }
        }
    }

    /// What the argument points to: the new bytes of what is only written, else the given ones.
    fn bytes(&self, dir: Dir, addr: u64) -> Option<&[u8]> {
        match dir {
            Dir::In | Dir::InOut => find(self.input, addr),
            Dir::Out if self.failed() => None,
            Dir::Out => find(self.output, addr),
        }
    }

    fn pointer(&self, line: &mut String, dir: Dir, shape: Shape, addr: u64) -> Option<()> {
        match shape {
            Shape::Path | Shape::Str(_) => {
                let bytes = self.bytes(dir, addr)?;
                let end = bytes.iter().position(|byte| *byte == 0);
                quote(line, bytes.get(..end.unwrap_or(bytes.len()))?, PATH_SHOWN, end.is_none());
            }
            Shape::Buf(size) => {
                let bytes = self.bytes(dir, addr)?;
                let mut len = self.count(size).min(bytes.len());
                if dir == Dir::Out {
                    len = self
                        .result
                        .and_then(|result| usize::try_from(result).ok())
                        .filter(|n| *n > 0)
                        .map_or(len, |n| len.min(n));
                }
                if matches!(self.call.nr, nr::GETDENTS64 | nr::GETDENTS) {
                    return entries(line, addr, bytes.get(..len)?);
                }
                quote(line, bytes.get(..len)?, STRING_MAX, false);
            }
            Shape::Struct(layout) => self.structure(line, layout.name, self.bytes(dir, addr)?)?,
            Shape::Array(layout, size) => {
                let each = (layout.size as usize).max(1);
                let mut count = self.count(size);
                if dir == Dir::Out && matches!(self.call.interrupt, super::Interruption::Eintr) {
                    count = count.min(usize::try_from(self.result.unwrap_or(0)).unwrap_or(0));
                }
                if count == 0 {
                    line.push_str("[]");
                    return Some(());
                }
                let bytes = self.bytes(dir, addr)?;
                list(line, bytes.chunks_exact(each).take(count), |line, bytes| {
                    self.structure(line, layout.name, bytes)
                });
            }
            Shape::Sockaddr(size) => {
                let bytes = self.bytes(dir, addr)?;
                let len = if dir == Dir::In { self.count(size).min(bytes.len()) } else { bytes.len().min(128) };
                sockaddr(line, bytes.get(..len)?)?;
            }
            Shape::FdSet(size) => fd_set(line, find(self.input, addr)?, self.count(size)),
            Shape::Sigset(_) => sigset(line, parse(self.bytes(dir, addr)?)?),
            Shape::SigsetArg => {
                let pair: abi::SigsetArg = parse(find(self.input, addr)?)?;
                line.push_str("{sigmask=");
                match find(self.input, pair.ss).and_then(parse) {
                    Some(set) => sigset(line, set),
                    None => address(line, pair.ss),
                }
                let _ = write!(line, ", sigsetsize={}}}", pair.ss_len);
            }
            Shape::Iovec(size) => self.iovec(line, dir, addr, self.count(size))?,
            Shape::Msghdr => self.message(line, dir, &parse(find(self.input, addr)?)?),
            Shape::Mmsghdr(size) => {
                let bytes = find(self.input, addr)?;
                list(line, bytes.chunks_exact(abi::Mmsghdr::SIZE).take(self.count(size)), |line, bytes| {
                    self.message(line, dir, &parse(bytes)?);
                    Some(())
                });
            }
            Shape::Strings => self.strings(line, addr)?,
            Shape::Ifconf => return None,
        }
        Some(())
    }

    fn count(&self, size: Size) -> usize {
        let count = match size {
            Size::Bytes(bytes) => bytes.into(),
            Size::Arg(index) => scalar(self.call.args, self.args, index),
            Size::Behind(index) => {
                let addr = self.arg(index.into());
                let bytes = find(self.output, addr).or_else(|| find(self.input, addr));
                bytes.and_then(parse::<u32>).unwrap_or(0).into()
            }
        };
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn iovec(&self, line: &mut String, dir: Dir, addr: u64, count: usize) -> Option<()> {
        let array = find(self.input, addr)?;
        let mut left = self.result.and_then(|result| usize::try_from(result).ok()).unwrap_or(0);
        list(line, array.chunks_exact(abi::Iovec::SIZE).take(count), |line, bytes| {
            let iov: abi::Iovec = parse(bytes)?;
            let len = usize::try_from(iov.iov_len).unwrap_or(usize::MAX);
            line.push_str("{iov_base=");
            let shown = if dir == Dir::Out { len.min(left) } else { len };
            left -= left.min(len);
            match self.bytes(dir, iov.iov_base) {
                Some(data) => quote(line, data.get(..shown.min(data.len()))?, STRING_MAX, false),
                None => address(line, iov.iov_base),
            }
            let _ = write!(line, ", iov_len={}}}", iov.iov_len);
            Some(())
        });
        Some(())
    }

    fn message(&self, line: &mut String, dir: Dir, header: &abi::Msghdr) {
        line.push_str("{msg_name=");
        let len = usize::try_from(header.msg_namelen).unwrap_or(0).min(128);
        let name = self.bytes(dir, header.msg_name).and_then(|bytes| bytes.get(..len.min(bytes.len())));
        let from = line.len();
        if name.and_then(|name| sockaddr(line, name)).is_none() {
            line.truncate(from);
            address(line, header.msg_name);
        }
        let _ = write!(line, ", msg_namelen={}, msg_iov=", header.msg_namelen);
        let from = line.len();
        let count = usize::try_from(header.msg_iovlen).unwrap_or(usize::MAX);
        if self.iovec(line, dir, header.msg_iov, count).is_none() {
            line.truncate(from);
            address(line, header.msg_iov);
        }
        let _ =
            write!(line, ", msg_iovlen={}, msg_controllen={}, msg_flags=", header.msg_iovlen, header.msg_controllen);
        names::flags(line, FlagSet::Msg, header.msg_flags.into());
        line.push('}');
    }

    fn strings(&self, line: &mut String, addr: u64) -> Option<()> {
        let pointers = find(self.input, addr)?;
        if self.call.args.iter().position(|arg| arg.name == "envp").is_some_and(|at| self.arg(at) == addr) {
            let count = pointers.chunks_exact(8).take_while(|bytes| bytes.iter().any(|byte| *byte != 0)).count();
            let _ = write!(line, "{addr:#x} /* {count} vars */");
            return Some(());
        }
        let used = pointers.chunks_exact(8).take_while(|bytes| bytes.iter().any(|byte| *byte != 0));
        list(line, used, |line, bytes| {
            let at = parse::<u64>(bytes)?;
            let Some(text) = find(self.input, at) else {
                address(line, at);
                return Some(());
            };
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            quote(line, text.get(..end)?, STRING_MAX, false);
            Some(())
        });
        Some(())
    }

    fn structure(&self, line: &mut String, name: &str, bytes: &[u8]) -> Option<()> {
        let _ = match name {
            "int" => write!(line, "{}", parse::<i32>(bytes)?),
            "long" | "off" => write!(line, "{}", parse::<i64>(bytes)?),
            "stat" => {
                let stat: abi::Stat = parse(bytes)?;
                line.push_str("{st_mode=");
                names::file_mode(line, stat.st_mode);
                write!(line, ", st_size={}, ...}}", stat.st_size)
            }
            "statx" => {
                let stat: abi::Statx = parse(bytes)?;
                line.push_str("{stx_mask=");
                names::flags(line, FlagSet::Statx, stat.stx_mask.into());
                line.push_str(", stx_mode=");
                names::file_mode(line, stat.stx_mode.into());
                write!(line, ", stx_size={}, ...}}", stat.stx_size)
            }
            "timespec" => {
                let time: abi::Timespec = parse(bytes)?;
                write!(line, "{{tv_sec={}, tv_nsec={}}}", time.tv_sec, time.tv_nsec)
            }
            "timeval" => {
                let time: abi::Timeval = parse(bytes)?;
                write!(line, "{{tv_sec={}, tv_usec={}}}", time.tv_sec, time.tv_usec)
            }
            "rlimit" => {
                let limit: abi::Rlimit64 = parse(bytes)?;
                line.push_str("{rlim_cur=");
                push_limit(line, limit.rlim_cur);
                line.push_str(", rlim_max=");
                push_limit(line, limit.rlim_max);
                write!(line, "}}")
            }
            "pollfd" => {
                let poll: abi::Pollfd = parse(bytes)?;
                let _ = write!(line, "{{fd={}, events=", poll.fd);
                names::poll(line, poll.events);
                write!(line, "}}")
            }
            "epoll_event" => {
                let event: abi::EpollEvent = parse(bytes)?;
                line.push_str("{events=");
                names::flags(line, FlagSet::Epoll, u64::from(event.events));
                write!(line, ", data={:#x}}}", { event.data })
            }
            "winsize" => {
                let size: abi::Winsize = parse(bytes)?;
                write!(line, "{{ws_row={}, ws_col={}, ...}}", size.ws_row, size.ws_col)
            }
            "utsname" => {
                let uts: abi::Utsname = parse(bytes)?;
                line.push_str("{sysname=");
                quote(line, until_zero(&uts.sysname), STRING_MAX, false);
                line.push_str(", nodename=");
                quote(line, until_zero(&uts.nodename), STRING_MAX, false);
                write!(line, ", ...}}")
            }
            "sigaction" => {
                let action: abi::Sigaction = parse(bytes)?;
                line.push_str("{sa_handler=");
                match action.handler {
                    0 => line.push_str("SIG_DFL"),
                    1 => line.push_str("SIG_IGN"),
                    handler => address(line, handler),
                }
                line.push_str(", sa_mask=");
                sigset(line, action.mask);
                write!(line, ", sa_flags={:#x}}}", action.flags)
            }
            "flock" => {
                let lock: abi::Flock = parse(bytes)?;
                let kind = match lock.l_type {
                    0 => "F_RDLCK",
                    1 => "F_WRLCK",
                    2 => "F_UNLCK",
                    _ => "?",
                };
                let _ = write!(line, "{{l_type={kind}, l_whence=");
                names::flags(line, FlagSet::Whence, lock.l_whence as u64);
                write!(line, ", l_start={}, l_len={}}}", lock.l_start, lock.l_len)
            }
            _ => return None,
        };
        Some(())
    }

    /// strace shows what poll has found behind the result.
    fn poll_result(&self, line: &mut String) {
        if !matches!(self.call.nr, nr::POLL | nr::PPOLL) || self.result.is_none_or(|result| result <= 0) {
            return;
        }
        let Some(bytes) = find(self.output, self.arg(0)) else { return };
        let ready = bytes
            .chunks_exact(abi::Pollfd::SIZE)
            .filter(|bytes| parse::<abi::Pollfd>(bytes).is_some_and(|poll| poll.revents != 0));
        line.push_str(" (");
        list(line, ready, |line, bytes| {
            let poll: abi::Pollfd = parse(bytes)?;
            let _ = write!(line, "{{fd={}, revents=", poll.fd);
            names::poll(line, poll.revents);
            line.push('}');
            Some(())
        });
        line.push(')');
    }
}

fn push_scalar(line: &mut String, kind: Scalar, value: u64) {
    let _ = match kind {
        Scalar::Dirfd if value as i32 == abi::AT_FDCWD => write!(line, "AT_FDCWD"),
        Scalar::Fd | Scalar::Dirfd | Scalar::Int | Scalar::Pid => write!(line, "{}", value as i32),
        Scalar::Uid | Scalar::Gid if value as u32 == u32::MAX => write!(line, "-1"),
        Scalar::Uint | Scalar::Uid | Scalar::Gid => write!(line, "{}", value as u32),
        Scalar::Long | Scalar::Off => write!(line, "{}", value as i64),
        Scalar::Ulong | Scalar::Size => write!(line, "{value}"),
        Scalar::Ptr => return address(line, value),
        Scalar::Hex if value == 0 => write!(line, "0"),
        Scalar::Hex => write!(line, "{value:#x}"),
        Scalar::Mode => write!(line, "0{:o}", value as u32),
        Scalar::Dev => write!(line, "makedev({:#x}, {:#x})", abi::major(value), abi::minor(value)),
        Scalar::Sig => return names::signal(line, value & 0xffff_ffff),
        Scalar::Clock => return names::clock(line, value & 0xffff_ffff),
        Scalar::Flags(set) => {
            // Only clone's, mmap's and mount's are wide, and nothing of theirs is lost.
            let wide = matches!(set, FlagSet::Clone | FlagSet::Mmap | FlagSet::Mount | FlagSet::Prot | FlagSet::Mremap);
            return names::flags(line, set, if wide { value } else { value & 0xffff_ffff });
        }
    };
}

fn push_limit(line: &mut String, limit: u64) {
    if limit == u64::MAX {
        line.push_str("RLIM64_INFINITY");
    } else {
        let _ = write!(line, "{limit}");
    }
}

fn address(line: &mut String, addr: u64) {
    if addr == 0 {
        line.push_str("NULL");
    } else {
        let _ = write!(line, "{addr:#x}");
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A C string literal of at most `max` bytes; `...` when there is more.
fn quote(line: &mut String, bytes: &[u8], max: usize, cut: bool) {
    line.push('"');
    for (index, byte) in bytes.iter().take(max).enumerate() {
        let _ = match byte {
            b'\n' => write!(line, "\\n"),
            b'\t' => write!(line, "\\t"),
            b'\r' => write!(line, "\\r"),
            b'"' => write!(line, "\\\""),
            b'\\' => write!(line, "\\\\"),
            0x20..=0x7e => write!(line, "{}", char::from(*byte)),
            // A digit behind a short octal number would be read as part of it.
            byte if bytes.get(index + 1).is_some_and(u8::is_ascii_digit) => write!(line, "\\{byte:03o}"),
            byte => write!(line, "\\{byte:o}"),
        };
    }
    line.push('"');
    if cut || bytes.len() > max {
        line.push_str("...");
    }
}

/// `[a, b, ...]`; elements that cannot be shown become `?`.
fn list<'a>(
    line: &mut String,
    items: impl Iterator<Item = &'a [u8]>,
    mut each: impl FnMut(&mut String, &'a [u8]) -> Option<()>,
) {
    line.push('[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            line.push_str(", ");
        }
        if index == ARRAY_MAX || line.len() > LINE_MAX {
            line.push_str("...");
            break;
        }
        let from = line.len();
        if each(line, item).is_none() {
            line.truncate(from);
            line.push('?');
        }
    }
    line.push(']');
}

fn entries(line: &mut String, addr: u64, bytes: &[u8]) -> Option<()> {
    let mut rest = bytes;
    let mut count = 0;
    while let Some(len) = rest.get(16..18).and_then(parse::<u16>).filter(|len| *len > 0) {
        count += 1;
        rest = rest.get(usize::from(len)..).unwrap_or_default();
    }
    write!(line, "{addr:#x} /* {count} entries */").ok()
}

fn sigset(line: &mut String, set: abi::Sigset) {
    line.push('[');
    let mut first = true;
    for signal in (1..=64).filter(|signal| set.contains(*signal)) {
        if !std::mem::take(&mut first) {
            line.push(' ');
        }
        let mut name = String::new();
        names::signal(&mut name, signal.into());
        line.push_str(name.strip_prefix("SIG").unwrap_or(&name));
    }
    line.push(']');
}

fn fd_set(line: &mut String, bytes: &[u8], nfds: usize) {
    line.push('[');
    let bits = bytes
        .iter()
        .enumerate()
        .flat_map(|(at, byte)| (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| at * 8 + bit));
    for (index, fd) in bits.take_while(|fd| *fd < nfds).enumerate() {
        if index == ARRAY_MAX {
            line.push_str(" ...");
            break;
        }
        let _ = write!(line, "{}{fd}", if index == 0 { "" } else { " " });
    }
    line.push(']');
}

fn sockaddr(line: &mut String, bytes: &[u8]) -> Option<()> {
    let family = parse::<u16>(bytes)?;
    line.push_str("{sa_family=");
    names::family(line, family.into());
    let _ = match family {
        abi::af::UNIX => {
            let path = bytes.get(2..)?;
            line.push_str(", sun_path=");
            match path.split_first() {
                None => quote(line, path, 108, false),
                Some((0, name)) => {
                    line.push('@');
                    quote(line, name, 108, false);
                }
                Some(_) => quote(line, until_zero(path), 108, false),
            }
            write!(line, "}}")
        }
        abi::af::INET => {
            let inet: abi::SockaddrIn = parse(bytes)?;
            let (port, addr) = (u16::from_be_bytes(inet.sin_port), std::net::Ipv4Addr::from(inet.sin_addr));
            write!(line, ", sin_port=htons({port}), sin_addr=inet_addr(\"{addr}\")}}")
        }
        abi::af::INET6 => {
            let inet: abi::SockaddrIn6 = parse(bytes)?;
            let (port, addr) = (u16::from_be_bytes(inet.sin6_port), std::net::Ipv6Addr::from(inet.sin6_addr));
            write!(
                line,
                ", sin6_port=htons({port}), sin6_addr=inet_pton(\"{addr}\"), sin6_scope_id={}}}",
                inet.sin6_scope_id
            )
        }
        _ => {
            line.push_str(", sa_data=");
            quote(line, bytes.get(2..)?, STRING_MAX, false);
            write!(line, "}}")
        }
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::marshal::gather;
    use crate::table::marshal::tests::Piece;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn segment(addr: u64, data: &[u8]) -> Segment {
        Segment { addr, data: data.to_vec().into() }
    }

    const CWD: u64 = -100i64 as u64;

    #[test]
    fn looks_like_strace() {
        let path = [segment(0x1000, b"/etc/passwd\0")];
        assert_eq!(
            render(nr::OPENAT, &[CWD, 0x1000, 0o2_000_000, 0, 0, 0], &path, Some(3), &[]),
            "openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_CLOEXEC) = 3"
        );
        assert_eq!(
            render(nr::OPENAT, &[CWD, 0x1000, 0o1101, 0o644, 0, 0], &path, Some(-2), &[]),
            "openat(AT_FDCWD, \"/etc/passwd\", O_WRONLY|O_CREAT|O_TRUNC, 0644) = -1 ENOENT (No such file or directory)"
        );
        assert_eq!(
            render(nr::READ, &[0, 0x2000, 100, 0, 0, 0], &[], Some(4), &[segment(0x2000, b"hi\n\0")]),
            "read(0, \"hi\\n\\0\", 100) = 4"
        );
        assert_eq!(
            render(nr::READ, &[0, 0x2000, 100, 0, 0, 0], &[], Some(-512), &[]),
            "read(0, 0x2000, 100) = ? ERESTARTSYS (To be restarted)"
        );
        assert_eq!(
            render(nr::MMAP, &[0, 4096, 3, 0x22, u64::MAX, 0], &[], Some(0x7f00_0000_0000), &[]),
            "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000"
        );
        assert_eq!(render(nr::KILL, &[7, 15, 0, 0, 0, 0], &[], Some(0), &[]), "kill(7, SIGTERM) = 0");
        assert_eq!(render(nr::EXIT_GROUP, &[1, 0, 0, 0, 0, 0], &[], None, &[]), "exit_group(1) = ?");
        assert_eq!(render(nr::FCNTL, &[1, 1, 0, 0, 0, 0], &[], Some(0), &[]), "fcntl(1, F_GETFD) = 0");
        assert_eq!(
            render(nr::FCNTL, &[1, 4, 2048, 0, 0, 0], &[], Some(0), &[]),
            "fcntl(1, F_SETFL, O_RDONLY|O_NONBLOCK) = 0"
        );
        assert_eq!(
            render(nr::CLONE, &[0x11, 0, 0, 0, 0, 0], &[], Some(9), &[]),
            "clone(SIGCHLD, NULL, NULL, NULL, NULL) = 9"
        );
        assert!(render(9999, &[1; 6], &[], Some(-38), &[]).starts_with("syscall_0x270f(0x1, "));
    }

    #[test]
    fn structures() {
        let stat = abi::Stat { st_mode: 0o100_644, st_size: 12, ..abi::Stat::default() };
        assert_eq!(
            render(nr::FSTAT, &[3, 0x2000, 0, 0, 0, 0], &[], Some(0), &[segment(0x2000, stat.as_bytes())]),
            "fstat(3, {st_mode=S_IFREG|0644, st_size=12, ...}) = 0"
        );
        let mut addr = vec![2, 0, 0, 80, 127, 0, 0, 1];
        addr.extend([0; 8]);
        assert_eq!(
            render(nr::CONNECT, &[3, 0x2000, 16, 0, 0, 0], &[segment(0x2000, &addr)], Some(0), &[]),
            "connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0"
        );
        let given = abi::Pollfd { fd: 4, events: 1, revents: 0 };
        let found = abi::Pollfd { revents: 1, ..given };
        assert_eq!(
            render(
                nr::POLL,
                &[0x2000, 1, 100, 0, 0, 0],
                &[segment(0x2000, given.as_bytes())],
                Some(1),
                &[segment(0x2000, found.as_bytes())]
            ),
            "poll([{fd=4, events=POLLIN}], 1, 100) = 1 ([{fd=4, revents=POLLIN}])"
        );
        assert_eq!(
            render(nr::PIPE2, &[0x2000, 0, 0, 0, 0, 0], &[], Some(0), &[segment(0x2000, &[3, 0, 0, 0, 4, 0, 0, 0])]),
            "pipe2([3, 4], 0) = 0"
        );
        let long = vec![b'x'; 100];
        assert_eq!(
            render(nr::WRITE, &[1, 0x2000, 100, 0, 0, 0], &[segment(0x2000, &long)], Some(100), &[]),
            format!("write(1, \"{}\"..., 100) = 100", "x".repeat(32))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn never_panics_and_stays_bounded(
            nr in 0u32..480,
            args in proptest::array::uniform6(prop_oneof![0x1000u64..0x1100, 0u64..64, any::<u64>()]),
            data in proptest::collection::vec(prop_oneof![Just(0u8), Just(0x10), any::<u8>()], 0..400),
            result in proptest::option::of(prop_oneof![-600i64..600, any::<i64>()]),
        ) {
            let output = [segment(0x1000, &data)];
            let gathered = gather(nr, &args, &mut Piece::new(data));
            let line = render(nr, &args, &gathered.segments, result, &output);
            prop_assert!(line.len() < 8 * LINE_MAX);
            prop_assert!(line.contains(" = ") && !line.contains('\n'));
        }
    }
}
