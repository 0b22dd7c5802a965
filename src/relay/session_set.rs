//! Sets of sessions that are cheap to copy and to unite.

use super::session_ref::SessionRef;

const BITS: usize = u64::BITS as usize;

/// Sessions by their places, one bit each: at no time two sessions have the same place.
#[derive(Debug, Clone, Default)]
pub struct SessionSet {
    cores: Vec<Vec<u64>>,
}

impl SessionSet {
    /// Adds a session.
    pub fn insert(&mut self, session: SessionRef) {
        let (core, (word, bit)) = (usize::from(session.core), place(session));
        if self.cores.len() <= core {
            self.cores.resize_with(core + 1, Vec::new);
        }
        let words = &mut self.cores[core];
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= bit;
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionRef) {
        let (word, bit) = place(session);
        let words = self.cores.get_mut(usize::from(session.core));
        if let Some(word) = words.and_then(|words| words.get_mut(word)) {
            *word &= !bit;
        }
    }

    /// Adds the sessions of another set.
    pub fn unite(&mut self, other: &Self) {
        if self.cores.len() < other.cores.len() {
            self.cores.resize_with(other.cores.len(), Vec::new);
        }
        for (own, more) in self.cores.iter_mut().zip(&other.cores) {
            if own.len() < more.len() {
                own.resize(more.len(), 0);
            }
            for (own, more) in own.iter_mut().zip(more) {
                *own |= more;
            }
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> u64 {
        let words = self.cores.iter().flatten();
        words.map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The word and the bit of a session.
fn place(session: SessionRef) -> (usize, u64) {
    let slot = session.slot as usize;
    (slot / BITS, 1 << (slot % BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(core: u16, slot: u32) -> SessionRef {
        SessionRef {
            core,
            slot,
            generation: 1,
        }
    }

    #[test]
    fn sessions_known_to_several_shards_count_once() {
        let (mut one, mut other) = (SessionSet::default(), SessionSet::default());
        for slot in [0, 63, 64, 200] {
            one.insert(session(1, slot));
        }
        other.insert(session(1, 64));
        other.insert(session(0, 64));
        other.insert(session(3, 1_000));
        other.remove(session(7, 1));
        one.unite(&other);
        assert_eq!(one.len(), 6);
        one.remove(session(1, 64));
        one.remove(session(1, 65));
        one.remove(session(1, 100_000));
        assert_eq!(one.len(), 5);
        assert!(SessionSet::default().is_empty());
    }
}
