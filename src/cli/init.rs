//! `init`: makes the directories, the keys and the configuration (spec: operations §1.2–§1.5).

use crate::cli::credentials;
use crate::cli::files::{SECRET_MODE, sync_folder, write_new};
use crate::cli::{CliError, Console, Directories, prompt, start_lines, version};
use crate::config::keys::{self, KeyInfo};
use crate::config::template::{Line, render};
use crate::config::values::{self, HostingType, Password};
use crate::crypto::certificate::KeyAlgorithm;
use anyhow::{Context, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE as BASE64_URL};
use clap::Args;
use rand::{CryptoRng, RngCore};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The address that stands for "not told".
const DEFAULT_IP: &str = "127.0.0.1";
const DEFAULT_SOURCE_CODE: &str = "https://github.com/simplex-chat/simplexmq";
/// Random bytes in a password for creating queues: 44 characters.
const CREATE_PASSWORD_BYTES: usize = 32;
/// Random bytes in a password of the control port: 24 characters.
const CONTROL_PASSWORD_BYTES: usize = 18;

/// What may be in the directories before: a new file system has the first, and the credentials of
/// web pages come from elsewhere.
const HARMLESS_FILES: [&str; 3] = ["lost+found", "web.crt", "web.key"];

/// Options of `init`.
#[derive(Debug, Default, Args)]
pub struct InitOptions {
    /// Keep nothing over a restart
    #[arg(long, conflicts_with = "store_log")]
    pub disable_store_log: bool,
    /// Keep queues and messages over a restart (deprecated, always so)
    #[arg(short = 'l', long)]
    pub store_log: bool,
    /// PostgreSQL connection, written to the configuration only
    #[arg(short = 'd', long, value_name = "DB_CONN")]
    pub database: Option<String>,
    /// PostgreSQL schema, written to the configuration only
    #[arg(long, value_name = "DB_SCHEMA")]
    pub schema: Option<String>,
    /// PostgreSQL pool size, written to the configuration only
    #[arg(long, value_name = "POOL_SIZE")]
    pub pool_size: Option<u32>,
    /// Write a line of statistics per day
    #[arg(short = 's', long)]
    pub daily_stats: bool,
    /// Signature algorithm of the certificates: ED25519 or ED448
    #[arg(short = 'a', long, value_name = "ALG", value_parser = sign_algorithm, default_value = "ED25519")]
    pub sign_algorithm: KeyAlgorithm,
    /// Address of the server, the name in its certificate when there is no FQDN [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// Domain name of the server, the name in its certificate
    #[arg(short = 'n', long, value_name = "FQDN")]
    pub fqdn: Option<String>,
    /// Let everybody create queues
    #[arg(long)]
    pub no_password: bool,
    /// Password for creating queues; random when not given
    #[arg(long, value_parser = values::password, conflicts_with = "no_password")]
    pub password: Option<Password>,
    /// Enable the control port [default port: 5224]
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true,
          default_missing_value = "5224", value_parser = values::port)]
    pub control_port: Option<u16>,
    /// Connect to other servers through a SOCKS proxy [default proxy: 127.0.0.1:9050]
    #[arg(long, value_name = "PROXY", num_args = 0..=1, require_equals = true,
          default_missing_value = "127.0.0.1:9050", value_parser = socks_proxy)]
    pub socks_proxy: Option<String>,
    /// Domains of your servers, separated by commas
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',')]
    pub own_domains: Vec<String>,
    /// Where the source code of the server is published
    #[arg(long, value_name = "URI", num_args = 0..=1, require_equals = true,
          default_missing_value = DEFAULT_SOURCE_CODE)]
    pub source_code: Option<String>,
    /// Who operates the server
    #[arg(long)]
    pub operator: Option<String>,
    /// Country of the operator, ISO 3166 two letters
    #[arg(long, value_name = "ISO3166", value_parser = operator_country)]
    pub operator_country: Option<String>,
    /// Web site of the operator
    #[arg(long, value_name = "WEBSITE")]
    pub operator_website: Option<String>,
    /// Who hosts the server
    #[arg(long)]
    pub hosting: Option<String>,
    /// Country of the hosting provider, ISO 3166 two letters
    #[arg(long, value_name = "ISO3166", value_parser = hosting_country)]
    pub hosting_country: Option<String>,
    /// Kind of machine: virtual, dedicated, colocation, owned
    #[arg(long, value_name = "TYPE", value_parser = values::hosting_type)]
    pub hosting_type: Option<HostingType>,
    /// Country where the server stands, ISO 3166 two letters
    #[arg(long, value_name = "ISO3166", value_parser = server_country)]
    pub server_country: Option<String>,
    /// Folder for generated pages
    #[arg(long, value_name = "PATH")]
    pub web_path: Option<String>,
    /// Do not serve pages with TLS
    #[arg(long)]
    pub disable_web: bool,
    /// Ask no questions
    #[arg(short = 'y', long = "yes")]
    pub yes: bool,
    /// Use DIR/etc and DIR/var instead of the system's directories
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Ports for the configuration when not the usual ones.
    #[arg(skip)]
    pub ports: Option<String>,
}

