//! The functions of `rsc.h`, which is made of this file: its functions and structures, and the comments before them.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_void};

use libc::{mode_t, off_t, size_t, ssize_t};
use rsc_proto::table::nr;
use rsc_proto::v1::BrokerSettings;
use rsc_sdk::Error;
use rsc_sdk::broker::terms::Terms;
use rsc_sdk::broker::{ask, environment};
use rsc_sdk::sys::local;

use super::exports::{Register, finish, set_errno};
use crate::{region, start};

/// Bytes of the last error's text, its end included.
const TEXT: usize = 1024;

thread_local! {
    static LAST: [Cell<c_char>; TEXT] = const { [const { Cell::new(0) }; TEXT] };
}

/// Remembers why a function has failed, and says -1.
fn failed(error: &Error) -> c_int {
    remember(&error.to_string());
    set_errno(error.errno());
    -1
}

fn remember(text: &str) {
    LAST.with(|last| {
        let bytes = text.bytes().take(TEXT - 1).chain([0]);
        last.iter().zip(bytes).for_each(|(slot, byte)| slot.set(byte as c_char));
    });
}

fn done(result: Result<(), Error>) -> c_int {
    result.map_or_else(|error| failed(&error), |()| 0)
}

/// Where calls go. What is NULL is as the environment says: RSC_SENTRY, RSC_RULES, RSC_SYSCALLS, RSC_EXPORT, RSC_CWD, RSC_TOKEN_FILE,
/// RSC_TLS_CA, RSC_TLS_CERT, RSC_TLS_KEY.
#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rsc_settings {
    /// The server: tcp://HOST:PORT, vsock://CID:PORT, unix:///PATH.
    pub(crate) sentry: *const c_char,
    /// A file of rules, for regions.
    pub(crate) rules: *const c_char,
    /// Calls that go there in regions without a list of their own, with commas between.
    pub(crate) syscalls: *const c_char,
    /// Which of the server's exports; empty: the only one.
    pub(crate) export_name: *const c_char,
    /// The working directory there; empty: as this machine's, and / for rsc_syscall and its like.
    pub(crate) cwd: *const c_char,
    /// A file with a token.
    pub(crate) token_file: *const c_char,
    /// A certificate of an authority.
    pub(crate) tls_ca: *const c_char,
    /// A certificate.
    pub(crate) tls_cert: *const c_char,
    /// Its key.
    pub(crate) tls_key: *const c_char,
}

/// Connects the calling thread; settings may be NULL. Not needed if the environment says everything. 0, or -1 with errno and
/// rsc_last_error.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rsc_connect(settings: *const rsc_settings) -> c_int {
    let mut wanted = environment::settings();
    // SAFETY: null, or the caller's structure, whose members are null or strings.
    if let Some(given) = unsafe { settings.as_ref() } {
        let take = |slot: &mut String, text: *const c_char, is_path: bool| {
            // SAFETY: as above.
            if let Some(text) = unsafe { local::string(text) } {
                let text = text.to_string_lossy().into_owned();
                *slot = if is_path { environment::absolute(text) } else { text };
            }
        };
        take(&mut wanted.sentry, given.sentry, false);
        take(&mut wanted.rules, given.rules, true);
        take(&mut wanted.syscalls, given.syscalls, false);
        take(&mut wanted.export, given.export_name, false);
        take(&mut wanted.cwd, given.cwd, false);
        take(&mut wanted.token_file, given.token_file, true);
        take(&mut wanted.tls_ca, given.tls_ca, true);
        take(&mut wanted.tls_cert, given.tls_cert, true);
        take(&mut wanted.tls_key, given.tls_key, true);
    }
    done(start::settle(wanted).and_then(|()| explicit()).and_then(Terms::open))
}

/// The terms of calls that must be carried out there.
fn explicit() -> Result<&'static Terms, Error> {
    let settings = start::settings()?;
    let wanted = BrokerSettings { rules: String::new(), syscalls: String::new(), explicit: true, ..settings };
    Terms::of(&environment::socket(), wanted)
}

/// Begins a region: until rsc_region_end, these calls of this thread go to the server where no rule says otherwise. With NULL they are
/// those which the settings name. 0, or -1 with errno and rsc_last_error, and then there is no region.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rsc_region_begin(syscalls: *const c_char) -> c_int {
    // SAFETY: null, or the caller's string.
    let list = unsafe { local::string(syscalls) }.map(|list| list.to_string_lossy().into_owned());
    done(region::begin(list.as_deref()))
}

