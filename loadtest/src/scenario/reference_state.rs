//! Write the files of a reference server, always the same for the same options.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use smp_server::crypto::keys::{PublicAuthKey, SharedSecret};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::response::QueueMode;
use smp_server::store::reference::file_names::{JOURNAL, MESSAGES, NOTIFICATIONS, STORE_LOG};
use smp_server::store::reference::{write_message_line, write_notification_line, write_queue};
use smp_server::store::{
    LinkContent, Message, MessageKind, Note, NotifierRecord, QueueRecord, QueueStatus,
};

/// One queue in so many has a notifier, a link.
const WITH_NOTIFIER: u32 = 4;
const WITH_LINK: u32 = 8;
/// Messages that wait in a queue that has any.
const MESSAGES_PER_QUEUE: u32 = 4;
/// 2026-10-01, when everything happened.
const SECONDS: i64 = 1_790_812_800;
const DAY: u32 = 20_727;
const LINK_LEN: usize = 1000;

/// Options of the scenario.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// Directory for the files, made if need be
    directory: PathBuf,
    /// Queues
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    queues: u32,
    /// Messages, four in a queue
    #[arg(long, default_value_t = 100_000)]
    messages: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..=16_064))]
    body: u32,
    /// Waiting notifications, one per notifier
    #[arg(long, default_value_t = 10_000)]
    notifications: u32,
    /// Write the messages as directories of the journal mode
    #[arg(long)]
    journal: bool,
    /// Lines of the store log that are no records
    #[arg(long, default_value_t = 0)]
    broken_lines: u32,
}

/// Writes the files.
pub fn run(args: &Args) -> Result<()> {
    let at = |name: &str| args.directory.join(name);
    fs::create_dir_all(&args.directory).context("cannot make the directory")?;
    let mut rng = StdRng::seed_from_u64(1);
    let mut queues = Vec::with_capacity(args.queues as usize);
    let mut log = Lines::create(&at(STORE_LOG))?;
    let mut notifications = Lines::create(&at(NOTIFICATIONS))?;
    let mut notified = 0;
    for n in 0..args.queues {
        let (record, link) = queue(n, &mut rng);
        log.put(|line| write_queue(line, &record, link.as_ref()))?;
        if let Some(notifier) = record.notifier.filter(|_| notified < args.notifications) {
            notified += 1;
            let (key, note) = (
                BoxKey::from(&notifier.dh_secret),
                Note::new(rng.random(), SECONDS),
            );
            let mut boxed = Ok(());
            notifications.put(|line| {
                boxed = write_notification_line(line, &mut rng, &key, &notifier.notifier_id, &note);
            })?;
            boxed?;
        }
        queues.push(record.recipient_id);
    }
    for _ in 0..args.broken_lines {
        log.put(|line| line.extend_from_slice(b"CREATE nonsense\n"))?;
    }
    log.finish()?;
    notifications.finish()?;
    let mut messages = Lines::create(&at(MESSAGES))?;
    let mut left = args.messages;
    // Spread over all queues.
    let step = (queues.len() * MESSAGES_PER_QUEUE as usize / left.max(1) as usize).max(1);
    for recipient_id in queues.iter().step_by(step) {
        let count = left.min(MESSAGES_PER_QUEUE);
        left -= count;
        let mut lines = Vec::new();
        for _ in 0..count {
            let message = Message {
                id: rng.random(),
                time_ns: SECONDS * 1_000_000_000,
                kind: MessageKind::Message { notify: true },
                body: &random(args.body as usize, &mut rng),
            };
            write_message_line(&mut lines, recipient_id, &message)?;
        }
        if args.journal && count > 0 {
            write_journal(&at(JOURNAL), &lines, count)?;
        } else {
            messages.put(|out| out.extend_from_slice(&lines))?;
        }
    }
    messages.finish()?;
    if args.journal {
        fs::remove_file(at(MESSAGES))?;
    }
    println!(
        "queues: {}, messages: {}, notifications: {notified}",
        args.queues,
        args.messages - left
    );
    Ok(())
}

fn random(len: usize, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes[..]);
    bytes
}

fn key(rng: &mut StdRng) -> PublicAuthKey {
    PublicAuthKey::Ed25519(rng.random())
}

fn queue(n: u32, rng: &mut StdRng) -> (QueueRecord, Option<LinkContent>) {
    let has_link = n.is_multiple_of(WITH_LINK);
    let link = has_link.then(|| LinkContent {
        fixed: random(100, rng).into(),
        user: random(LINK_LEN, rng).into(),
    });
    let notifier = n.is_multiple_of(WITH_NOTIFIER).then(|| NotifierRecord {
        notifier_id: rng.random(),
        auth_key: key(rng),
        dh_secret: SharedSecret(rng.random()),
        service_id: None,
    });
    let record = QueueRecord {
        recipient_id: rng.random(),
        recipient_keys: [key(rng)].into_iter().collect(),
        rcv_dh_secret: SharedSecret(rng.random()),
        sender_id: rng.random(),
        sender_key: Some(key(rng)),
        mode: Some(QueueMode::Messaging),
        link_id: has_link.then(|| rng.random()),
        notifier,
        status: QueueStatus::Active,
        updated_day: DAY,
        service_id: None,
    };
    (record, link)
}

/// Writes lines of the messages file as the files of a queue's journal.
fn write_journal(journal: &Path, lines: &[u8], count: u32) -> Result<()> {
    const ID_LEN: usize = 32;
    let prefix = "v3 ".len();
    let id = str::from_utf8(&lines[prefix..prefix + ID_LEN])?.to_owned();
    let directory = [&id[..2], &id[2..4], &id[4..6], &id[6..8], &id[8..]];
    let directory = directory
        .iter()
        .fold(journal.to_owned(), |path, part| path.join(part));
    fs::create_dir_all(&directory)?;
    let mut messages = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        messages.extend_from_slice(&line[prefix + ID_LEN + 1..]);
    }
    let name = &id[..16];
    let bytes = messages.len();
    fs::write(directory.join(format!("messages.{name}.log")), messages)?;
    let state = format!(
        "write={name},{count},{count},{bytes},{bytes} read={name},0,{count},0,{bytes} \
         canWrite=T size={count}\n"
    );
    fs::write(directory.join(format!("queue_state.{id}.log")), state)?;
    Ok(())
}

/// A file of lines.
struct Lines {
    file: BufWriter<File>,
    line: Vec<u8>,
}

impl Lines {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let (file, line) = (BufWriter::with_capacity(1 << 20, file), Vec::new());
        Ok(Self { file, line })
    }

    fn put(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.line.clear();
        fill(&mut self.line);
        Ok(self.file.write_all(&self.line)?)
    }

    fn finish(mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }
}
