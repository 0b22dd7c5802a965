//! Commands and their options (spec: operations §1.1, §1.2, §1.6).

use crate::cli::address::AddressOptions;
use crate::cli::backup::BackupOptions;
use crate::cli::cert::CertOptions;
use crate::cli::check_config::CheckOptions;
use crate::cli::delete::DeleteOptions;
use crate::cli::documents::{CompletionsOptions, ManOptions};
use crate::cli::export::ExportOptions;
use crate::cli::import::ImportOptions;
use crate::cli::init::InitOptions;
use crate::cli::reference_storage::{DatabaseOptions, JournalOptions};
use crate::cli::restore::RestoreOptions;
use crate::cli::start::StartOptions;
use crate::cli::usage_error;
use crate::cli::version::{SERVER_NAME, VERSION, version_line};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const RTS_START: &str = "+RTS";
const RTS_END: &str = "-RTS";

/// The command line as a whole.
#[derive(Debug, Parser)]
#[command(
    name = crate::cli::PROGRAM,
    display_name = SERVER_NAME,
    version = VERSION.as_str(),
    before_help = version_line(),
    about = None,
    disable_version_flag = true,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
struct Arguments {
    /// Show the version.
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    command: Command,
}

/// A command with its options.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Initialize the server: make both directories, the keys and the configuration
    Init(Box<InitOptions>),
    /// Make new online TLS credentials; the address stays the same
    Cert(CertOptions),
    /// Start the server; its configuration is in /etc/opt/simplex/smp-server.ini
    Start(StartOptions),
    /// Delete the configuration and the state of the server
    Delete(DeleteOptions),
    /// Move messages between storages of the reference server (not here: says what to use)
    Journal(JournalOptions),
    /// Move data between files and PostgreSQL (not here: says what to use)
    Database(DatabaseOptions),
    /// Take over the state of a reference server, which stays as it is
    Import(ImportOptions),
    /// Write the state of this server, which must not run, for a reference server
    Export(ExportOptions),
    /// Make a backup of the state, while the server runs or not
    Backup(BackupOptions),
    /// Bring a backup back; the server must not run
    Restore(RestoreOptions),
    /// Check everything that a start needs, without starting
    CheckConfig(CheckOptions),
    /// Print the address for the apps of those who may create queues
    Address(AddressOptions),
    /// Print a script that completes commands and options in a shell
    Completions(CompletionsOptions),
    /// Print a manual page
    Man(ManOptions),
}

impl Command {
    /// The directory to use instead of the system's, if one was given.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Init(options) => options.dir.as_deref(),
            Self::Cert(options) => options.dir.as_deref(),
            Self::Start(options) => options.dir.as_deref(),
            Self::Delete(options) => options.dir.as_deref(),
            Self::Journal(options) => options.dir.as_deref(),
            Self::Database(options) => options.dir.as_deref(),
            Self::Import(options) => options.dir.as_deref(),
            Self::Export(options) => options.dir.as_deref(),
            Self::Backup(options) => options.dir.as_deref(),
            Self::Restore(options) => options.dir.as_deref(),
            Self::CheckConfig(options) => options.dir.as_deref(),
            Self::Address(options) => options.dir.as_deref(),
            Self::Completions(_) | Self::Man(_) => None,
        }
    }
}

/// The whole command line, for scripts and pages made from it.
pub(super) fn definition() -> clap::Command {
    Arguments::command()
}

/// What the arguments ask for besides running a command: text and an exit status.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    text: String,
    failed: bool,
}

impl Exit {
    /// Prints the text, on stderr for failures and stdout otherwise, and gives the status.
    pub fn print(self) -> ExitCode {
        // A closed stdout or stderr leaves nobody to tell.
        if self.failed {
            let _ = std::io::stderr().write_all(self.text.as_bytes());
            ExitCode::FAILURE
        } else {
            let _ = std::io::stdout().write_all(self.text.as_bytes());
            ExitCode::SUCCESS
        }
    }
}

/// Parses the arguments, the program's name first. `+RTS … -RTS` of existing units is skipped.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Exit> {
    match Arguments::try_parse_from(without_rts(arguments)) {
        Ok(arguments) => Ok(arguments.command),
        Err(error) => Err(Exit {
            text: usage_error::text(&error),
            failed: error.use_stderr(),
        }),
    }
}

