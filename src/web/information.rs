//! The page about this server (spec: operations §4.5).

use crate::config::Settings;
use crate::config::settings::{Contact, Entity, Information};
use crate::config::values::HostingType;
use std::borrow::Cow;
use std::time::Duration;

const PAGE: &str = include_str!("assets/index.html");

/// Characters of the commit that are shown.
const COMMIT_LEN: usize = 7;
/// Characters of an address that are shown: of long ones, the beginning.
const ADDRESS_LEN: usize = 100;

/// What was built.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Version.
    pub version: &'static str,
    /// Commit; empty when unknown.
    pub commit: &'static str,
}

impl Build {
    /// The commit as it is shown.
    pub fn short_commit(&self) -> &'static str {
        self.commit.get(..COMMIT_LEN).unwrap_or(self.commit)
    }
}

/// The page, complete.
pub fn page(settings: &Settings, build: Build) -> String {
    let onion = onion_host(settings).map_or_else(String::new, |host| {
        let host = escape(host);
        format!("<meta http-equiv=\"onion-location\" content=\"http://{host}\">\n")
    });
    fill(
        PAGE,
        &[
            ("onion", &onion),
            ("information", &information(settings, build)),
            ("configuration", &configuration(settings)),
        ],
    )
}

/// Replaces each `{{name}}` by its value; what stands in values is not looked at.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        let value = values.iter().find(|(known, _)| *known == name);
        page.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    page + rest
}

/// The first `.onion` host of the server's address.
fn onion_host(settings: &Settings) -> Option<&str> {
    let hosts = settings.transport.address_host().split(',');
    hosts.map(str::trim).find(|host| host.ends_with(".onion"))
}

/// Rows of a table, as they are added.
struct Rows(String);

impl Rows {
    fn new() -> Self {
        Self("<dl>\n".to_owned())
    }

    /// A row whose value is HTML already.
    fn add(&mut self, label: &str, html: &str) {
        let row = format!("<div><dt>{label}</dt><dd>{html}</dd></div>\n");
        self.0.push_str(&row);
    }

    fn add_link(&mut self, label: &str, address: Option<&str>) {
        if let Some(address) = address {
            self.add(label, &link(address));
        }
    }

    fn add_entity(&mut self, label: &str, entity: Option<&Entity>) {
        if let Some(Entity { name, country }) = entity {
            let country = country.as_ref().map(|code| format!(" ({code})"));
            let text = format!("{name}{}", country.unwrap_or_default());
            self.add(label, &escape(&text));
        }
    }

    fn add_contact(&mut self, label: &str, contact: Option<&Contact>) {
        let Some(contact) = contact else { return };
        let simplex = contact.simplex.as_deref().map(link);
        let email = contact.email.as_deref().map(|address| {
            let address = escape(address);
            format!("<a href=\"mailto:{address}\">{address}</a>")
        });
        let pgp = contact.pgp.as_ref().map(|pgp| {
            let fingerprint = escape(&pgp.fingerprint);
            format!("{}, fingerprint <code>{fingerprint}</code>", link(&pgp.uri))
        });
        let ways = [("SimpleX", simplex), ("Email", email), ("PGP", pgp)];
        let lines: Vec<_> = ways
            .into_iter()
            .filter_map(|(way, value)| Some(format!("{way}: {}", value?)))
            .collect();
        self.add(label, &lines.join("<br>"));
    }

    fn end(self) -> String {
        self.0 + "</dl>\n"
    }
}

fn information(settings: &Settings, build: Build) -> String {
    let information = settings.information.as_ref();
    let source_code = information.map(|information| &*information.source_code);
    let mut rows = Rows::new();
    rows.add("Server version", &version(build, source_code));
    let Some(information) = information else {
        return rows.end()
            + "<p class=\"notice\">The operator has not said where the source code is. Please add \
               <code>source_code</code> to section <code>[INFORMATION]</code> of \
               <code>smp-server.ini</code>.</p>\n";
    };
    rows.add_link("Source code", Some(&information.source_code));
    add_public(&mut rows, information);
    rows.end()
}

