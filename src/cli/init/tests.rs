use super::*;
use crate::config::Settings;
use crate::config::settings::Warning;
use crate::crypto::certificate::{Fingerprint, certificates_from_pem, private_key_from_pem};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use x509_parser::prelude::*;

struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn directories(&self) -> Directories {
        Directories::new(Some(self.root.path()), |_| None)
    }

    /// Runs `init` with these answers and gives what it printed.
    fn init(&self, options: InitOptions, answers: &str) -> (Result<(), CliError>, String) {
        let mut output = Vec::new();
        let mut console = Console {
            input: &mut answers.as_bytes(),
            output: &mut output,
        };
        let result = run(options, &self.directories(), &mut console);
        (result, String::from_utf8(output).unwrap())
    }

    fn settings(&self) -> Settings {
        Settings::load(&self.directories().ini_file()).unwrap()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.directories().config.join(name)).unwrap()
    }
}

fn scripted() -> InitOptions {
    InitOptions {
        yes: true,
        ..InitOptions::default()
    }
}

fn refusal(result: Result<(), CliError>) -> String {
    match result {
        Err(CliError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn makes_a_server() {
    let sandbox = Sandbox::new();
    let options = InitOptions {
        fqdn: Some("smp.example.org".to_owned()),
        ..scripted()
    };
    let (result, output) = sandbox.init(options, "");
    result.unwrap();
    let directories = sandbox.directories();

    let settings = sandbox.settings();
    let is_pending = |warning: &Warning| matches!(warning, Warning::Pending { .. });
    assert!(settings.warnings.iter().all(is_pending));
    assert_eq!(settings.transport.address_host(), "smp.example.org");
    assert_eq!(settings.web.https.unwrap().port, 443);
    let pages = directories.state.join("www");
    assert_eq!(settings.web.static_path, Some(pages));
    let password = settings.auth.create_password.unwrap();
    assert_eq!(password.expose().len(), 44);

    let certificate = |name: &str| certificates_from_pem(sandbox.text(name).as_bytes()).unwrap();
    let fingerprint = Fingerprint::of(&certificate("ca.crt")[0]);
    assert_eq!(sandbox.text("fingerprint"), format!("{fingerprint}\n"));
    let server = certificate("server.crt");
    assert_eq!(server.len(), 1);
    let (_, server) = X509Certificate::from_der(&server[0]).unwrap();
    assert_eq!(server.subject().to_string(), "CN=smp.example.org");
    let key = private_key_from_pem(sandbox.text("server.key").as_bytes()).unwrap();
    assert_eq!(key.verifying_key().to_spki(), server.public_key().raw);

    for (name, mode) in [
        ("ca.key", 0o600),
        ("server.key", 0o600),
        ("smp-server.ini", 0o600),
        ("ca.crt", 0o644),
        ("server.crt", 0o644),
        ("fingerprint", 0o644),
    ] {
        let path = directories.config.join(name);
        let permissions = std::fs::metadata(path).unwrap().permissions();
        // The umask may take more away.
        assert_eq!(permissions.mode() & 0o777 & !mode, 0, "{name}");
    }
    assert!(directories.state.is_dir());

    let config = directories.config.display();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "Server initialized, please provide additional server information in {config}/smp-server.ini."
        )
    );
    assert_eq!(lines[1], "Run `smp-server start` to start server.");
    assert_eq!(lines[2], "----------");
    assert_eq!(lines[5], "CA private key location:");
    assert_eq!(lines[6], format!("{config}/ca.key"));
    assert_eq!(lines[7], "----------");
    assert_eq!(lines[8], version::version_line());
    assert_eq!(lines[9], format!("Fingerprint: {fingerprint}"));
    let password = password.expose();
    assert_eq!(
        lines[10],
        format!("Server address: smp://{fingerprint}:{password}@smp.example.org")
    );
    assert_eq!(lines[11], "Warning: server source code is not specified.");
    assert_eq!(
        lines[12],
        "Add 'source_code' property to [INFORMATION] section of INI file."
    );
    assert_eq!(lines.len(), 13);
}

#[test]
fn every_option_reaches_the_configuration() {
    let sandbox = Sandbox::new();
    let options = InitOptions {
        disable_store_log: true,
        database: Some("postgresql://other".to_owned()),
        schema: Some("smp_server".to_owned()),
        pool_size: Some(3),
        daily_stats: true,
        sign_algorithm: KeyAlgorithm::Ed448,
        ip: Some("192.0.2.1".to_owned()),
        no_password: true,
        control_port: Some(5555),
        socks_proxy: Some("127.0.0.1:9050".to_owned()),
        own_domains: vec!["a.org".to_owned(), "b.org".to_owned()],
        source_code: Some("https://example.org/code".to_owned()),
        operator: Some("Op".to_owned()),
        operator_country: Some("GB".to_owned()),
        operator_website: Some("https://example.org".to_owned()),
        hosting: Some("Host".to_owned()),
        hosting_country: Some("FR".to_owned()),
        hosting_type: Some(HostingType::Colocation),
        server_country: Some("DE".to_owned()),
        web_path: Some("/srv/www".to_owned()),
        disable_web: true,
        ..scripted()
    };
    let (result, output) = sandbox.init(options, "");
    result.unwrap();
    assert!(output.contains("@192.0.2.1\nServer source code: https://example.org/code\n"));

    let settings = sandbox.settings();
    assert!(!settings.storage.enable && !settings.storage.restore_messages);
    assert!(settings.storage.log_stats);
    assert!(settings.auth.create_password.is_none());
    let admin = settings.auth.control_port_admin_password.unwrap();
    let user = settings.auth.control_port_user_password.unwrap();
    assert_eq!((admin.expose().len(), user.expose().len()), (24, 24));
    assert_ne!(admin.expose(), user.expose());
    assert_eq!(settings.transport.control_port, Some(5555));
    assert_eq!(settings.transport.address_host(), "192.0.2.1");
    assert!(settings.proxy.socks_proxy.is_some());
    assert_eq!(settings.proxy.own_server_domains, ["a.org", "b.org"]);
    assert_eq!(settings.web.https, None);
    assert_eq!(settings.web.static_path, Some(PathBuf::from("/srv/www")));
    let information = settings.information.unwrap();
    assert_eq!(information.operator.unwrap().country.as_deref(), Some("GB"));
    assert_eq!(information.hosting.unwrap().name, "Host");
    assert_eq!(information.hosting_type, Some(HostingType::Colocation));
    assert_eq!(information.server_country.as_deref(), Some("DE"));
    assert_eq!(information.website.as_deref(), Some("https://example.org"));

    let ini = sandbox.text("smp-server.ini");
    let config = sandbox.directories().config;
    for line in [
        "db_connection = postgresql://other",
        "# db_schema = smp_server",
        "db_pool_size = 3",
        "own_server_domains = a.org,b.org",
        "# https = 443",
        &format!("# cert = {}/web.crt", config.display()),
        &format!("# key = {}/web.key", config.display()),
    ] {
        assert!(ini.lines().any(|l| l == line), "{line}");
    }
    let ca = certificates_from_pem(sandbox.text("ca.crt").as_bytes()).unwrap();
    let (_, ca) = X509Certificate::from_der(&ca[0]).unwrap();
    assert_eq!(
        ca.signature_algorithm.algorithm.to_id_string(),
        "1.3.101.113"
    );
}

#[test]
fn never_touches_what_is_there() {
    let sandbox = Sandbox::new();
    sandbox.init(scripted(), "").0.unwrap();
    let ini = sandbox.directories().ini_file();
    let before = sandbox.text("smp-server.ini");
    let (result, _) = sandbox.init(scripted(), "");
    let file = ini.display();
    assert_eq!(
        refusal(result),
        format!("Error: server is already initialized ({file} exists).\nRun `smp-server start`.")
    );
    assert_eq!(sandbox.text("smp-server.ini"), before);

    // Keys without a configuration are somebody's identity.
    std::fs::remove_file(&ini).unwrap();
    let key = sandbox.text("ca.key");
    assert!(refusal(sandbox.init(scripted(), "").0).contains("contains files"));
    assert_eq!(sandbox.text("ca.key"), key);
    assert!(!ini.exists());

    // So is a state without one.
    let sandbox = Sandbox::new();
    let state = sandbox.directories().state;
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("smp-server-store.log"), "").unwrap();
    assert!(refusal(sandbox.init(scripted(), "").0).contains("var contains files"));
    assert!(!sandbox.directories().config.exists());
}

