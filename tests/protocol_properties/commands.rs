//! Commands at every version.

use crate::addresses::server_address;
use crate::parts::{Parts, parts};
use crate::{bounds, mutation, versions};
use proptest::prelude::*;
use smp_server::protocol::address::ServerAddress;
use smp_server::protocol::command::{
    ContactLink, LinkData, MessagingLink, NewQueue, NotifierCredentials, QueueRequest,
    ServiceQueues,
};
use smp_server::protocol::{Command, Version};

/// Number of commands that exist.
const COMMANDS: usize = 25;

const TAGS: &[&str] = &[
    "NEW", "SUB", "SUBS", "KEY", "RKEY", "LSET", "LDEL", "NKEY", "NDEL", "GET", "ACK", "OFF",
    "DEL", "QUE", "SKEY", "SEND", "PING", "LKEY", "LGET", "NSUB", "NSUBS", "PRXY", "PFWD", "RFWD",
    "RSLV",
];

/// One command of each kind.
fn every_command<'a>(p: &'a Parts, server: &ServerAddress) -> Vec<Command<'a>> {
    let [id1, id2, id3, _] = &p.ids;
    let [flag1, flag2, flag3, flag4] = p.flags;
    let data = LinkData {
        fixed: &p.large[0],
        user: &p.large[1],
    };
    let key = p.auth_keys[0];
    let password = p.password.as_ref().map(String::as_bytes);
    let credentials = NotifierCredentials {
        auth_key: key,
        dh_key: p.dh_keys[1],
    };
    let messaging = flag2.then_some(MessagingLink {
        sender_id: id1,
        data,
    });
    let contact = flag2.then_some(ContactLink {
        link_id: id2,
        sender_id: id3,
        data,
    });
    let queue = if flag3 {
        QueueRequest::Messaging(messaging)
    } else {
        QueueRequest::Contact(contact)
    };
    let queues = ServiceQueues {
        count: p.number,
        ids_hash: p.hash,
    };
    let commands = vec![
        Command::New(NewQueue {
            auth_key: key,
            dh_key: p.dh_keys[0],
            password,
            subscribe: flag1,
            queue: (flag4 || flag2).then_some(queue),
            notifier: flag4.then(|| credentials.clone()),
        }),
        Command::Sub,
        Command::Subs(queues),
        Command::Key(key),
        Command::RKey(p.auth_keys.clone()),
        Command::LSet { link_id: id1, data },
        Command::LDel,
        Command::NKey(credentials),
        Command::NDel,
        Command::Get,
        Command::Ack { msg_id: id2 },
        Command::Off,
        Command::Del,
        Command::Que,
        Command::SKey(key),
        Command::Send {
            notify: flag1,
            body: &p.large[0],
        },
        Command::Ping,
        Command::LKey(key),
        Command::LGet,
        Command::NSub,
        Command::NSubs(queues),
        Command::Prxy {
            server: server.clone(),
            password,
        },
        Command::Pfwd {
            version: Version(p.word),
            key: p.dh_keys[0],
            encrypted: &p.large[1],
        },
        Command::Rfwd {
            encrypted: &p.large[0],
        },
        Command::Rslv {
            domain: p.domain.clone(),
        },
    ];
    assert_eq!(commands.len(), COMMANDS);
    commands
}

/// What is left of a command at a version.
fn seen_at(version: Version, command: &Command<'_>) -> String {
    let mut command = command.clone();
    match &mut command {
        Command::New(new) => {
            if version.0 < 9 {
                new.queue = None;
            } else if version.0 < 15 {
                new.queue = Some(match new.queue {
                    Some(QueueRequest::Messaging(_)) => QueueRequest::Messaging(None),
                    _ => QueueRequest::Contact(None),
                });
            }
            if version.0 < 17 {
                new.notifier = None;
            }
        }
        Command::Subs(queues) | Command::NSubs(queues) if version.0 < 19 => {
            *queues = ServiceQueues::UNKNOWN;
        }
        _ => {}
    }
    format!("{command:?}")
}

fn encode(command: &Command<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    command.encode(version, &mut out);
    out
}

/// Decodes hostile bytes: what comes out is bounded and stable.
fn survive(bytes: &[u8]) -> Result<(), TestCaseError> {
    for version in versions() {
        if let Ok(command) = Command::decode(bytes, version) {
            prop_assert!(bounds::command(&command) <= bytes.len());
            let encoded = encode(&command, version);
            prop_assert_eq!(Command::decode(&encoded, version), Ok(command));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn commands_round_trip(parts in parts(), server in server_address()) {
        for command in every_command(&parts, &server) {
            for version in versions() {
                let bytes = encode(&command, version);
                prop_assert!(bytes.starts_with(command.tag().as_bytes()));
                let decoded = Command::decode(&bytes, version);
                if version.0 < 20 && matches!(command, Command::Rslv { .. }) {
                    prop_assert!(decoded.is_err());
                    continue;
                }
                let decoded = decoded.map_err(|e| {
                    TestCaseError::fail(format!("{version} {command:?}: {e:?}"))
                })?;
                prop_assert_eq!(format!("{:?}", decoded), seen_at(version, &command));
                prop_assert_eq!(encode(&decoded, version), &bytes[..]);
                prop_assert!(bounds::command(&decoded) <= bytes.len());
            }
        }
    }

    #[test]
    fn damaged_commands_do_no_harm(
        parts in parts(),
        server in server_address(),
        mutations in mutation::mutations(),
        version in 6u16..=20,
    ) {
        for command in every_command(&parts, &server) {
            let mut bytes = encode(&command, Version(version));
            mutation::mutate(&mut bytes, &mutations);
            survive(&bytes)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_do_no_harm(bytes in mutation::bytes(TAGS)) {
        survive(&bytes)?;
    }
}