/// Ends this thread's innermost region. 0, or -1 with EINVAL if it is in none.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn rsc_region_end() -> c_int {
    done(region::end())
}

/// Why the last function of this file that failed in this thread did, and what to do; never NULL, valid until the next one fails.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn rsc_last_error() -> *const c_char {
    LAST.with(|last| last.as_ptr().cast::<c_char>())
}

fn carry_out(number: u32, args: [u64; 6]) -> i64 {
    let terms = match explicit().and_then(|terms| terms.open().map(|()| terms)) {
        Ok(terms) => terms,
        Err(error) => return failed(&error).into(),
    };
    let result = ask::there(terms, number, args);
    if (-4095..0).contains(&result) {
        remember(&std::io::Error::from_raw_os_error(-result as c_int).to_string());
    }
    finish(result)
}

/// Carries a call out at the server, as syscall(2) does here, whatever rules and regions say. Descriptors must be remote: EBADF.
/// Calls which always are this machine's, as fork: ENOSYS. Up to six arguments.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rsc_syscall(number: c_long, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> c_long {
    carry_out(u32::try_from(number).unwrap_or(u32::MAX), [a, b, c, d, e, f])
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: ($($arg:ident: $type:ty),*) -> $result:ty = $nr:ident($($given:expr),*);)*) => { $(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            let given: &[u64] = &[$(Register::register($given)),*];
            let mut args = [0; 6];
            args.iter_mut().zip(given).for_each(|(slot, value)| *slot = *value);
            carry_out(nr::$nr, args) as $result
        }
    )* };
}

const AT_FDCWD: c_int = libc::AT_FDCWD;

calls! {
    /// open(2) there. The descriptor is one of this process as any other; read(2), write(2) and so on work with it too.
    rsc_open: (path: *const c_char, flags: c_int, mode: mode_t) -> c_int = OPENAT(AT_FDCWD, path, flags, mode);
    /// close(2) of a remote descriptor.
    rsc_close: (fd: c_int) -> c_int = CLOSE(fd);
    /// read(2) there.
    rsc_read: (fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t = READ(fd, buf, count);
    /// write(2) there.
    rsc_write: (fd: c_int, buf: *const c_void, count: size_t) -> ssize_t = WRITE(fd, buf, count);
    /// pread(2) there.
    rsc_pread: (fd: c_int, buf: *mut c_void, count: size_t, offset: off_t) -> ssize_t = PREAD64(fd, buf, count, offset);
    /// pwrite(2) there.
    rsc_pwrite: (fd: c_int, buf: *const c_void, count: size_t, offset: off_t) -> ssize_t = PWRITE64(fd, buf, count, offset);
    /// lseek(2) there.
    rsc_lseek: (fd: c_int, offset: off_t, whence: c_int) -> off_t = LSEEK(fd, offset, whence);
    /// ftruncate(2) there.
    rsc_ftruncate: (fd: c_int, length: off_t) -> c_int = FTRUNCATE(fd, length);
    /// fsync(2) there.
    rsc_fsync: (fd: c_int) -> c_int = FSYNC(fd);
    /// getdents64(2) there.
    rsc_getdents64: (fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t = GETDENTS64(fd, buf, count);
    /// stat(2) there.
    rsc_stat: (path: *const c_char, buf: *mut libc::stat) -> c_int = STAT(path, buf);
    /// lstat(2) there.
    rsc_lstat: (path: *const c_char, buf: *mut libc::stat) -> c_int = LSTAT(path, buf);
    /// fstat(2) there.
    rsc_fstat: (fd: c_int, buf: *mut libc::stat) -> c_int = FSTAT(fd, buf);
    /// readlink(2) there.
    rsc_readlink: (path: *const c_char, buf: *mut c_char, size: size_t) -> ssize_t = READLINK(path, buf, size);
    /// mkdir(2) there.
    rsc_mkdir: (path: *const c_char, mode: mode_t) -> c_int = MKDIR(path, mode);
    /// rmdir(2) there.
    rsc_rmdir: (path: *const c_char) -> c_int = RMDIR(path);
    /// unlink(2) there.
    rsc_unlink: (path: *const c_char) -> c_int = UNLINK(path);
    /// rename(2) there.
    rsc_rename: (from: *const c_char, to: *const c_char) -> c_int = RENAME(from, to);
    /// socket(2) there; connect(2), bind(2), send(2) and so on work with its descriptor.
    rsc_socket: (domain: c_int, kind: c_int, protocol: c_int) -> c_int = SOCKET(domain, kind, protocol);
}