#[test]
fn empty_directories_are_used() {
    let sandbox = Sandbox::new();
    let directories = sandbox.directories();
    std::fs::create_dir_all(&directories.config).unwrap();
    // A mounted file system is as good as empty, and web credentials are not the server's.
    std::fs::create_dir_all(directories.state.join("lost+found")).unwrap();
    std::fs::write(directories.config.join("web.crt"), "chain").unwrap();
    sandbox.init(scripted(), "").0.unwrap();
    assert!(directories.ini_file().exists());
    assert_eq!(sandbox.text("web.crt"), "chain");
}

#[test]
fn options_that_need_others() {
    for (options, text) in [
        (
            InitOptions {
                operator: Some("Op".to_owned()),
                ..scripted()
            },
            "Error: passing any server information requires passing --source-code",
        ),
        (
            InitOptions {
                operator_country: Some("GB".to_owned()),
                ..scripted()
            },
            "Error: passing --operator-country requires passing --operator",
        ),
        (
            InitOptions {
                hosting_country: Some("GB".to_owned()),
                ..scripted()
            },
            "Error: passing --hosting-country requires passing --hosting",
        ),
    ] {
        let sandbox = Sandbox::new();
        assert_eq!(refusal(sandbox.init(options, "").0), text);
        assert!(!sandbox.directories().config.exists());
    }
}

