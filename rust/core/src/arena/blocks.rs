//! Room for blocks: the names and allow-lists of scopes.
//!
//! New blocks are written one behind the other. When the heap has no room left, a block is written
//! where replaced ones lay, so that changing a list again and again takes no room for good. A
//! thread may still read a replaced block, as part of a policy that it read before; it notices by
//! [`Arena::reuses`], which a writer raises before it writes there. Live blocks never move, so a
//! writer that dies leaves every scope whole.

use super::{Arena, H_HEAP, H_HEAP_ROOM, H_REUSES};
use crate::{
    error::{Error, Result},
    heap::Stored,
    sync::{Ordering, fence},
};

/// Where replaced blocks lay, as one writer found them.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// First word and length of each.
    free: Vec<(u32, u32)>,
    /// [`Arena::reuses`] when they were found. Another value: a writer elsewhere has used some.
    reuses: u64,
}

impl Arena {
    /// The blocks of a scope: name, models, addresses.
    #[must_use]
    pub fn block(&self, heap: (u32, u32)) -> Stored<'_> {
        let all = &self.map.words()[self.plan.heap..self.plan.heap + self.plan.heap_words];
        let (first, len) = (heap.0 as usize, heap.1 as usize);
        Stored(all.get(first..first.saturating_add(len)).unwrap_or_default())
    }

    /// How often room was used again. A caller reads it, then a policy, then the policy's block;
    /// what it read is the block's only if [`Self::is_unused_since`] says so.
    #[must_use]
    pub fn reuses(&self) -> u64 {
        // Acquire: partner of `reuse`; a policy that is read later is not older than its block.
        self.word(H_REUSES).load(Ordering::Acquire)
    }

    /// Check that no room was used again since `reuses`.
    #[must_use]
    pub fn is_unused_since(&self, reuses: u64) -> bool {
        // Partner of the release fence in `reuse`: who read a word of a new block, reads a new
        // count.
        fence(Ordering::Acquire);
        self.word(H_REUSES).load(Ordering::Relaxed) == reuses
    }

    pub(super) fn holds(&self, heap: (u32, u32), block: &[u64]) -> bool {
        let stored = self.block(heap).0;
        stored.len() == block.len()
            && stored.iter().zip(block).all(|(a, b)| a.load(Ordering::Relaxed) == *b)
    }

    /// Write a block where there is room for it. The caller holds the lock of writers, here and in
    /// `gaps`, and has replaced no policy since it took it.
    pub(super) fn store_block(&self, gaps: &mut Gaps, block: &[u64]) -> Result<(u32, u32)> {
        let end = self.get(H_HEAP) as usize;
        let first = if end + block.len() <= self.plan.heap_words {
            self.room(H_HEAP_ROOM, self.plan.heap, end + block.len(), self.plan.heap_words)?;
            self.set(H_HEAP, (end + block.len()) as u64);
            end
        } else {
            self.reuse(gaps, block.len()).ok_or_else(|| {
                Error::Full(
                    "the arena's room for names and allow-lists is full; a larger capacity widens it"
                        .to_owned(),
                )
            })?
        };
        for (at, word) in (self.plan.heap + first..).zip(block) {
            self.set(at, *word);
        }
        Ok((first as u32, block.len() as u32))
    }

    /// Take `len` words from a gap, and tell readers before they are written.
    fn reuse(&self, gaps: &mut Gaps, len: usize) -> Option<usize> {
        let fits = |gap: &(u32, u32)| gap.1 as usize >= len;
        if gaps.reuses != self.get(H_REUSES) || !gaps.free.iter().any(fits) {
            gaps.free = self.gaps();
        }
        let best = gaps.free.iter_mut().filter(|gap| fits(gap)).min_by_key(|gap| gap.1)?;
        let first = best.0 as usize;
        *best = (best.0 + len as u32, best.1 - len as u32);
        // Release: partner of `reuses`; who reads the new count also reads the policies that have
        // left the gap.
        gaps.reuses = self.word(H_REUSES).fetch_add(1, Ordering::AcqRel) + 1;
        // Partner of `is_unused_since`: no word of the new block is seen with the old count.
        fence(Ordering::Release);
        Some(first)
    }

    /// Find what lies between the blocks of all scopes.
    fn gaps(&self) -> Vec<(u32, u32)> {
        let mut live: Vec<(u32, u32)> = (0..self.scopes())
            .filter_map(|index| Some(self.record(index)?.standing().heap()))
            .filter(|heap| heap.1 > 0)
            .collect();
        live.push((self.get(H_HEAP) as u32, 0));
        live.sort_unstable();
        let mut end = 0;
        let mut found = vec![];
        for (first, len) in live {
            if first > end {
                found.push((end, first - end));
            }
            end = end.max(first.saturating_add(len));
        }
        found
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{arena::Arena, policy::Policy, verdict::Kind};

    fn policy(id: u64, version: u64, models: Vec<String>) -> Policy {
        Policy { kind: Kind::Org as u8, id, version, status: 1, models, ..Policy::default() }
    }

    fn models(version: u64, count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{n:04}-{version:0110}")).collect()
    }

    #[test]
    fn a_list_that_changes_for_ever_takes_no_room_for_good() {
        let arena = Arena::private(16).expect("room");
        let other = arena.put(&policy(2, 1, models(7, 100))).expect("room");
        let before = arena.block(arena.record(other).expect("a scope").standing().heap());
        let kept: Vec<u64> =
            before.0.iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).collect();
        for version in 1..200 {
            // A list of 200 long names takes 3,001 words of a heap of 38,508.
            let index = arena.put(&policy(1, version, models(version, 200))).expect("room");
            let heap = arena.record(index).expect("a scope").standing().heap();
            let block = policy(1, version, models(version, 200)).block().expect("valid");
            assert!(arena.holds(heap, &block.encode().expect("valid")), "{version}");
        }
        assert!(arena.reuses() > 100);
        assert!(arena.holds(arena.record(other).expect("a scope").standing().heap(), &kept));
        arena.put(&policy(3, 1, models(1, 1_000))).expect("room");
        arena.put(&policy(4, 1, models(1, 1_000))).expect_err("more than a gap has");
        arena.put(&policy(4, 1, models(1, 10))).expect("what fits is still taken");
    }

    #[test]
    fn a_reader_of_a_replaced_block_notices_that_its_room_was_used_again() {
        let arena = Arena::private(16).expect("room");
        let mut version = 0;
        let mut put = || {
            version += 1;
            arena.put(&policy(1, version, models(version, 200))).expect("room")
        };
        let reuses = arena.reuses();
        put();
        put();
        assert!(arena.is_unused_since(reuses), "the second lies behind the first");
        for _ in 0..20 {
            put();
        }
        assert!(!arena.is_unused_since(reuses), "the last lies where others lay");
    }
}