pub(super) fn sign_algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    match text {
        "ED25519" => Ok(KeyAlgorithm::Ed25519),
        "ED448" => Ok(KeyAlgorithm::Ed448),
        _ => Err("ED25519 or ED448 expected".to_owned()),
    }
}

fn socks_proxy(text: &str) -> Result<String, String> {
    values::socks_proxy(text).map(|_| text.to_owned())
}

fn country(text: &str, of: &str) -> Result<String, String> {
    values::country_code(text).map_err(|_| format!("Use ISO3166 2-letter code for {of}"))
}

fn operator_country(text: &str) -> Result<String, String> {
    country(text, "operator")
}

fn hosting_country(text: &str) -> Result<String, String> {
    country(text, "hosting")
}

fn server_country(text: &str) -> Result<String, String> {
    country(text, "server")
}

impl InitOptions {
    /// The name in the server's certificate.
    pub fn certificate_host(&self) -> &str {
        let ip = self.ip.as_deref().unwrap_or(DEFAULT_IP);
        self.fqdn.as_deref().unwrap_or(ip)
    }

    /// The host in the server's address; a placeholder when nothing useful was told.
    fn address_host(&self) -> &str {
        match self.certificate_host() {
            DEFAULT_IP if self.fqdn.is_none() => crate::config::settings::HOST_PLACEHOLDER,
            host => host,
        }
    }

    /// The source code link offered when none was given.
    pub(super) fn offered_source_code(&self) -> &str {
        self.source_code.as_deref().unwrap_or(DEFAULT_SOURCE_CODE)
    }

    /// The folder of generated pages.
    pub(super) fn pages(&self, directories: &Directories) -> String {
        let default = || directories.state.join("www").display().to_string();
        self.web_path.clone().unwrap_or_else(default)
    }

    /// Refuses options that need others; the first that applies.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let information = self.operator.is_some()
            || self.hosting.is_some()
            || self.hosting_type.is_some()
            || self.operator_website.is_some()
            || self.server_country.is_some();
        let refusal = if information && self.source_code.is_none() {
            "Error: passing any server information requires passing --source-code"
        } else if self.operator_country.is_some() && self.operator.is_none() {
            "Error: passing --operator-country requires passing --operator"
        } else if self.hosting_country.is_some() && self.hosting.is_none() {
            "Error: passing --hosting-country requires passing --hosting"
        } else {
            return Ok(());
        };
        Err(CliError::Refused(refusal.to_owned()))
    }
}

/// Runs `init`: asks unless told not to, then makes everything.
pub fn run(
    mut options: InitOptions,
    directories: &Directories,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let ini = directories.ini_file();
    if ini.exists() {
        let ini = ini.display();
        return Err(CliError::Refused(format!(
            "Error: server is already initialized ({ini} exists).\nRun `smp-server start`."
        )));
    }
    if !options.yes {
        prompt::ask(&mut options, directories, console)?;
    }
    initialize(
        &options,
        directories,
        OffsetDateTime::now_utc(),
        &mut rand::rng(),
        console,
    )
}

/// Makes directories, keys and configuration, and tells about them. Existing files are never
/// touched: directories with something in them are refused.
pub fn initialize<R: RngCore + CryptoRng>(
    options: &InitOptions,
    directories: &Directories,
    now: OffsetDateTime,
    rng: &mut R,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    options.check()?;
    let password = match &options.password {
        Some(password) => Some(password.clone()),
        None if options.no_password => None,
        None => Some(random_password(CREATE_PASSWORD_BYTES, rng)?),
    };
    let lines = chosen_lines(options, directories, password.as_ref(), rng)?;
    check_lines(&lines)?;
    for directory in [&directories.config, &directories.state] {
        refuse_unless_empty(directory)?;
    }
    for directory in [&directories.config, &directories.state] {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let host = options.certificate_host();
    let algorithm = options.sign_algorithm;
    let fingerprint = credentials::create(&directories.config, host, algorithm, now, rng)?;
    // Last: a directory with an INI file is a complete one.
    let ini = directories.ini_file();
    write_new(&ini, &*render(&lines), SECRET_MODE)?;
    sync_folder(&directories.config)?;

    console.line(&format!(
        "Server initialized, please provide additional server information in {}.\n\
         Run `smp-server start` to start server.",
        ini.display()
    ))?;
    console.line(&credentials::ca_key_advice(&directories.config))?;
    console.line(&version::version_line())?;
    console.line(&start_lines::fingerprint(&fingerprint))?;
    let host = options.address_host();
    console.line(&start_lines::address(
        &fingerprint,
        password.as_ref(),
        host,
        None,
    ))?;
    console.line(&start_lines::source_code(options.source_code.as_deref()))?;
    Ok(())
}

fn refuse_unless_empty(directory: &Path) -> Result<(), CliError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let error = anyhow::Error::new(error).context(directory.display().to_string());
            return Err(error.into());
        }
    };
    let mut others = entries.filter(|entry| match entry {
        Ok(entry) => !HARMLESS_FILES.iter().any(|name| entry.file_name() == *name),
        Err(_) => true,
    });
    if others.next().is_none() {
        return Ok(());
    }
    let directory = directory.display();
    Err(CliError::Refused(format!(
        "Error: {directory} contains files, but no configuration of a server.\n\
         Move them away and run `smp-server init` again: it does not delete anything."
    )))
}

