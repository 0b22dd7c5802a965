//! Operators see and do what they do with the reference server, and clients notice what they do
//! (spec: operations §3). The fixtures were recorded with a reference server 6.5.5.

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loadtest::{Auth, Client};
use smp_server::cli::local_socket;
use smp_server::protocol::error::{BlockingInfo, BlockingReason};
use smp_server::protocol::{Command, ErrorType, Response};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::{
    Link, Operator, Recipient, Server, Setup, every_placement, expect_error, expect_event,
    expect_link, expect_ok, get_link, run, send,
};

/// The passwords of the recorded server.
const ADMIN: &str = "vGC2f8BoEHa3w82ikWbtupc4";
const USER: &str = "6U-b8bzz--AXlxGPY9IH22uu";

const SPAM: BlockingInfo = BlockingInfo {
    reason: BlockingReason::Spam,
    notice: None,
};

fn setup() -> Setup {
    Setup::default()
        .set("TRANSPORT", "control_port", "0")
        .set("AUTH", "control_port_admin_password", ADMIN)
        .set("AUTH", "control_port_user_password", USER)
}

fn admin(server: &Server) -> Operator {
    let mut operator = Operator::connect(server);
    assert_eq!(operator.auth(ADMIN), "Current role is CPRAdmin");
    operator
}

fn text(id: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

/// A recorded session: lines said and their answers, which are none at the end of the session.
type Exchange = (String, Option<Vec<String>>);

fn recorded(text: &str) -> Vec<(String, Vec<Exchange>)> {
    let mut sessions: Vec<(String, Vec<Exchange>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("===== ") {
            sessions.push((name.to_owned(), Vec::new()));
            continue;
        }
        let exchanges = &mut sessions.last_mut().unwrap().1;
        if let Some(said) = line.strip_prefix("> ") {
            exchanges.push((said.to_owned(), Some(Vec::new())));
        } else if let Some((_, answer)) = exchanges.last_mut() {
            match line.strip_prefix("< ") {
                Some("<EOF>") => *answer = None,
                // What follows the end of the last line.
                Some("") => {}
                Some(heard) => answer.as_mut().unwrap().push(heard.to_owned()),
                None => {}
            }
        }
    }
    sessions
}

/// A line without its numbers.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for char in line.chars() {
        let char = if char.is_ascii_digit() { '0' } else { char };
        if char != '0' || !shape.ends_with('0') {
            shape.push(char);
        }
    }
    shape
}

fn assert_same_shape(said: &str, recorded: &[String], answer: &str) {
    let lines: Vec<_> = answer.lines().collect();
    match said {
        // Every runtime has facts of its own.
        "stats-rts" => {
            assert_eq!(lines.len(), 1, "{answer}");
            assert!(answer.starts_with("RTSStats {") && answer.ends_with('}'));
            for field in ["max_mem_in_use_bytes = ", "cpu_ns = ", "elapsed_ns = "] {
                assert!(recorded[0].contains(field) && answer.contains(field));
            }
        }
        "threads" if lines.len() > 1 => {
            assert_eq!(shape(&recorded[0]), shape(lines[0]));
            assert_eq!(format!("Threads: {}", lines.len() - 1), lines[0]);
            for line in &lines[1..] {
                let rest = line.strip_prefix("ThreadId ").unwrap();
                let (id, rest) = rest.split_once(" (Thread").unwrap();
                assert!(id.parse::<u32>().is_ok() && rest.contains(") "), "{line}");
            }
        }
        _ => {
            let recorded: Vec<_> = recorded.iter().map(|line| shape(line)).collect();
            let lines: Vec<_> = lines.iter().map(|line| shape(line)).collect();
            assert_eq!(lines, recorded, "{said}");
        }
    }
}

