//! A disk that cannot make something durable ends the relay, which has confirmed none of it.

mod support;

use loadtest::{Auth, Client};
use nix::libc::{EIO, SYS_fdatasync};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use smp_server::protocol::{Command, Response};
use std::net::TcpStream;
use std::thread;
use support::{Recipient, Server, Setup, expect_ok, full_body, run};

/// Descriptors from this on cannot be synced.
const FIRST_BROKEN: u64 = 80;
/// Messages that are confirmed before.
const BEFORE: u32 = 200;
/// More messages than segments hold that could be synced.
const MOST: u32 = 2000;
/// Messages under way at the same time.
const WINDOW: u32 = 16;

/// Makes `fdatasync` fail for high descriptors, in this thread and what it starts.
fn break_syncs() {
    let is_high = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ge, FIRST_BROKEN);
    let rule = SeccompRule::new(vec![is_high.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        [(SYS_fdatasync, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(EIO as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// Sends messages with numbers from `first` on, until `count` are confirmed or the connection ends;
/// returns the number after the last confirmed one.
async fn send(client: &mut Client, queue: &Recipient, first: u32, count: u32) -> u32 {
    let mut staged = first;
    for number in first..first + count {
        while staged < (number + WINDOW).min(first + count) {
            let (notify, body) = (false, &full_body(&staged.to_be_bytes())[..]);
            let send = Command::Send { notify, body };
            let corr_id = staged.to_be_bytes().repeat(6);
            let outbox = client.outbox();
            outbox
                .send_as(&corr_id, &send, queue.sender_id(), Auth::None)
                .unwrap();
            staged += 1;
        }
        match client.reply(&number.to_be_bytes().repeat(6)).await {
            Ok(reply) => expect_ok(reply.response),
            Err(_) => return number,
        }
    }
    first + count
}

#[test]
fn a_sync_that_fails_ends_the_relay_with_advice_and_nothing_confirmed_is_lost() {
    let setup = Setup::default().set("RELAY", "msg_queue_quota", "16384");
    let dir = setup.prepare();
    let start = thread::spawn(move || {
        break_syncs();
        Server::start_in(dir)
    });
    let mut server = start.join().unwrap();
    let (queue, confirmed) = run(async {
        let mut client = server.client().await;
        let queue = Recipient::create(&mut client, false).await;
        assert_eq!(send(&mut client, &queue, 0, BEFORE).await, BEFORE);
        // Segments made from now on have descriptors above those of these connections.
        let _connections: Vec<_> = (0..FIRST_BROKEN)
            .map(|_| TcpStream::connect(server.address).unwrap())
            .collect();
        let confirmed = send(&mut client, &queue, BEFORE, MOST).await;
        (queue, confirmed)
    });
    assert!(confirmed < BEFORE + MOST);
    assert_eq!(server.wait().code(), Some(1));
    let log = server.log();
    assert!(log.contains(".seg durable: Input/output error"), "{log}");
    assert!(log.contains("Look for errors of the disk"), "{log}");
    let server = Server::start_in(server.ended());
    run(async {
        let mut client = server.client().await;
        expect_ok(queue.ask(&mut client, &Command::Sub).await);
        let mut next = queue.pushed(&mut client).await;
        for number in 0..confirmed {
            let (id, body) = next;
            assert!(body == full_body(&number.to_be_bytes()), "{number} is lost");
            next = match queue.ack(&mut client, &id).await {
                Response::Ok if number == confirmed - 1 => return,
                message => queue.open(message),
            };
        }
    });
}
