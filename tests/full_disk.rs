//! A full disk refuses what would fill it, and loses nothing (docs/STORAGE.md, Space).

mod support;

use glommio::timer::sleep;
use loadtest::{Auth, Client};
use smp_server::crypto::keys::X25519SecretKey;
use smp_server::protocol::{Command, ErrorType, Response};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;
use support::{
    Key, Link, Recipient, Server, Setup, Tmpfs, ask_as, expect_ok, full_body, new_queue, run, send,
    sender_id_for, start_fails,
};
use tempfile::TempDir;

/// Shards, placement of queues, and megabytes of disk for them.
const DISKS: [(&str, &str, usize); 2] = [("1", "local", 14), ("3", "remote", 26)];
const QUEUES: usize = 24;
/// Creations asked for together.
const NEW_TOGETHER: usize = 64;
/// Time between looks at something that only time changes.
const PAUSE: Duration = Duration::from_millis(20);

/// What a refusal says, and what the log says besides.
const REFUSAL: &str = "store is full: free disk space, the relay resumes by itself";
const FULL: &str = "no space for the log";
const SPACE_AGAIN: &str = "there is space for the log again";

fn setup() -> Setup {
    Setup::default().set("RELAY", "msg_queue_quota", "16384")
}

/// A prepared directory with its state on a small file system.
fn on(disk: &Tmpfs, setup: &Setup) -> TempDir {
    let dir = setup.prepare();
    let state = dir.path().join("var");
    if state.exists() {
        fs::remove_dir_all(&state).unwrap();
    }
    symlink(disk.path(), state).unwrap();
    dir
}

/// Runs a scenario with one shard and with several, each on a disk of its own.
fn every_disk(scenario: impl Fn(&Tmpfs, &Setup)) {
    for (shards, placement, megabytes) in DISKS {
        let Some(disk) = Tmpfs::mount(megabytes) else {
            return;
        };
        eprintln!("{shards} shards, placement {placement}");
        scenario(&disk, &setup().placed(shards, placement));
    }
}

/// Whether a change was taken; if not, the refusal must say why.
fn is_taken(answer: &Response<'_>) -> bool {
    match answer {
        Response::Ok | Response::Ids(_) => true,
        Response::Err(ErrorType::Store(text)) => {
            assert_eq!(text, REFUSAL);
            false
        }
        other => panic!("{other:?}"),
    }
}

/// Queues and the numbers of the messages that each has and the relay has confirmed.
struct Queues {
    queues: Vec<(Recipient, Vec<u32>)>,
    next: u32,
}

impl Queues {
    async fn create(client: &mut Client) -> Self {
        let queues = Recipient::create_many(client, QUEUES, false).await;
        Self {
            queues: queues
                .into_iter()
                .map(|queue| (queue, Vec::new()))
                .collect(),
            next: 0,
        }
    }

    /// Sends each queue a message; returns how many were taken.
    async fn send_each(&mut self, sender: &mut Client) -> usize {
        let first = self.next;
        let bodies: Vec<_> = (first..)
            .take(QUEUES)
            .map(|n| full_body(&n.to_be_bytes()))
            .collect();
        self.next += bodies.len() as u32;
        let notify = false;
        let sends = self.queues.iter().zip(&bodies).map(|((queue, _), body)| {
            (
                Command::Send { notify, body },
                queue.sender_id(),
                Auth::None,
            )
        });
        let answers = sender.batch(&sends.collect::<Vec<_>>()).await.unwrap();
        let mut taken = 0;
        for (((_, messages), number), answer) in self.queues.iter_mut().zip(first..).zip(answers) {
            if is_taken(&answer) {
                messages.push(number);
                taken += 1;
            }
        }
        taken
    }

    /// Sends until nothing is taken any more, the disk being full.
    async fn fill(&mut self, server: &Server, sender: &mut Client) {
        loop {
            let was_full = server.log().contains(FULL);
            if self.send_each(sender).await == 0 && was_full {
                return;
            }
        }
    }

    /// Waits until every queue takes messages again, and the log says so.
    async fn until_all_take(&mut self, server: &Server, sender: &mut Client) {
        while self.send_each(sender).await < QUEUES {
            sleep(PAUSE).await;
        }
        while !server.log().contains(SPACE_AGAIN) {
            sleep(PAUSE).await;
        }
    }

