//! The server as a child process.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::plan::End;
use crate::target::{Target, TlsOptions};

/// Lines of the server's log that explain a failed start.
const LOG_LINES: usize = 20;
/// A server that is asked to stop and still runs so long afterwards hangs.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How the server is started.
#[derive(Clone)]
pub struct Settings {
    /// The binary.
    pub binary: PathBuf,
    /// Where everything is: `etc`, `var`, `server.log`.
    pub dir: PathBuf,
    /// Lines of the section `[RELAY]` that never change.
    pub relay: Vec<String>,
}

/// What may change from start to start.
#[derive(Debug, Clone, Copy)]
pub struct Changing {
    /// Number of shards.
    pub shards: u32,
    /// Whether expiry looks every second, at every start and `SEND`, instead of never.
    pub expiry: bool,
}

impl Settings {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("SMP_SERVER_CFG_PATH", self.dir.join("etc"))
            .env("SMP_SERVER_LOG_PATH", self.dir.join("var"));
        command
    }

    /// Makes the directory with credentials, unless they are there.
    pub fn initialise(&self) -> Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        if !self.ini().exists() {
            let output = self
                .command()
                .args(["init", "-y", "--no-password", "-a", "ED25519"])
                .output()
                .with_context(|| format!("cannot run {}", self.binary.display()))?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "init failed: {told}");
        }
        Ok(())
    }

    fn ini(&self) -> PathBuf {
        self.dir.join("etc/smp-server.ini")
    }

    /// Where the server keeps queues and messages.
    pub fn store(&self) -> PathBuf {
        self.dir.join("var/smp-server-store")
    }

    /// Writes the configuration for the next start.
    pub fn configure(&self, changing: Changing) -> Result<()> {
        let (looks, interval) = match changing.expiry {
            true => ("on", 1),
            false => ("off", 86_400),
        };
        let text = format!(
            "[STORE_LOG]\nenable = on\n\
             expire_messages_on_start = {looks}\nexpire_messages_on_send = {looks}\n\
             [AUTH]\nnew_queues = on\n\
             [TRANSPORT]\nhost = 127.0.0.1\nport = 0\n\
             [INACTIVE_CLIENTS]\ndisconnect = off\n\
             [RELAY]\n{}\nshards = {}\n\
             message_check_interval = {interval}\nntf_check_interval = {interval}\n",
            self.relay.join("\n"),
            changing.shards,
        );
        let ini = self.ini();
        fs::write(&ini, text).with_context(|| format!("cannot write {}", ini.display()))
    }

    /// Starts the server and kills it soon, most likely before it accepts connections.
    pub fn interrupt_start(&self, life: Duration) -> Result<()> {
        let mut child = self
            .command()
            .arg("start")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        std::thread::sleep(life);
        child.kill().context("kill the server")?;
        child.wait().context("wait for the server")?;
        Ok(())
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(&self) -> Result<Relay> {
        let path = self.dir.join("server.log");
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut child = self
            .command()
            .arg("start")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut relay = Relay {
            child,
            address: String::new(),
        };
        let mut stdout = BufReader::new(stdout);
        let (mut fingerprint, mut port, mut line) = (None, None, String::new());
        while port.is_none() {
            line.clear();
            if stdout.read_line(&mut line)? == 0 {
                let log = fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                return Err(anyhow!("{last}")).context("the server does not start");
            }
            let told = |prefix| line.strip_prefix(prefix).map(str::trim);
            fingerprint = fingerprint.or(told("Fingerprint: ").map(str::to_owned));
            port = told("Serving SMP protocol on port ")
                .and_then(|rest| rest.split(' ').next())
                .map(str::to_owned);
        }
        // It must always find a reader.
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(drop));
        let (fingerprint, port) = fingerprint.zip(port).context("no fingerprint")?;
        relay.address = format!("smp://{fingerprint}@127.0.0.1:{port}");
        Ok(relay)
    }
}

/// A running server, killed when dropped.
pub struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    /// The server as an address to connect to.
    pub fn target(&self, tls: TlsOptions) -> Result<Target> {
        Ok(Target::parse(&self.address, tls)?)
    }

    /// Ends the server after some time, whatever the caller does meanwhile.
    pub fn end_after(mut self, life: Duration, end: End) -> Ending {
        Ending(Some(std::thread::spawn(move || {
            std::thread::sleep(life);
            let early = self.child.try_wait().context("look at the server")?;
            if let Some(status) = early {
                return Err(anyhow!("the server ended by itself: {status}"));
            }
            match end {
                End::Kill => {
                    self.child.kill().context("kill the server")?;
                    self.child.wait().context("wait for the server")?;
                    Ok(())
                }
                End::Stop => self.stop(),
            }
        })))
    }

    /// Stops the server in order.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let until = Instant::now() + STOP_LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < until,
                "the server does not stop within {STOP_LIMIT:?}"
            );
            std::thread::sleep(LOOK_EVERY);
        };
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a server, on its way. Dropping it waits as well: no server is left behind.
pub struct Ending(Option<JoinHandle<Result<()>>>);

impl Ending {
    /// Waits until the server is gone; fails when it went by itself, or not in order when it
    /// should have.
    pub fn wait(mut self) -> Result<()> {
        let thread = self.0.take().context("the server has ended before")?;
        let ended = thread.join();
        ended.map_err(|_| anyhow!("the thread that ends the server failed"))?
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Something else went wrong and is told.
            let _ = thread.join();
        }
    }
}
