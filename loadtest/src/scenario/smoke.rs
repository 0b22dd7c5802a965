//! One exchange, step by step: the shortest proof that a server works.

use anyhow::{Context as _, Result, bail, ensure};
use smp_server::crypto::smp_box::BoxKey;
use smp_server::protocol::error::ErrorType;
use smp_server::protocol::{Command, Response};

use crate::cli::Setup;
use crate::client::{Client, unexpected};
use crate::executors;
use crate::outbox::Auth;
use crate::progress::Progress;
use crate::queue::{Queue, RecipientKeys, SenderAuth, SenderKey, expect_ok, open_body, subscribe};

/// Options of the scenario.
#[derive(clap::Args, Clone, Copy)]
pub struct Args {
    /// Exchanges one after another, each with new connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// How the sender authorises messages
    #[arg(long, value_enum, default_value_t = SenderAuth::X25519)]
    sender_auth: SenderAuth,
}

/// Runs the exchanges and prints each step.
pub fn run(setup: &Setup, args: &Args) -> Result<()> {
    let (target, options, args) = (setup.target.clone(), setup.options, *args);
    let exchange = move |_| {
        let target = target.clone();
        async move {
            for round in 1..=args.repeat {
                let steps = Steps {
                    shown: round == 1 || round == args.repeat,
                };
                if args.repeat > 1 {
                    println!("exchange {round} of {}", args.repeat);
                }
                let connect = |who: &'static str| {
                    let target = &target;
                    async move {
                        let client = Client::connect(target, options).await;
                        client.with_context(|| format!("connect {who}"))
                    }
                };
                let mut recipient = connect("recipient").await?;
                let mut sender = connect("sender").await?;
                steps.done(&format!(
                    "connect: version {}, {:?}, blocks {}",
                    options.version,
                    recipient.tls().protocol_version(),
                    if recipient.encrypts_blocks() {
                        "encrypted"
                    } else {
                        "plain"
                    }
                ));
                let other = connect("second recipient").await?;
                let password = target.password.as_deref();
                once(&steps, &mut recipient, &mut sender, other, password, &args)
                    .await
                    .with_context(|| format!("exchange {round}"))?;
                recipient.close().await.context("close recipient")?;
                sender.close().await.context("close sender")?;
            }
            Ok(())
        }
    };
    executors::run(1, &Progress::hidden(), exchange, |_| Ok(()))?;
    println!("smoke: ok");
    Ok(())
}

struct Steps {
    shown: bool,
}

impl Steps {
    fn done(&self, step: &str) {
        if self.shown {
            println!("  {step}");
        }
    }
}

async fn once(
    steps: &Steps,
    recipient: &mut Client,
    sender: &mut Client,
    mut other: Client,
    password: Option<&str>,
    args: &Args,
) -> Result<()> {
    recipient.ping().await.context("PING")?;
    steps.done("PING: PONG");

    let keys = RecipientKeys::generate()?;
    let queue = Queue::create(recipient, &keys, password, true)
        .await
        .context("NEW")?;
    let body_key = queue.body_key(&keys);
    steps.done("NEW: IDS");

    let sender_key = SenderKey::generate(args.sender_auth)?;
    queue
        .secure(recipient, &keys, sender, &sender_key)
        .await
        .context("secure the queue")?;
    if args.sender_auth != SenderAuth::None {
        steps.done("secure the queue: OK");
    }

    let body = message(1);
    send(sender, &queue, &sender_key, &body).await?;
    let push = recipient.next_push().await.context("wait for MSG")?;
    ensure!(
        push.entity_id == queue.recipient_id,
        "MSG for another queue"
    );
    let Response::Msg { msg_id, boxed } = push.response else {
        return Err(unexpected("SEND", &push.response)).context("push");
    };
    check_body(&body_key, &msg_id, boxed.into_owned(), &body)?;
    steps.done("SEND: OK, MSG came, body is right");
    acknowledge(recipient, &queue, &keys, &msg_id).await?;
    steps.done("ACK: OK");

    let kind = match args.sender_auth {
        SenderAuth::None => SenderAuth::Ed25519,
        kind => kind,
    };
    let wrong = SenderKey::generate(kind)?;
    let command = Command::Send {
        notify: false,
        body: &body,
    };
    let refused = sender
        .command(&command, &queue.sender_id, wrong.auth())
        .await?;
    ensure!(
        refused == Response::Err(ErrorType::Auth),
        "SEND with a wrong key was answered {refused:?}"
    );
    steps.done("SEND with a wrong key: ERR AUTH");

    let waiting = subscribe(&mut other, &queue, &keys)
        .await
        .context("SUB from another connection")?;
    ensure!(
        waiting.is_none(),
        "a message was acknowledged and came again"
    );
    let body = message(2);
    send(sender, &queue, &sender_key, &body).await?;
    let push = other.next_push().await.context("wait for MSG after SUB")?;
    let Response::Msg { msg_id, boxed } = push.response else {
        return Err(unexpected("SEND", &push.response)).context("push after SUB");
    };
    check_body(&body_key, &msg_id, boxed.into_owned(), &body)?;
    recipient.ping().await?;
    while let Some(push) = recipient.buffered_push() {
        if matches!(push.response, Response::Msg { .. }) {
            bail!("the first subscriber got a message after the second subscribed");
        }
    }
    acknowledge(&mut other, &queue, &keys, &msg_id).await?;
    steps.done("SUB from another connection: it gets the messages");

    let id = &queue.recipient_id;
    expect_ok(&mut other, "DEL", &Command::Del, id, keys.sign())
        .await
        .context("DEL")?;
    let gone = sender
        .command(&command, &queue.sender_id, sender_key.auth())
        .await?;
    ensure!(
        gone == Response::Err(ErrorType::Auth),
        "SEND to a deleted queue was answered {gone:?}"
    );
    steps.done("DEL: OK, SEND to the deleted queue: ERR AUTH");
    other.close().await.context("close second recipient")?;
    Ok(())
}

/// A body of 16,000 bytes, about what official clients send.
fn message(fill: u8) -> Vec<u8> {
    vec![fill; 16_000]
}

async fn send(client: &mut Client, queue: &Queue, key: &SenderKey, body: &[u8]) -> Result<()> {
    let command = Command::Send { notify: true, body };
    expect_ok(client, "SEND", &command, &queue.sender_id, key.auth())
        .await
        .context("SEND")
}

fn check_body(key: &BoxKey, msg_id: &[u8], mut boxed: Vec<u8>, expected: &[u8]) -> Result<()> {
    let body = open_body(key, msg_id, &mut boxed).context("open the message")?;
    ensure!(body == Some(expected), "the message has another body");
    Ok(())
}

async fn acknowledge(
    client: &mut Client,
    queue: &Queue,
    keys: &RecipientKeys,
    msg_id: &[u8],
) -> Result<()> {
    let command = Command::Ack { msg_id };
    let auth: Auth<'_> = keys.sign();
    expect_ok(client, "ACK", &command, &queue.recipient_id, auth)
        .await
        .context("ACK")
}