#[test]
fn every_command_of_every_role_is_answered_as_by_the_reference() {
    let server = setup().placed("2", "remote").start();
    let sessions = recorded(include_str!("fixtures/control-port/each.txt"));
    assert_eq!(sessions.len(), 33);
    let mut asked = 0;
    for (name, exchanges) in sessions {
        let mut operator = Operator::connect(&server);
        for (said, recorded) in exchanges {
            match recorded {
                Some(recorded) => assert_same_shape(&said, &recorded, &operator.ask(&said)),
                None => {
                    operator.say(&format!("{said}\n"));
                    assert_eq!(operator.line(), None, "{name}");
                }
            }
            asked += 1;
        }
    }
    assert_eq!(asked, 56);
}

#[test]
fn sessions_go_on_as_with_the_reference() {
    let server = setup().start();
    let sessions = recorded(include_str!("fixtures/control-port/sessions.txt"));
    assert_eq!(sessions.len(), 4);
    for (_, exchanges) in sessions {
        let mut operator = Operator::connect(&server);
        // There that server lacked an option, and dropped the session.
        let before = exchanges.iter().take_while(|(said, _)| said != "stats-rts");
        for (said, recorded) in before {
            match recorded {
                Some(recorded) => assert_same_shape(said, recorded, &operator.ask(said)),
                None => {
                    operator.say(&format!("{said}\n"));
                    assert_eq!(operator.line(), None);
                }
            }
        }
    }
}

#[test]
fn queues_are_blocked_unblocked_and_deleted_by_their_sender_ids() {
    every_placement(&setup(), async |server| {
        let mut recipient = server.client().await;
        let mut sender = server.client().await;
        let queue = Recipient::create(&mut recipient, true).await;
        let id = text(queue.sender_id());
        let mut admin = admin(server);
        let status = admin.ask(&format!("status {id}"));
        assert!(
            status.starts_with("status: EntityActive, updatedAt: Just (RoundedSystemTime {")
                && status.ends_with("}), queueMode: Just QMMessaging"),
            "{status}"
        );

        let blocked = "EntityBlocked (BlockingInfo {reason = BRSpam, notice = Nothing})";
        let answer = admin.ask(&format!("block {id} reason=spam"));
        assert_eq!(answer, format!("ok, queue blocked: {blocked}"));
        let error = ErrorType::Blocked(SPAM);
        expect_event(&mut recipient, queue.id(), Response::Err(error.clone())).await;
        let refused = send(&mut sender, queue.sender_id(), Auth::None, b"x").await;
        expect_error(refused, error);
        let again = admin.ask(&format!("block {id} reason=spam"));
        assert_eq!(again, format!("ok, already inactive: {blocked}"));
        let status = admin.ask(&format!("status {id}"));
        assert!(
            status.starts_with(&format!("status: {blocked}, ")),
            "{status}"
        );

        let answer = admin.ask(&format!("unblock {id}"));
        let was = "BlockingInfo {reason = BRSpam, notice = Nothing}";
        assert_eq!(
            answer,
            format!("ok, queue unblocked, reason to block was: {was}")
        );
        assert_eq!(admin.ask(&format!("unblock {id}")), "ok, queue was active");
        expect_ok(send(&mut sender, queue.sender_id(), Auth::None, b"x").await);
        assert_eq!(queue.pushed(&mut recipient).await.1, b"x");

        assert_eq!(admin.ask(&format!("delete {id}")), "ok, 1 messages deleted");
        let refused = send(&mut sender, queue.sender_id(), Auth::None, b"y").await;
        expect_error(refused, ErrorType::Auth);
        expect_error(
            queue.ask(&mut recipient, &Command::Sub).await,
            ErrorType::Auth,
        );
        assert_eq!(admin.ask(&format!("status {id}")), "error: AUTH");
        // No command is told with its queue.
        let log = server.log();
        assert!(
            log.contains("ControlPort: \"delete\"") && !log.contains(&id),
            "{log}"
        );
    });
}

