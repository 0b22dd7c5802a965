//! What a backup or restore does not follow, wait for or leave behind.

use super::*;
use crate::runtime::lock::LockError;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};

/// Somebody who is not `root`.
const SOMEBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

/// Everything below a directory, the directory too.
fn all_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if fs::symlink_metadata(path).unwrap().is_dir() {
        let entries = fs::read_dir(path).unwrap();
        found.extend(entries.flat_map(|entry| all_below(&entry.unwrap().path())));
    }
    found
}

#[test]
fn a_plan_says_nothing_about_other_directories() {
    let server = Server::empty();
    let (state, elsewhere) = (&server.places.state, server.root.path().join("elsewhere"));
    let decided = state.join("smp-server-restore");
    fs::create_dir(&decided).unwrap();
    fs::write(state.join(STATISTICS_FILES[0]), "{}").unwrap();
    let up = format!("{ASIDE}/../../elsewhere");
    for aside in [elsewhere.to_str().unwrap(), "../elsewhere", "", "x", &up] {
        let plan = format!("{{\"aside\":\"{aside}\",\"entries\":[]}}");
        fs::write(decided.join("plan.json"), plan).unwrap();
        let error = StateLock::acquire(state).unwrap_err().to_string();
        assert!(error.contains("smp-server-restore/plan.json"), "{error}");
        assert!(error.contains("before-restore-"), "{error}");
        assert!(!elsewhere.exists() && state.join(STATISTICS_FILES[0]).exists());
    }
    // Where it belongs, but a link.
    let plan = format!("{{\"aside\":\"{ASIDE}\",\"entries\":[]}}");
    fs::write(decided.join("plan.json"), plan).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, state.join(ASIDE)).unwrap();
    assert!(StateLock::acquire(state).is_err());
    assert_eq!(contents(&elsewhere), []);
    fs::remove_file(state.join(ASIDE)).unwrap();
    drop(StateLock::acquire(state).unwrap());
    assert!(state.join(ASIDE).join(STATISTICS_FILES[0]).exists());
}

