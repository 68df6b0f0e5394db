//! Tells when a container's processes were killed for want of memory.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::cgroups::{Leaf, OomSource, oom_source};

/// The memory cgroup of one container.
#[derive(Debug)]
pub(super) struct OomWatch {
    source: OomSource,
    bell: Bell,
}

#[derive(Debug)]
enum Bell {
    /// Version 1: an eventfd, which also rings when the cgroup is removed.
    Event(AsyncFd<OwnedFd>, PathBuf),
    /// Version 2: `memory.events` itself.
    File(AsyncFd<OwnedFd>),
}

impl OomWatch {
    /// None where memory is not controlled.
    pub(super) fn new(leaves: &[Leaf]) -> io::Result<Option<Self>> {
        let Some(source) = oom_source(leaves)? else { return Ok(None) };
        let Some(leaf) = leaves.iter().find(|leaf| leaf.has("memory")) else { return Ok(None) };
        let bell = if leaf.unified {
            let file = source.watched.try_clone()?.into();
            Bell::File(crate::sys::polled(file, Interest::PRIORITY)?)
        } else {
            let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            let numbers = format!("{} {}", event.as_fd().as_raw_fd(), source.watched.as_raw_fd());
            fs::write(leaf.path.join("cgroup.event_control"), numbers)?;
            let event = event.as_fd().try_clone_to_owned()?;
            Bell::Event(crate::sys::polled(event, Interest::READABLE)?, leaf.path.clone())
        };
        Ok(Some(Self { source, bell }))
    }

    /// How many were killed so far.
    pub(super) fn count(&self) -> u64 {
        self.source.count()
    }

    /// Waits until there may be more; false: the cgroup is gone.
    pub(super) async fn rings(&self) -> bool {
        match &self.bell {
            Bell::Event(event, folder) => {
                let mut value = [0; 8];
                let read = event.async_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd, &mut value)?));
                read.await.is_ok() && folder.exists()
            }
            Bell::File(file) => {
                let Ok(mut guard) = file.ready(Interest::PRIORITY).await else { return false };
                guard.clear_ready();
                // What it says must be read for it to ring again; a removed cgroup's file can't be.
                nix::sys::uio::pread(file.get_ref(), &mut [0; 256], 0).is_ok()
            }
        }
    }
}
