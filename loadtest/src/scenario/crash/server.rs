//! The server as a child process.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::target::{Target, TlsOptions};

/// Lines of the server's log that explain a failed start.
const LOG_LINES: usize = 20;

/// How the server is started.
#[derive(Clone)]
pub struct Settings {
    /// The binary.
    pub binary: PathBuf,
    /// Where everything is: `etc`, `var`, `server.log`.
    pub dir: PathBuf,
    /// Lines of the section `[RELAY]`.
    pub relay: Vec<String>,
}

impl Settings {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("SMP_SERVER_CFG_PATH", self.dir.join("etc"))
            .env("SMP_SERVER_LOG_PATH", self.dir.join("var"));
        command
    }

    /// Makes the directory with credentials, unless they are there, and the configuration.
    pub fn initialise(&self) -> Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let ini = self.dir.join("etc/smp-server.ini");
        if !ini.exists() {
            let output = self
                .command()
                .args(["init", "-y", "--no-password", "-a", "ED25519"])
                .output()
                .with_context(|| format!("cannot run {}", self.binary.display()))?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "init failed: {told}");
        }
        let text = format!(
            "[STORE_LOG]\nenable = on\n\
             [AUTH]\nnew_queues = on\n\
             [TRANSPORT]\nhost = 127.0.0.1\nport = 0\n\
             [INACTIVE_CLIENTS]\ndisconnect = off\n\
             [RELAY]\n{}\n",
            self.relay.join("\n")
        );
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

    /// Kills the server after some time, whatever the caller does meanwhile.
    pub fn kill_after(mut self, life: Duration) -> Killer {
        Killer(std::thread::spawn(move || {
            std::thread::sleep(life);
            let early = self.child.try_wait().context("look at the server")?;
            if let Some(status) = early {
                return Err(anyhow!("the server ended by itself: {status}"));
            }
            self.child.kill().context("kill the server")?;
            self.child.wait().context("wait for the server")?;
            Ok(())
        }))
    }

    /// Stops the server in order.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
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

/// The end of a server, on its way.
pub struct Killer(JoinHandle<Result<()>>);

impl Killer {
    /// Waits until the server is gone; fails when it went by itself.
    pub fn wait(self) -> Result<()> {
        let ended = self.0.join();
        ended.map_err(|_| anyhow!("the killer failed"))?
    }
}