#[test]
fn what_root_restores_belongs_to_the_server() {
    if !is_root() {
        return;
    }
    let backup = Server::with_queues(2);
    let from = backup.backup("backup");
    let server = Server::with_queues(1);
    for directory in [&server.places.state, &server.places.configuration] {
        chown(directory, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let report = server.restore(&from, true).unwrap();
    let (state, config) = (&server.places.state, &server.places.configuration);
    let aside = report.old_configuration.unwrap();
    let mut all = all_below(&state.join(STORE_FOLDER));
    all.extend(all_below(&aside));
    all.extend(
        contents(&from.join(CONFIGURATION))
            .into_iter()
            .map(|(path, _)| config.join(path)),
    );
    all.push(state.join(partition_key::FILE));
    all.push(report.old_state.unwrap());
    for path in all {
        let found = fs::symlink_metadata(&path).unwrap();
        let owner = (found.uid(), found.gid());
        assert_eq!(owner, (SOMEBODY, SOMEBODY), "{}", path.display());
    }
    let kept: Vec<_> = contents(&aside).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        kept,
        [
            Path::new("server.key"),
            Path::new("smp-server.ini"),
            Path::new("web/x")
        ]
    );
}

#[test]
fn only_what_the_process_made_is_given_away() {
    let root = tempfile::tempdir().unwrap();
    let (made, link) = (root.path().join("made"), root.path().join("link"));
    let somebody = files::Owner::of(root.path()).unwrap();
    fs::create_dir(&made).unwrap();
    symlink(&made, &link).unwrap();
    assert!(somebody.take_all(&link).is_err());
    symlink("/etc/passwd", made.join("passwd")).unwrap();
    assert!(somebody.take_all(&made).is_err());
    fs::remove_file(made.join("passwd")).unwrap();
    somebody.take_all(&made).unwrap();
    if is_root() {
        chown(&made, Some(SOMEBODY), None).unwrap();
        assert!(somebody.take_all(&made).is_err());
    }
}

#[test]
fn a_link_in_the_state_is_not_followed() {
    for name in [STATISTICS_FILES[0], partition_key::FILE] {
        let server = Server::with_queues(1);
        let (file, secret) = (
            server.places.state.join(name),
            server.root.path().join("secret"),
        );
        // The key is one, so that it can be read.
        fs::rename(server.places.state.join(partition_key::FILE), &secret).unwrap();
        if name != partition_key::FILE {
            fs::copy(&secret, server.places.state.join(partition_key::FILE)).unwrap();
        }
        symlink(&secret, &file).unwrap();
        let target = server.root.path().join("backup");
        let error = back_up_stopped(&server.places, &target, false).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(!target.exists());
    }
}

#[test]
fn a_link_in_the_configuration_is_followed_for_who_may_have_what_it_leads_to() {
    let server = Server::with_queues(1);
    let root = server.root.path();
    let (certificate, link) = (
        root.join("certificate"),
        server.places.configuration.join("web.crt"),
    );
    fs::write(&certificate, "certificate").unwrap();
    symlink(&certificate, &link).unwrap();
    let backup = server.backup("own");
    let copy = backup.join(CONFIGURATION).join("web.crt");
    assert_eq!(fs::read(copy).unwrap(), b"certificate");
    if !is_root() {
        return;
    }
    lchown(&link, Some(SOMEBODY), None).unwrap();
    let error = back_up_stopped(&server.places, &root.join("refused"), true).unwrap_err();
    assert!(error.to_string().contains("web.crt"), "{error}");
    // Neither does a restore keep a copy of it for them.
    let refused = server.restore(&backup, true).unwrap_err();
    assert!(refused.to_string().contains("web.crt"), "{refused}");
    chown(&certificate, Some(SOMEBODY), None).unwrap();
    server.backup("theirs");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let server = Server::with_queues(1);
    let root = server.root.path();
    make_pipe(&root.join("backup.partial"));
    let error = back_up_stopped(&server.places, &root.join("backup"), false).unwrap_err();
    assert!(matches!(error, BackupError::InTheWay(_)), "{error}");
    let statistics = server.places.state.join(STATISTICS_FILES[1]);
    make_pipe(&statistics);
    let error = back_up_stopped(&server.places, &root.join("other"), false).unwrap_err();
    assert!(error.to_string().contains(STATISTICS_FILES[1]), "{error}");
    fs::remove_file(statistics).unwrap();
    let backup = server.backup("good");
    let list = backup.join(FILE);
    let bytes = fs::read(&list).unwrap();
    fs::remove_file(&list).unwrap();
    make_pipe(&list);
    assert!(Archive::open(&backup).is_err());
    fs::remove_file(&list).unwrap();
    fs::write(&list, bytes).unwrap();
    let file = backup.join(in_state(partition_key::FILE));
    fs::remove_file(&file).unwrap();
    make_pipe(&file);
    let archive = Archive::open(&backup).unwrap();
    assert!(archive.verify(&mut |_, _| ()).is_err());
    let lock = Server::empty();
    make_pipe(&lock.places.state.join(crate::runtime::lock::LOCK_FILE));
    let refused = StateLock::acquire(&lock.places.state).unwrap_err();
    assert!(matches!(refused, LockError::Io { .. }), "{refused}");
}

#[test]
fn a_restore_that_was_decided_and_not_ended_says_so() {
    let backed_up = Server::with_queues(2);
    fs::write(backed_up.places.state.join(STATISTICS_FILES[0]), "{}").unwrap();
    let backup = backed_up.backup("backup");
    let server = Server::with_queues(1);
    // What leads to itself cannot be moved.
    let statistics = server.places.state.join(STATISTICS_FILES[0]);
    symlink(&statistics, &statistics).unwrap();
    let error = server.restore(&backup, true).unwrap_err();
    assert!(matches!(error, RestoreError::NotEnded { .. }), "{error}");
    fs::remove_file(&statistics).unwrap();
    drop(StateLock::acquire(&server.places.state).unwrap());
    server.assert_is_complete(2);
    assert_eq!(fs::read(&statistics).unwrap(), b"{}");
}

#[test]
fn a_configuration_that_cannot_be_restored_leaves_no_keys_behind() {
    let backup = Server::with_queues(1);
    let from = backup.backup("backup");
    let server = Server::with_queues(1);
    let config = &server.places.configuration;
    fs::remove_file(config.join("web/x")).unwrap();
    fs::create_dir(config.join("web/x")).unwrap();
    let before = (state_of(&server), contents(config));
    let error = server.restore(&from, true).unwrap_err();
    assert!(error.to_string().contains("web/x"), "{error}");
    let present = contents(config).into_iter();
    let present = present.filter(|(path, _)| !path.starts_with(aside_of(config)));
    assert_eq!((state_of(&server), present.collect()), before);
}

/// The folder for the configuration before.
fn aside_of(config: &Path) -> PathBuf {
    let names = fs::read_dir(config)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let aside = names
        .into_iter()
        .find(|name| name.to_string_lossy().contains("before-restore"));
    aside.unwrap().into()
}

#[test]
fn a_configuration_that_is_half_replaced_is_told() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path();
    for name in ["a.new", "b.new"] {
        fs::write(config.join(name), name).unwrap();
    }
    fs::create_dir(config.join("b")).unwrap();
    let (paths, aside) = ([Path::new("a"), Path::new("b")], config.join("aside"));
    let error = configuration::replace(config, &paths, &aside, &[].into()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("1 of 2 files") && text.contains("/aside"),
        "{text}"
    );
    let error = configuration::replace(config, &paths[1..], &aside, &[].into()).unwrap_err();
    assert!(matches!(error, RestoreError::Io { .. }), "{error}");
}

#[test]
fn a_day_that_ends_during_a_backup_is_in_it_once() {
    let [record, rows] = STATISTICS_FILES;
    // Midnight comes before each of the reads of the first round, or not at all.
    for midnight in 0..4 {
        let mut reads = 0;
        let [counters, log] = stopped::read_statistics(|name| {
            let is_later = reads >= midnight;
            reads += 1;
            let content = match (name == record, is_later) {
                (true, false) => "yesterday",
                (true, true) => "today",
                (false, false) => "",
                (false, true) => "yesterday's row",
            };
            assert!(name == record || name == rows);
            Ok(Some(content.into()))
        })
        .unwrap();
        let is_counted = counters.unwrap() == b"yesterday";
        assert_eq!(log.unwrap().is_empty(), is_counted, "{midnight}");
    }
    let mut reads = 0_u32;
    let endless = stopped::read_statistics(|_| {
        reads += 1;
        Ok(Some(reads.to_be_bytes().into()))
    });
    assert!(matches!(endless, Err(BackupError::Changing)));
    let none = stopped::read_statistics(|_| Ok(None)).unwrap();
    assert_eq!(none, [None, None]);
}
