use super::*;
use crate::config::ini::IniFile;
use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

const BUILD: Build = Build {
    version: "1.2.3",
    commit: "",
};

fn generated() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let ini = IniFile::parse("[TRANSPORT]\nport = 5223\n").unwrap();
    generate(dir.path(), &Settings::from_ini(&ini).unwrap(), BUILD).unwrap();
    dir
}

fn pages() -> [String; 2] {
    let dir = generated();
    let read = |path| fs::read_to_string(dir.path().join(path)).unwrap();
    [read("index.html"), read("contact/index.html")]
}

/// Start tags with their attributes, in order; fails when tags do not match.
fn tags(page: &str) -> Vec<(String, String)> {
    const EMPTY: [&str; 5] = ["!DOCTYPE", "meta", "link", "img", "br"];
    let (mut tags, mut open) = (Vec::new(), Vec::new());
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(!text.contains('>'), "{text}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None => {
                let (name, attributes) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
                if !EMPTY.contains(&name) {
                    open.push(name.to_owned());
                }
                tags.push((name.to_owned(), attributes.to_owned()));
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    tags
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let start = attributes.find(&format!("{name}=\""))? + name.len() + 2;
    attributes[start..].split('"').next()
}

#[test]
fn the_whole_tree_is_written_and_other_files_are_left() {
    let dir = generated();
    let other = dir.path().join("media/other.txt");
    fs::write(&other, "mine").unwrap();
    fs::write(dir.path().join("index.html"), "old").unwrap();
    let ini = IniFile::parse("[TRANSPORT]\nport = 5223\n").unwrap();
    generate(dir.path(), &Settings::from_ini(&ini).unwrap(), BUILD).unwrap();
    assert_eq!(fs::read_to_string(other).unwrap(), "mine");
    assert!(
        fs::read_to_string(dir.path().join("index.html"))
            .unwrap()
            .contains("1.2.3")
    );
    for kind in ["contact", "invitation", "a", "c", "g", "r", "i"] {
        let page = fs::read_to_string(dir.path().join(kind).join("index.html")).unwrap();
        assert_eq!(page, LINK_PAGE);
    }
    assert!(dir.path().join("media/favicon.ico").is_file());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let ini = IniFile::parse("[TRANSPORT]\nport = 5223\n").unwrap();
    let error = generate(&file, &Settings::from_ini(&ini).unwrap(), BUILD).unwrap_err();
    assert!(error.to_string().contains(&*file.to_string_lossy()));
}

#[test]
fn pages_are_well_formed_and_accessible() {
    for page in pages() {
        let tags = tags(&page);
        let count = |name: &str| tags.iter().filter(|(tag, _)| tag == name).count();
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
        for once in ["head", "title", "body", "header", "main", "footer", "h1"] {
            assert_eq!(count(once), 1, "{once}");
        }
        let ids: Vec<_> = tags
            .iter()
            .filter_map(|(_, a)| attribute(a, "id"))
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        for (tag, attributes) in &tags {
            match tag.as_str() {
                "img" => assert!(attribute(attributes, "alt").is_some()),
                "section" => {
                    let label = attribute(attributes, "aria-labelledby").unwrap();
                    assert!(ids.contains(&label));
                }
                "script" => assert!(attribute(attributes, "src").is_some()),
                _ => {}
            }
            // The security policy allows nothing inline.
            assert!(!attributes.contains("style=") && !attributes.contains(" on"));
            if let Some(target) = attribute(attributes, "href").and_then(|h| h.strip_prefix('#')) {
                assert!(ids.contains(&target));
            }
        }
        assert_eq!(count("style"), 0);
    }
}

#[test]
fn pages_load_only_what_this_server_has() {
    let dir = generated();
    for page in pages() {
        let loaded: Vec<_> = tags(&page)
            .iter()
            .filter_map(|(tag, attributes)| match tag.as_str() {
                "img" | "script" => attribute(attributes, "src").map(str::to_owned),
                "link" => attribute(attributes, "href").map(str::to_owned),
                _ => None,
            })
            .collect();
        assert!(loaded.len() >= 3);
        for path in loaded {
            let path = path.strip_prefix('/').unwrap();
            assert!(dir.path().join(path).is_file(), "{path}");
        }
    }
    for (name, content) in MEDIA {
        if name.ends_with(".css") || name.ends_with(".js") {
            let text = str::from_utf8(content).unwrap();
            assert!(text.is_ascii() && !text.contains("url(") && !text.contains("@import"));
            assert!(!text.contains("fetch(") && !text.contains("XMLHttpRequest"));
        }
    }
}

#[test]
fn associations_are_those_of_the_published_apps() {
    let [apple, android] =
        ASSOCIATIONS.map(|(_, json)| serde_json::from_slice::<serde_json::Value>(json).unwrap());
    let details = &apple["applinks"]["details"];
    assert_eq!(details.as_array().unwrap().len(), 1);
    assert_eq!(
        details[0]["appIDs"],
        serde_json::json!(["5NN7GUYB6T.chat.simplex.app"])
    );
    let components = details[0]["components"].as_array().unwrap();
    let paths: Vec<_> = components
        .iter()
        .map(|c| c["/"].as_str().unwrap())
        .collect();
    let expected: Vec<_> = ["contact", "invitation", "a", "c", "g", "i"]
        .iter()
        .flat_map(|kind| [format!("/{kind}"), format!("/{kind}/*")])
        .collect();
    assert_eq!(paths, expected);

    assert_eq!(android.as_array().unwrap().len(), 1);
    let (relation, target) = (&android[0]["relation"], &android[0]["target"]);
    assert_eq!(
        *relation,
        serde_json::json!(["delegate_permission/common.handle_all_urls"])
    );
    assert_eq!(target["namespace"], "android_app");
    assert_eq!(target["package_name"], "chat.simplex.app");
    let fingerprints = target["sha256_cert_fingerprints"].as_array().unwrap();
    assert_eq!(fingerprints.len(), 3);
    let starts = ["5E:3E:DC:C2", "3C:52:C4:FD", "AE:C1:95:DC"];
    for (fingerprint, start) in fingerprints.iter().zip(starts) {
        let text = fingerprint.as_str().unwrap();
        assert!(text.starts_with(start) && text.split(':').count() == 32);
    }
}

/// Runs `script` behind the scripts of the link page; `None` without a JavaScript interpreter.
fn run_script(script: &str) -> Option<String> {
    let spawned = Command::new("node")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut node) = spawned else {
        // Not `eprintln!`, which the test runner hides when a test passes.
        let _ = writeln!(io::stderr(), "SKIPPED scripts of the link page: no node");
        return None;
    };
    let mut program = Vec::new();
    for name in ["qr.js", "link.js"] {
        let (_, content) = MEDIA.into_iter().find(|(known, _)| *known == name).unwrap();
        program.extend_from_slice(content);
    }
    program.extend_from_slice(script.as_bytes());
    node.stdin.take().unwrap().write_all(&program).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_script_understands_links() {
    const LINKS: [(&str, &str, &str, &str); 11] = [
        (
            "https://g.example/a#k",
            "address",
            "https://g.example/a#k",
            "simplex:/a#k?h=g.example",
        ),
        (
            "http://a.b:8000/x/i/#k",
            "invitation",
            "https://a.b:8000/i#k",
            "simplex:/i#k?h=a.b",
        ),
        (
            "https://a.b/g#k?p=1",
            "group",
            "https://a.b/g#k?p=1",
            "simplex:/g#k?p=1&h=a.b",
        ),
        (
            "https://a.b/c#k?h=x",
            "channel",
            "https://a.b/c#k?h=x",
            "simplex:/c#k?h=a.b,x",
        ),
        (
            "https://a.b/r#k?p=1&h=x,y",
            "relay",
            "https://a.b/r#k?p=1&h=x,y",
            "simplex:/r#k?p=1&h=a.b,x,y",
        ),
        (
            "https://a.b/contact#/?v=2",
            "address",
            "https://a.b/contact#/?v=2",
            "simplex:/contact#/?v=2",
        ),
        (
            "https://a.b/contact#/?v=2&data=%7B%22groupLinkId%22%7D",
            "group",
            "https://a.b/contact#/?v=2&data=%7B%22groupLinkId%22%7D",
            "simplex:/contact#/?v=2&data=%7B%22groupLinkId%22%7D",
        ),
        (
            "https://a.b/invitation/#/?v=2",
            "invitation",
            "https://a.b/invitation#/?v=2",
            "simplex:/invitation#/?v=2",
        ),
        ("https://a.b/contact", "", "", ""),
        ("https://a.b/a#", "", "", ""),
        ("https://a.b/other#k", "", "", ""),
    ];
    let addresses: Vec<_> = LINKS.iter().map(|(address, ..)| address).collect();
    let script = format!(
        "\nfor (const address of {}) {{ const link = connectionLink(new URL(address));\n\
         console.log(link ? [link.kind, link.page, link.app].join(' ') : '  '); }}\n",
        serde_json::to_string(&addresses).unwrap()
    );
    let Some(output) = run_script(&script) else {
        return;
    };
    let expected: String = LINKS
        .iter()
        .map(|(_, kind, page, app)| format!("{kind} {page} {app}\n"))
        .collect();
    assert_eq!(output, expected);
}

/// Most bytes in a code of each version at level M, as the standard has them.
const CAPACITIES: [usize; 40] = [
    14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504, 560, 624, 666,
    711, 779, 857, 911, 997, 1059, 1125, 1190, 1264, 1370, 1452, 1538, 1628, 1722, 1809, 1911,
    1989, 2099, 2213, 2331,
];
/// The same for the largest code at level L.
const LARGEST_CAPACITY: usize = 2953;

#[test]
fn codes_are_read_by_a_decoder() {
    let lengths: Vec<_> = CAPACITIES
        .iter()
        .flat_map(|capacity| [*capacity, capacity + 1])
        .chain([LARGEST_CAPACITY, LARGEST_CAPACITY + 1])
        .collect();
    let script = format!(
        "\nfor (const length of {lengths:?}) {{\n\
         const text = 'https://a.b/i#'.padEnd(length, 'aZ09-_.~').slice(0, length);\n\
         const rows = qrCode(text) || [];\n\
         console.log(JSON.stringify([text, rows.map((row) => row.map(Number))])); }}\n"
    );
    let Some(output) = run_script(&script) else {
        return;
    };
    let codes: Vec<(String, Vec<Vec<u8>>)> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(codes.len(), lengths.len());
    for (text, rows) in codes {
        if text.len() > LARGEST_CAPACITY {
            assert!(rows.is_empty());
            continue;
        }
        let grid = rqrr::SimpleGrid::from_func(rows.len(), |x, y| rows[y][x] == 1);
        let (meta, content) = rqrr::Grid::new(grid).decode().unwrap();
        assert_eq!(content, text);
        // As the standard numbers them: 0 is M, 1 is L.
        let version = CAPACITIES.iter().position(|most| text.len() <= *most);
        assert_eq!(meta.ecc_level, u16::from(version.is_none()));
        if let Some(version) = version {
            assert_eq!(rows.len(), 17 + 4 * (version + 1));
        }
    }
}