#[test]
fn queues_are_found_by_their_links() {
    every_placement(&setup(), async |server| {
        let (mut recipient, mut reader) = (server.client().await, server.client().await);
        let mut admin = admin(server);
        // Some of the links live with their queues, and some do not.
        for round in 0..6 {
            let link = Link::small("link");
            let link_id: [u8; 24] = rand::random();
            let queue = Recipient::with_contact_link(&mut recipient, &link_id, &link).await;
            expect_link(get_link(&mut reader, &link_id).await, &queue, &link);
            let id = text(&link_id);
            let status = admin.ask(&format!("status {id}"));
            assert!(status.ends_with("queueMode: Just QMContact"), "{status}");
            let blocked = admin.ask(&format!("block {id} reason=spam"));
            assert!(
                blocked.starts_with("ok, queue blocked"),
                "{round}: {blocked}"
            );
            let error = ErrorType::Blocked(SPAM);
            expect_error(get_link(&mut reader, &link_id).await, error);
            let unblocked = admin.ask(&format!("unblock {id}"));
            assert!(unblocked.starts_with("ok, queue unblocked"), "{unblocked}");
            expect_link(get_link(&mut reader, &link_id).await, &queue, &link);
            assert_eq!(admin.ask(&format!("delete {id}")), "ok, 0 messages deleted");
            expect_error(get_link(&mut reader, &link_id).await, ErrorType::Auth);
            let gone = send(&mut reader, queue.sender_id(), Auth::None, b"x").await;
            expect_error(gone, ErrorType::Auth);
        }
    });
}

#[test]
fn the_quota_of_blocked_queues_is_kept() {
    let server = setup().set("AUTH", "daily_block_queue_quota", "2").start();
    run(async {
        let mut client = server.client().await;
        let mut operators = [Operator::connect(&server), admin(&server)];
        operators[0].auth(USER);
        let mut answers = Vec::new();
        for number in 0..3 {
            let queue = Recipient::create(&mut client, false).await;
            let block = format!("block {} reason=content", text(queue.sender_id()));
            answers.push(operators[number % 2].ask(&block));
        }
        assert!(
            answers[..2]
                .iter()
                .all(|a| a.starts_with("ok, queue blocked"))
        );
        assert_eq!(answers[2], "error: reached limit of 2 queues blocked daily");
    });
}

#[test]
fn operators_who_block_at_the_same_time_share_the_quota() {
    const QUOTA: usize = 12;
    let setup = setup().set("AUTH", "daily_block_queue_quota", &QUOTA.to_string());
    let server = setup.placed("4", "spread").start();
    run(async {
        let mut client = server.client().await;
        let mut operators: Vec<_> = (0..8).map(|_| admin(&server)).collect();
        let mut orders = vec![String::new(); operators.len()];
        for number in 0..3 * QUOTA {
            let queue = Recipient::create(&mut client, false).await;
            let block = format!("block {} reason=content\n", text(queue.sender_id()));
            orders[number % operators.len()] += &block;
        }
        for (operator, orders) in operators.iter_mut().zip(&orders) {
            operator.say(orders);
        }
        let mut blocked = 0;
        for (operator, orders) in operators.iter_mut().zip(&orders) {
            for _ in orders.lines() {
                let answer = operator.line().unwrap();
                match answer.starts_with("ok, queue blocked") {
                    true => blocked += 1,
                    false => assert!(answer.starts_with("error: reached limit"), "{answer}"),
                }
            }
        }
        assert_eq!(blocked, QUOTA);
    });
}

/// Columns of the lines of `clients`.
fn clients(operator: &mut Operator) -> Vec<Vec<String>> {
    let table = operator.ask("clients");
    let rows = table.lines().skip(1);
    rows.map(|row| row.split(',').map(str::to_owned).collect())
        .collect()
}

