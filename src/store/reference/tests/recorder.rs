//! Keeps what an import hands over, and hands it out for an export.

use crate::store::reference::{
    ActiveSets, ExportError, ExportSource, ExportedNotification, ExportedQueue, ImportSink,
    LoggedMessage, QueueEntry, SinkError, Statistics,
};
use crate::store::{ActiveDays, Id, LinkContent, Message, Note, QueueRecord, ServiceRecord};

#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) services: Vec<ServiceRecord>,
    pub(super) queues: Vec<(QueueEntry, ActiveDays)>,
    pub(super) messages: Vec<(Id, LoggedMessage)>,
    pub(super) notifications: Vec<(Id, Note)>,
    pub(super) statistics: Option<Statistics>,
    pub(super) progress: Vec<(u64, u64)>,
    /// A queue that is there already.
    pub(super) in_use: Option<Id>,
    /// What happens instead of the next call.
    pub(super) failure: Option<String>,
}

impl Recorder {
    pub(super) fn messages_of(&self, recipient_id: Id) -> Vec<&LoggedMessage> {
        let of_queue = self.messages.iter().filter(|(id, _)| *id == recipient_id);
        of_queue.map(|(_, message)| message).collect()
    }

    fn fail(&mut self) -> Result<(), SinkError> {
        match self.failure.take() {
            Some(failure) => Err(SinkError::Failed(failure.into())),
            None => Ok(()),
        }
    }
}

impl ImportSink for Recorder {
    fn service(&mut self, service: ServiceRecord) -> Result<(), SinkError> {
        self.services.push(service);
        Ok(())
    }

    fn queue(
        &mut self,
        record: QueueRecord,
        link: Option<LinkContent>,
        active: ActiveDays,
    ) -> Result<(), SinkError> {
        self.fail()?;
        if self.in_use == Some(record.recipient_id) {
            return Err(SinkError::InUse);
        }
        assert_eq!(record.link_id.is_some(), link.is_some());
        let entry = QueueEntry {
            record,
            link,
            unusable_link: false,
        };
        self.queues.push((entry, active));
        Ok(())
    }

    fn message(&mut self, recipient_id: &Id, message: Message<'_>) -> Result<(), SinkError> {
        let message = LoggedMessage {
            id: message.id,
            time_ns: message.time_ns,
            kind: message.kind,
            body: message.body.to_vec(),
        };
        self.messages.push((*recipient_id, message));
        Ok(())
    }

    fn notification(&mut self, notifier_id: &Id, note: Note) -> Result<(), SinkError> {
        self.notifications.push((*notifier_id, note));
        Ok(())
    }

    fn statistics(&mut self, statistics: &Statistics) -> Result<(), SinkError> {
        self.statistics = Some(statistics.clone());
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress.push((done, total));
    }
}

impl ExportSource for Recorder {
    fn services(
        &mut self,
        each: &mut dyn FnMut(&ServiceRecord) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.services.iter().try_for_each(each)
    }

    fn queues(
        &mut self,
        each: &mut dyn FnMut(ExportedQueue<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for (entry, active) in &self.queues {
            each(ExportedQueue {
                record: &entry.record,
                link: entry.link.as_ref(),
                active: *active,
            })?;
        }
        Ok(())
    }

    fn messages(
        &mut self,
        each: &mut dyn FnMut(&Id, &Message<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for (id, message) in &self.messages {
            each(id, &message.view())?;
        }
        Ok(())
    }

    fn notifications(
        &mut self,
        each: &mut dyn FnMut(ExportedNotification<'_>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        if let Some(failure) = self.failure.take() {
            return Err(ExportError::Source(failure.into()));
        }
        for (notifier_id, note) in &self.notifications {
            let mut notifiers = self.queues.iter().flat_map(|(e, _)| &e.record.notifier);
            let notifier = notifiers.find(|n| n.notifier_id == *notifier_id).unwrap();
            each(ExportedNotification {
                notifier_id,
                secret: &notifier.dh_secret,
                note,
            })?;
        }
        Ok(())
    }

    fn statistics(&mut self) -> Result<Option<Statistics>, ExportError> {
        let mut statistics = self.statistics.clone();
        if let Some(statistics) = &mut statistics {
            statistics.active = ActiveSets::default();
        }
        Ok(statistics)
    }
}