    /// Takes the first messages of each queue, all but `left` of them, which must be the confirmed
    /// ones in their order.
    async fn drain(&mut self, client: &mut Client, left: impl Fn(usize) -> usize) {
        for (queue, messages) in &mut self.queues {
            let left = left(messages.len());
            let drained = messages.len() - left;
            expect_ok(queue.ask(client, &Command::Sub).await);
            let mut next = match messages.first() {
                Some(_) => Some(queue.pushed(client).await),
                None => None,
            };
            for expected in messages.drain(..drained) {
                let (id, body) = next.expect("a confirmed message is lost");
                assert!(body == full_body(&expected.to_be_bytes()), "not {expected}");
                next = match queue.ack(client, &id).await {
                    Response::Ok => None,
                    message => Some(queue.open(message)),
                };
            }
            let expected = messages.first().map(|n| full_body(&n.to_be_bytes()));
            assert!(next.map(|(_, body)| body) == expected, "another message");
        }
    }

    /// Asserts that everything confirmed is there and nothing else.
    async fn drain_all(&mut self, server: &Server) {
        self.drain(&mut server.client().await, |_| 0).await;
    }

    fn messages(&self) -> usize {
        self.queues.iter().map(|(_, messages)| messages.len()).sum()
    }
}

/// Links refused in a row, with ids that clients choose: of some the home is another shard than that of their queues.
const LINKS: usize = 16;

/// Asks for a queue with a link; `None` when that is refused.
async fn create_with_link(client: &mut Client, number: u32) -> Option<Recipient> {
    let (key, dh) = (Key::ed25519(), X25519SecretKey::generate(&mut rand::rng()));
    let corr_id = client.outbox().fresh_corr_id();
    let sender_id = sender_id_for(&corr_id);
    let (link, link_id) = (Link::new("contact"), number.to_be_bytes().repeat(6));
    let mut new = new_queue(&key, &dh);
    new.queue = Some(link.contact(&link_id, &sender_id));
    let answer = ask_as(client, &corr_id, &Command::New(new), &[], key.auth()).await;
    is_taken(&answer).then(|| Recipient::created(key, &dh, answer))
}

/// Creates queues until none is taken any more; returns those that were.
async fn create_until_refused(client: &mut Client) -> Vec<Recipient> {
    let mut created = Vec::new();
    loop {
        let mut asked = Vec::new();
        for _ in 0..NEW_TOGETHER {
            let (key, dh) = (Key::ed25519(), X25519SecretKey::generate(&mut rand::rng()));
            let command = Command::New(new_queue(&key, &dh));
            let corr_id = client.send(&command, &[], key.auth()).unwrap();
            asked.push((corr_id, key, dh));
        }
        let before = created.len();
        for (corr_id, key, dh) in asked {
            let answer = client.reply(&corr_id).await.unwrap().response;
            if is_taken(&answer) {
                created.push(Recipient::created(key, &dh, answer));
            }
        }
        if created.len() == before {
            return created;
        }
    }
}

/// Asserts that queues are there.
async fn expect_all(queues: &[Recipient], client: &mut Client) {
    let subs = queues
        .iter()
        .map(|queue| (Command::Sub, queue.id(), queue.key.auth()));
    for answer in client.batch(&subs.collect::<Vec<_>>()).await.unwrap() {
        expect_ok(answer);
    }
}

#[test]
fn a_full_disk_can_be_drained_and_takes_messages_again() {
    every_disk(|disk, setup| {
        let server = Server::start_in(on(disk, setup));
        let (mut queues, mut created, refused) = run(async {
            let (mut client, mut sender) = (server.client().await, server.client().await);
            let mut queues = Queues::create(&mut client).await;
            queues.fill(&server, &mut sender).await;
            let created = create_until_refused(&mut client).await;
            assert_eq!(queues.send_each(&mut sender).await, 0);
            let (mut created, mut refused) = (created, 0..0);
            // Shards that none of the queues before went to may have room for some.
            while refused.len() < LINKS {
                match create_with_link(&mut client, refused.end).await {
                    Some(queue) => {
                        created.push(queue);
                        refused = refused.end + 1..refused.end + 1;
                    }
                    None => refused.end += 1,
                }
            }
            (queues, created, refused)
        });
        assert!(queues.messages() > 20 * QUEUES, "{}", queues.messages());
        assert!(created.len() > 1000, "{}", created.len());
        // It starts again without any space, and has everything it confirmed.
        let server = Server::start_in(server.kill());
        run(async {
            let (mut client, mut sender) = (server.client().await, server.client().await);
            assert_eq!(queues.send_each(&mut sender).await, 0);
            expect_all(&created, &mut client).await;
            // What takes no space for good works.
            let gone = created.split_off(created.len() / 2);
            for queue in &gone {
                expect_ok(queue.ask(&mut client, &Command::Off).await);
                expect_ok(queue.ask(&mut client, &Command::Del).await);
            }
            assert!(server.log().contains(FULL), "{}", server.log());
            queues.drain(&mut client, |messages| messages / 2).await;
            queues.until_all_take(&server, &mut sender).await;
            queues.drain(&mut server.client().await, |_| 2).await;
            // Nothing is left of what was refused.
            for number in refused {
                while create_with_link(&mut client, number).await.is_none() {
                    sleep(PAUSE).await;
                }
            }
        });
        let server = Server::start_in(server.stop());
        run(async {
            queues.drain_all(&server).await;
            expect_all(&created, &mut server.client().await).await;
        });
    });
}

