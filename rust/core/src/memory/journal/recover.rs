//! What the drainer does to a journal beside reading it: it ends what a dead worker left, and
//! tickets whose settlement met a frozen money word.

use std::{collections::HashSet, fs::TryLockError, sync::PoisonError};

use super::Journal;
use crate::{
    error::{Error, Result},
    slot::{End, NOBODY, State},
    units::NONE,
};

/// `types.Outcome.RECOVERED`.
const RECOVERED: u8 = 5;

impl Journal {
    /// Take a dead worker's lock; false while it lives.
    pub fn lock_if_dead(&self) -> Result<bool> {
        let Some(file) = self.map.file() else {
            return Ok(true);
        };
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(Error::Io("lock a journal".to_owned(), error)),
        }
    }

    /// End what a dead worker left, charged as reserved. Returns the indices of scopes whose money
    /// words are to be recounted.
    #[must_use]
    pub fn recover(&self) -> Vec<u32> {
        let mut scopes = HashSet::new();
        for slot in self.each() {
            let head = slot.head();
            match head.state() {
                State::Free | State::Applied => continue,
                // Nobody was answered, and a half-written intent names nobody for sure. Its scopes
                // are recounted if it names any.
                State::Intent => slot.become_state(head.seq(), State::Free),
                State::Admitted | State::Closing => {
                    let meta = slot.meta();
                    let (input, output) = (slot.reserved_input(), slot.reserved_output());
                    let cost = slot.reserved_nano();
                    slot.settle(
                        head.seq(),
                        &End {
                            input,
                            output,
                            cost,
                            outcome: RECOVERED,
                            ttft_us: NONE,
                            ..End::default()
                        },
                    );
                    debug_assert!(meta.priced || cost == 0);
                    self.count_settled();
                    slot.become_state(head.seq(), State::Applied);
                }
                State::Settled | State::Deferred => slot.become_state(head.seq(), State::Applied),
            }
            scopes.extend(slot.indices().into_iter().filter(|index| *index != NOBODY));
        }
        scopes.into_iter().collect()
    }

    /// List the scopes of slots whose settlement met a frozen word.
    #[must_use]
    pub fn deferred(&self) -> Vec<u32> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.clear();
        let mut scopes = HashSet::new();
        for (at, head, slot) in self.used() {
            if head.state() == State::Deferred {
                listed.insert((at, head.seq()));
                scopes.extend(slot.indices().into_iter().filter(|index| *index != NOBODY));
            }
        }
        scopes.into_iter().collect()
    }

    /// Mark the slots that the last [`Self::deferred`] listed as applied, after their scopes were
    /// recounted.
    pub fn finish_deferred(&self) {
        for (at, seq) in self.listed.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            if let Some(slot) = self.slot(at) {
                let _ = slot.finish_deferred(seq);
            }
        }
    }
}
