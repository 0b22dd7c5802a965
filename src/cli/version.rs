//! The version line (spec: operations §1.1).

use crate::web::Build;
use std::sync::LazyLock;

/// Name of the server in its version line.
pub const SERVER_NAME: &str = "SMP server";

/// The commit is what `SMP_SERVER_COMMIT` held at build time, and nothing when it was not set.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("SMP_SERVER_COMMIT") {
        Some(commit) => commit,
        None => "",
    },
};

/// `v<version> / <commit>`.
pub static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("v{} / {}", BUILD.version, BUILD.short_commit()));

/// `SMP server v<version> / <commit>`.
pub fn version_line() -> String {
    format!("{SERVER_NAME} {}", *VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts cut the line at blanks and take the third field on.
    #[test]
    fn fields_of_the_version_line() {
        let line = version_line();
        let fields: Vec<_> = line.split(' ').collect();
        assert_eq!(fields[..2], ["SMP", "server"]);
        assert!(fields[2].starts_with('v'));
        assert_eq!(fields[3], "/");
        assert_eq!(fields.len(), 5);
    }
}
