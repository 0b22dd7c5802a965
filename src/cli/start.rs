//! `start`: checks, settings and the lines printed before the relay runs
//! (spec: operations §1.6–§1.8).

use crate::cli::init::{self, InitOptions};
use crate::cli::{CliError, Console, Directories, credentials, renewal, start_lines, version};
use crate::config::settings::Https;
use crate::config::{Settings, SettingsError};
use crate::crypto::certificate::Fingerprint;
use crate::runtime::{DAILY_LOG, METRICS_FILE};
use crate::store::log::STORE_FOLDER;
use crate::transport::credential::{
    self, CA_CERTIFICATE_FILE, Credential, CredentialError, SERVER_CERTIFICATE_FILE,
    SERVER_KEY_FILE,
};
use crate::transport::web_credential::WebCredential;
use clap::Args;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use time::OffsetDateTime;

/// Host of a configuration made for trying out, so that its address can be used at once.
const TRIAL_HOST: &str = "localhost";
/// Ports of a configuration made for trying out: below 1024 needs privileges.
const TRIAL_PORTS: &str = "5223";

/// Options of `start`.
#[derive(Debug, Default, Args)]
pub struct StartOptions {
    /// Open, check and close the store without serving anybody
    #[arg(short = 'm', long)]
    pub maintenance: bool,
    /// Accepted for compatibility: the log compacts itself
    #[arg(long)]
    pub compact_log: bool,
    /// Least important log lines: trace, debug, info, note, warn, error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// Leave out what cannot be taken over when state of a reference server is imported
    #[arg(long)]
    pub skip_warnings: bool,
    /// Write a damaged store anew, as far as it can be read, or one whose partition key is lost
    #[arg(long)]
    pub repair: bool,
    /// Accepted for compatibility (up or down): there is no database
    #[arg(long, value_name = "DIRECTION", value_parser = confirm_migrations)]
    pub confirm_migrations: Option<String>,
    /// Initialize first when there is no configuration, without HTTPS pages
    #[arg(long)]
    pub init: bool,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn confirm_migrations(text: &str) -> Result<String, String> {
    match text {
        "up" | "down" => Ok(text.to_owned()),
        _ => Err("invalid migration confirmation, pass 'up' or 'down'".to_owned()),
    }
}

/// The least important log lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// Details for developers.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What an operator may want to know.
    Note,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

impl FromStr for LogLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "note" => Self::Note,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => return Err("Invalid log level"),
        })
    }
}

/// Everything the relay needs to run.
#[derive(Debug)]
pub struct StartPlan {
    /// The configuration; its warnings are not printed yet.
    pub settings: Settings,
    /// What an operator should do about the credentials, to be logged at start.
    pub advice: Vec<String>,
    /// Where the configuration and the credentials are.
    pub config_dir: PathBuf,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// The server's identity, checked against the stored one.
    pub fingerprint: Fingerprint,
    /// Least important log lines.
    pub log_level: LogLevel,
    /// Whether to stop after loading, without listening.
    pub maintenance: bool,
    /// Whether to leave out what an import cannot take over.
    pub skip_warnings: bool,
    /// Whether to keep what can be read of a damaged store.
    pub repair: bool,
}

/// Runs `start`: prepares, prints the lines that need no listener, then hands over to `relay`,
/// which returns when the relay has stopped.
pub fn run(
    options: &StartOptions,
    directories: &Directories,
    console: &mut Console<'_>,
    relay: impl FnOnce(StartPlan) -> anyhow::Result<()>,
) -> Result<(), CliError> {
    if !is_initialized(directories)? {
        if !options.init {
            return Err(not_initialized(directories));
        }
        init::run(initial_options(options), directories, console)?;
    }
    let mut plan = prepare(options, directories)?;
    print_lines(&plan, console)?;
    if renewal::complete(&directories.config)? {
        let advice = "`smp-server cert` was interrupted: key and certificate belong together again";
        plan.advice.push(advice.to_owned());
    }
    // Before anything is opened; the relay loads them itself.
    let credential = Credential::load(&directories.config)
        .map_err(|error| unusable(error, &directories.config))?;
    let expiry = credentials::expiry_advice(credential.chain(), OffsetDateTime::now_utc());
    let ca_key = credentials::ca_key_warning(&directories.config);
    plan.advice.extend(expiry.into_iter().chain(ca_key));
    if let Some(https) = &plan.settings.web.https {
        let notices = check_https(https, console)?;
        plan.advice.extend(notices);
    }
    Ok(relay(plan)?)
}

fn is_initialized(directories: &Directories) -> Result<bool, CliError> {
    let ini = directories.ini_file();
    // A folder that may not be entered is not an uninitialized one.
    ini.try_exists().map_err(|error| {
        CliError::Failed(anyhow::anyhow!("cannot read {}: {error}", ini.display()))
    })
}

