//! Directories of the journal mode, whole and damaged.

use super::*;
use crate::store::reference::message_log::LoggedMessage;
use crate::store::reference::{JournalQueue, Reason, Warnings, read_journal_queue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use std::fs;

/// A queue's directory under construction.
struct Made {
    directory: tempfile::TempDir,
    queue: JournalQueue,
}

impl Made {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue = JournalQueue {
            recipient_id: id(1),
            path: directory.path().to_owned(),
            name: "q".to_owned(),
        };
        Self { directory, queue }
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn state_name(&self) -> String {
        format!("queue_state.{}.log", URL_SAFE.encode(id(1)))
    }

    fn state(&self, text: &str) -> &Self {
        self.write(&self.state_name(), text)
    }

    /// The bodies of the messages, and warnings.
    fn read(&self) -> (Vec<u8>, Vec<(String, Reason)>) {
        let mut warnings = Warnings::default();
        let mut bodies = Vec::new();
        read_journal_queue(&self.queue, &mut warnings, &mut |message: LoggedMessage| {
            bodies.push(message.body.first().copied().unwrap_or(b'q'));
        })
        .unwrap();
        let warnings = warnings.list().iter();
        let warnings = warnings.map(|w| (w.file.clone(), w.reason.clone()));
        (bodies, warnings.collect())
    }
}

/// A line with a body of one letter: 59 bytes.
fn message(body: char) -> String {
    let body = URL_SAFE.encode([u8::try_from(body).unwrap()]);
    let line = format!("{} 1795363430 flags=F {body}\n", URL_SAFE.encode(id(2)));
    assert_eq!(line.len() as u64, LINE);
    line
}

const LINE: u64 = 57;

fn messages(bodies: &str) -> String {
    bodies.chars().map(message).collect()
}

/// `write` and `read` are file, message position, message count.
fn state(write: (&str, u64, u64), read: (&str, u64, u64), size: u64) -> String {
    let position = |(file, at, count): (&str, u64, u64)| {
        format!("{file},{at},{count},{},{}", at * LINE, count * LINE)
    };
    let (write, read) = (position(write), position(read));
    format!("write={write} read={read} canWrite=T size={size}\n")
}

#[test]
fn the_recorded_queue_is_read() {
    let path = fixture("journal/messages/7s/lL/z3/mP/iE5xCjR7cyAyiv8fTiXrA3mS");
    let recipient_id = URL_SAFE.decode("7slLz3mPiE5xCjR7cyAyiv8fTiXrA3mS");
    let queue = JournalQueue {
        recipient_id: recipient_id.unwrap().try_into().unwrap(),
        path,
        name: "q".to_owned(),
    };
    let (mut warnings, mut bodies) = (Warnings::default(), Vec::new());
    let bytes = read_journal_queue(&queue, &mut warnings, &mut |m| bodies.push(m.body));
    assert_eq!((bytes.unwrap(), warnings.count()), (73, 0));
    assert_eq!(bodies, [b"hello via proxy"]);
}

#[test]
fn unread_messages_of_one_file_are_read() {
    let made = Made::new();
    made.write("messages.w.log", &messages("abc"));
    made.state(&state(("w", 3, 3), ("w", 1, 3), 2));
    assert_eq!(made.read(), (b"bc".to_vec(), vec![]));
    // The last line counts.
    let later = state(("w", 3, 3), ("w", 1, 3), 2) + &state(("w", 3, 3), ("w", 2, 3), 1);
    made.state(&later);
    assert_eq!(made.read(), (b"c".to_vec(), vec![]));
    made.state(&state(("w", 3, 3), ("w", 3, 3), 0));
    assert_eq!(made.read(), (vec![], vec![]));
}

#[test]
fn markers_are_read() {
    let made = Made::new();
    let marker = format!("{} 1795363430 quota\n", URL_SAFE.encode(id(2)));
    made.write("messages.w.log", &(message('a') + &marker));
    let bytes = LINE + marker.len() as u64;
    made.state(&format!(
        "write=w,2,2,{bytes},{bytes} read=w,0,2,0,{bytes} canWrite=F size=2\n"
    ));
    assert_eq!(made.read(), (b"aq".to_vec(), vec![]));
}

#[test]
fn messages_of_two_files_are_read_in_order() {
    let made = Made::new();
    made.write("messages.r.log", &messages("abc"));
    made.write("messages.w.log", &messages("de"));
    made.state(&state(("w", 2, 2), ("r", 2, 3), 3));
    assert_eq!(made.read(), (b"cde".to_vec(), vec![]));
    made.state(&state(("w", 2, 2), ("r", 3, 3), 2));
    assert_eq!(made.read(), (b"de".to_vec(), vec![]));
}

#[test]
fn a_backup_of_the_state_comes_first_and_older_ones_never() {
    let made = Made::new();
    made.write("messages.w.log", &messages("abc"));
    made.state("");
    let name = made.state_name();
    made.write(&format!("{name}.bak"), &state(("w", 3, 3), ("w", 1, 3), 2));
    made.write(&format!("{name}.2026-01-01T00:00:00Z.bak"), "junk");
    assert_eq!(made.read(), (b"bc".to_vec(), vec![]));
}

#[test]
fn a_queue_without_state_has_nothing() {
    let made = Made::new();
    assert_eq!(made.read(), (vec![], vec![]));
    let no_state = |text: &str| {
        made.state(text);
        let file = "q/queue_state".to_owned();
        assert_eq!(
            made.read(),
            (vec![], vec![(file, Reason::NoState)]),
            "{text}"
        );
    };
    no_state("");
    no_state("junk\n");
    no_state("junk\njunk\n");
    // Inconsistent in each way.
    no_state(&state(("w", 3, 3), ("w", 1, 3), 3));
    no_state(&state(("w", 2, 3), ("w", 1, 3), 2));
    no_state(&state(("w", 3, 3), ("w", 1, 4), 3));
    no_state(&state(("w", 3, 3), ("w", 4, 3), 0));
    no_state(&state(("w", 2, 2), ("r", 4, 3), 2));
    no_state(&state(("w", 2, 2), ("r", 2, 3), 2));
    // Not a name of a file in this directory.
    no_state(&state(("../w", 1, 1), ("../w", 0, 1), 1));
    no_state(&state(("", 1, 1), ("", 0, 1), 1));
    let big = format!("{0},{0},{0},{0},{0}", u64::MAX);
    no_state(&format!("write=w{big} read=r{big} canWrite=T size=0\n"));
}

#[test]
fn a_torn_last_state_gives_way_to_the_one_before() {
    let made = Made::new();
    made.write("messages.w.log", &messages("abc"));
    let earlier = state(("w", 3, 3), ("w", 1, 3), 2);
    let torn = &state(("w", 3, 3), ("w", 2, 3), 1)[..40];
    made.state(&(earlier.repeat(20) + torn));
    let file = "q/queue_state".to_owned();
    assert_eq!(
        made.read(),
        (b"bc".to_vec(), vec![(file, Reason::TornState)])
    );
}

#[test]
fn what_is_beyond_the_state_is_ignored() {
    let made = Made::new();
    made.write("messages.r.log", &(messages("ab") + "tail"));
    made.write("messages.w.log", &messages("cd"));
    made.state(&state(("w", 1, 1), ("r", 0, 2), 3));
    let warnings = vec![
        ("q/messages.r.log".to_owned(), Reason::Beyond(4)),
        ("q/messages.w.log".to_owned(), Reason::Beyond(LINE)),
    ];
    assert_eq!(made.read(), (b"abc".to_vec(), warnings));
}

#[test]
fn what_is_there_of_a_short_file_is_read() {
    let made = Made::new();
    let text = messages("abc");
    made.write("messages.w.log", &text[..text.len() - 10]);
    made.state(&state(("w", 3, 3), ("w", 0, 3), 3));
    let file = || "q/messages.w.log".to_owned();
    let warnings = vec![
        (file(), Reason::Short(10)),
        (file(), Reason::LostMessages(1)),
    ];
    assert_eq!(made.read(), (b"ab".to_vec(), warnings));
}

#[test]
fn a_missing_file_leaves_the_other() {
    let made = Made::new();
    let missing = |file: &str| (format!("q/messages.{file}.log"), Reason::NoMessages);
    made.write("messages.w.log", &messages("de"));
    made.state(&state(("w", 2, 2), ("r", 1, 3), 4));
    assert_eq!(made.read(), (b"de".to_vec(), vec![missing("r")]));
    made.state(&state(("v", 2, 2), ("w", 1, 2), 3));
    assert_eq!(made.read(), (b"e".to_vec(), vec![missing("v")]));
    made.state(&state(("v", 2, 2), ("r", 1, 2), 3));
    assert_eq!(made.read(), (vec![], vec![missing("r"), missing("v")]));
    made.state(&state(("v", 2, 2), ("v", 1, 2), 1));
    assert_eq!(made.read(), (vec![], vec![missing("v")]));
}
