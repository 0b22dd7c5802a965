//! Plays a recording against a server: sends what the clients sent, in its order and batches, and
//! awaits what the reference answered and pushed.

use crate::answers::Answers;
use crate::capture::{Block, Capture, Direction, Entry};
use crate::commands::remake;
use crate::connection::Connection;
use crate::differences::{Difference, describe};
use crate::ids::Ids;
use crate::keys::Keys;
use crate::support::Server;
use crate::support::wire::{self, Item};
use anyhow::{Context, Result, bail, ensure};
use smp_server::protocol::Response;
use smp_server::protocol::batch::decode_batch;
use smp_server::protocol::handshake::ServiceResponse;
use smp_server::protocol::transmission::Transmission;
use std::collections::HashMap;
use std::fmt;

/// What was compared.
#[derive(Debug, Default)]
pub struct Tally {
    pub connections: usize,
    pub commands: usize,
    pub answers: usize,
    pub pushes: usize,
    pub boxes: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections {} commands {:3} answers {:3} pushes {:2} boxes {:2}",
            self.connections, self.commands, self.answers, self.pushes, self.boxes
        )
    }
}

/// State of a script.
struct Script<'a> {
    server: &'a Server,
    keys: Keys,
    ids: Ids,
    answers: Answers,
    /// Recorded server hellos whose client hello is still to come.
    greetings: HashMap<String, Vec<u8>>,
    connections: HashMap<String, Connection>,
    /// Our ids of all queues created.
    queues: Vec<Vec<u8>>,
    differences: Vec<Difference>,
    tally: Tally,
}

/// Plays a whole recording; `Err` with all differences found, or why it could not go on.
pub async fn play(capture: &Capture, server: &Server) -> Result<Tally> {
    let mut script = Script {
        server,
        keys: Keys::default(),
        ids: Ids::default(),
        answers: Answers::default(),
        greetings: HashMap::new(),
        connections: HashMap::new(),
        queues: Vec::new(),
        differences: Vec::new(),
        tally: Tally::default(),
    };
    let played = script.run(capture).await;
    if let Err(e) = &played
        && script.differences.is_empty()
    {
        bail!("{e:#}");
    }
    let mut report: Vec<_> = script.differences.iter().map(ToString::to_string).collect();
    report.extend(played.err().map(|e| format!("then {e:#}")));
    ensure!(report.is_empty(), "differs:\n{}", report.join("\n"));
    script.tally.boxes = script.answers.boxes;
    Ok(script.tally)
}

