use super::*;
use crate::config::INI_FILE;
use crate::crypto::certificate::{
    CertificateProfile, KeyAlgorithm, certificate_to_pem, private_key_to_pem,
};
use tempfile::TempDir;

struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder with the files of a reference server.
    fn reference() -> Self {
        let sandbox = Self::new();
        let config = sandbox.directories().config;
        std::fs::create_dir_all(&config).unwrap();
        let fixture = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/reference-6.5.5/etc"
        );
        for entry in std::fs::read_dir(fixture).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), config.join(entry.file_name())).unwrap();
        }
        sandbox
    }

    fn directories(&self) -> Directories {
        Directories::new(Some(self.root.path()), |_| None)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directories().config.join(name)
    }

    fn start(&self, options: &StartOptions) -> (Result<Option<StartPlan>, CliError>, String) {
        let mut output = Vec::new();
        let mut console = Console {
            input: &mut std::io::empty(),
            output: &mut output,
        };
        let mut started = None;
        let result = run(options, &self.directories(), &mut console, |plan| {
            started = Some(plan);
            Ok(())
        });
        let output = String::from_utf8(output).unwrap();
        (result.map(|()| started), output)
    }

    fn refusal(&self) -> String {
        match self.start(&StartOptions::default()) {
            (Err(CliError::Refused(text)), _) => text,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&self) -> String {
        match self.start(&StartOptions::default()) {
            (Err(CliError::Failed(error)), _) => format!("{error:#}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reference_server_starts_with_the_same_identity() {
    let sandbox = Sandbox::reference();
    // The key of the CA should be elsewhere.
    std::fs::remove_file(sandbox.file("ca.key")).unwrap();
    let options = StartOptions {
        maintenance: true,
        skip_warnings: true,
        log_level: LogLevel::Warn,
        ..StartOptions::default()
    };
    let (plan, output) = sandbox.start(&options);
    let plan = plan.unwrap().unwrap();
    assert!(plan.maintenance && plan.skip_warnings);
    assert_eq!(plan.log_level, LogLevel::Warn);
    assert_eq!(plan.config_dir, sandbox.directories().config);
    let expected = format!(
        "{}\n\
         Fingerprint: 6lP92qPwJEPx25Z1j2Yby8fwDfcp5-Eao_10zrgp3aI=\n\
         Server address: smp://6lP92qPwJEPx25Z1j2Yby8fwDfcp5-Eao_10zrgp3aI=@<hostnames>:25223\n\
         Warning: server source code is not specified.\n\
         Add 'source_code' property to [INFORMATION] section of INI file.\n\
         Store log: {}\n\
         \n\
         WARNING: the clients will use port 443 by default soon.\n\
         Set `port` in smp-server.ini section [TRANSPORT] to `5223,443`\n\
         \n\
         expiring messages after 21 days\n\
         expiring clients inactive for 21600 seconds every 3600 seconds\n\
         creating new queues allowed\n\
         server stats log enabled: {}\n",
        version::version_line(),
        sandbox
            .directories()
            .state
            .join("smp-server-store")
            .display(),
        sandbox.directories().state.join(DAILY_LOG).display(),
    );
    assert_eq!(output, expected);
}

#[test]
fn not_initialized() {
    let sandbox = Sandbox::new();
    let ini = sandbox.file(INI_FILE);
    let file = ini.display();
    assert_eq!(
        sandbox.refusal(),
        format!(
            "Error: server is not initialized ({file} does not exist).\nRun `smp-server init`."
        )
    );
    assert!(!ini.exists());
}

#[test]
fn initializes_on_demand_and_once() {
    let sandbox = Sandbox::new();
    let options = StartOptions {
        init: true,
        dir: Some(sandbox.root.path().to_owned()),
        ..StartOptions::default()
    };
    let (plan, output) = sandbox.start(&options);
    let plan = plan.unwrap().unwrap();
    assert!(output.starts_with("Server initialized"));
    assert_eq!(plan.settings.transport.port.ports, [5223]);
    assert_eq!(plan.settings.web.https, None);
    assert!(plan.settings.auth.create_password.is_some());
    let (again, output) = sandbox.start(&options);
    assert_eq!(again.unwrap().unwrap().fingerprint, plan.fingerprint);
    assert!(!output.contains("Server initialized"));
}

#[test]
fn a_wrong_identity_is_refused() {
    for wrong in [
        "LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=\n",
        "rubbish",
        "",
    ] {
        let sandbox = Sandbox::reference();
        std::fs::write(sandbox.file("fingerprint"), wrong).unwrap();
        assert_eq!(sandbox.refusal(), "Stored fingerprint is invalid.");
    }
    for name in ["fingerprint", "ca.crt"] {
        let sandbox = Sandbox::reference();
        std::fs::remove_file(sandbox.file(name)).unwrap();
        let path = sandbox.file(name);
        assert!(sandbox.failure().starts_with(path.to_str().unwrap()));
    }
    let sandbox = Sandbox::reference();
    std::fs::write(sandbox.file("ca.crt"), "rubbish").unwrap();
    assert!(sandbox.failure().contains("not a certificate"));
}

#[test]
fn missing_credentials_are_named() {
    let sandbox = Sandbox::reference();
    for name in ["server.crt", "server.key"] {
        std::fs::remove_file(sandbox.file(name)).unwrap();
    }
    let (crt, key) = (sandbox.file("server.crt"), sandbox.file("server.key"));
    let expected = format!(
        "----------\nError: no SMP credentials: {}, {}",
        crt.display(),
        key.display()
    );
    assert_eq!(sandbox.refusal(), expected);

    let sandbox = Sandbox::reference();
    let ini = sandbox.file(INI_FILE);
    let (crt, key) = (sandbox.file("web.crt"), sandbox.file("web.key"));
    let text = std::fs::read_to_string(&ini).unwrap();
    let web = format!(
        "https = 443\ncert = {}\nkey = {}\n",
        crt.display(),
        key.display()
    );
    std::fs::write(&ini, format!("{text}\n{web}")).unwrap();
    std::fs::write(&key, "").unwrap();
    let (started, output) = sandbox.start(&StartOptions::default());
    assert!(started.is_ok(), "pages are missing, messages need not be");
    let expected = format!(
        "Error: no HTTPS credentials: {}\nServer should serve",
        crt.display()
    );
    assert!(output.contains(&expected), "{output}");
    std::fs::write(&crt, "").unwrap();
    let (_, output) = sandbox.start(&StartOptions::default());
    let expected = format!("Error: unusable HTTPS credentials: {}: ", crt.display());
    assert!(output.contains(&expected), "{output}");
    // Any certificate will do, also that of the relay.
    for (name, file) in [("server.crt", &crt), ("server.key", &key)] {
        std::fs::copy(sandbox.file(name), file).unwrap();
    }
    let (_, output) = sandbox.start(&StartOptions::default());
    assert!(!output.contains("HTTPS"), "{output}");

    let now = OffsetDateTime::now_utc();
    let server_key = KeyAlgorithm::Ed25519.generate(&mut rand::rng()).unwrap();
    let mut profile = CertificateProfile::service(now);
    profile.not_after = now - time::Duration::DAY / 2;
    let der = profile.issue(&server_key.verifying_key(), &server_key);
    std::fs::write(&crt, certificate_to_pem(&der.unwrap()).unwrap()).unwrap();
    std::fs::write(&key, &*private_key_to_pem(&server_key).unwrap()).unwrap();
    let (plan, _) = sandbox.start(&StartOptions::default());
    let advice = plan.unwrap().unwrap().advice;
    let expired = format!("the web certificate {} expired 1 days ago: ", crt.display());
    assert!(
        advice.iter().any(|line| line.starts_with(&expired)),
        "{advice:?}"
    );
}

#[test]
fn advice_about_credentials() {
    let sandbox = Sandbox::reference();
    let advice = |sandbox: &Sandbox| {
        let (plan, _) = sandbox.start(&StartOptions::default());
        plan.unwrap().unwrap().advice
    };
    let ca_key = sandbox.file("ca.key");
    let text = format!("{} is not needed to run the server", ca_key.display());
    let given = advice(&sandbox);
    assert!(given.len() == 1 && given[0].starts_with(&text), "{given:?}");
    std::fs::remove_file(ca_key).unwrap();
    assert!(advice(&sandbox).is_empty());
}

#[test]
fn a_bad_configuration_is_explained() {
    let sandbox = Sandbox::reference();
    let ini = sandbox.file(INI_FILE);
    std::fs::write(&ini, "[TRANSPORT]\nport = all\n").unwrap();
    assert!(
        sandbox
            .failure()
            .starts_with("invalid INI setting port: all (section [TRANSPORT]")
    );
    std::fs::write(&ini, "[TRANSPORT\n").unwrap();
    assert!(sandbox.refusal().contains("smp-server.ini, line 1: "));
}

#[test]
fn a_failing_relay_fails_the_command() {
    let sandbox = Sandbox::reference();
    let mut console = Console {
        input: &mut std::io::empty(),
        output: &mut std::io::sink(),
    };
    let options = StartOptions::default();
    let result = run(&options, &sandbox.directories(), &mut console, |_| {
        anyhow::bail!("address in use")
    });
    assert!(matches!(result, Err(CliError::Failed(e)) if e.to_string() == "address in use"));
}

#[test]
fn credentials_that_do_not_belong_together_are_refused_with_their_files() {
    let (sandbox, other) = (Sandbox::reference(), Sandbox::reference());
    let key = sandbox.file("server.key");
    std::fs::copy(other.file("ca.key"), &key).unwrap();
    let refusal = sandbox.refusal();
    assert!(
        refusal.starts_with("invalid credential\nserver.key, server.crt"),
        "{refusal}"
    );
    let folder = sandbox.directories().config.display().to_string();
    assert!(
        refusal.contains(&folder) && refusal.contains("`smp-server cert`"),
        "{refusal}"
    );

    // A renewal that was interrupted is completed.
    std::fs::copy(other.file("server.key"), sandbox.file("server.key.old")).unwrap();
    let (plan, _) = sandbox.start(&StartOptions::default());
    let plan = plan.unwrap().unwrap();
    assert!(
        plan.advice
            .iter()
            .any(|line| line.contains("was interrupted")),
        "{:?}",
        plan.advice
    );
    assert!(sandbox.start(&StartOptions::default()).0.is_ok());
}
