//! What each command does.

use super::session::Session;
use super::{ControlPort, process};
use crate::control::port::{
    BACKED_UP, BACKING_UP, BackupRequest, CONNECTIONS_HEADER, Command, ConnectionSums, ERROR, HELP,
    NO_RESUME, NO_SUSPEND, SAVED, SAVING, UNKNOWN_QUEUE, blocked, connection_line, deleted,
    queue_state, runtime_facts, server_info, socket_threads, sockets, statistics, threads,
    unblocked,
};
use crate::protocol::error::BlockingInfo;
use crate::relay::OperatorAnswer;
use crate::runtime::backup::back_up;
use crate::runtime::control::Order;
use crate::runtime::core::now;
use crate::store::Id;
use futures_lite::io::{AsyncRead, AsyncWrite};
use std::io;
use std::rc::Rc;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Carries out a command that the role allows, and answers.
    pub(super) async fn carry_out(&mut self, command: Command) -> io::Result<()> {
        let port = Rc::clone(&self.port);
        let control = &port.control;
        let answer = match command {
            // The session itself has seen to these.
            Command::Skip | Command::Auth(_) | Command::Quit => return Ok(()),
            Command::Clients => return self.clients().await,
            Command::Save => return self.save().await,
            Command::Backup(request) => return self.back_up(request).await,
            Command::Help => HELP.to_owned(),
            Command::Suspend => NO_SUSPEND.to_owned(),
            Command::Resume => NO_RESUME.to_owned(),
            Command::Stats => statistics(&control.overview().await, self.role),
            Command::RuntimeStats => {
                let snapshots = control.snapshots().await;
                runtime_facts(&process::facts(port.started), &snapshots)
            }
            Command::Sockets => sockets(&control.snapshots().await),
            Command::SocketThreads => socket_threads(&control.snapshots().await),
            Command::Threads => threads(&process::threads()),
            Command::ServerInfo => {
                let sums = port.connection_sums().await;
                server_info(&control.overview().await, &sums, self.role)
            }
            Command::Delete(id) => deleted(&port.order(id, Order::Delete).await),
            Command::Status(id) => queue_state(&port.order(id, Order::Status).await),
            Command::Block(id, info) => port.block(id, info).await,
            Command::Unblock(id) => unblocked(&port.order(id, Order::Unblock).await),
        };
        self.peer.say(&answer).await
    }

    /// A line for each connection, asked for as fast as the peer takes them.
    async fn clients(&mut self) -> io::Result<()> {
        self.peer.say(CONNECTIONS_HEADER).await?;
        let mut next = Some((0, 0));
        while let Some(place) = next {
            let rows;
            (rows, next) = self.port.control.connections(place).await;
            let now = now().seconds();
            let lines = rows.iter().map(|row| connection_line(row, now) + "\n");
            self.peer.say(&lines.collect::<String>()).await?;
        }
        Ok(())
    }

    async fn save(&mut self) -> io::Result<()> {
        self.peer.say(SAVING).await?;
        match self.port.control.save().await {
            Ok(()) => self.peer.say(SAVED).await,
            Err(error) => {
                tracing::error!("{error}");
                self.peer.say(&format!("error: {error}")).await
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Makes a backup, also when nobody waits for its end any more.
    async fn back_up(&mut self, request: BackupRequest) -> io::Result<()> {
        // A peer that is gone already has asked all the same.
        let told = self.peer.say(BACKING_UP).await;
        let port = &self.port;
        match back_up(&port.control, &port.source, request).await {
            Ok(manifest) => {
                let (queues, messages) = (manifest.queues, manifest.messages);
                tracing::info!("made a backup of {queues} queues and {messages} messages");
                told?;
                self.peer.say(BACKED_UP).await
            }
            Err(error) => {
                tracing::error!("cannot make a backup: {error}");
                told?;
                self.peer.say(&format!("{ERROR}{error}")).await
            }
        }
    }
}

impl ControlPort {
    async fn connection_sums(&self) -> ConnectionSums {
        let mut sums = ConnectionSums::default();
        let mut next = Some((0, 0));
        while let Some(place) = next {
            let rows;
            (rows, next) = self.control.connections(place).await;
            rows.iter().for_each(|row| sums.add(row));
        }
        sums
    }

    /// Without an id there is no such queue.
    async fn order(&self, id: Option<Id>, order: Order) -> OperatorAnswer {
        match id {
            Some(id) => self.control.order(id, order).await,
            None => OperatorAnswer::Unknown,
        }
    }

    async fn block(&self, id: Option<Id>, info: BlockingInfo) -> String {
        // Two that look at the same time would both find room for one.
        let Ok(_turn) = self.blocking.acquire_permit(1).await else {
            return UNKNOWN_QUEUE.to_owned();
        };
        let overview = self.control.overview().await;
        if let Some(refusal) = self.quota.refusal(overview.blocked_today) {
            return refusal;
        }
        blocked(&self.order(id, Order::Block(info.clone())).await, &info)
    }
}
