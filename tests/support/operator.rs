//! Operators on the control port and on the local socket.

use super::server::Server;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest time any answer may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// A line that no role changes the answer to, to find the end of the answer before.
const MARK: &str = "delete";
const MARK_ANSWER: &str = "error: space: not enough input";

/// A session, over either socket.
pub struct Operator {
    input: BufReader<Box<dyn Read + Send>>,
    output: Box<dyn Write + Send>,
}

impl Operator {
    /// Connects to the control port and reads the banner.
    pub fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.control_port()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::greeted(stream.try_clone().unwrap(), stream)
    }

    /// Connects to the local socket and reads the banner.
    pub fn local(server: &Server) -> Self {
        let stream = UnixStream::connect(server.dir().join("var/smp-server.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::greeted(stream.try_clone().unwrap(), stream)
    }

    fn greeted(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> Self {
        let mut this = Self {
            input: BufReader::new(Box::new(input)),
            output: Box::new(output),
        };
        assert_eq!(this.line().unwrap(), "SMP server control port");
        assert_eq!(this.line().unwrap(), "'help' for supported commands");
        this
    }

    /// Takes the role of a password.
    pub fn auth(&mut self, password: &str) -> String {
        self.ask(&format!("auth {password}"))
    }

    /// The answer to a line, without the end of its last line.
    pub fn ask(&mut self, line: &str) -> String {
        self.say(&format!("{line}\n{MARK}\n"));
        let mut lines = Vec::new();
        loop {
            match self.line() {
                Some(line) if line == MARK_ANSWER => return lines.join("\n"),
                Some(line) => lines.push(line),
                None => panic!("the session ended after {lines:?}"),
            }
        }
    }

    /// Says something without waiting for an answer.
    pub fn say(&mut self, text: &str) {
        self.try_say(text).unwrap();
    }

    /// Says something to a server that may be gone.
    pub fn try_say(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())
    }

    /// The next line; `None` at the end of the session.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(line.strip_suffix('\n').unwrap().to_owned()),
        }
    }
}

impl Server {
    /// Where the control port is.
    pub fn control_port(&self) -> SocketAddr {
        let log = self.log();
        let mut lines = log.lines();
        let address = lines.find_map(|line| line.split_once("control port on "));
        address.expect("a control port").1.parse().unwrap()
    }
}
