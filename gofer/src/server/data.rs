//! Data: read, write, seek, and what goes to the helper threads: sync, allocate, copies.

use super::attr::attr;
use super::slow::Job;
use super::{Answer, Server};
use crate::sys::{Result, fs};
use rsc_proto::abi::Errno;
use rsc_proto::gofer::{
    self as wire, Allocate, AllocateFlags, CopyRange, MAX_COPY, MAX_PAYLOAD, Node, Outcome, Read, Reply, Seek, Sync,
    Write, WriteFlags, Written,
};

/// An offset as Linux takes it.
fn signed(offset: u64) -> Result<i64> {
    i64::try_from(offset).map_err(|_| Errno::EINVAL)
}

impl Server {
    pub(super) fn read(&mut self, id: u64, op: Read) -> Result<Answer> {
        let file = self.handles.get(op.file)?;
        let fd = file.file()?;
        let offset = op.offset.map(signed).transpose()?;
        if file.kind == libc::S_IFREG && offset.is_none() {
            // The position of a handle is nobody's business.
            return Err(Errno::EINVAL);
        }
        let start = wire::begin_frame(&mut self.out, &Reply { id, errno: 0, outcome: None });
        match fs::read_into(fd, offset, (op.len as usize).min(MAX_PAYLOAD), &mut self.out) {
            Ok(_) => {
                wire::finish_frame(&mut self.out, start);
                Ok(Answer::Sent)
            }
            Err(e) => {
                self.out.truncate(start);
                Err(e)
            }
        }
    }

    pub(super) fn write(&self, op: Write, data: &[u8]) -> Result<Answer> {
        let file = self.handles.get(op.file)?;
        let flags = WriteFlags::from_bits(op.flags).ok_or(Errno::EINVAL)?;
        let append = flags.contains(WriteFlags::APPEND);
        let fd = file.writable()?;
        let offset = match op.offset {
            _ if append => -1,
            Some(offset) => signed(offset)?,
            None if file.kind == libc::S_IFREG => return Err(Errno::EINVAL),
            None => -1,
        };
        if flags.contains(WriteFlags::KILL_PRIV) && file.kind == libc::S_IFREG && !data.is_empty() {
            self.kill_priv(file)?;
        }
        let table = [
            (WriteFlags::APPEND, libc::RWF_APPEND),
            (WriteFlags::DSYNC, libc::RWF_DSYNC),
            (WriteFlags::SYNC, libc::RWF_SYNC),
        ];
        let host = table.iter().filter(|(flag, _)| flags.contains(*flag)).fold(0, |sum, (_, bit)| sum | bit);
        let count = fs::write(fd, offset, data, host)?;
        let end = match offset {
            // An append moves the handle's own position, and nothing else does.
            -1 if file.kind == libc::S_IFREG => fs::seek(fd, 0, libc::SEEK_CUR)?,
            -1 => 0,
            offset => (offset as u64).saturating_add(count as u64),
        };
        let attr = if flags.contains(WriteFlags::ATTR) { Some(attr(&fs::statx(fd, c"")?)) } else { None };
        Ok(Answer::With(Outcome::Written(Written { count: count as u32, end, attr })))
    }

    pub(super) fn seek(&self, op: Seek) -> Result<Answer> {
        let file = self.handles.get(op.file)?;
        let fd = file.file()?;
        if file.kind != libc::S_IFREG {
            return Err(Errno::EINVAL);
        }
        let whence = if op.hole { libc::SEEK_HOLE } else { libc::SEEK_DATA };
        // Beyond what is signed is beyond every end.
        let offset = i64::try_from(op.offset).map_err(|_| Errno::ENXIO)?;
        fs::seek(fd, offset, whence).map(|n| Answer::With(Outcome::Value(n)))
    }

    pub(super) fn flush_file(&self, op: Node) -> Result<Answer> {
        let copy = fs::duplicate(self.handles.get(op.handle)?.file()?)?;
        fs::close(copy)?;
        Ok(Answer::Done)
    }

    pub(super) fn sync(&mut self, id: u64, op: Sync) -> Result<Answer> {
        let file = fs::duplicate(self.handles.get(op.file)?.file()?)?;
        self.later(id, Job::Sync { file, data_only: op.data_only })
    }

    pub(super) fn allocate(&mut self, id: u64, op: Allocate) -> Result<Answer> {
        let bound = self.handles.get(op.file)?;
        let flags = AllocateFlags::from_bits(op.flags).ok_or(Errno::EOPNOTSUPP)?;
        let (offset, len) = (signed(op.offset)?, signed(op.len)?);
        let file = fs::duplicate(bound.writable()?)?;
        self.later(id, Job::Allocate { file, flags: flags.bits() as i32, offset, len })
    }

    pub(super) fn copy_range(&mut self, id: u64, op: CopyRange) -> Result<Answer> {
        let (from_offset, to_offset) = (signed(op.from_offset)?, signed(op.to_offset)?);
        let from = fs::duplicate(self.handles.get(op.from)?.file()?)?;
        let to = fs::duplicate(self.handles.get(op.to)?.writable()?)?;
        let len = op.len.min(MAX_COPY) as usize;
        self.later(id, Job::Copy { from, from_offset, to, to_offset, len })
    }

    /// Gives a job to a helper thread, or does it here when they have too much to do.
    fn later(&mut self, id: u64, job: Job) -> Result<Answer> {
        match self.slow.give(id, job) {
            Ok(()) => Ok(Answer::Later),
            Err(job) => job.run().map(|outcome| outcome.map_or(Answer::Done, Answer::With)),
        }
    }
}
