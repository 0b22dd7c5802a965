//! Commands and the errors of their form (spec: operations §3.1, §3.3).

use super::{MAX_LINE, Role};
use crate::protocol::address::is_valid_password;
use crate::protocol::encoding::Reader;
use crate::protocol::error::BlockingInfo;
use crate::store::Id;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;
use zeroize::Zeroizing;

/// Base64url with or without padding.
const ID_BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What to back up, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// An absolute path.
    pub directory: PathBuf,
    /// Whether the configuration is wanted too.
    pub configuration: bool,
}

/// What stands before the directory when the configuration is wanted too.
const WITH_CONFIGURATION: &str = "with-configuration ";

impl BackupRequest {
    /// The line that asks for it; `None` when the directory has a name that no line can have.
    pub fn line(&self) -> Option<String> {
        let directory = self.directory.to_str()?;
        let option = if self.configuration {
            WITH_CONFIGURATION
        } else {
            ""
        };
        let line = format!("backup {option}{directory}");
        (line.len() <= MAX_LINE && !line.contains(['\n', '\r'])).then_some(line)
    }
}

/// One line of an operator.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// An empty line.
    Skip,
    /// `auth <password>`.
    Auth(Zeroizing<Vec<u8>>),
    /// `stats`.
    Stats,
    /// `stats-rts`.
    RuntimeStats,
    /// `clients`.
    Clients,
    /// `sockets`.
    Sockets,
    /// `socket-threads`.
    SocketThreads,
    /// `threads`.
    Threads,
    /// `server-info`.
    ServerInfo,
    /// `delete <id>`; no queue has an id of another length than [`Id`].
    Delete(Option<Id>),
    /// `status <id>`.
    Status(Option<Id>),
    /// `block <id> <info>`.
    Block(Option<Id>, BlockingInfo),
    /// `unblock <id>`.
    Unblock(Option<Id>),
    /// `save`.
    Save,
    /// `backup <directory>`, or `backup with-configuration <directory>`.
    Backup(BackupRequest),
    /// `suspend`.
    Suspend,
    /// `resume`.
    Resume,
    /// `help`.
    Help,
    /// `quit`.
    Quit,
}

/// Why a line is no command, in the words of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    /// There is no such command.
    #[error("error: Failed reading: bad ControlProtocol command")]
    Unknown,
    /// An argument is missing.
    #[error("error: space: not enough input")]
    Missing,
    /// An argument is empty.
    #[error("error: not enough input")]
    Empty,
    /// Something stands where a blank should be.
    #[error("error: space: Failed reading: satisfy")]
    NoSpace,
    /// Something follows.
    #[error("error: endOfInput")]
    Extra,
    /// An id is not base64url.
    #[error("error: Failed reading: takeWhile1")]
    Id,
    /// The characters of an id stand for no bytes.
    #[error("error: Failed reading: invalid base64")]
    Base64,
    /// A reason is neither spam nor content.
    #[error("error: string")]
    Reason,
    /// A directory is not given from the root on.
    #[error("error: not an absolute path")]
    Path,
    /// No password looks like this.
    #[error("error: Failed reading: invalid character in BasicAuth")]
    Password,
}