fn without_rts(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut inside = false;
    let mut kept = Vec::new();
    for argument in arguments {
        if inside {
            inside = argument != RTS_END;
        } else if argument == RTS_START {
            inside = true;
        } else {
            kept.push(argument);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::start::LogLevel;
    use crate::config::values::HostingType;
    use crate::crypto::certificate::KeyAlgorithm;

    fn parsed(line: &str) -> Result<Command, Exit> {
        let arguments = line.split_whitespace().map(OsString::from);
        parse(std::iter::once("smp-server".into()).chain(arguments))
    }

    fn init(line: &str) -> InitOptions {
        match parsed(&format!("init {line}")) {
            Ok(Command::Init(options)) => *options,
            other => panic!("{other:?}"),
        }
    }

    fn start(line: &str) -> StartOptions {
        match parsed(&format!("start {line}")) {
            Ok(Command::Start(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        let exit = parsed(line).unwrap_err();
        assert!(exit.failed, "{exit:?}");
        exit.text
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn version_and_help() {
        for line in ["-v", "--version"] {
            let exit = parsed(line).unwrap_err();
            assert_eq!(exit.text, format!("{}\n", version_line()));
            assert!(!exit.failed);
        }
        for line in [
            "-h",
            "--help",
            "init -h",
            "init --help",
            "start -h",
            "start --help",
        ] {
            let exit = parsed(line).unwrap_err();
            assert!(
                !exit.failed && exit.text.contains("Usage: smp-server"),
                "{exit:?}"
            );
        }
        assert!(parsed("-h").unwrap_err().text.starts_with(&version_line()));
        assert!(refused("").starts_with(&version_line()));
    }

    #[test]
    fn usage_errors() {
        for (line, start) in [
            ("--x", "Invalid option `--x'\n\n"),
            ("start --x", "Invalid option `--x'\n\n"),
            ("start --x=1", "Invalid option `--x'\n\n"),
            ("start -q", "Invalid option `-q'\n\n"),
            ("start x", "Invalid argument `x'\n\n"),
            ("run", "Invalid argument `run'\n\n"),
            ("cert x", "Invalid argument `x'\n\n"),
            ("cert -a RSA", "option --sign-algorithm: "),
            ("delete --yes", "Invalid option `--yes'\n\n"),
            ("journal move", "Invalid argument `move'\n\n"),
            ("database import --what", "Invalid option `--what'\n\n"),
            ("init --control-port 5555", "Invalid argument `5555'\n\n"),
            (
                "init --socks-proxy 1.2.3.4",
                "Invalid argument `1.2.3.4'\n\n",
            ),
            (
                "start --log-level loud",
                "option --log-level: Invalid log level\n\n",
            ),
            (
                "start --log-level INFO",
                "option --log-level: Invalid log level\n\n",
            ),
            (
                "start --confirm-migrations maybe",
                "option --confirm-migrations: invalid migration confirmation, pass 'up' or 'down'\n\n",
            ),
            (
                "init --operator-country UK1",
                "option --operator-country: Use ISO3166 2-letter code for operator\n\n",
            ),
            (
                "init --hosting-country é",
                "option --hosting-country: Use ISO3166 2-letter code for hosting\n\n",
            ),
            (
                "init --server-country 44",
                "option --server-country: Use ISO3166 2-letter code for server\n\n",
            ),
            ("init -a ed25519", "option --sign-algorithm: "),
            ("init --password a@b", "option --password: "),
            ("init --control-port=99999", "option --control-port: "),
            ("init --hosting-type cloud", "option --hosting-type: "),
            ("init --fqd x", "Invalid option `--fqd'\n\n"),
        ] {
            let text = refused(line);
            assert!(text.starts_with(start), "{line}: {text}");
            assert!(text.contains("\n\nUsage: smp-server"), "{line}: {text}");
            assert!(text.ends_with('\n'), "{line}: {text}");
        }
        refused("init --password x --no-password");
        refused("init --store-log --disable-store-log");
        refused("init --fqdn");
        assert!(!refused("init --password s3cret@x").contains("s3cret"));
    }

    #[test]
    fn options_of_start() {
        let plain = start("");
        assert_eq!(plain.log_level, LogLevel::Info);
        assert!(!plain.maintenance && !plain.skip_warnings && !plain.init);
        let all = start(
            "-m --compact-log --log-level note --skip-warnings --confirm-migrations up \
             --repair --init --dir /d",
        );
        assert!(!plain.repair && all.repair);
        assert!(all.maintenance && all.compact_log && all.skip_warnings && all.init);
        assert_eq!(all.log_level, LogLevel::Note);
        assert_eq!(all.dir.as_deref(), Some(Path::new("/d")));
        assert!(start("--maintenance --log-level=error").maintenance);
    }

    #[test]
    fn options_of_import_and_export() {
        match parsed("import --check --skip-warnings --dir /d") {
            Ok(Command::Import(options)) => {
                assert!(options.check && options.skip_warnings);
                assert_eq!(options.dir.as_deref(), Some(Path::new("/d")));
            }
            other => panic!("{other:?}"),
        }
        match parsed("export /to") {
            Ok(Command::Export(options)) => assert_eq!(options.to, Path::new("/to")),
            other => panic!("{other:?}"),
        }
        refused("export");
        refused("import /from");
    }

    #[test]
    fn commands_of_other_storages_take_their_options() {
        use crate::cli::reference_storage::{DatabaseAction, JournalAction, Table};
        for (word, action) in [
            ("import", JournalAction::Import),
            ("export", JournalAction::Export),
            ("delete", JournalAction::Delete),
        ] {
            match parsed(&format!("journal {word} --dir /d")) {
                Ok(Command::Journal(options)) => {
                    assert_eq!(options.action, action);
                    assert_eq!(options.dir.as_deref(), Some(Path::new("/d")));
                }
                other => panic!("{other:?}"),
            }
            let options = "-d postgresql://x --schema s --pool-size 3 --table queues";
            match parsed(&format!("database {word} {options} +RTS -N -RTS")) {
                Ok(Command::Database(options)) => {
                    let (DatabaseAction::Import(arguments)
                    | DatabaseAction::Export(arguments)
                    | DatabaseAction::Delete(arguments)) = options.action;
                    assert_eq!(arguments.table, Table::Queues);
                }
                other => panic!("{other:?}"),
            }
        }
        refused("journal");
        refused("database import --table all,queues");
    }

    #[test]
    fn commands_in_the_order_of_the_reference() {
        let text = parsed("-h").unwrap_err().text;
        let mut from = 0;
        for command in [
            "init",
            "cert",
            "start",
            "delete",
            "journal",
            "database",
            "import",
            "export",
            "backup",
            "restore",
            "check-config",
            "address",
            "completions",
            "man",
        ] {
            let place = text[from..]
                .find(&format!("\n  {command} "))
                .expect(command);
            from += place + 1;
            let exit = parsed(&format!("{command} -h")).unwrap_err();
            assert!(
                !exit.failed && exit.text.contains("Usage: smp-server"),
                "{exit:?}"
            );
        }
    }

    #[test]
    fn rts_options_of_existing_units_are_skipped() {
        assert!(start("+RTS -N -A16m -RTS --maintenance").maintenance);
        assert!(!start("+RTS -N --maintenance").maintenance);
        assert!(matches!(
            parsed("+RTS -N -RTS start"),
            Ok(Command::Start(_))
        ));
        assert!(matches!(
            parsed("cert +RTS -N -RTS --cn +RTS -M1g -RTS x"),
            Ok(Command::Cert(options)) if options.cn.as_deref() == Some("x")
        ));
    }

    #[test]
    fn options_of_init() {
        let plain = init("");
        assert!(!plain.yes && !plain.disable_store_log && !plain.daily_stats);
        assert_eq!(plain.certificate_host(), "127.0.0.1");
        assert_eq!(plain.sign_algorithm, KeyAlgorithm::Ed25519);
        assert!(plain.control_port.is_none() && plain.socks_proxy.is_none());

        let options = init(
            "-l -s -y -aED448 --ip 10.0.0.1 -n smp.example.org --password pw --control-port \
             --socks-proxy --source-code --own-domains a.org,b.org --operator Me \
             --operator-country gb --hosting Host --hosting-country=FR --hosting-type owned \
             --server-country de --operator-website https://example.org --web-path /www \
             --disable-web -d postgresql://x --schema s --pool-size 3",
        );
        assert_eq!(options.sign_algorithm, KeyAlgorithm::Ed448);
        assert_eq!(options.certificate_host(), "smp.example.org");
        assert_eq!(options.control_port, Some(5224));
        assert_eq!(options.socks_proxy.as_deref(), Some("127.0.0.1:9050"));
        assert_eq!(
            options.source_code.as_deref(),
            Some("https://github.com/simplex-chat/simplexmq")
        );
        assert_eq!(options.own_domains, ["a.org", "b.org"]);
        assert_eq!(options.operator_country.as_deref(), Some("GB"));
        assert_eq!(options.hosting_type, Some(HostingType::Owned));
        assert!(options.disable_web && options.yes && options.daily_stats);

        let options = init("--control-port=5555 --socks-proxy=[::1]:9 --source-code=https://x");
        assert_eq!(options.control_port, Some(5555));
        assert_eq!(options.socks_proxy.as_deref(), Some("[::1]:9"));
        assert_eq!(options.source_code.as_deref(), Some("https://x"));
    }
}