fn add_public(rows: &mut Rows, information: &Information) {
    let conditions = information.conditions.as_ref();
    rows.add_link("Web site", information.website.as_deref());
    rows.add_link("Usage conditions", conditions.map(|it| &*it.conditions));
    let amendments = conditions.and_then(|it| it.amendments.as_deref());
    rows.add_link("Amendments", amendments);
    rows.add_entity("Operator", information.operator.as_ref());
    rows.add_contact("Administrator", information.admin.as_ref());
    rows.add_contact("Complaints and feedback", information.complaints.as_ref());
    rows.add_entity("Hosting provider", information.hosting.as_ref());
    if let Some(kind) = information.hosting_type {
        rows.add("Hosting type", hosting_type(kind));
    }
    if let Some(country) = &information.server_country {
        rows.add("Server country", &escape(country));
    }
}

fn configuration(settings: &Settings) -> String {
    let yes_no = |is| if is { "Yes" } else { "No" };
    let (storage, auth) = (&settings.storage, &settings.auth);
    let persistence = match (storage.enable, storage.restore_messages) {
        (false, _) => "In-memory only",
        (true, false) => "Queues",
        (true, true) => "Queues and messages",
    };
    let mut rows = Rows::new();
    rows.add("Persistence", persistence);
    rows.add("Message expiration", &in_words(storage.messages.ttl));
    rows.add("Stats enabled", yes_no(storage.log_stats));
    rows.add("New queues allowed", yes_no(auth.new_queues));
    rows.add("Basic auth enabled", yes_no(auth.create_password.is_some()));
    rows.end()
}

fn version(build: Build, source_code: Option<&str>) -> String {
    let (version, commit, short) = (build.version, build.commit, build.short_commit());
    match source_code {
        _ if commit.is_empty() => version.to_owned(),
        Some(source) if is_web_address(source) => {
            let source = escape(source.trim_end_matches('/'));
            format!("{version} / <a href=\"{source}/commit/{commit}\">{short}</a>")
        }
        _ => format!("{version} / {short}"),
    }
}

fn hosting_type(kind: HostingType) -> &'static str {
    match kind {
        HostingType::Virtual => "Virtual",
        HostingType::Dedicated => "Dedicated",
        HostingType::Colocation => "Colocation",
        HostingType::Owned => "Owned",
    }
}

/// A duration as the reference writes it: months of 30 days, days, hours, min and sec.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let plural = |count, unit| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let days = |count| match count {
        7 => "1 week".to_owned(),
        14 => "2 weeks".to_owned(),
        count => plural(count, "day"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let parts = [
        (hours / 720, plural(hours / 720, "month")),
        (hours / 24 % 30, days(hours / 24 % 30)),
        (hours % 24, plural(hours % 24, "hour")),
        (minutes % 60, format!("{} min", minutes % 60)),
        (seconds % 60, format!("{} sec", seconds % 60)),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).collect();
    if parts.is_empty() {
        return "0 sec".to_owned();
    }
    let words: Vec<_> = parts.into_iter().map(|(_, words)| words).collect();
    words.join(" ")
}

fn is_web_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// A link, or plain text when it is not an address that is safe to follow.
fn link(address: &str) -> String {
    let target = escape(address);
    if is_web_address(address) || address.starts_with("simplex:") {
        let text = match address.char_indices().nth(ADDRESS_LEN) {
            Some((end, _)) => format!("{}…", escape(address.get(..end).unwrap_or(address))),
            None => target.to_string(),
        };
        format!("<a href=\"{target}\" rel=\"noopener noreferrer\">{text}</a>")
    } else {
        target.into_owned()
    }
}

/// Text as HTML, also within quoted attributes.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut html = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    Cow::Owned(html)
}

#[cfg(test)]
mod tests;