#[test]
fn connections_are_listed_with_their_subscriptions() {
    every_placement(&setup(), async |server| {
        let mut listener = server.client().await;
        for _ in 0..3 {
            Recipient::create(&mut listener, true).await;
        }
        let mut others: Vec<Client> = Vec::new();
        for _ in 0..20 {
            others.push(server.client().await);
        }
        let mut admin = admin(server);
        let rows = clients(&mut admin);
        assert_eq!(rows.len(), 21);
        for row in &rows {
            assert_eq!((row.len(), &row[2][..]), (8, "True"), "{row:?}");
        }
        let mut ids: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 21);
        let listening: Vec<_> = rows.iter().filter(|row| row[7] == "3").collect();
        assert_eq!(listening.len(), 1);
        assert_eq!(rows.iter().filter(|row| row[7] == "0").count(), 20);
        let info = admin.ask("server-info");
        for line in [
            "Clients: 21",
            "SMP subscriptions (via clients): 3",
            "SMP subscribed clients (via clients): 1",
            "SMP subscriptions: 3",
            "SMP subscribed clients: 1",
        ] {
            assert!(info.lines().any(|l| l == line), "{line} in {info}");
        }
        let sockets = admin.ask("sockets");
        assert!(sockets.contains("\nactive: 21\n"), "{sockets}");
        let facts = admin.ask("stats-rts");
        assert!(
            facts.contains("queues = ") && facts.contains("busy_ns = "),
            "{facts}"
        );
        assert!(admin.ask("stats").contains("qCreated: 3\n"));
    });
}

#[test]
fn wrong_passwords_are_answered_late_and_hold_up_nobody_else() {
    let server = setup().start();
    let mut guesser = Operator::connect(&server);
    let mut delays = Vec::new();
    for guess in ["a", "b", "c", "d"] {
        let before = Instant::now();
        assert_eq!(guesser.auth(guess), "Current role is CPRNone");
        delays.push(before.elapsed());
    }
    // Each takes twice as long as the one before; these are the least times.
    for (doublings, delay) in (0..).zip(&delays) {
        assert!(
            *delay >= Duration::from_millis(100) * (1 << doublings),
            "{delays:?}"
        );
    }
    // While this one waits, others are served.
    guesser.say("auth e\n");
    let mut admin = admin(&server);
    assert!(admin.ask("help").starts_with("commands: "));
    admin.say("quit\n");
    assert_eq!(admin.line(), None);
    assert_eq!(guesser.line().unwrap(), "Current role is CPRNone");
    // The right one is not delayed for having been guessed wrong, and still is right.
    assert_eq!(guesser.auth(USER), "Current role is CPRUser");
    let stays = "Current role is CPRUser, start new session to change.";
    assert_eq!(guesser.auth(ADMIN), stays);
    assert!(!server.log().contains(ADMIN));
}

#[test]
fn a_silent_session_ends_and_a_busy_one_does_not() {
    let server = setup().set("RELAY", "control_idle_timeout", "2").start();
    let mut silent = Operator::connect(&server);
    let mut busy = admin(&server);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            assert_eq!(silent.line(), None);
            sender.send(()).unwrap();
        });
        while receiver.recv_timeout(Duration::from_millis(200)).is_err() {
            assert!(busy.ask("help").starts_with("commands: "));
        }
    });
    assert!(busy.ask("help").starts_with("commands: "));
}

#[test]
fn lines_are_bounded_and_may_end_in_any_way() {
    let server = setup().start();
    let mut operator = admin(&server);
    operator.say(&format!("{}\nhelp\r\n", "x".repeat(1 << 20)));
    assert_eq!(operator.line().unwrap(), "error: line too long");
    assert!(operator.line().unwrap().starts_with("commands: "));
    // Several lines at once, and one without an end.
    let mut stream = std::net::TcpStream::connect(server.control_port()).unwrap();
    std::io::Write::write_all(&mut stream, b"help\n\nsuspend\nhelp").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let all = std::io::read_to_string(stream).unwrap();
    let lines: Vec<_> = all.lines().skip(2).collect();
    assert_eq!(lines.len(), 3, "{all}");
    assert_eq!(lines[1], "AUTH");
}

