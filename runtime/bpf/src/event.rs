//! The record that the programs write and we read.

use crate::selection::{Call, Event};

/// Offsets in the record.
pub(crate) const NR: i16 = 0;
pub(crate) const UID: i16 = 4;
pub(crate) const TID: i16 = 8;
pub(crate) const PID: i16 = 12;
pub(crate) const MASK: i16 = 16;
pub(crate) const CGROUP: i16 = 24;
pub(crate) const RESULT: i16 = 32;
pub(crate) const ADDRESS: i16 = 40;
pub(crate) const DIRFD: i16 = 48;
pub(crate) const PATH: i16 = 56;
pub(crate) const PATH_LEN: i16 = 256;
pub(crate) const LEN: i16 = PATH + PATH_LEN;

/// The number of the record of an execve(2): it is found when it has succeeded, by no call's number.
pub(crate) const EXEC: u32 = u32::MAX;

fn bytes<const N: usize>(record: &[u8], at: i16) -> Option<[u8; N]> {
    record.get(usize::try_from(at).ok()?..)?.get(..N)?.try_into().ok()
}

/// Reads a record.
pub(crate) fn parse(record: &[u8]) -> Option<Event> {
    let nr = u32::from_ne_bytes(bytes(record, NR)?);
    let path = record.get(usize::try_from(PATH).ok()?..)?;
    let [f0, f1, p0, p1] = bytes(record, ADDRESS)?;
    let family = i32::from(u16::from_ne_bytes([f0, f1]));
    let port = if [libc::AF_INET, libc::AF_INET6].contains(&family) { u16::from_be_bytes([p0, p1]) } else { 0 };
    Some(Event {
        pid: i32::from_ne_bytes(bytes(record, PID)?),
        tid: i32::from_ne_bytes(bytes(record, TID)?),
        mask: u64::from_ne_bytes(bytes(record, MASK)?),
        cgroup: u64::from_ne_bytes(bytes(record, CGROUP)?),
        uid: u32::from_ne_bytes(bytes(record, UID)?),
        call: (nr != EXEC)
            .then(|| {
                Some(Call {
                    nr,
                    result: i64::from_ne_bytes(bytes(record, RESULT)?),
                    dirfd: i32::from_ne_bytes(bytes(record, DIRFD)?),
                    path: path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
                    port,
                })
            })
            .flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let mut record = vec![0; usize::try_from(LEN).unwrap()];
        record[..16].copy_from_slice(&[1, 1, 0, 0, 0xe8, 3, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0]);
        record[16] = 4;
        record[40..44].copy_from_slice(&[2, 0, 0x15, 0x38]);
        record[48..52].copy_from_slice(&(-100i32).to_ne_bytes());
        record[56..60].copy_from_slice(b"/a\0x");
        let event = parse(&record).unwrap();
        assert_eq!((event.pid, event.tid, event.mask, event.uid), (7, 8, 4, 1000));
        let call = event.call.unwrap();
        assert_eq!((call.nr, call.dirfd, call.port, call.path.as_slice()), (257, -100, 5432, &b"/a"[..]));
        record[..4].copy_from_slice(&EXEC.to_ne_bytes());
        assert_eq!(parse(&record).unwrap().call, None);
        assert_eq!(parse(&record[..100]).map(|event| event.mask), Some(4));
        assert_eq!(parse(&record[..50]), None);
    }
}