/// A value that would continue on another line could set other keys.
fn check_lines(lines: &[(&KeyInfo, Line)]) -> Result<(), CliError> {
    for (key, line) in lines {
        let (Line::Set(text) | Line::Commented(text)) = line;
        if text.contains(char::is_control) {
            let name = key.name;
            let error =
                anyhow!("{name}: control characters cannot be written to the configuration");
            return Err(error.into());
        }
    }
    Ok(())
}

fn random_password<R: RngCore + CryptoRng>(
    bytes: usize,
    rng: &mut R,
) -> Result<Password, CliError> {
    let mut raw = Zeroizing::new(vec![0; bytes]);
    rng.fill_bytes(&mut raw);
    let text = Zeroizing::new(BASE64_URL.encode(&*raw));
    values::password(&text).map_err(|e| anyhow!(e).into())
}

/// The lines of the configuration that differ from the table.
fn chosen_lines<R: RngCore + CryptoRng>(
    options: &InitOptions,
    directories: &Directories,
    password: Option<&Password>,
    rng: &mut R,
) -> Result<Vec<(&'static KeyInfo, Line)>, CliError> {
    let mut lines = Vec::new();
    let mut set = |key: &'static KeyInfo, text: &str| lines.push((key, Line::set(text)));
    for (key, text) in [
        (&keys::SOURCE_CODE, &options.source_code),
        (&keys::SERVER_COUNTRY, &options.server_country),
        (&keys::OPERATOR, &options.operator),
        (&keys::OPERATOR_COUNTRY, &options.operator_country),
        (&keys::WEBSITE, &options.operator_website),
        (&keys::HOSTING, &options.hosting),
        (&keys::HOSTING_COUNTRY, &options.hosting_country),
    ] {
        if let Some(text) = text {
            set(&key.info, text);
        }
    }
    if let Some(kind) = options.hosting_type {
        set(&keys::HOSTING_TYPE.info, kind.word());
    }
    if options.disable_store_log {
        set(&keys::STORE_ENABLE.info, "off");
        set(&keys::RESTORE_MESSAGES.info, "off");
    }
    let pool_size = options.pool_size.map(|size| size.to_string());
    for (key, text) in [
        (&keys::DB_CONNECTION, &options.database),
        (&keys::DB_SCHEMA, &options.schema),
        (&keys::DB_POOL_SIZE, &pool_size),
    ] {
        match text {
            Some(text) if key.info.absent != Some(text) => {
                set(&key.info, text);
            }
            _ => {}
        }
    }
    if options.daily_stats {
        set(&keys::LOG_STATS.info, "on");
    }
    if let Some(password) = password {
        set(&keys::CREATE_PASSWORD.info, password.expose());
    }
    if let Some(port) = options.control_port {
        for key in [
            &keys::CONTROL_PORT_ADMIN_PASSWORD,
            &keys::CONTROL_PORT_USER_PASSWORD,
        ] {
            let password = random_password(CONTROL_PASSWORD_BYTES, rng)?;
            set(&key.info, password.expose());
        }
        set(&keys::CONTROL_PORT.info, &port.to_string());
    }
    set(&keys::HOST.info, options.address_host());
    if let Some(ports) = &options.ports {
        set(&keys::PORT.info, ports);
    }
    if !options.own_domains.is_empty() {
        let domains = options.own_domains.join(",");
        set(&keys::OWN_SERVER_DOMAINS.info, &domains);
    }
    if let Some(proxy) = &options.socks_proxy {
        set(&keys::SOCKS_PROXY.info, proxy);
    }
    set(&keys::STATIC_PATH.info, &options.pages(directories));
    let file = |name: &str| directories.config.join(name).display().to_string();
    for (key, text) in [
        (&keys::WEB_HTTPS.info, "443".to_owned()),
        (&keys::WEB_CERT.info, file("web.crt")),
        (&keys::WEB_KEY.info, file("web.key")),
    ] {
        let line = if options.disable_web {
            Line::commented(text)
        } else {
            Line::set(text)
        };
        lines.push((key, line));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
