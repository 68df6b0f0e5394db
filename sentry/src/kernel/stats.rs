//! What is counted per sandbox. A count costs an addition; whatever numbers a workload makes up, the space is fixed.

use std::cell::Cell;

use rsc_proto::table::{self, COUNTED};

/// Counts by call number. Those beyond every kernel's table share one place, [`table::counted`] says which.
pub struct CallCounts {
    known: Box<[Cell<u64>]>,
    other: Cell<u64>,
}

impl Default for CallCounts {
    fn default() -> Self {
        Self { known: vec![Cell::new(0); COUNTED as usize].into(), other: Cell::new(0) }
    }
}

impl CallCounts {
    fn cell(&self, nr: u32) -> &Cell<u64> {
        self.known.get(nr as usize).unwrap_or(&self.other)
    }

    /// Counts a call; how often this number has been counted now.
    pub fn count(&self, nr: u32) -> u64 {
        let cell = self.cell(nr);
        cell.set(cell.get() + 1);
        cell.get()
    }

    /// How often.
    pub fn get(&self, nr: u32) -> u64 {
        self.cell(nr).get()
    }

    /// Number and count of all that were counted at least once.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        let known = (0..).zip(self.known.iter());
        let other = std::iter::once((table::counted(u32::MAX), &self.other));
        known.chain(other).map(|(nr, cell)| (nr, cell.get())).filter(|(_, count)| *count > 0)
    }
}

/// See the module's text.
#[derive(Default)]
pub struct Stats {
    /// Logical calls that were decoded and accepted.
    pub calls: CallCounts,
    /// Calls that got `ENOSYS`.
    pub unimplemented: CallCounts,
    /// Calls that run natively, but not with the arguments they had.
    pub unlisted: CallCounts,
    /// Calls that the container's seccomp profile forbade.
    pub denied: CallCounts,
    /// Calls that it allowed and wants logged.
    pub logged: CallCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_nobody_knows_share_a_place() {
        let counts = CallCounts::default();
        assert_eq!(counts.count(0), 1);
        assert_eq!(counts.count(0), 2);
        for nr in [COUNTED, 0x4000_0000, u32::MAX] {
            counts.count(nr);
        }
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(0, 2), (u32::MAX, 3)]);
        assert_eq!(counts.get(1), 0);
    }
}