impl Command {
    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        if line.is_empty() {
            return Ok(Self::Skip);
        }
        let mut rest = line;
        let word = take_while(&mut rest, |byte| byte != b' ');
        let command = match word {
            b"auth" => Self::Auth(password(&mut rest)?),
            b"stats" => Self::Stats,
            b"stats-rts" => Self::RuntimeStats,
            b"clients" => Self::Clients,
            b"sockets" => Self::Sockets,
            b"socket-threads" => Self::SocketThreads,
            b"threads" => Self::Threads,
            b"server-info" => Self::ServerInfo,
            b"delete" => Self::Delete(id(&mut rest)?),
            b"status" => Self::Status(id(&mut rest)?),
            b"block" => Self::Block(id(&mut rest)?, blocking_info(&mut rest)?),
            b"unblock" => Self::Unblock(id(&mut rest)?),
            b"save" => Self::Save,
            b"backup" => Self::Backup(backup(&mut rest)?),
            b"suspend" => Self::Suspend,
            b"resume" => Self::Resume,
            b"help" => Self::Help,
            b"quit" => Self::Quit,
            _ => return Err(ParseError::Unknown),
        };
        if rest.is_empty() {
            Ok(command)
        } else {
            Err(ParseError::Extra)
        }
    }

    /// The word it begins with: all of a line that may be logged.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Skip => "",
            Self::Auth(_) => "auth",
            Self::Stats => "stats",
            Self::RuntimeStats => "stats-rts",
            Self::Clients => "clients",
            Self::Sockets => "sockets",
            Self::SocketThreads => "socket-threads",
            Self::Threads => "threads",
            Self::ServerInfo => "server-info",
            Self::Delete(_) => "delete",
            Self::Status(_) => "status",
            Self::Block(..) => "block",
            Self::Unblock(_) => "unblock",
            Self::Save => "save",
            Self::Backup(_) => "backup",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Help => "help",
            Self::Quit => "quit",
        }
    }

    /// Whether it is worth a line of the log (spec: operations §3.1).
    pub fn is_logged(&self) -> bool {
        !matches!(self, Self::Skip | Self::Auth(_) | Self::Help | Self::Quit)
    }

    /// The least role that may give it (spec: operations §3.3).
    pub fn role(&self) -> Role {
        match self {
            Self::Skip | Self::Auth(_) | Self::RuntimeStats | Self::Help | Self::Quit => Role::None,
            Self::Stats
            | Self::Sockets
            | Self::ServerInfo
            | Self::Status(_)
            | Self::Block(..)
            | Self::Unblock(_) => Role::User,
            Self::Clients
            | Self::SocketThreads
            | Self::Threads
            | Self::Delete(_)
            | Self::Save
            | Self::Suspend
            | Self::Resume => Role::Admin,
            Self::Backup(_) => Role::Owner,
        }
    }
}

/// Arguments may be secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({})", self.word())
    }
}

fn take_while<'a>(rest: &mut &'a [u8], wanted: impl Fn(u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|byte| !wanted(*byte));
    let (taken, left) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = left;
    taken
}

/// Skips the one blank before an argument.
fn space(rest: &mut &[u8]) -> Result<(), ParseError> {
    match rest.split_first() {
        None => Err(ParseError::Missing),
        Some((b' ', [])) => Err(ParseError::Empty),
        Some((b' ', left)) => {
            *rest = left;
            Ok(())
        }
        Some(_) => Err(ParseError::NoSpace),
    }
}

fn password(rest: &mut &[u8]) -> Result<Zeroizing<Vec<u8>>, ParseError> {
    space(rest)?;
    let password = take_while(rest, |byte| byte != b' ');
    if is_valid_password(password) {
        Ok(Zeroizing::new(password.to_vec()))
    } else {
        Err(ParseError::Password)
    }
}

fn id(rest: &mut &[u8]) -> Result<Option<Id>, ParseError> {
    space(rest)?;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    let text = take_while(rest, is_digit);
    if text.is_empty() {
        return Err(ParseError::Id);
    }
    let id = ID_BASE64.decode(text).map_err(|_| ParseError::Base64)?;
    Ok(Id::try_from(id).ok())
}

/// All that is left: a path may have blanks.
fn backup(rest: &mut &[u8]) -> Result<BackupRequest, ParseError> {
    space(rest)?;
    let text = std::mem::take(rest);
    let without = text.strip_prefix(WITH_CONFIGURATION.as_bytes());
    let path = std::str::from_utf8(without.unwrap_or(text)).map_err(|_| ParseError::Path)?;
    if path.starts_with('/') {
        Ok(BackupRequest {
            directory: path.into(),
            configuration: without.is_some(),
        })
    } else {
        Err(ParseError::Path)
    }
}

