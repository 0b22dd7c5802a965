//! The logs of a stopped server, read to be written elsewhere.

use super::{LogOptions, LogStore, OpenError, Partitions, StoreDirectory};
use crate::store::reference::{
    ExportError, ExportSource, ExportedNotification, ExportedQueue, Statistics,
};
use crate::store::{Id, IdKind, Location, Message, ServiceRecord, Store, Totals};
use std::sync::Arc;

/// All shards of a directory, none of which is changed.
#[derive(Debug)]
pub struct ExportedStore {
    shards: Vec<LogStore>,
    statistics: Option<Statistics>,
}

impl ExportedStore {
    /// Reads all shards; `partitions` knows the homes for as many as there are.
    pub fn read(
        directory: &StoreDirectory,
        partitions: &Arc<dyn Partitions>,
        options: &LogOptions,
    ) -> Result<Self, OpenError> {
        let shards = 0..directory.shards();
        let stores = shards.map(|shard| directory.read_shard(shard, partitions, options));
        Ok(Self {
            shards: stores.collect::<Result<_, _>>()?,
            statistics: None,
        })
    }

    /// What is held altogether.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let shards = self.shards.iter();
        shards.for_each(|store| totals += store.totals());
        totals
    }

    /// Adds counters, which no store keeps.
    pub fn set_statistics(&mut self, statistics: Statistics) {
        self.statistics = Some(statistics);
    }
}

impl ExportSource for ExportedStore {
    fn services(
        &mut self,
        each: &mut dyn FnMut(&ServiceRecord) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for store in &self.shards {
            let mut services: Vec<_> = store.services().collect();
            // The same order in every export.
            services.sort_by_key(|service| service.id);
            services.iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }

    fn queues(
        &mut self,
        each: &mut dyn FnMut(ExportedQueue<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for store in &self.shards {
            for slot in store.queues() {
                each(ExportedQueue {
                    record: &store.queue(slot),
                    link: store.link(slot).as_ref(),
                    active: store.active_days(slot),
                })?;
            }
        }
        Ok(())
    }

    fn messages(
        &mut self,
        each: &mut dyn FnMut(&Id, &Message<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for store in &self.shards {
            let mut next = store.next_with_messages(None);
            while let Some(slot) = next {
                let id = store.queue(slot).recipient_id;
                store.messages(slot).try_for_each(|m| each(&id, &m))?;
                next = store.next_with_messages(Some(slot));
            }
        }
        Ok(())
    }

    fn notifications(
        &mut self,
        each: &mut dyn FnMut(ExportedNotification<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for store in &self.shards {
            for (notifier_id, notes) in store.notes() {
                let Some(Location::Queue(slot)) = store.find(IdKind::Notifier, &notifier_id) else {
                    continue;
                };
                let Some(notifier) = store.queue(slot).notifier else {
                    continue;
                };
                for note in &notes {
                    each(ExportedNotification {
                        notifier_id: &notifier_id,
                        secret: &notifier.dh_secret,
                        note,
                    })?;
                }
            }
        }
        Ok(())
    }

    fn statistics(&mut self) -> Result<Option<Statistics>, ExportError> {
        Ok(self.statistics.take())
    }
}