#[test]
fn sessions_are_bounded() {
    let server = setup().start();
    let mut sessions: Vec<_> = (0..32).map(|_| Operator::connect(&server)).collect();
    let one_more = std::net::TcpStream::connect(server.control_port()).unwrap();
    let told = std::io::read_to_string(one_more).unwrap();
    assert_eq!(told, "error: too many sessions\n");
    // The owner of the state gets in all the same.
    assert!(
        Operator::local(&server)
            .ask("stats")
            .contains("qCreated: 0")
    );
    let mut one = sessions.pop().unwrap();
    one.say("quit\n");
    assert_eq!(one.line(), None);
    drop(one);
    // Its place is free once the server has seen it go.
    let free = || {
        let mut stream = std::net::TcpStream::connect(server.control_port()).unwrap();
        let mut first = [0];
        std::io::Read::read_exact(&mut stream, &mut first).unwrap();
        first == *b"S"
    };
    while !free() {
        std::thread::yield_now();
    }
}

#[test]
fn a_session_that_takes_nothing_holds_up_nobody() {
    let server = setup().start();
    let mut deaf = admin(&server);
    // Answers of far more than what sockets hold.
    let writer = std::thread::spawn(move || while deaf.try_say(&"stats\n".repeat(64)).is_ok() {});
    run(async {
        let mut client = server.client().await;
        for _ in 0..20 {
            Recipient::create(&mut client, false).await;
            assert!(admin(&server).ask("stats").contains("qCreated: "));
        }
    });
    // The session ends with the server.
    drop(server);
    writer.join().unwrap();
}

#[test]
fn the_local_socket_serves_its_owner_without_a_password() {
    let server = Setup::default().start();
    let socket = server.dir().join("var/smp-server.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!server.log().contains("control port on"));
    let mut local = Operator::local(&server);
    assert_eq!(local.ask("clients").lines().count(), 1);
    assert_eq!(
        local.ask("save"),
        "saving server state...\nserver state saved!"
    );
    let answer = local_socket::ask(&server.dir().join("var"), "threads").unwrap();
    let lines: Vec<_> = answer.map(Result::unwrap).collect();
    assert!(
        lines.iter().any(|line| line.ends_with(" control")),
        "{lines:?}"
    );
    // Gone with the server, and no obstacle when it was left behind.
    let dir = server.kill();
    assert!(socket.exists());
    let server = Server::start_in(dir);
    assert_eq!(Operator::local(&server).ask("help").lines().count(), 1);
    let dir = server.stop();
    assert!(!socket.exists());
    let error = local_socket::ask(&dir.path().join("var"), "save").unwrap_err();
    assert!(
        error.to_string().starts_with("no server is running"),
        "{error}"
    );
}

/// What a save promises: it survives a killed process, notifications included.
#[test]
fn what_was_saved_survives_a_kill() {
    let server = setup()
        .set("RELAY", "durability", "process")
        .placed("2", "spread")
        .start();
    let (queue, dir) = run(async {
        let mut client = server.client().await;
        let (queue, _) = Recipient::create_with_notifier(&mut client, true).await;
        let message = Command::Send {
            notify: true,
            body: b"kept",
        };
        let (corr_id, id) = (client.outbox().fresh_corr_id(), queue.sender_id());
        expect_ok(support::ask_as(&mut client, &corr_id, &message, id, Auth::None).await);
        let answer = admin(&server).ask("save");
        assert_eq!(answer, "saving server state...\nserver state saved!");
        drop(client);
        (queue, server.kill())
    });
    let server = Server::start_in(dir);
    run(async {
        let mut client = server.client().await;
        let stats = admin(&server).ask("stats");
        assert!(stats.contains("\nntfCount: 1\n"), "{stats}");
        expect_ok(queue.ask(&mut client, &Command::Sub).await);
        assert_eq!(queue.pushed(&mut client).await.1, b"kept");
    });
}
