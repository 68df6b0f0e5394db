//! A handler's window onto the calling task's memory.
//!
//! What the marshaller shipped is answered from there; any other address is fetched by a reverse request, so the syscall table's
//! buffer directions are an optimisation and never needed for correctness. Output is collected and travels with the answer;
//! beyond `OUT_LIMIT` it is pushed ahead of it.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem::size_of;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use rsc_proto::abi::Errno;
use rsc_proto::v1::Segment;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::host::ComputeHost;

/// Output bytes that may travel with one answer.
pub const OUT_LIMIT: usize = 1 << 20;
/// Bytes of one reverse request.
pub const CHUNK: usize = 1 << 20;
/// The longest path, with its NUL. Linux: `PATH_MAX`.
pub const PATH_MAX: usize = 4096;
/// End of the user half of the address space on x86-64 with four-level page tables.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Nothing is ever mapped below this. Linux: `mmap_min_addr`.
const MIN_ADDR: u64 = 4096;

/// An address in the calling task's memory at which the call says a `T` is.
pub struct UserPtr<T> {
    addr: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T> UserPtr<T> {
    /// The pointer with this value.
    pub const fn new(addr: u64) -> Self {
        Self { addr, of: PhantomData }
    }

    /// Its value.
    pub const fn addr(self) -> u64 {
        self.addr
    }

    /// Whether it is NULL.
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }

    /// The pointer to the `i`th element after this one. Wraps like C; the access checks the address.
    pub const fn offset(self, i: usize) -> Self {
        Self::new(self.addr.wrapping_add((i as u64).wrapping_mul(size_of::<T>() as u64)))
    }

    /// The same address, seen as another type.
    pub const fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.addr)
    }

    /// `None` if NULL.
    pub const fn non_null(self) -> Option<Self> {
        if self.addr == 0 { None } else { Some(self) }
    }
}

/// See the module's text.
pub struct UserMemory {
    host: Rc<dyn ComputeHost>,
    tid: u32,
    shipped: Vec<Segment>,
    out: RefCell<Vec<Segment>>,
    out_bytes: Cell<usize>,
}

impl UserMemory {
    /// The window of one call of task `tid`, with the segments that came with it.
    pub fn new(host: Rc<dyn ComputeHost>, tid: u32, shipped: Vec<Segment>) -> Self {
        Self { host, tid, shipped, out: RefCell::default(), out_bytes: Cell::new(0) }
    }

    /// `EFAULT` for a range that can't be the workload's. Linux: access_ok().
    pub fn check(addr: u64, len: usize) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        match addr.checked_add(len as u64) {
            Some(end) if addr >= MIN_ADDR && end <= TASK_SIZE => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }

    /// The longest shipped run that starts at `addr`, up to `len`.
    fn shipped(&self, addr: u64, len: usize) -> Option<Bytes> {
        self.shipped.iter().find_map(|s| {
            let skip = usize::try_from(addr.checked_sub(s.addr)?).ok()?;
            if skip >= s.data.len() {
                return None;
            }
            let end = s.data.len().min(skip.saturating_add(len));
            Some(s.data.slice(skip..end))
        })
    }

