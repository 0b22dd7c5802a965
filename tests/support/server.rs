//! The server under test: the real binary, in a directory and on a port of its own.

use loadtest::{Client, Options, Target, TlsOptions};
use rustix::process::{Pid, Signal, kill_process};
use smp_server::protocol::Version;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, mpsc};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_smp-server");

/// How a server is set up.
#[derive(Clone)]
pub struct Setup {
    ini: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    algorithm: &'static str,
}

impl Default for Setup {
    /// Any free port of the loopback address, no password, no waiting for ended subscriptions.
    fn default() -> Self {
        Self {
            ini: BTreeMap::new(),
            algorithm: "ED25519",
        }
        .set("STORE_LOG", "enable", "on")
        .set("AUTH", "new_queues", "on")
        .set("TRANSPORT", "host", "127.0.0.1")
        .set("TRANSPORT", "port", "0")
        .set("INACTIVE_CLIENTS", "disconnect", "off")
        .set("RELAY", "address", "127.0.0.1")
        .set("RELAY", "shards", "1")
        .set("RELAY", "pending_end_interval_ms", "50")
        .set("RELAY", "segment_mb", "1")
    }
}

impl Setup {
    /// Sets a key of the configuration file.
    pub fn set(mut self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.ini
            .entry(section)
            .or_default()
            .insert(key, value.to_owned());
        self
    }

    /// As many shards, and queues placed on them in this way.
    pub fn placed(self, shards: &str, placement: &str) -> Self {
        self.set("RELAY", "shards", shards)
            .set("RELAY", "queue_placement", placement)
    }

    /// The algorithm of the server's certificates.
    pub fn algorithm(mut self, algorithm: &'static str) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The text of the configuration file.
    pub fn ini_text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.ini {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    }

    /// Makes a directory with credentials by `init`, and the configuration.
    pub fn prepare(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["init", "-y", "--no-password", "-a", self.algorithm];
        let output = command(dir.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::write(dir.path().join("etc/smp-server.ini"), self.ini_text()).unwrap();
        dir
    }

    /// Starts a server in a fresh directory.
    pub fn start(&self) -> Server {
        Server::start_in(self.prepare())
    }
}

/// The program with `DIR/etc` and `DIR/var`.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env("SMP_SERVER_CFG_PATH", dir.join("etc"))
        .env("SMP_SERVER_LOG_PATH", dir.join("var"));
    command
}

/// Runs `start` in `dir` when it is meant to fail.
pub fn start_fails(dir: &Path) -> Output {
    let output = command(dir).arg("start").output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    output
}

/// A running server, stopped when dropped.
pub struct Server {
    child: Child,
    /// Gone once the server was stopped.
    dir: Option<TempDir>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it printed as its fingerprint, base64url.
    pub fingerprint: String,
    /// What it printed before it served.
    pub start_lines: Vec<String>,
    /// What it prints later.
    later_lines: Mutex<mpsc::Receiver<String>>,
}

impl Server {
    /// Starts `DIR/etc` and `DIR/var` and waits until connections are accepted.
    pub fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, |command| command)
    }

    /// The same with a command that `change` has changed.
    pub fn start_with(dir: TempDir, change: impl Fn(&mut Command) -> &mut Command) -> Self {
        let log = File::create(dir.path().join("stderr.log")).unwrap();
        let mut child = change(&mut command(dir.path()))
            .arg("start")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut lines, mut port) = (Vec::new(), None);
        while port.is_none() {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let log = fs::read_to_string(dir.path().join("stderr.log")).unwrap();
                panic!("the server does not start: {lines:?}\n{log}");
            }
            port = line
                .strip_prefix("Serving SMP protocol on port ")
                .and_then(|rest| rest.split(' ').next())
                .map(|port| port.parse().unwrap());
            lines.push(line.trim_end().to_owned());
        }
        // It must always find a reader.
        let (later, later_lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody may be interested.
            let tell = |line| later.send(line).unwrap_or_default();
            stdout.lines().map_while(Result::ok).for_each(tell);
        });
        let fingerprint = lines
            .iter()
            .find_map(|line| line.strip_prefix("Fingerprint: "))
            .unwrap()
            .to_owned();
        Self {
            child,
            dir: Some(dir),
            address: ([127, 0, 0, 1], port.unwrap()).into(),
            fingerprint,
            start_lines: lines,
            later_lines: Mutex::new(later_lines),
        }
    }

    /// The next line that it prints after that of its first port.
    pub fn next_line(&self) -> String {
        self.later_lines.lock().unwrap().recv().unwrap()
    }

    /// The directory with `etc` and `var`.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Stops it in order, unless that was done already, and gives back its directory.
    pub fn stop(mut self) -> TempDir {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        self.dir.take().unwrap()
    }

    /// Kills it and gives back its directory.
    pub fn kill(mut self) -> TempDir {
        self.signal(Signal::KILL);
        self.wait();
        self.dir.take().unwrap()
    }

    /// Waits until it has ended by itself and gives back its directory.
    pub fn ended(mut self) -> TempDir {
        self.wait();
        self.dir.take().unwrap()
    }

    /// A file of the configuration directory.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.dir().join("etc").join(name)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("stderr.log")).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// The server as an address to connect to.
    pub fn target(&self, tls: TlsOptions) -> Target {
        let Self {
            fingerprint,
            address,
            ..
        } = self;
        Target::parse(&format!("smp://{fingerprint}@{address}"), tls).unwrap()
    }

    /// A client of the newest version.
    pub async fn client(&self) -> Client {
        self.client_of(Version::CURRENT).await
    }

    /// A client of some version.
    pub async fn client_of(&self, version: Version) -> Client {
        let options = Options {
            version,
            ..Options::default()
        };
        Client::connect(&self.target(TlsOptions::default()), options)
            .await
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && self.dir.is_some() {
            eprintln!("log of the server:\n{}", self.log());
        }
    }
}
