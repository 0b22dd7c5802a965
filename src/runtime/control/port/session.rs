//! One session of an operator.

use super::ControlPort;
use super::peer::Peer;
use crate::control::port::{BANNER, Command, LINE_TOO_LONG, Line, REFUSED, Role};
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::timer::sleep;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

/// One session.
pub struct Session<S> {
    pub(super) port: Rc<ControlPort>,
    pub(super) role: Role,
    pub(super) peer: Peer<S>,
}

/// Whether the session goes on, unless its peer is gone.
type Next = io::Result<ControlFlow<()>>;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session that begins in a role.
    pub fn new(port: Rc<ControlPort>, role: Role, stream: S) -> Self {
        let peer = Peer::new(stream, port.idle_timeout);
        Self { port, role, peer }
    }

    /// Serves it to its end.
    pub async fn serve(mut self) {
        match self.converse().await {
            Ok(()) => self.peer.close().await,
            // Nobody is left to be told.
            Err(error) => tracing::debug!("a control port session ended: {error}"),
        }
    }

    async fn converse(&mut self) -> io::Result<()> {
        self.peer.say(BANNER).await?;
        while let Some(line) = self.peer.line().await? {
            if self.answer(&line).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, line: &Line) -> Next {
        let Line::Text(text) = line else {
            self.peer.say(LINE_TOO_LONG).await?;
            return Ok(ControlFlow::Continue(()));
        };
        match Command::parse(text) {
            Ok(Command::Quit) => return Ok(ControlFlow::Break(())),
            Ok(command) => self.obey(command).await?,
            Err(error) => self.peer.say(&error.to_string()).await?,
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn obey(&mut self, command: Command) -> io::Result<()> {
        if command.is_logged() {
            // Arguments name queues.
            tracing::warn!("ControlPort: \"{}\"", command.word());
        }
        if self.role < command.role() {
            tracing::error!("Unauthorized control port command");
            return self.peer.say(REFUSED).await;
        }
        match command {
            Command::Auth(password) => {
                let offered = self.port.passwords.role_of(&password);
                if offered == Role::None {
                    let delay = self.port.throttle.borrow_mut().note_wrong(Instant::now());
                    sleep(delay).await;
                }
                let answer = self.role.take(offered);
                self.peer.say(&answer).await
            }
            command => self.carry_out(command).await,
        }
    }
}