#[test]
fn a_value_cannot_add_lines() {
    let sandbox = Sandbox::new();
    let options = InitOptions {
        fqdn: Some("a.org\nnew_queues = off".to_owned()),
        ..scripted()
    };
    let (result, _) = sandbox.init(options, "");
    assert!(matches!(result, Err(CliError::Failed(_))));
    assert!(!sandbox.directories().config.exists());
}

#[test]
fn questions_with_default_answers() {
    let sandbox = Sandbox::new();
    let (result, output) = sandbox.init(InitOptions::default(), "\n\n\n\n\n\n\n");
    result.unwrap();
    let www = sandbox.directories().state.join("www");
    let asked = format!(
        "Use `smp-server init -h` for available options.\n\
         SMP server will be initialized (press Enter)\
         Enable store log to restore queues and messages on server restart (Yn): \
         Enable logging daily statistics (yN): \
         Require a password to create new messaging queues?\n\
         'r' for random (default), 'n' - no password (recommended for public servers), or enter password: \
         Enter server FQDN or IP address for certificate (127.0.0.1): \
         Enter server source code URI (https://github.com/simplex-chat/simplexmq): \
         Enter path to store generated server pages to show connection links ({}): \
         Server initialized",
        www.display()
    );
    assert!(output.starts_with(&asked), "{output}");
    assert!(output.contains("@<hostnames>\n"));
    let settings = sandbox.settings();
    assert!(settings.storage.enable && !settings.storage.log_stats);
    assert_eq!(settings.auth.create_password.unwrap().expose().len(), 44);
    let information = settings.information.unwrap();
    assert_eq!(
        information.source_code,
        "https://github.com/simplex-chat/simplexmq"
    );
}

#[test]
fn questions_with_other_answers() {
    let sandbox = Sandbox::new();
    let answers = "whatever\nmaybe\nn\nY\na@b\na b\nsecret\nsmp.example.org\nexample.org\n\
                   http://example.org\n/srv/www\n";
    let (result, output) = sandbox.init(InitOptions::default(), answers);
    result.unwrap();
    assert_eq!(
        output
            .matches("Invalid input, please enter 'y' or 'n'\n")
            .count(),
        1
    );
    let invalid = "Invalid password. Only latin letters, digits and symbols other than '@' and ':' are allowed\n";
    assert_eq!(output.matches(invalid).count(), 2);
    let invalid = "Invalid source code. URI should start from http:// or https://\n";
    assert_eq!(output.matches(invalid).count(), 1);
    assert!(output.contains(":secret@smp.example.org\nServer source code: http://example.org\n"));
    let settings = sandbox.settings();
    assert!(!settings.storage.enable && settings.storage.log_stats);
    assert!(settings.auth.create_password.unwrap().matches(b"secret"));
    assert_eq!(settings.web.static_path, Some(PathBuf::from("/srv/www")));

    let sandbox = Sandbox::new();
    let (result, _) = sandbox.init(InitOptions::default(), "\n\n\nn\n\n\n\n");
    result.unwrap();
    assert!(sandbox.settings().auth.create_password.is_none());
}

#[test]
fn the_end_of_input_makes_nothing() {
    let sandbox = Sandbox::new();
    for answers in ["", "\n\n", "\nmaybe\n", "\n\n\na@b\n"] {
        let (result, _) = sandbox.init(InitOptions::default(), answers);
        assert!(matches!(result, Err(CliError::Failed(_))), "{answers:?}");
        assert!(!sandbox.directories().config.exists());
    }
}
