//! Reads the statistics file of any version.

use super::{Numbers, Statistics};
use crate::store::reference::activity::{ActiveSets, PeriodSets, queue_hash};
use crate::store::reference::text::Malformed;
use crate::store::reference::time_text;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// What version 7 counts of name resolution; read and dropped.
const RESOLVER_LABELS: [&str; 5] = ["reqs=", "succ=", "notFound=", "resolverErrs=", "disabled="];

/// Counters without which a file is none.
const REQUIRED: [&str; 7] = [
    "qCreated=",
    "qSecured=",
    "qDeletedAll=",
    "qDeletedNew=",
    "qDeletedSecured=",
    "msgSent=",
    "msgRecv=",
];

/// The lines that are left; `number` is that of the first of them.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    pub(super) number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            number: 1,
        }
    }

    /// The next line and what follows it.
    fn peek(&self) -> (&'a [u8], &'a [u8]) {
        let (line, rest) = match self.rest.iter().position(|b| *b == b'\n') {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        (line.strip_suffix(b"\r").unwrap_or(line), rest)
    }

    /// What follows `label` in the next line; otherwise the line is left.
    fn after(&mut self, label: &str) -> Option<&'a [u8]> {
        let (line, rest) = self.peek();
        let value = line.strip_prefix(label.as_bytes())?;
        self.rest = rest;
        self.number += 1;
        Some(value)
    }

    /// Consumes the line `title` if it comes next.
    fn title(&mut self, title: &str) -> bool {
        if self.peek().0 != title.as_bytes() {
            return false;
        }
        self.after(title).is_some()
    }

    /// Gives the value after `label` to `read`; an error is one of that line.
    fn value<T>(
        &mut self,
        label: &str,
        read: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.after(label) else {
            return Ok(None);
        };
        read(value).map(Some).inspect_err(|_| self.number -= 1)
    }

    fn required<T>(
        &mut self,
        label: &'static str,
        read: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        self.value(label, read)?.ok_or(Malformed::Expected(label))
    }

    /// Everything that is left, which must be a whole file.
    pub(super) fn statistics(&mut self) -> Result<Statistics, Malformed> {
        let mut statistics = Statistics {
            from_time_ns: self.required("fromTime=", parse_time)?,
            ..Statistics::default()
        };
        self.numbers(&mut statistics.numbers)?;
        statistics.active = self.active()?;
        let sections = &mut statistics.sections;
        for (title, section) in [
            ("pRelays:", &mut sections.relays),
            ("pRelaysOwn:", &mut sections.relays_own),
            ("pMsgFwds:", &mut sections.forwards),
            ("pMsgFwdsOwn:", &mut sections.forwards_own),
        ] {
            self.section(title, section.iter_mut())?;
        }
        if let Some(number) = self.value("pMsgFwdsRecv=", parse_number)? {
            sections.forwards_received = number;
        }
        self.section("rcvServices:", sections.messaging_services.iter_mut())?;
        self.section("ntfServices:", sections.notification_services.iter_mut())?;
        let dropped = &mut [0; RESOLVER_LABELS.len()];
        self.section("rslvStats:", RESOLVER_LABELS.into_iter().zip(dropped))?;
        if self.rest.is_empty() {
            Ok(statistics)
        } else {
            Err(Malformed::Trailing)
        }
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<(), Malformed> {
        let mut old_deleted = false;
        for (label, number) in numbers.iter_mut() {
            match label {
                "qDeletedAll=" => {
                    // Once there was one kind of deletion.
                    if let Some(all) = self.value("qDeleted=", parse_number)? {
                        *number = all;
                        old_deleted = true;
                        continue;
                    }
                }
                "qDeletedNew=" | "qDeletedSecured=" if old_deleted => continue,
                "qSubAllB=" => {
                    self.value("qSubNoMsg=", parse_number)?;
                }
                _ => {}
            }
            if let Some(value) = self.value(label, parse_number)? {
                *number = value;
            } else if REQUIRED.contains(&label) {
                return Err(Malformed::Expected(label));
            }
        }
        Ok(())
    }

    fn active(&mut self) -> Result<ActiveSets, Malformed> {
        let mut active = ActiveSets::default();
        if self.title("activeQueues:") {
            active.messages = self.period_sets()?;
        } else {
            active.messages = PeriodSets {
                day: self.required("dayMsgQueues=", parse_set)?,
                week: self.required("weekMsgQueues=", parse_set)?,
                month: self.required("monthMsgQueues=", parse_set)?,
            };
        }
        if self.title("subscribedQueues:") {
            self.period_sets()?;
        }
        if self.title("activeQueuesNtf:") {
            active.notifications = self.period_sets()?;
        }
        Ok(active)
    }

    fn period_sets(&mut self) -> Result<PeriodSets, Malformed> {
        Ok(PeriodSets {
            day: self.period("day=", "dayHashes=")?,
            week: self.period("week=", "weekHashes=")?,
            month: self.period("month=", "monthHashes=")?,
        })
    }

    /// A set of hashes, or the older form: the ids themselves.
    fn period(&mut self, ids: &str, hashes: &'static str) -> Result<Vec<i64>, Malformed> {
        match self.value(ids, parse_ids)? {
            Some(set) => Ok(set),
            None => self.required(hashes, parse_hashes),
        }
    }

    /// A section with all its lines, or none of it.
    fn section<'n>(
        &mut self,
        title: &str,
        numbers: impl Iterator<Item = (&'static str, &'n mut i64)>,
    ) -> Result<(), Malformed> {
        if self.title(title) {
            for (label, number) in numbers {
                *number = self.required(label, parse_number)?;
            }
        }
        Ok(())
    }
}

fn parse_time(text: &[u8]) -> Result<i64, Malformed> {
    str::from_utf8(text)
        .ok()
        .and_then(time_text::parse)
        .ok_or(Malformed::Expected("a time"))
}

fn parse_number(text: &[u8]) -> Result<i64, Malformed> {
    str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed::Expected("a number"))
}

fn parse_id(text: &[u8]) -> Result<i64, Malformed> {
    match URL_SAFE.decode(text) {
        Ok(id) if !id.is_empty() => Ok(queue_hash(&id)),
        _ => Err(Malformed::Expected("a queue id")),
    }
}

fn parse_items(
    text: &[u8],
    parse: impl Fn(&[u8]) -> Result<i64, Malformed>,
) -> Result<Vec<i64>, Malformed> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut set: Vec<_> = text
        .split(|b| *b == b',')
        .map(parse)
        .collect::<Result<_, _>>()?;
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

fn parse_hashes(text: &[u8]) -> Result<Vec<i64>, Malformed> {
    parse_items(text, parse_number)
}

fn parse_ids(text: &[u8]) -> Result<Vec<i64>, Malformed> {
    parse_items(text, parse_id)
}

/// Sets that had ids in some versions and hashes in others under the same name.
fn parse_set(text: &[u8]) -> Result<Vec<i64>, Malformed> {
    parse_hashes(text).or_else(|_| parse_ids(text))
}