impl Script<'_> {
    async fn run(&mut self, capture: &Capture) -> Result<()> {
        for entry in &capture.entries {
            if let Entry::Value { bytes, .. } = entry {
                self.keys.add_value(bytes);
            }
        }
        for entry in &capture.entries {
            if let Entry::Block(block) = entry {
                let number = block.number;
                self.block(block)
                    .await
                    .with_context(|| format!("block #{number:03} {}", block.connection))?;
            }
        }
        let unanswered: usize = self.connections.values().map(|c| c.asked.len()).sum();
        ensure!(unanswered == 0, "{unanswered} commands without answer");
        self.expect_silence().await
    }

    async fn block(&mut self, block: &Block) -> Result<()> {
        let name = &block.connection;
        match (block.direction, block.handshake) {
            (Direction::ToClient, true) => {
                self.greetings.insert(name.clone(), block.content.clone());
                Ok(())
            }
            (Direction::ToServer, true) => {
                let greeting = self.greetings.remove(name).context("no server hello")?;
                let connection = Connection::open(self.server, &greeting, &block.content).await?;
                if let Some((_, session_key)) = connection.recorded.service {
                    self.keys.add(session_key);
                }
                self.connections.insert(name.clone(), connection);
                self.tally.connections += 1;
                Ok(())
            }
            (Direction::ToServer, false) => self.send(name, &block.content).await,
            (Direction::ToClient, false) => self.receive(block).await,
        }
    }

    async fn send(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let connection = self.connections.get_mut(name).context("no connection")?;
        let mut batch = Vec::new();
        for bytes in decode_batch(content)? {
            let t = Transmission::decode(bytes, connection.version)?;
            batch.push(remake(&mut self.keys, &mut self.ids, connection, &t)?);
            self.answers.note_sent(t.command, connection.version);
            let (corr_id, command) = (t.corr_id.to_vec(), t.command.to_vec());
            ensure!(connection.asked.insert(corr_id, command).is_none());
            self.tally.commands += 1;
        }
        connection.send(&wire::batch(&batch)).await;
        Ok(())
    }

    async fn receive(&mut self, block: &Block) -> Result<()> {
        let connection = self.connections.get_mut(&block.connection);
        let connection = connection.context("no connection")?;
        if connection.joins {
            let recorded = ServiceResponse::decode(&block.content)?;
            let ours = connection.service_response().await?;
            return match (recorded, ours) {
                (ServiceResponse::Accepted(recorded), ServiceResponse::Accepted(ours)) => {
                    self.ids.learn(&recorded, &ours)
                }
                (recorded, ours) => {
                    ensure!(recorded == ours, "service response {ours:?}");
                    Ok(())
                }
            };
        }
        let version = connection.version;
        for bytes in decode_batch(&block.content)? {
            let t = Transmission::decode(bytes, version)?;
            self.transmission(block, &t).await?;
        }
        Ok(())
    }

    /// Awaits what stands for a recorded answer or push and compares it.
    async fn transmission(&mut self, block: &Block, t: &Transmission<'_>) -> Result<()> {
        let connection = self.connections.get_mut(&block.connection);
        let connection = connection.context("no connection")?;
        let version = connection.version;
        let asked = match t.corr_id {
            [] => None,
            id => Some(connection.asked.remove(id).context("no such command")?),
        };
        let question = asked.as_ref().map_or("push", |command| tag(command));
        let entity_id = self.ids.ours(t.entity_id);
        let what = || format!("{question}: {} expected", describe(t.command));
        let difference = |expected: &[u8], ours: String| Difference {
            block: block.number,
            connection: block.connection.clone(),
            question: question.to_owned(),
            expected: describe(expected),
            ours,
        };
        let item = connection.next(t.corr_id, entity_id).await;
        let Some(item) = item.with_context(what)? else {
            let nothing = difference(t.command, "nothing".to_owned());
            self.differences.push(nothing);
            return Ok(());
        };
        ensure!(item.entity_id == entity_id, "{question}: another entity");
        let recorded = Response::decode(t.command, version)?;
        let ours = Response::decode(&item.body, version).with_context(what)?;
        if let Response::Ids(ids) = &ours {
            self.queues.push(ids.recipient_id.to_vec());
        }
        let expected = self
            .answers
            .translate(
                &self.keys,
                &mut self.ids,
                (asked.as_deref(), version),
                t.entity_id,
                recorded,
                &ours,
            )
            .with_context(what)?;
        let mut encoded = Vec::new();
        expected.encode(version, &mut encoded);
        if encoded != item.body {
            let other = difference(&encoded, describe(&item.body));
            self.differences.push(other);
        }
        match asked {
            Some(_) => self.tally.answers += 1,
            None => self.tally.pushes += 1,
        }
        Ok(())
    }

    /// Nothing was sent that the reference did not send. What the shard of a queue sent before it
    /// refuses a command would have come before the refusal.
    async fn expect_silence(&mut self) -> Result<()> {
        for (name, connection) in &mut self.connections {
            let version = connection.version;
            let mut batch = Vec::new();
            for (n, queue) in self.queues.iter().enumerate() {
                let sent = wire::sent(
                    version.0,
                    &connection.ours.id,
                    &barrier_corr_id(n),
                    queue,
                    b"SEND F x",
                );
                batch.push(wire::transmission(version.0, &[], &sent));
            }
            connection.send(&wire::batch(&batch)).await;
            for (n, queue) in self.queues.iter().enumerate() {
                let answer = connection.next(&barrier_corr_id(n), queue).await;
                let answer = answer.with_context(|| format!("{name} after the recording"))?;
                let refused = Item::new(&barrier_corr_id(n), queue, b"ERR AUTH");
                ensure!(answer.as_ref() == Some(&refused), "{answer:?}");
            }
            if let Some(item) = connection.left_over() {
                bail!("{name}: {} was not recorded", describe(&item.body));
            }
        }
        Ok(())
    }
}

fn barrier_corr_id(n: usize) -> [u8; 24] {
    let mut corr_id = [0xff; 24];
    corr_id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    corr_id
}

/// Name of a command.
fn tag(command: &[u8]) -> &str {
    let word = command.split(|b| *b == b' ').next().unwrap_or_default();
    std::str::from_utf8(word).unwrap_or("?")
}
