//! What the system is called and what it has: uname(2), sysinfo(2), host names, random bytes.

use bytes::Bytes;
use rsc_proto::abi::{Errno, NEW_UTS_LEN, Sysinfo, Utsname};

use crate::error::SysResult;
use crate::kernel::credentials::cap;
use crate::kernel::cx::Cx;
use crate::kernel::memory::UserPtr;

/// What `uname -v` shows.
pub const VERSION: &str = "#1 SMP rsc";
/// The release when the compute host's is not known.
pub const RELEASE: &str = "6.1.0";
/// Bytes that one getrandom(2) gives.
const RANDOM_MAX: usize = 1 << 25;

fn field(text: &str) -> [u8; NEW_UTS_LEN + 1] {
    let mut f = [0; NEW_UTS_LEN + 1];
    for (to, from) in f.iter_mut().take(NEW_UTS_LEN).zip(text.bytes()) {
        *to = from;
    }
    f
}

/// uname(2).
pub async fn uname(cx: &Cx, buf: UserPtr<Utsname>) -> SysResult<()> {
    let uts = cx.kernel.uts.borrow().clone();
    let release = &cx.kernel.facts.kernel_release;
    let names = Utsname {
        sysname: field("Linux"),
        nodename: field(&uts.nodename),
        release: field(if release.is_empty() { RELEASE } else { release }),
        version: field(if cx.kernel.facts.kernel_version.is_empty() {
            VERSION
        } else {
            &cx.kernel.facts.kernel_version
        }),
        machine: field("x86_64"),
        domainname: field(&uts.domainname),
    };
    Ok(cx.mem.write(buf, &names).await?)
}

async fn new_name(cx: &Cx, name: UserPtr<u8>, len: i32) -> SysResult<String> {
    if !cx.task.creds().has(cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    let len = usize::try_from(len).ok().filter(|n| *n <= NEW_UTS_LEN).ok_or(Errno::EINVAL)?;
    let bytes = cx.mem.read_bytes(name.addr(), len).await?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string())
}

/// sethostname(2).
pub async fn sethostname(cx: &Cx, name: UserPtr<u8>, len: i32) -> SysResult<()> {
    let name = new_name(cx, name, len).await?;
    cx.kernel.uts.borrow_mut().nodename = name;
    Ok(())
}

/// setdomainname(2).
pub async fn setdomainname(cx: &Cx, name: UserPtr<u8>, len: i32) -> SysResult<()> {
    let name = new_name(cx, name, len).await?;
    cx.kernel.uts.borrow_mut().domainname = name;
    Ok(())
}

/// sysinfo(2).
pub async fn sysinfo(cx: &Cx, buf: UserPtr<Sysinfo>) -> SysResult<()> {
    let memory = cx.kernel.facts.memory;
    let info = Sysinfo {
        uptime: cx.kernel.uptime().as_secs() as i64,
        totalram: memory,
        freeram: memory / 2,
        procs: cx.kernel.tasks.len().min(usize::from(u16::MAX)) as u16,
        mem_unit: 1,
        ..Default::default()
    };
    Ok(cx.mem.write(buf, &info).await?)
}

/// getrandom(2). The sentry's own random numbers; they never block.
pub async fn getrandom(cx: &Cx, buf: u64, len: usize, flags: u32) -> SysResult<usize> {
    // GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE; the last two exclude each other.
    if flags & !7 != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL.into());
    }
    let mut left = len.min(RANDOM_MAX);
    let mut at = buf;
    while left > 0 {
        let n = left.min(crate::kernel::memory::CHUNK);
        let mut bytes = vec![0; n];
        getrandom::fill(&mut bytes).map_err(|_| Errno::EIO)?;
        cx.mem.write_bytes(at, Bytes::from(bytes)).await?;
        at = at.saturating_add(n as u64);
        left -= n;
    }
    Ok(len.min(RANDOM_MAX))
}
