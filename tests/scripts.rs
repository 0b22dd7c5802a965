//! What installs and runs the server elsewhere: the unit, the install script, the container.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::command;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name)
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn scripts_are_valid_and_may_be_run() {
    for (shell, name) in [
        ("bash", "install"),
        ("bash", "test"),
        ("sh", "docker/entrypoint"),
    ] {
        let output = Command::new(shell)
            .arg("-n")
            .arg(script(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(mode(&script(name)) & 0o111, 0o111, "{name}");
    }
}

#[test]
fn the_unit_is_valid_and_runs_what_there_is() {
    let unit = fs::read_to_string(script("smp-server.service")).unwrap();
    let values = |key: &str| -> Vec<&str> {
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(k, _)| *k == key).map(|(_, v)| v).collect()
    };
    // What the server counts on.
    assert_eq!(values("Type"), ["notify"]);
    assert_eq!(
        values("ReadWritePaths"),
        ["/var/opt/simplex -/var/backups/simplex"]
    );
    assert_eq!(values("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    let start = values("ExecStart")[0];
    let arguments = start.strip_prefix("/usr/local/bin/smp-server ").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut help = command(dir.path());
    let help = help.args(arguments.split(' ')).arg("--help").output();
    assert!(help.unwrap().status.success());

    // Whatever is in no section, unknown or misspelt is told.
    let there = unit.replace(
        "/usr/local/bin/smp-server",
        env!("CARGO_BIN_EXE_smp-server"),
    );
    let copy = dir.path().join("smp-server.service");
    fs::write(&copy, there).unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output();
    match verify {
        Ok(output) => {
            let told = text(&output.stderr);
            assert!(output.status.success() && told.is_empty(), "{told}");
        }
        Err(error) => eprintln!("SKIPPED: systemd-analyze: {error}"),
    }
}

/// Installs below a folder.
fn install(root: &Path, more: &[&str]) -> String {
    let output = Command::new("bash")
        .arg(script("install"))
        .args(["--binary", env!("CARGO_BIN_EXE_smp-server"), "--root"])
        .arg(root)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

const FOLDERS: [&str; 2] = ["etc/opt/simplex", "var/opt/simplex"];
const BINARY: &str = "usr/local/bin/smp-server";
const UNIT: &str = "etc/systemd/system/smp-server.service";

#[test]
fn a_dry_run_tells_what_an_installation_does_and_does_nothing() {
    let root = tempfile::tempdir().unwrap();
    let told = install(root.path(), &["--dry-run"]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    let steps = |told: &str| -> Vec<String> {
        let lines = told.lines().filter(|line| line.starts_with("+ "));
        lines.map(str::to_owned).collect()
    };
    for what in FOLDERS.iter().chain(&[BINARY, UNIT]) {
        let path = root.path().join(what);
        assert!(told.contains(path.to_str().unwrap()), "{what}: {told}");
    }
    assert!(told.contains("dry run"), "{told}");
    // It is the same that is done.
    let done = install(root.path(), &[]);
    assert_eq!(steps(&done), steps(&told));
}

#[test]
fn an_installation_is_complete_and_repeating_it_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    install(root, &[]);
    for folder in FOLDERS {
        assert_eq!(mode(&root.join(folder)), 0o750);
    }
    assert_eq!(
        (mode(&root.join(BINARY)), mode(&root.join(UNIT))),
        (0o755, 0o644)
    );
    let version = Command::new(root.join(BINARY)).arg("-v").output().unwrap();
    assert!(version.status.success());
    let told = install(root, &[]);
    assert!(told.starts_with("Everything is up to date.\n"), "{told}");

    // What somebody has changed is kept aside, and folders stay as they are.
    let own = "[Unit]\nDescription=mine\n";
    fs::write(root.join(UNIT), own).unwrap();
    fs::set_permissions(root.join(FOLDERS[1]), Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join(FOLDERS[0]).join("smp-server.ini"), "").unwrap();
    let told = install(root, &[]);
    assert!(
        told.ends_with("Next: systemctl restart smp-server\n"),
        "{told}"
    );
    let before = root.join(format!("{UNIT}.before"));
    assert_eq!(fs::read_to_string(before).unwrap(), own);
    assert_eq!(
        fs::read(root.join(UNIT)).unwrap(),
        fs::read(script("smp-server.service")).unwrap()
    );
    assert_eq!(mode(&root.join(FOLDERS[1])), 0o755);
}

#[test]
fn a_copy_that_fails_leaves_what_was_there() {
    const LIMIT: usize = 64 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let binary = root.join(BINARY);
    let new = dir.path().join("new");
    fs::create_dir_all(binary.parent().unwrap()).unwrap();
    // No file may become larger, as if the disk were full: the program, or the old one kept aside.
    for (old_size, new_size) in [(10, 2 * LIMIT), (2 * LIMIT, 10)] {
        let old = vec![b'o'; old_size];
        fs::write(&binary, &old).unwrap();
        fs::write(&new, vec![b'n'; new_size]).unwrap();
        let output = Command::new("bash")
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
                "-",
            ])
            .arg((LIMIT / 1024).to_string())
            .args(["bash".as_ref(), script("install").as_os_str()])
            .args(["--binary".as_ref(), new.as_os_str()])
            .args(["--root".as_ref(), root.as_os_str()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!text(&output.stdout).contains("Next: "), "{output:?}");
        let told = format!("install: {} is as it was", binary.display());
        assert!(text(&output.stderr).contains(&told), "{output:?}");
        assert!(fs::read(&binary).unwrap() == old);
        for (size, path) in [(new_size, "new"), (old_size, "before")] {
            let path = root.join(format!("{BINARY}.{path}"));
            assert!(size <= LIMIT || !path.exists(), "{}", path.display());
        }
    }
}

#[test]
fn the_install_script_says_what_is_missing() {
    let run = |arguments: &[&str]| {
        let mut bash = Command::new("bash");
        let output = bash
            .arg(script("install"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success());
        text(&output.stderr).to_owned()
    };
    let told = run(&["--binary", "/nowhere/smp-server", "--dry-run"]);
    assert!(
        told.contains("/nowhere/smp-server does not exist"),
        "{told}"
    );
    assert!(run(&["--binary"]).contains("--binary needs a file"));
    assert!(run(&["--what"]).starts_with("Usage: "));
}

/// A container: its folder, and a program that initializes but only says that it would start.
struct Container(tempfile::TempDir);

impl Container {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("smp-server");
        let real = env!("CARGO_BIN_EXE_smp-server");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" != start ] || {{ echo \"started: $*\"; exit; }}\nexec {real} \"$@\"\n"
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn run(&self, variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.0.path().display(), env!("PATH"));
        Command::new("sh")
            .arg(script("docker/entrypoint"))
            .env_clear()
            .env("PATH", path)
            .env("SMP_SERVER_CFG_PATH", self.0.path().join("etc"))
            .env("SMP_SERVER_LOG_PATH", self.0.path().join("var"))
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn start(&self, variables: &[(&str, &str)]) {
        let output = self.run(variables);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stdout), "started: start\n");
    }

    /// The lines of the configuration that count.
    fn ini(&self) -> Vec<String> {
        let ini = fs::read_to_string(self.0.path().join("etc/smp-server.ini")).unwrap();
        let lines = ini.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[track_caller]
    fn assert_has(&self, lines: &[&str]) {
        let ini = self.ini();
        for line in lines {
            assert!(ini.iter().any(|l| l == line), "{line} in {ini:#?}");
        }
    }
}

#[test]
fn a_container_is_set_up_by_the_variables_of_the_reference_image() {
    let container = Container::new();
    container.start(&[("ADDR", "smp1.example.org"), ("PASS", "secret")]);
    container.assert_has(&[
        "host = smp1.example.org",
        "own_server_domains = example.org",
        "create_password = secret",
        "port = 5223,443",
        "https = 443",
        "cert = /certificates/smp1.example.org.crt",
        "key = /certificates/smp1.example.org.key",
        "log_stats = on",
    ]);
    // Later starts use what there is, whatever the variables are.
    let before = container.ini();
    container.start(&[("ADDR", "other.example.org")]);
    container.start(&[]);
    assert_eq!(container.ini(), before);
}

#[test]
fn a_container_without_pages_serves_messages_on_one_port() {
    for (address, host) in [("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::1")] {
        let container = Container::new();
        container.start(&[("ADDR", address), ("WEB_MANUAL", "1")]);
        container.assert_has(&[&format!("host = {host}"), "port = 5223"]);
        let ini = container.ini();
        for key in ["https", "cert", "key", "create_password"] {
            let start = format!("{key} = ");
            assert!(!ini.iter().any(|line| line.starts_with(&start)), "{key}");
        }
    }
}

#[test]
fn a_container_without_an_address_says_so() {
    let container = Container::new();
    for (variables, told) in [
        (&[][..], "Please specify $ADDR environment variable.\n"),
        (
            &[("ADDR", "")],
            "Please specify $ADDR environment variable.\n",
        ),
        (
            &[("ADDR", "myserver")],
            "Incorrect $ADDR environment variable",
        ),
    ] {
        let output = container.run(variables);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).starts_with(told), "{output:?}");
    }
    // What is wrong with the initialization is not hidden.
    let output = container.run(&[("ADDR", "a.example"), ("PASS", "a@b")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--password"), "{output:?}");
}
