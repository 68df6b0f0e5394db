//! Raw calls for programs, their descriptors, and the functions of `rsc.h` in whichever library has them.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rsc_proto::v1::BrokerSettings;

use crate::{Error, Server};

impl Server {
    /// Makes a call by its number, as syscall(2) does here; its result, or minus an error number. `EBADF` where a descriptor is this
    /// machine's, `ENOSYS` where the call always is.
    ///
    /// # Safety
    /// The arguments must be what the call takes: it reads and writes the memory they point to.
    pub unsafe fn syscall(&self, number: u32, args: [u64; 6]) -> i64 {
        self.raw(number, args)
    }
}

/// A descriptor that a call has just made.
pub(crate) fn own(fd: i32) -> OwnedFd {
    // SAFETY: it is open, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The standard error stream's number.
pub(crate) fn standard_error<'a>() -> BorrowedFd<'a> {
    // SAFETY: a number that is not -1; it is not closed through this.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// As `struct rsc_settings`.
#[repr(C)]
struct Settings([*const c_char; 9]);

type Connect = unsafe extern "C" fn(*const Settings) -> c_int;
type Begin = unsafe extern "C" fn(*const c_char) -> c_int;
type End = unsafe extern "C" fn() -> c_int;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// The library that replaces the C library's functions in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library {
    connect: Connect,
    begin: Begin,
    end: End,
    last_error: LastError,
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

impl Library {
    /// It, if it is there.
    pub(crate) fn find() -> Option<Self> {
        let (connect, begin) = (symbol(c"rsc_connect")?, symbol(c"rsc_region_begin")?);
        let (end, last_error) = (symbol(c"rsc_region_end")?, symbol(c"rsc_last_error")?);
        // SAFETY: functions of these names have these types, by `rsc.h`.
        unsafe {
            Some(Library {
                connect: std::mem::transmute::<*mut c_void, Connect>(connect),
                begin: std::mem::transmute::<*mut c_void, Begin>(begin),
                end: std::mem::transmute::<*mut c_void, End>(end),
                last_error: std::mem::transmute::<*mut c_void, LastError>(last_error),
            })
        }
    }

    fn result(self, done: c_int) -> Result<(), Error> {
        if done == 0 {
            return Ok(());
        }
        // SAFETY: it takes nothing, and returns a string.
        let text = unsafe { CStr::from_ptr((self.last_error)()) };
        Err(Error::Refused(text.to_string_lossy().into_owned()))
    }

    /// Has the process's regions be of this server.
    pub(crate) fn connect(self, settings: &BrokerSettings) -> Result<(), Error> {
        let given = [
            &settings.sentry,
            &settings.rules,
            &settings.syscalls,
            &settings.export,
            &settings.cwd,
            &settings.token_file,
            &settings.tls_ca,
            &settings.tls_cert,
            &settings.tls_key,
        ];
        let texts = given.map(|text| CString::new(text.as_str()).unwrap_or_default());
        let settings = Settings(texts.each_ref().map(|text| text.as_ptr()));
        // SAFETY: strings that live until it returns.
        let done = unsafe { (self.connect)(&raw const settings) };
        self.result(done)
    }

    /// Begins a region.
    pub(crate) fn begin(self, syscalls: Option<&str>) -> Result<(), Error> {
        let list = syscalls.map(|list| CString::new(list).unwrap_or_default());
        // SAFETY: null or a string.
        let done = unsafe { (self.begin)(list.as_ref().map_or(std::ptr::null(), |list| list.as_ptr())) };
        self.result(done)
    }

    /// Ends it.
    pub(crate) fn end(self) {
        // SAFETY: it takes nothing.
        unsafe { (self.end)() };
    }
}
