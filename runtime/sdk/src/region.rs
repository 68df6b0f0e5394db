//! Marked regions in Rust: the functions of `rsc.h`, found where `librsc.so` or `librsc_preload.so` is in the process.

use std::marker::PhantomData;

use crate::sys::api::Library;
use crate::{Error, Server};

/// A region of the thread that has begun it; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the region ends when this is dropped"]
pub struct Region {
    library: Library,
    /// It is its thread's.
    here: PhantomData<*const ()>,
}

impl Drop for Region {
    fn drop(&mut self) {
        self.library.end();
    }
}

pub(crate) fn begin(server: Option<&Server>, syscalls: Option<&str>) -> Result<Region, Error> {
    let library = Library::find().ok_or(Error::NotLoaded)?;
    if let Some(server) = server {
        library.connect(server.settings())?;
    }
    library.begin(syscalls)?;
    Ok(Region { library, here: PhantomData })
}

/// Begins a region in this thread, until what is returned is dropped, with the server of the environment: calls of the C library
/// (which the standard library's are made of) go there, those of `syscalls`, or with `None` those that the settings say.
pub fn region(syscalls: Option<&str>) -> Result<Region, Error> {
    begin(None, syscalls)
}
