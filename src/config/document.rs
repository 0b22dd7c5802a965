//! The page about every setting, made from the table of keys.

use crate::config::keys::{Fresh, KEYS, KeyInfo, sections};

/// What is refused by every key that does not take any text.
const NO_VALUE: &str = "\0\n";

const INTRODUCTION: &str = "\
# Configuration

Made from the table in `src/config/keys.rs`; after a change of it:
`UPDATE_DOCUMENTS=1 cargo test --lib config::document`.

The file is `smp-server.ini` in the configuration folder (`/etc/opt/simplex`, or where
`SMP_SERVER_CFG_PATH` points). `smp-server init` writes it, `smp-server check-config` checks it, and
changes take effect at the next start. A line is `key = value` or, as in older files, `key: value`,
under its `[SECTION]`; lines that begin with `#` or `;` are comments, and there are none behind a
value. Of a key that is there twice the first counts, of a section the last. Unknown sections and
keys are reported at start and have no effect.

In a fresh file *commented* keys stand behind a `#`. *Absent* is what a key means that is not there
or commented. A key without explanation belongs to the one above it.
";

/// The text of the page.
pub fn render() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections() {
        page.push_str(&format!(
            "\n## [{section}]\n\n\
             | key | fresh file | accepted | absent | |\n\
             |---|---|---|---|---|\n"
        ));
        for key in KEYS.iter().filter(|key| key.section == section) {
            page.push_str(&row(key));
        }
    }
    page
}

fn row(key: &KeyInfo) -> String {
    let fresh = match key.fresh {
        Fresh::Set(text) => code(text),
        Fresh::Commented("") => "commented".to_owned(),
        Fresh::Commented(text) => format!("commented: {}", code(text)),
        Fresh::Unwritten => "not written".to_owned(),
    };
    let refusal = (key.check)(NO_VALUE).and_then(|()| (key.check)(""));
    let accepted = refusal.err().unwrap_or_else(|| "any text".to_owned());
    let absent = key.absent.map_or_else(|| key.without.to_owned(), code);
    let name = code(key.name);
    let cells = [
        &name,
        &fresh,
        &plain(&accepted),
        &absent,
        &key.note.join(" "),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | ").trim_end())
}

fn code(text: &str) -> String {
    if text.is_empty() {
        "empty".to_owned()
    } else {
        format!("`{text}`")
    }
}

/// Text in which nothing is a mark.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if matches!(c, '[' | ']' | '<' | '>' | '*' | '_') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");

    #[test]
    fn the_page_is_current() {
        let page = render();
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            std::fs::write(FILE, &page).unwrap();
        }
        assert!(
            std::fs::read_to_string(FILE).unwrap_or_default() == page,
            "{FILE} is out of date: UPDATE_DOCUMENTS=1 cargo test --lib config::document"
        );
    }

    #[test]
    fn every_key_says_what_it_accepts_and_means_without() {
        let page = render();
        for key in KEYS {
            assert_ne!(
                key.absent.is_some(),
                !key.without.is_empty(),
                "{}",
                key.name
            );
            let start = format!("\n| `{}` | ", key.name);
            assert!(page.contains(&start), "{}", key.name);
        }
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), KEYS.len());
    }
}