/// All that is left.
fn blocking_info(rest: &mut &[u8]) -> Result<BlockingInfo, ParseError> {
    space(rest)?;
    let text = std::mem::take(rest);
    let mut reader = Reader::new(text);
    let info = BlockingInfo::decode(&mut reader).ok();
    match info.filter(|_| reader.rest().is_empty()) {
        Some(info) => Ok(info),
        // A reason that is followed by something else than a notice.
        None if [&b"reason=spam"[..], b"reason=content"]
            .iter()
            .any(|reason| text.starts_with(reason)) =>
        {
            Err(ParseError::Extra)
        }
        None => Err(ParseError::Reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::{BlockingReason, ClientNotice};
    use proptest::prelude::*;

    const ID: &str = "b-RlziXdPpgupWoYHVMYTRel93_GQTdL";

    fn error(line: &str) -> String {
        Command::parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn lines_that_are_no_commands_are_refused_as_by_the_reference() {
        for (line, text) in [
            (
                "bogus",
                "error: Failed reading: bad ControlProtocol command",
            ),
            (
                "STATS",
                "error: Failed reading: bad ControlProtocol command",
            ),
            (
                " stats",
                "error: Failed reading: bad ControlProtocol command",
            ),
            ("delete", "error: space: not enough input"),
            ("auth", "error: space: not enough input"),
            ("block AAAA", "error: space: not enough input"),
            ("stats ", "error: endOfInput"),
            ("stats now", "error: endOfInput"),
            ("delete AAAA ", "error: endOfInput"),
            ("delete !", "error: Failed reading: takeWhile1"),
            ("delete  AAAA", "error: Failed reading: takeWhile1"),
            ("block AAAA reason=bogus", "error: string"),
            ("block AAAA reason=content,notice=3600", "error: endOfInput"),
            ("block AAAA reason=spam ", "error: endOfInput"),
            (
                "auth pass:word",
                "error: Failed reading: invalid character in BasicAuth",
            ),
            ("auth pass word", "error: endOfInput"),
        ] {
            assert_eq!(error(line), text, "{line:?}");
        }
    }

    #[test]
    fn arguments_are_read() {
        let parse = |line: String| Command::parse(line.as_bytes()).unwrap();
        let id = ID_BASE64.decode(ID).unwrap().try_into().unwrap();
        assert_eq!(parse(format!("delete {ID}")), Command::Delete(Some(id)));
        assert_eq!(parse("status AAAA".to_owned()), Command::Status(None));
        let notice = |ttl| Some(ClientNotice { ttl });
        for (text, reason, notice) in [
            ("reason=spam", BlockingReason::Spam, None),
            (
                "reason=content,notice={}",
                BlockingReason::Content,
                notice(None),
            ),
            (
                "reason=spam,notice={\"ttl\":86400}",
                BlockingReason::Spam,
                notice(Some(86_400)),
            ),
            (
                "reason=spam,notice={ \"ttl\" : 5 }",
                BlockingReason::Spam,
                notice(Some(5)),
            ),
        ] {
            let info = BlockingInfo { reason, notice };
            let block = parse(format!("block {ID} {text}"));
            assert_eq!(block, Command::Block(Some(id), info), "{text}");
        }
        assert_eq!(parse(String::new()), Command::Skip);
    }

    #[test]
    fn a_backup_is_asked_for_as_it_is_read() {
        for (directory, configuration) in [("/b", false), ("/b c/with-configuration /x", true)] {
            let request = BackupRequest {
                directory: directory.into(),
                configuration,
            };
            let line = request.line().unwrap();
            let read = Command::parse(line.as_bytes()).unwrap();
            assert_eq!(read, Command::Backup(request));
            assert_eq!(read.role(), Role::Owner);
        }
        let request = |directory: &str| BackupRequest {
            directory: directory.into(),
            configuration: false,
        };
        assert_eq!(request("/a\nb").line(), None);
        assert_eq!(request(&format!("/{}", "x".repeat(MAX_LINE))).line(), None);
        assert_eq!(error("backup"), "error: space: not enough input");
        for line in ["backup x", "backup with-configuration x", "backup  /x"] {
            assert_eq!(error(line), "error: not an absolute path");
        }
    }

    #[test]
    fn debug_shows_no_arguments() {
        let auth = Command::parse(b"auth secret").unwrap();
        assert_eq!(format!("{auth:?}"), "Command(auth)");
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_refused(line: Vec<u8>) {
            let _ = Command::parse(&line);
        }

        #[test]
        fn words_with_any_arguments_are_commands_or_refused(
            word in "(auth|delete|status|block|unblock|stats|backup)",
            arguments: Vec<u8>,
        ) {
            let line = [word.as_bytes(), b" ", &arguments].concat();
            if let Ok(command) = Command::parse(&line) {
                prop_assert_eq!(command.word(), word);
            }
        }
    }
}
