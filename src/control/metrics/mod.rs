//! Metrics in the text format of Prometheus: those of the reference by its names
//! (spec: operations §5), and this relay's own.
//!
//! Everything is in the [`Overview`]; each shard is looked at once.

mod counted;
mod live;
mod relay;
mod text;

use super::overview::Overview;
use super::port::ProcessFacts;
use crate::store::reference::time_text;
use std::fmt;
use text::Text;

const NANOS_PER_MS: i64 = 1_000_000;

/// What metrics tell of the process.
#[derive(Debug, Clone)]
pub struct About {
    /// Version of the server.
    pub version: String,
    /// What the operator has told about the runtime, if anything.
    pub rts_options: Option<String>,
}

/// Whether samples have the time of the overview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// They have, in milliseconds, as in the file of the reference.
    Written,
    /// They have not: whoever asks over HTTP knows the time.
    Omitted,
}

/// All metrics.
pub fn render(
    overview: &Overview,
    about: &About,
    process: &ProcessFacts,
    stamps: Stamps,
) -> String {
    let stamp = match stamps {
        Stamps::Written => format!(" {}", overview.now_ns.div_euclid(NANOS_PER_MS)),
        Stamps::Omitted => String::new(),
    };
    let mut text = Text::new(stamp);
    text.comment("Recorded at", &time_text::format(overview.now_ns));
    text.comment("Stats from", &time_text::format(overview.from_time_ns));
    write_families(&mut text, counted::COUNTED, overview);
    live::write(&mut text, overview, about);
    relay::write(&mut text, overview, process);
    text.into_string()
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It grows, but for restarts and rows of daily statistics.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Numbers by upper bound.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A metric of the reference with its samples.
struct Family {
    /// Name, behind the prefix.
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: &'static [Sample],
}

/// Labels, and where the value is.
type Sample = (&'static str, fn(&Overview) -> u64);

macro_rules! families {
    ($($(#[$doc:meta])* $table:ident {
        $($name:ident $kind:ident $help:literal {
            $($labels:literal: |$o:pat_param| $value:expr;)+
        })+
    })+) => {
        $(
            $(#[$doc])*
            pub(super) static $table: &[Family] = &[$(Family {
                name: stringify!($name),
                kind: $kind,
                help: $help,
                samples: &[$(($labels, |$o| $value)),+],
            }),+];
        )+
    };
}
use families;

/// Prefix of the reference's names.
const REFERENCE: &str = "simplex_smp_";

fn write_families(text: &mut Text, families: &[Family], overview: &Overview) {
    for family in families {
        let name = format!("{REFERENCE}{}", family.name);
        text.family(&name, family.kind, family.help);
        for (labels, value) in family.samples {
            text.sample(&name, labels, value(overview));
        }
    }
}

#[cfg(test)]
mod tests;