#[test]
fn a_disk_filled_by_somebody_else_is_used_again_when_there_is_space() {
    every_disk(|disk, setup| {
        let server = Server::start_in(on(disk, setup));
        let mut queues = run(async {
            let mut sender = server.client().await;
            let mut queues = Queues::create(&mut sender).await;
            let file = disk.eat(0);
            queues.fill(&server, &mut sender).await;
            let before = queues.messages();
            fs::remove_file(file).unwrap();
            queues.until_all_take(&server, &mut sender).await;
            assert!(queues.messages() > before);
            queues
        });
        let server = Server::start_in(server.kill());
        run(queues.drain_all(&server));
    });
}

/// What a start that fails says.
fn reason(dir: &TempDir) -> String {
    String::from_utf8(start_fails(dir.path()).stderr).unwrap()
}

#[test]
fn a_first_start_without_space_says_what_is_missing() {
    let Some(disk) = Tmpfs::mount(1) else { return };
    let dir = on(&disk, &setup());
    let file = disk.eat(0);
    let reason = reason(&dir);
    assert!(reason.contains("No space left on device"), "{reason}");
    assert!(reason.contains("/var/smp-server-"), "{reason}");
    fs::remove_file(file).unwrap();
    // Nothing half made stands in the way.
    let server = Server::start_in(dir);
    run(async { server.client().await.ping().await.unwrap() });
}

/// A state directory with messages on a disk with little space left, and the messages.
fn with_messages(disk: &Tmpfs) -> (TempDir, Queues) {
    let server = Server::start_in(on(disk, &setup()));
    let queues = run(async {
        let mut sender = server.client().await;
        let mut queues = Queues::create(&mut sender).await;
        while queues.messages() < 1000 {
            assert_eq!(queues.send_each(&mut sender).await, QUEUES);
        }
        queues
    });
    (server.stop(), queues)
}

/// A copy that takes no space for zeros has to get it back before anything is written there.
#[test]
fn a_copy_with_holes_gets_its_space_back_or_is_refused() {
    let Some(disk) = Tmpfs::mount(32) else { return };
    let (dir, mut queues) = with_messages(&disk);
    let used = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let mut segments = Vec::new();
    let generation = disk.path().join("smp-server-store/generation-1/shard-0000");
    for entry in fs::read_dir(generation).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "seg") {
            dig_holes(&path);
            segments.push(path);
        }
    }
    let holes = segments.iter().filter(|path| used(path) < 1 << 20).count();
    assert!(holes > 3, "{holes}");
    let file = disk.eat(0);
    let reason = reason(&dir);
    assert!(reason.contains("No space left on device"), "{reason}");
    assert!(reason.contains(".seg"), "{reason}");
    fs::remove_file(file).unwrap();
    let server = Server::start_in(dir);
    for path in &segments {
        assert_eq!(used(path), 1 << 20, "{}", path.display());
    }
    run(queues.drain_all(&server));
}

/// Writes a file again without the zeros in it.
fn dig_holes(path: &Path) {
    const BLOCK: usize = 4096;
    let content = fs::read(path).unwrap();
    let file = fs::File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (block, at) in content.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at).unwrap();
        }
    }
}

#[test]
fn a_move_to_other_shards_that_does_not_fit_changes_nothing() {
    let Some(disk) = Tmpfs::mount(32) else { return };
    let (dir, mut queues) = with_messages(&disk);
    let free = disk.free();
    let configure = |setup: &Setup| {
        fs::write(dir.path().join("etc/smp-server.ini"), setup.ini_text()).unwrap();
    };
    configure(&setup().placed("2", "local"));
    let reason = reason(&dir);
    assert!(reason.contains("No space left on device"), "{reason}");
    assert!(reason.contains("shards = 1"), "{reason}");
    // What was written in vain does not take the space that is left.
    assert!(disk.free() >= free, "{} of {free}", disk.free());
    configure(&setup());
    let server = Server::start_in(dir);
    run(async {
        queues.drain_all(&server).await;
        expect_ok(
            send(
                &mut server.client().await,
                queues.queues[0].0.sender_id(),
                Auth::None,
                b"on",
            )
            .await,
        );
    });
}
