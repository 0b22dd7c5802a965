use super::*;
use crate::config::ini::IniFile;

const BUILD: Build = Build {
    version: "1.2.3",
    commit: "0123456789abcdef",
};

const FULL: &str = "\
[INFORMATION]
source_code = https://example.org/source
usage_conditions = https://example.org/conditions
condition_amendments = https://example.org/amendments
server_country = de
operator = Anna & Söhne <b>
operator_country = se
website = https://example.org
admin_simplex = https://smp.example.org/a#abc
admin_email = admin@example.org
admin_pgp = https://example.org/key
admin_pgp_fingerprint = 0123 4567
complaints_email = \"complaints\"@example.org
hosting = Hoster
hosting_type = colocation
[STORE_LOG]
enable = on
restore_messages = off
expire_messages_days = 21
log_stats = on
[AUTH]
new_queues = on
create_password = secret
[TRANSPORT]
host = smp.example.org, abc.onion,def.onion
port = 5223
";

fn settings(text: &str) -> Settings {
    Settings::from_ini(&IniFile::parse(text).unwrap()).unwrap()
}

/// Labels and values, as HTML.
fn rows(page: &str) -> Vec<(&str, &str)> {
    page.split("<dt>")
        .skip(1)
        .map(|row| {
            let (label, rest) = row.split_once("</dt><dd>").unwrap();
            (label, rest.split_once("</dd></div>").unwrap().0)
        })
        .collect()
}

#[test]
fn everything_that_is_known_is_shown() {
    let page = page(&settings(FULL), BUILD);
    let link = |address| format!("<a href=\"{address}\" rel=\"noopener noreferrer\">{address}</a>");
    let expected = [
        (
            "Server version",
            "1.2.3 / <a href=\"https://example.org/source/commit/0123456789abcdef\">0123456</a>"
                .to_owned(),
        ),
        ("Source code", link("https://example.org/source")),
        ("Web site", link("https://example.org")),
        ("Usage conditions", link("https://example.org/conditions")),
        ("Amendments", link("https://example.org/amendments")),
        ("Operator", "Anna &amp; Söhne &lt;b&gt; (SE)".to_owned()),
        (
            "Administrator",
            format!(
                "SimpleX: {}<br>Email: <a href=\"mailto:admin@example.org\">admin@example.org</a>\
                 <br>PGP: {}, fingerprint <code>0123 4567</code>",
                link("https://smp.example.org/a#abc"),
                link("https://example.org/key")
            ),
        ),
        (
            "Complaints and feedback",
            "Email: <a href=\"mailto:&quot;complaints&quot;@example.org\">\
             &quot;complaints&quot;@example.org</a>"
                .to_owned(),
        ),
        ("Hosting provider", "Hoster".to_owned()),
        ("Hosting type", "Colocation".to_owned()),
        ("Server country", "DE".to_owned()),
        ("Persistence", "Queues".to_owned()),
        ("Message expiration", "21 days".to_owned()),
        ("Stats enabled", "Yes".to_owned()),
        ("New queues allowed", "Yes".to_owned()),
        ("Basic auth enabled", "Yes".to_owned()),
    ];
    let expected: Vec<_> = expected.iter().map(|(l, v)| (*l, v.as_str())).collect();
    assert_eq!(rows(&page), expected);
    let onion = "<meta http-equiv=\"onion-location\" content=\"http://abc.onion\">";
    assert!(page.contains(onion));
    assert!(!page.contains("secret") && !page.contains("{{"));
}

#[test]
fn without_source_code_the_page_asks_for_it() {
    let page = page(&settings("[TRANSPORT]\nport = 5223\n"), BUILD);
    let expected = [
        ("Server version", "1.2.3 / 0123456"),
        ("Persistence", "In-memory only"),
        ("Message expiration", "21 days"),
        ("Stats enabled", "No"),
        ("New queues allowed", "Yes"),
        ("Basic auth enabled", "No"),
    ];
    assert_eq!(rows(&page), expected);
    assert!(page.contains("Please add <code>source_code</code>"));
    assert!(!page.contains("onion"));
}

#[test]
fn only_safe_addresses_become_links() {
    let hostile = "[INFORMATION]\nsource_code = javascript:alert(1)\n\
                   website = https://example.org/\"onmouseover='x'\n[TRANSPORT]\nport = 5223\n\
                   host = a\"><script>.onion\n";
    let page = page(&settings(hostile), BUILD);
    assert!(page.contains("<dd>javascript:alert(1)</dd>"));
    assert!(page.contains("href=\"https://example.org/&quot;onmouseover=&#39;x&#39;\""));
    assert!(!page.contains("<script"));
}

#[test]
fn values_are_not_templates() {
    assert_eq!(
        fill("a {{b}} {{c}}{{d}}", &[("b", "{{c}}"), ("c", "1")]),
        "a {{c}} 1"
    );
    assert_eq!(fill("{{open", &[("open", "x")]), "x");
}

#[test]
fn durations_in_words() {
    const DAY: u64 = 86_400;
    for (seconds, words) in [
        (0, "0 sec"),
        (1, "1 sec"),
        (60, "1 min"),
        (3_600, "1 hour"),
        (7_325, "2 hours 2 min 5 sec"),
        (DAY, "1 day"),
        (7 * DAY, "1 week"),
        (14 * DAY, "2 weeks"),
        (21 * DAY, "21 days"),
        (30 * DAY, "1 month"),
        (67 * DAY + 3_600, "2 months 1 week 1 hour"),
    ] {
        assert_eq!(in_words(Duration::from_secs(seconds)), words);
    }
}

#[test]
fn an_unknown_commit_is_not_shown() {
    let build = Build {
        commit: "",
        ..BUILD
    };
    let page = page(&settings(FULL), build);
    assert_eq!(rows(&page)[0], ("Server version", "1.2.3"));
}

#[test]
fn of_long_addresses_the_beginning_is_shown() {
    let address = format!("simplex:/contact#/?v=2&smp={}%3D&ä=1", "x".repeat(60));
    assert!(!link(&address).contains('…'));
    let longer = format!("{address}&more={}", "y".repeat(50));
    let shown: String = longer.chars().take(ADDRESS_LEN).collect();
    let expected = format!(
        "<a href=\"{}\" rel=\"noopener noreferrer\">{}…</a>",
        escape(&longer),
        escape(&shown)
    );
    assert_eq!(link(&longer), expected);
    // Not even half of a character is shown.
    let umlauts = format!("https://{}", "ä".repeat(93));
    assert!(link(&umlauts).contains(&format!(">https://{}…<", "ä".repeat(92))));
}
