//! Address ranges that a call may touch: what an answer is checked against before a byte of it is written.

use crate::abi::TASK_SIZE;

const INLINE: usize = 4;

/// A set of address ranges of one task. Few of them need no allocation.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    few: [(u64, u64); INLINE],
    used: usize,
    /// In use once there are more than fit inline; then it holds all.
    many: Vec<(u64, u64)>,
}

/// The ranges which the answer of a call may write.
pub type OutRanges = Ranges;

impl Ranges {
    /// Adds `len` bytes from `addr`. What lies outside the task's address space is cut off.
    pub fn push(&mut self, addr: u64, len: u64) {
        let end = addr.saturating_add(len).min(TASK_SIZE);
        if addr == 0 || addr >= end {
            return;
        }
        if self.many.is_empty() {
            if let Some(slot) = self.few.get_mut(self.used) {
                *slot = (addr, end);
                self.used += 1;
                return;
            }
            self.many.extend_from_slice(&self.few);
        }
        self.many.push((addr, end));
    }

    /// Sorts and joins what overlaps or touches. To be called after the last `push`: the look-ups rely on it.
    pub fn finish(&mut self) {
        if self.many.is_empty() {
            let few = self.few.get_mut(..self.used).unwrap_or_default();
            self.used = join(few);
        } else {
            let left = join(&mut self.many);
            self.many.truncate(left);
        }
    }

    /// The ranges as (first address, end), sorted and apart from each other.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        if self.many.is_empty() { self.few.get(..self.used).unwrap_or_default() } else { &self.many }
    }

    /// Whether all of `len` bytes from `addr` lie inside. Nothing at all lies inside anything.
    pub fn allows(&self, addr: u64, len: u64) -> bool {
        if len == 0 {
            return true;
        }
        let Some(end) = addr.checked_add(len) else { return false };
        let ranges = self.as_slice();
        let next = ranges.partition_point(|range| range.0 <= addr);
        next.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| end <= range.1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

/// Sorts and joins in place; how many are left.
fn join(ranges: &mut [(u64, u64)]) -> usize {
    ranges.sort_unstable();
    let mut left: usize = 0;
    for at in 0..ranges.len() {
        let Some(range) = ranges.get(at).copied() else { break };
        match left.checked_sub(1).and_then(|last| ranges.get_mut(last)) {
            Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => {
                if let Some(slot) = ranges.get_mut(left) {
                    *slot = range;
                    left += 1;
                }
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn joins_and_answers() {
        let mut ranges = Ranges::default();
        for (addr, len) in [(100, 10), (110, 10), (50, 5), (0, 8), (TASK_SIZE, 8), (u64::MAX, 9), (TASK_SIZE - 4, 100)]
        {
            ranges.push(addr, len);
        }
        ranges.finish();
        assert_eq!(ranges.as_slice(), &[(50, 55), (100, 120), (TASK_SIZE - 4, TASK_SIZE)]);
        assert!(ranges.allows(100, 20) && ranges.allows(105, 10) && ranges.allows(54, 1) && ranges.allows(7, 0));
        assert!(!ranges.allows(100, 21) && !ranges.allows(99, 2) && !ranges.allows(55, 1) && !ranges.allows(0, 1));
        assert!(!ranges.allows(u64::MAX, 2) && !ranges.allows(TASK_SIZE - 4, 5));
    }

    proptest! {
        #[test]
        fn like_a_set(pushed in proptest::collection::vec((1u64..200, 0u64..12), 0..20), addr in 0u64..220, len in 0u64..20) {
            let mut ranges = Ranges::default();
            for (addr, len) in &pushed {
                ranges.push(*addr, *len);
            }
            ranges.finish();
            let covered = |at: u64| pushed.iter().any(|(addr, len)| (*addr..addr + len).contains(&at));
            prop_assert_eq!(ranges.allows(addr, len), (addr..addr + len).all(covered));
        }
    }
}
