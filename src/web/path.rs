//! What the path of a request leads to (spec: operations §4.4).

use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// The folder of association files: `/.well-known/` is served from it.
pub const WELL_KNOWN: &str = "well-known";

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// To a file or folder below the root, a folder if it ends in a slash.
    Below {
        /// Relative, without `.` and `..`; empty for the root.
        path: PathBuf,
        /// Whether it ended in a slash.
        folder: bool,
    },
    /// To the same path with single slashes.
    Elsewhere(String),
}

/// Why a path leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub enum BadPath {
    /// It is not a path, or not text.
    Malformed,
    /// A part of it is hidden, or would not be the name of a file.
    Forbidden,
}

/// Reads the path of a request, still encoded, without its query.
pub fn target(path: &str) -> Result<Target, BadPath> {
    let rest = path.strip_prefix('/').ok_or(BadPath::Malformed)?;
    let parts = rest.split('/').filter(|part| !part.is_empty());
    let below = parts
        .clone()
        .enumerate()
        .map(|(index, part)| {
            let part = percent_decode_str(part)
                .decode_utf8()
                .map_err(|_| BadPath::Malformed)?;
            match &*part {
                ".well-known" if index == 0 => Ok(WELL_KNOWN.to_owned()),
                part if part.starts_with('.') => Err(BadPath::Forbidden),
                // Browsers take a backslash for a slash.
                part if part.contains(['/', '\\', '\0']) => Err(BadPath::Forbidden),
                _ => Ok(part.into_owned()),
            }
        })
        .collect::<Result<_, _>>()?;
    let folder = path.ends_with('/');
    if !path.contains("//") {
        return Ok(Target::Below {
            path: below,
            folder,
        });
    }
    let mut collapsed: String = parts.flat_map(|part| ["/", part]).collect();
    if folder {
        collapsed.push('/');
    }
    Ok(Target::Elsewhere(collapsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    fn below(path: &str, folder: bool) -> Result<Target, BadPath> {
        Ok(Target::Below {
            path: path.into(),
            folder,
        })
    }

    #[test]
    fn paths_lead_below_the_root() {
        assert_eq!(target("/"), below("", true));
        assert_eq!(target("/media/style.css"), below("media/style.css", false));
        assert_eq!(target("/contact/"), below("contact", true));
        assert_eq!(target("/a%20b/%C3%A4"), below("a b/ä", false));
        assert_eq!(target("/100%"), below("100%", false));
        let links = below("well-known/assetlinks.json", false);
        assert_eq!(target("/.well-known/assetlinks.json"), links);
        assert_eq!(target("/well-known/assetlinks.json"), links);
        assert_eq!(target("/%2ewell-known"), below("well-known", false));
    }

    #[test]
    fn repeated_slashes_lead_elsewhere() {
        for (path, single) in [
            ("//", "/"),
            ("//contact", "/contact"),
            ("/a//b///", "/a/b/"),
            ("//example.org//%20", "/example.org/%20"),
        ] {
            assert_eq!(target(path), Ok(Target::Elsewhere(single.to_owned())));
        }
    }

    #[test]
    fn hidden_names_and_ways_out_are_forbidden() {
        for path in [
            "/..",
            "/../etc/passwd",
            "/media/../../etc/passwd",
            "/media/%2e%2e/%2e%2e/etc/passwd",
            "/%2e%2e/x",
            "/.%2e/x",
            "/..%2fetc/passwd",
            "/..%5cx",
            "/media%2f..%2f..%2fetc",
            "/a%2Fb",
            "/a\\..\\b",
            "//\\example.org",
            "/a%00.html",
            "/.git/config",
            "/media/.htaccess",
            "/media/.well-known",
            "//..//etc",
        ] {
            assert_eq!(target(path), Err(BadPath::Forbidden), "{path}");
        }
        // Decoded once: the rest is a name.
        assert_eq!(target("/%252e%252e/x"), below("%2e%2e/x", false));
    }

    #[test]
    fn what_is_no_path_is_malformed() {
        for path in ["", "*", "x", "/%ff", "/%c0%ae%c0%ae/x"] {
            assert_eq!(target(path), Err(BadPath::Malformed), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "[/.%2eEfF5cC0-9a-z\\\\]{0,24}|.*") {
            match target(&path) {
                Ok(Target::Below { path, .. }) => {
                    let is_name = |part| matches!(part, Component::Normal(_));
                    prop_assert!(Path::new(&path).components().all(is_name));
                }
                Ok(Target::Elsewhere(single)) => {
                    prop_assert!(single.starts_with('/') && !single.contains("//"));
                    prop_assert!(!single.contains('\\'));
                    let is_below = matches!(target(&single), Ok(Target::Below { .. }));
                    prop_assert!(is_below);
                }
                Err(_) => {}
            }
        }
    }
}
