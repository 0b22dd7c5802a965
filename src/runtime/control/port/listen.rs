//! Who may come, and how many.

use super::local::LocalSocket;
use super::session::Session;
use super::{Control, ControlPort};
use crate::config::Settings;
use crate::control::port::{Role, TOO_MANY_SESSIONS};
use crate::runtime::backup::BackupSource;
use crate::transport::listener::{ListenError, Listener};
use futures_lite::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use glommio::timer::sleep;
use glommio::{Task, spawn_local};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Sessions at a time, of each of the two sockets.
const MAX_SESSIONS: usize = 32;
/// How long accepting rests after it has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The sockets being served.
pub struct Operators {
    tasks: Vec<Task<()>>,
}

/// Listens for operators: on the local socket, and at `address` if there is a control port. Nobody
/// is served without the local socket either, but messages are.
pub async fn open(
    control: &Rc<Control>,
    settings: &Settings,
    state_dir: &Path,
    address: Option<SocketAddr>,
    source: BackupSource,
) -> Result<Operators, ListenError> {
    let port = Rc::new(ControlPort::new(Rc::clone(control), settings, source));
    let mut tasks = Vec::new();
    if let Some(address) = address {
        let listener = Listener::bind(address).await?;
        tracing::info!("control port on {address}");
        tasks.push(spawn_local(serve_port(Rc::clone(&port), listener)));
    }
    match LocalSocket::bind(state_dir) {
        Ok(socket) => tasks.push(spawn_local(serve_local(port, socket))),
        Err(error) => tracing::error!(
            "no local socket in {}: {error}. Commands that need the running server do not work",
            state_dir.display()
        ),
    }
    Ok(Operators { tasks })
}

impl Operators {
    /// Closes the sockets; sessions end with the executor.
    pub async fn close(self) {
        for task in self.tasks {
            task.cancel().await;
        }
    }
}

async fn serve_port(port: Rc<ControlPort>, listener: Listener) {
    let places = Places::default();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                // Answers are small and waited for; without it they only come later.
                let _ = stream.set_nodelay(true);
                places.serve(&port, Role::None, stream).await;
            }
            Err(error) => {
                tracing::error!("control port: {error}");
                return;
            }
        }
    }
}

async fn serve_local(port: Rc<ControlPort>, socket: LocalSocket) {
    let places = Places::default();
    loop {
        match socket.listener().accept().await {
            Ok(stream) => places.serve(&port, Role::Owner, stream).await,
            Err(error) => {
                tracing::warn!("local socket: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Places for sessions: each has a clone for as long as it lives.
#[derive(Default)]
struct Places(Rc<()>);

impl Places {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        port: &Rc<ControlPort>,
        role: Role,
        mut stream: S,
    ) {
        let place = Rc::clone(&self.0);
        if Rc::strong_count(&place) > MAX_SESSIONS + 1 {
            // The socket has room for one line; who is gone already need not know.
            let text = format!("{TOO_MANY_SESSIONS}\n");
            let _ = stream.write_all(text.as_bytes()).await;
            return;
        }
        let session = Session::new(Rc::clone(port), role, stream);
        spawn_local(async move {
            session.serve().await;
            drop(place);
        })
        .detach();
    }
}