    /// Reads up to `len` bytes; fewer if the memory ends before, `EFAULT` if there are none.
    pub async fn read_upto(&self, addr: u64, len: usize) -> Result<Bytes, Errno> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        Self::check(addr, 1)?;
        let first = self.shipped(addr, len).unwrap_or_default();
        if first.len() == len {
            return Ok(first);
        }
        let mut all = BytesMut::from(&first[..]);
        while all.len() < len {
            let want = (len - all.len()).min(CHUNK);
            let at = addr.saturating_add(all.len() as u64);
            if Self::check(at, 1).is_err() {
                break;
            }
            let got = self.host.read_memory(self.tid, at, want as u32).await?;
            let got = got.slice(..got.len().min(want));
            all.extend_from_slice(&got);
            if got.len() < want {
                break;
            }
        }
        if all.is_empty() { Err(Errno::EFAULT) } else { Ok(all.freeze()) }
    }

    /// Reads exactly `len` bytes.
    pub async fn read_bytes(&self, addr: u64, len: usize) -> Result<Bytes, Errno> {
        Self::check(addr, len)?;
        let b = self.read_upto(addr, len).await?;
        if b.len() == len { Ok(b) } else { Err(Errno::EFAULT) }
    }

    /// Reads one value.
    pub async fn read<T: FromBytes>(&self, ptr: UserPtr<T>) -> Result<T, Errno> {
        let b = self.read_bytes(ptr.addr(), size_of::<T>()).await?;
        T::read_from_bytes(&b).map_err(|_| Errno::EFAULT)
    }

    /// Reads `n` values. The caller has bounded `n`.
    pub async fn read_array<T: FromBytes>(&self, ptr: UserPtr<T>, n: usize) -> Result<Vec<T>, Errno> {
        let len = n.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
        let b = self.read_bytes(ptr.addr(), len).await?;
        b.chunks_exact(size_of::<T>()).map(|c| T::read_from_bytes(c).map_err(|_| Errno::EFAULT)).collect()
    }

    /// Reads a NUL-terminated string of at most `max` bytes with its NUL; `None` if it is longer.
    pub async fn read_cstr(&self, addr: u64, max: usize) -> Result<Option<Vec<u8>>, Errno> {
        let mut s = Vec::new();
        while s.len() < max {
            // To the end of the page at first: the next one may not be mapped.
            let at = addr.saturating_add(s.len() as u64);
            Self::check(at, 1)?;
            let want = match self.shipped(at, max - s.len()) {
                Some(b) => b.len(),
                None => (4096 - (at % 4096) as usize).min(max - s.len()),
            };
            let b = self.read_upto(at, want).await?;
            if let Some(end) = b.iter().position(|&c| c == 0) {
                s.extend_from_slice(b.get(..end).unwrap_or_default());
                return Ok(Some(s));
            }
            s.extend_from_slice(&b);
            if b.len() < want {
                return Err(Errno::EFAULT);
            }
        }
        Ok(None)
    }

    /// Reads a path: `ENAMETOOLONG` beyond `PATH_MAX`. Empty paths are for the caller to judge.
    pub async fn read_path(&self, ptr: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
        self.read_cstr(ptr.addr(), PATH_MAX).await?.ok_or(Errno::ENAMETOOLONG)
    }

    /// Writes bytes, with the answer or ahead of it. A page that turns out not to be writable makes the call fail with `EFAULT`
    /// when the answer is applied.
    pub async fn write_bytes(&self, addr: u64, data: Bytes) -> Result<(), Errno> {
        if data.is_empty() {
            return Ok(());
        }
        Self::check(addr, data.len())?;
        if self.out_bytes.get() + data.len() <= OUT_LIMIT {
            self.out_bytes.set(self.out_bytes.get() + data.len());
            self.out.borrow_mut().push(Segment { addr, data });
            return Ok(());
        }
        let mut rest = data;
        let mut at = addr;
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(CHUNK));
            let n = part.len() as u64;
            if self.host.write_memory(self.tid, at, part).await? != n {
                return Err(Errno::EFAULT);
            }
            at += n;
        }
        Ok(())
    }

    /// Writes one value.
    pub async fn write<T: IntoBytes + Immutable>(&self, ptr: UserPtr<T>, value: &T) -> Result<(), Errno> {
        self.write_bytes(ptr.addr(), Bytes::copy_from_slice(value.as_bytes())).await
    }

    /// Writes values one after another.
    pub async fn write_array<T: IntoBytes + Immutable>(&self, ptr: UserPtr<T>, values: &[T]) -> Result<(), Errno> {
        self.write_bytes(ptr.addr(), Bytes::copy_from_slice(values.as_bytes())).await
    }

    /// What the handler wrote, for the answer.
    pub fn take_output(&self) -> Vec<Segment> {
        self.out_bytes.set(0);
        self.out.take()
    }
}
