//! The functions of the C library that programs call for files, sockets and names, and that this library stands in front of.
//!
//! x86-64 passes the arguments of variadic functions as it does others, so `open` and its like are declared with all they may have.

mod directories;
mod files;
mod names;
mod processes;
mod sockets;
mod stdio;

pub(crate) use stdio::take_over_standard;

/// A result as the C library gives it: -1, and the error number in `errno`.
pub(crate) fn finish(result: i64) -> i64 {
    if (-4095..0).contains(&result) {
        set_errno(-result as i32);
        return -1;
    }
    result
}

pub(crate) fn set_errno(errno: i32) {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() = errno };
}

pub(crate) fn errno() -> i32 {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() }
}

/// What an argument is in a register.
pub(crate) trait Register {
    fn register(self) -> u64;
}

macro_rules! registers {
    ($($type:ty),*) => { $(impl Register for $type {
        #[allow(clippy::cast_lossless, clippy::cast_sign_loss)]
        fn register(self) -> u64 {
            self as u64
        }
    })* };
}
registers!(i32, u32, i64, u64, usize, isize);

impl<T> Register for *const T {
    fn register(self) -> u64 {
        self as u64
    }
}

impl<T> Register for *mut T {
    fn register(self) -> u64 {
        self as u64
    }
}

/// Functions that are one system call; several names of one are the same.
macro_rules! calls {
    ($($($name:ident),+: $arguments:tt -> $result:ty = $nr:ident $given:tt;)*) => {
        $($($crate::sys::exports::call!($name $arguments $result, $nr $given);)+)*
    };
}

macro_rules! call {
    ($name:ident ($($arg:ident: $type:ty),*) $result:ty, $nr:ident ($($given:expr),*)) => {
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            let given: &[u64] = &[$($crate::sys::exports::Register::register($given)),*];
            let mut args = [0; 6];
            args.iter_mut().zip(given).for_each(|(slot, value)| *slot = *value);
            $crate::sys::exports::finish($crate::route::route(rsc_proto::table::nr::$nr, args)) as $result
        }
    };
}
pub(crate) use call;
pub(crate) use calls;

/// The C library's own function of a name, for what is not ours to do.
macro_rules! real {
    ($name:literal, fn($($type:ty),* $(,)?) -> $result:ty) => {{
        static FOUND: std::sync::atomic::AtomicPtr<libc::c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        let mut found = FOUND.load(std::sync::atomic::Ordering::Relaxed);
        if found.is_null() {
            // SAFETY: a name that ends with a zero.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, $name.as_ptr()) };
            FOUND.store(found, std::sync::atomic::Ordering::Relaxed);
        }
        // SAFETY: the C library's function of this name has this type; a null is `None`.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<unsafe extern "C" fn($($type),*) -> $result>>(found) }
    }};
}
pub(crate) use real;
