//! Asks the server that runs on this machine, for commands that need it.

use crate::control::port::{BANNER, SOCKET_FILE};
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the server cannot be asked.
#[derive(Debug, Error)]
pub enum LocalSocketError {
    /// There is no socket, or nobody listens there.
    #[error("no server is running on {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to somebody else.
    #[error("{} may only be used by its owner: run this as the user of the server", .0.display())]
    Forbidden(PathBuf),
    /// What answers is no server.
    #[error("{} is not the socket of a server", .0.display())]
    Stranger(PathBuf),
    /// The server has gone, or the socket fails.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The lines of an answer, without their ends; over when the server has nothing more to say.
#[derive(Debug)]
pub struct Answer(Lines<BufReader<UnixStream>>);

impl Iterator for Answer {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Says one line of the control port's language to the server of a state directory, as an admin.
/// Waits as long as the server needs.
pub fn ask(state_dir: &Path, line: &str) -> Result<Answer, LocalSocketError> {
    let path = state_dir.join(SOCKET_FILE);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            LocalSocketError::NotRunning(state_dir.to_owned())
        }
        io::ErrorKind::PermissionDenied => LocalSocketError::Forbidden(path.clone()),
        _ => LocalSocketError::Io {
            path: path.clone(),
            source,
        },
    };
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    stream
        .write_all(format!("{line}\n").as_bytes())
        .map_err(failed)?;
    // The session ends with its input.
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    let mut lines = BufReader::new(stream).lines();
    for expected in BANNER.lines() {
        match lines.next() {
            Some(Ok(banner)) if banner == expected => {}
            Some(Err(source)) => return Err(failed(source)),
            _ => return Err(LocalSocketError::Stranger(path)),
        }
    }
    Ok(Answer(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A server that says this, and what it was told.
    fn told(said: &str) -> (Result<Answer, LocalSocketError>, String) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(said.as_bytes()).unwrap();
                io::read_to_string(&mut stream).unwrap()
            });
            let answer = ask(dir.path(), "save");
            (answer, server.join().unwrap())
        })
    }

    #[test]
    fn lines_come_after_the_banner() {
        let (answer, told) = told(&format!("{BANNER}one\ntwo\n"));
        let lines: Vec<_> = answer.unwrap().map(Result::unwrap).collect();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(told, "save\n");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = ask(dir.path(), "save").unwrap_err();
        assert!(matches!(error, LocalSocketError::NotRunning(_)), "{error}");
        drop(UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap());
        let error = ask(dir.path(), "save").unwrap_err();
        assert!(matches!(error, LocalSocketError::NotRunning(_)), "{error}");
        let (answer, _) = told("220 ready\n");
        assert!(matches!(answer, Err(LocalSocketError::Stranger(_))));
    }
}
