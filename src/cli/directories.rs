//! The two base directories (spec: operations §0, §1.1).

use crate::config::INI_FILE;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const CONFIG_VARIABLE: &str = "SMP_SERVER_CFG_PATH";
const STATE_VARIABLE: &str = "SMP_SERVER_LOG_PATH";
const CONFIG_DEFAULT: &str = "/etc/opt/simplex";
const STATE_DEFAULT: &str = "/var/opt/simplex";

/// Where configuration and state are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Configuration and keys.
    pub config: PathBuf,
    /// State.
    pub state: PathBuf,
}

impl Directories {
    /// `DIR/etc` and `DIR/var` when a directory was given, else those of the environment, else
    /// the defaults; an empty variable counts as unset.
    pub fn new(dir: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        if let Some(dir) = dir {
            return Self {
                config: dir.join("etc"),
                state: dir.join("var"),
            };
        }
        let path = |name: &str, default: &str| {
            let set = variable(name).filter(|value| !value.is_empty());
            set.map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        Self {
            config: path(CONFIG_VARIABLE, CONFIG_DEFAULT),
            state: path(STATE_VARIABLE, STATE_DEFAULT),
        }
    }

    /// [`Directories::new`] with the environment of the process.
    pub fn from_environment(dir: Option<&Path>) -> Self {
        Self::new(dir, |name| std::env::var_os(name))
    }

    /// The configuration file.
    pub fn ini_file(&self) -> PathBuf {
        self.config.join(INI_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_directories_come_from() {
        let unset = Directories::new(None, |_| None);
        assert_eq!(
            unset.ini_file(),
            Path::new("/etc/opt/simplex/smp-server.ini")
        );
        assert_eq!(unset.state, Path::new("/var/opt/simplex"));
        assert_eq!(Directories::new(None, |_| Some(OsString::new())), unset);
        let set = Directories::new(None, |name| Some(name.to_lowercase().into()));
        assert_eq!(set.config, Path::new("smp_server_cfg_path"));
        assert_eq!(set.state, Path::new("smp_server_log_path"));
        let given = Directories::new(Some(Path::new("/d")), |_| Some("/e".into()));
        assert_eq!(given.config, Path::new("/d/etc"));
        assert_eq!(given.state, Path::new("/d/var"));
    }
}
