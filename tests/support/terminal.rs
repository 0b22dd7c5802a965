//! The program on a pseudo terminal, as a person runs it.

use nix::sys::wait::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use std::process::Command;

/// Milliseconds for any answer of the program; reached only when it hangs.
const PATIENCE: u64 = 60_000;

/// A program on a terminal that does not echo.
pub struct Terminal(PtySession);

impl Terminal {
    /// Starts it.
    pub fn start(command: Command) -> Self {
        Self(spawn_command(command, Some(PATIENCE)).unwrap())
    }

    /// Waits for a text and gives what came before.
    pub fn expect(&mut self, text: &str) -> String {
        self.0.exp_string(text).unwrap().replace("\r\n", "\n")
    }

    /// Enters a line.
    pub fn enter(&mut self, line: &str) {
        self.0.send_line(line).unwrap();
    }

    /// Ends the input.
    pub fn end_input(&mut self) {
        self.0.send_control('d').unwrap();
    }

    /// Waits for the end and gives the rest of the output with the exit status.
    pub fn finish(mut self) -> (String, i32) {
        let output = self.0.exp_eof().unwrap().replace("\r\n", "\n");
        match self.0.process().wait().unwrap() {
            WaitStatus::Exited(_, status) => (output, status),
            other => panic!("{other:?}\n{output}"),
        }
    }
}
