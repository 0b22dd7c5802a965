//! Which queues' notes a file does not have as they are, and reading them in steps; taking over
//! what a file has.

use super::{Notifications, Progress, Waiting};
use crate::relay::Timestamp;
use crate::relay::shard::Shard;
use crate::store::{Id, IdKind, Location, Note, QueueSlot, Store};
use std::collections::{HashSet, VecDeque};
use std::ops::Bound;

type Hasher = foldhash::fast::RandomState;

/// Notifiers whose notes have changed since they were saved.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Nothing is noted for a shard whose notes nobody saves.
    is_kept: bool,
    notifiers: HashSet<Id, Hasher>,
}

/// A walk over what is to be saved.
#[derive(Debug)]
pub struct NotesWalk(Rest);

#[derive(Debug)]
enum Rest {
    /// Everything, from behind a queue on.
    All(Option<QueueSlot>),
    /// What had changed.
    Changed(std::vec::IntoIter<Id>),
}

impl Unsaved {
    /// The notes of a notifier have changed; says whether they had before.
    pub fn note(&mut self, notifier_id: Id) -> bool {
        self.is_kept && !self.notifiers.insert(notifier_id)
    }

    /// Nothing of a queue waits any more.
    pub fn note_end(&mut self, waiting: &Waiting) {
        if waiting.saved {
            self.note(waiting.notifier_id);
        } else {
            // Most are delivered before they are ever saved.
            self.notifiers.remove(&waiting.notifier_id);
        }
    }
}

impl Notifications {
    /// Takes over the notes of a queue, which has none yet. Returns how many there are too many.
    fn restore(&mut self, slot: QueueSlot, notifier_id: Id, notes: Vec<Note>) -> u64 {
        let excess = notes.len().saturating_sub(self.limits.per_queue);
        let notifications: VecDeque<_> = notes.into_iter().skip(excess).collect();
        if !notifications.is_empty() {
            self.count += notifications.len() as u64;
            let waiting = Waiting {
                notifier_id,
                notifications,
                progress: Progress::Idle,
                saved: true,
            };
            self.queues.insert(slot, waiting);
        }
        excess as u64
    }
}

impl<S: Store> Shard<S> {
    /// Takes over notes by notifier, those of each oldest first, before anything else happens. What
    /// has expired and what is for notifiers that are no more is dropped. From now on changes are
    /// noted, to be saved.
    pub fn restore_notes(
        &mut self,
        now: Timestamp,
        saved: impl IntoIterator<Item = (Id, Vec<Note>)>,
    ) {
        self.notifications.unsaved.is_kept = true;
        let before = now.seconds().saturating_sub(self.config.notification_ttl);
        for (notifier_id, mut notes) in saved {
            let found = self.store.find(IdKind::Notifier, &notifier_id);
            let Some(Location::Queue(slot)) = found else {
                continue;
            };
            let all = notes.len();
            notes.retain(|note| note.at >= before);
            self.counters.notifications_expired += (all - notes.len()) as u64;
            let lost = self.notifications.restore(slot, notifier_id, notes);
            self.counters.notifications_lost += lost;
        }
    }

    /// Whether notes have changed since they were saved.
    pub fn has_unsaved_notes(&self) -> bool {
        !self.notifications.unsaved.notifiers.is_empty()
    }

    /// Begins to save all notes, or those that have changed. What changes later is for the next
    /// time.
    pub fn begin_saving_notes(&mut self, all: bool) -> NotesWalk {
        let changed = std::mem::take(&mut self.notifications.unsaved.notifiers);
        NotesWalk(if all {
            Rest::All(None)
        } else {
            Rest::Changed(changed.into_iter().collect::<Vec<_>>().into_iter())
        })
    }

    /// Begins to read all notes for somebody else than who saves them, as
    /// [`save_notes`](Self::save_notes) gives them.
    pub fn begin_copying_notes(&self) -> NotesWalk {
        NotesWalk(Rest::All(None))
    }

    /// Gives the notes of at most `queues` queues to `save`: all that wait for a notifier, perhaps
    /// none any more. Says whether there are more queues.
    pub fn save_notes(
        &mut self,
        walk: &mut NotesWalk,
        queues: usize,
        mut save: impl FnMut(&Id, &VecDeque<Note>),
    ) -> bool {
        match &mut walk.0 {
            Rest::All(after) => {
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                let range = (start, Bound::Unbounded);
                let mut count = 0;
                for (slot, waiting) in self.notifications.queues.range_mut(range).take(queues) {
                    save(&waiting.notifier_id, &waiting.notifications);
                    waiting.saved = true;
                    *after = Some(*slot);
                    count += 1;
                }
                count == queues
            }
            Rest::Changed(notifiers) => {
                for notifier_id in notifiers.by_ref().take(queues) {
                    let slot = match self.store.find(IdKind::Notifier, &notifier_id) {
                        Some(Location::Queue(slot)) => Some(slot),
                        _ => None,
                    };
                    match slot.and_then(|slot| self.notifications.queues.get_mut(&slot)) {
                        Some(waiting) => {
                            save(&notifier_id, &waiting.notifications);
                            waiting.saved = true;
                        }
                        None => save(&notifier_id, &VecDeque::new()),
                    }
                }
                notifiers.len() > 0
            }
        }
    }
}