fn not_initialized(directories: &Directories) -> CliError {
    let ini = directories.ini_file();
    CliError::Refused(format!(
        "Error: server is not initialized ({} does not exist).\nRun `smp-server init`.",
        ini.display()
    ))
}

/// Refuses to go on without a configuration file.
pub(super) fn require_initialized(directories: &Directories) -> Result<(), CliError> {
    if is_initialized(directories)? {
        Ok(())
    } else {
        Err(not_initialized(directories))
    }
}

/// Reads the configuration of an initialized server.
pub(super) fn load_settings(directories: &Directories) -> Result<Settings, CliError> {
    require_initialized(directories)?;
    Settings::load(&directories.ini_file()).map_err(|error| match error {
        SettingsError::Syntax { .. } => CliError::Refused(error.to_string()),
        _ => CliError::Failed(error.into()),
    })
}

/// A configuration that starts as it is: pages with TLS need a certificate from elsewhere.
fn initial_options(options: &StartOptions) -> InitOptions {
    InitOptions {
        yes: true,
        disable_web: true,
        ports: options.dir.is_some().then(|| TRIAL_PORTS.to_owned()),
        fqdn: options.dir.is_some().then(|| TRIAL_HOST.to_owned()),
        ..InitOptions::default()
    }
}

fn prepare(options: &StartOptions, directories: &Directories) -> Result<StartPlan, CliError> {
    let fingerprint = credential::check_stored_fingerprint(&directories.config)
        .map_err(|error| unusable(error, &directories.config))?;
    Ok(StartPlan {
        settings: load_settings(directories)?,
        advice: Vec::new(),
        config_dir: directories.config.clone(),
        state_dir: directories.state.clone(),
        fingerprint,
        log_level: options.log_level,
        maintenance: options.maintenance,
        skip_warnings: options.skip_warnings,
        repair: options.repair,
    })
}

fn print_lines(plan: &StartPlan, console: &mut Console<'_>) -> Result<(), CliError> {
    let settings = &plan.settings;
    let transport = &settings.transport;
    console.line(&version::version_line())?;
    console.line(&start_lines::fingerprint(&plan.fingerprint))?;
    console.line(&start_lines::address(
        &plan.fingerprint,
        settings.auth.create_password.as_ref(),
        transport.address_host(),
        transport.address_port(),
    ))?;
    let information = settings.information.as_ref();
    let uri = information.map(|information| information.source_code.as_str());
    console.line(&start_lines::source_code(uri))?;
    let store = plan.state_dir.join(STORE_FOLDER);
    let store = settings.storage.enable.then_some(&*store);
    console.line(&start_lines::store_log(store))?;
    if let Some(advice) = start_lines::port_advice(&transport.port.ports) {
        console.line(advice)?;
    }
    console.line(&start_lines::expiring_messages(
        settings.storage.messages.ttl,
    ))?;
    console.line(&start_lines::inactive_clients(
        settings.inactive_clients.as_ref(),
    ))?;
    console.line(start_lines::new_queues(&settings.auth))?;
    if settings.storage.log_stats {
        let file = plan.state_dir.join(DAILY_LOG);
        console.line(&start_lines::daily_statistics(&file))?;
    }
    if let Some(interval) = settings.storage.prometheus_interval {
        let file = plan.state_dir.join(METRICS_FILE);
        console.line(&start_lines::metrics(interval, &file))?;
    }
    Ok(())
}

/// What to say about credentials of a folder that do not serve.
pub(super) fn unusable(error: CredentialError, folder: &Path) -> CliError {
    match error {
        CredentialError::Invalid => CliError::Refused(format!(
            "{error}\n\
             {SERVER_KEY_FILE}, {SERVER_CERTIFICATE_FILE} or {CA_CERTIFICATE_FILE} in {} is \
             malformed, of a kind that is not used here, or not of the same key as the others. \
             `smp-server cert` makes new ones.",
            folder.display()
        )),
        CredentialError::FingerprintMismatch => CliError::Refused(error.to_string()),
        CredentialError::Missing(_) => CliError::Refused(format!("----------\nError: {error}")),
        _ => CliError::Failed(error.into()),
    }
}

/// Says what is wrong with the files that pages with TLS need, and gives what is to be said about
/// those that work. Messages are served without them.
fn check_https(https: &Https, console: &mut Console<'_>) -> Result<Vec<String>, CliError> {
    let credential = WebCredential::new(&https.cert, &https.key);
    let Err(error) = credential.reload() else {
        return Ok(credential.notices(OffsetDateTime::now_utc()));
    };
    console.line(&format!(
        "----------\n\
         Error: {error}\n\
         Server should serve static pages to show connection links in the browser.\n\
         Use Let's Encrypt to generate: certbot certonly --standalone -d yourdomainname \
         --key-type rsa --rsa-key-size 4096\n\
         ----------"
    ))?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests;
