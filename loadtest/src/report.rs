//! The result of a run: a table for people, a CSV row for machines.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;

use crate::server_process::BothUsages;

/// Longest latency told apart.
const MAX_LATENCY_NS: u64 = 600_000_000_000;

/// Latencies with three significant digits, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3);
        Self(histogram.expect("constant bounds are valid"))
    }
}

impl Latency {
    /// Records one duration; those above ten minutes count as ten minutes.
    pub fn record(&mut self, duration: Duration) {
        self.record_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns.clamp(1, MAX_LATENCY_NS));
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        // The same bounds everywhere, so adding cannot fail.
        let _ = self.0.add(&other.0);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds at a quantile of 0 to 1; 0 when nothing was recorded.
    pub fn millis(&self, quantile: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// The longest, in milliseconds.
    pub fn max_millis(&self) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.max() as f64 / 1e6
    }
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

enum Line {
    Value {
        name: String,
        value: String,
        unit: &'static str,
    },
    Latency {
        name: String,
        values: [String; 5],
    },
}

/// Named results in the order they were added.
pub struct Report {
    scenario: &'static str,
    lines: Vec<Line>,
}

impl Report {
    /// An empty report.
    pub fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            lines: Vec::new(),
        }
    }

    /// Adds a text or whole number.
    pub fn value(&mut self, name: &str, value: impl ToString, unit: &'static str) {
        self.lines.push(Line::Value {
            name: name.to_owned(),
            value: value.to_string(),
            unit,
        });
    }

    /// Adds a measured number, shown with as many digits as it deserves.
    pub fn measured(&mut self, name: &str, value: f64, unit: &'static str) {
        let value = if !value.is_finite() {
            String::new()
        } else if value.abs() >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.3}")
        };
        self.value(name, value, unit);
    }

    /// Adds the quantiles of latencies, in milliseconds.
    pub fn latency(&mut self, name: &str, latency: &Latency) {
        let [p50, p90, p99, p999] = QUANTILES.map(|(_, q)| format!("{:.3}", latency.millis(q)));
        let max = format!("{:.3}", latency.max_millis());
        self.lines.push(Line::Latency {
            name: name.to_owned(),
            values: [p50, p90, p99, p999, max],
        });
    }

    /// Adds what both ends used, for the server also for each of `count` things called `what`;
    /// empty values when it was not measured, so that a CSV file keeps its columns.
    pub fn usage(&mut self, usage: Option<BothUsages>, count: u64, what: &str) {
        let per = format!("server CPU per {what}");
        let cores = usage.map_or(f64::NAN, |u| u.own.cores());
        self.measured("generator cores busy", cores, "");
        let Some(usage) = usage.and_then(|u| u.server) else {
            self.value("server cores busy", "", "");
            self.value("server CPU", "", "s");
            self.value(&per, "", "µs");
            self.value("server peak RSS", "", "MiB");
            return;
        };
        let cpu = usage.cpu.as_secs_f64();
        self.measured("server cores busy", usage.cores(), "");
        self.measured("server CPU", cpu, "s");
        self.measured(&per, cpu * 1e6 / count as f64, "µs");
        self.measured(
            "server peak RSS",
            usage.peak_resident as f64 / f64::from(1 << 20),
            "MiB",
        );
    }

    /// The table.
    pub fn table(&self) -> String {
        let name_of = |line: &Line| match line {
            Line::Value { name, .. } | Line::Latency { name, .. } => name.chars().count(),
        };
        let width = self.lines.iter().map(name_of).max().unwrap_or(0);
        let mut out = format!("{}\n", self.scenario);
        let mut heading = false;
        for line in &self.lines {
            // Writing to a String cannot fail.
            let _ = match line {
                Line::Value { value, .. } if value.is_empty() => Ok(()),
                Line::Value { name, value, unit } => {
                    heading = false;
                    writeln!(out, "  {name:width$} {value:>12} {unit}")
                }
                Line::Latency { name, values } => {
                    if !heading {
                        heading = true;
                        let [a, b, c, d] = QUANTILES.map(|q| q.0);
                        let _ = writeln!(
                            out,
                            "  {:width$} {a:>12} {b:>12} {c:>12} {d:>12} {:>12}",
                            "", "max"
                        );
                    }
                    let [a, b, c, d, e] = values;
                    writeln!(
                        out,
                        "  {name:width$} {a:>12} {b:>12} {c:>12} {d:>12} {e:>12} ms"
                    )
                }
            };
        }
        out
    }

    fn columns(&self) -> Vec<(String, String)> {
        let mut columns = Vec::new();
        for line in &self.lines {
            match line {
                Line::Value { name, value, unit } => {
                    let name = match *unit {
                        "" => name.clone(),
                        unit => format!("{name} [{unit}]"),
                    };
                    columns.push((name, value.clone()));
                }
                Line::Latency { name, values } => {
                    let labels = QUANTILES.iter().map(|q| q.0).chain(["max"]);
                    for (label, value) in labels.zip(values) {
                        columns.push((format!("{name} {label} [ms]"), value.clone()));
                    }
                }
            }
        }
        columns
    }

    /// Appends a row to a CSV file, with a header when the file is new or empty. Refuses a file
    /// with other columns.
    pub fn append_csv(&self, path: &Path, command_line: &str) -> Result<()> {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let mut columns = vec![
            ("time".to_owned(), seconds.to_string()),
            ("scenario".to_owned(), self.scenario.to_owned()),
            ("command".to_owned(), command_line.to_owned()),
        ];
        columns.extend(self.columns());
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();

        let context = || format!("cannot write {}", path.display());
        let existing = path.metadata().is_ok_and(|m| m.len() > 0);
        if existing {
            let mut reader = csv::Reader::from_path(path).with_context(context)?;
            if reader.headers().with_context(context)? != names {
                bail!("{} has other columns", path.display());
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(context)?;
        let mut writer = csv::Writer::from_writer(file);
        if !existing {
            writer.write_record(&names).with_context(context)?;
        }
        writer.write_record(&values).with_context(context)?;
        writer.flush().with_context(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut latency = Latency::default();
        for ms in 1..=1000 {
            latency.record(Duration::from_millis(ms));
        }
        let mut report = Report::new("test");
        report.value("delivered", 1000, "");
        report.measured("rate", 12.3456, "/s");
        report.latency("SEND to OK", &latency);
        report.usage(None, 1, "message");
        report
    }

    #[test]
    fn quantiles_have_three_digits() {
        let mut all = Latency::default();
        let mut part = Latency::default();
        for us in 1..=500 {
            all.record(Duration::from_micros(us * 1000));
            part.record(Duration::from_micros((us + 500) * 1000));
        }
        all.merge(&part);
        assert_eq!(all.count(), 1000);
        assert!((all.millis(0.5) - 500.0).abs() <= 1.0);
        assert!((all.millis(0.999) - 999.0).abs() <= 2.0);
        assert!((all.max_millis() - 1000.0).abs() <= 2.0);
        assert_eq!(Latency::default().millis(0.99), 0.0);
        all.record(Duration::MAX);
        assert!(all.max_millis() >= 600_000.0);
    }

    #[test]
    fn table_has_a_line_per_result() {
        let table = report().table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[1].contains("delivered") && lines[1].contains("1000"));
        assert!(lines[2].contains("12.346 /s"));
        assert!(lines[3].contains("p99.9"));
        assert!(lines[4].contains("SEND to OK"));
    }

    #[test]
    fn csv_gets_one_header_and_refuses_other_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.csv");
        report().append_csv(&path, "loadtest x").unwrap();
        report().append_csv(&path, "loadtest, y").unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        assert_eq!(reader.headers().unwrap().len(), 15);
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(&rows[1][2], "loadtest, y");
        assert_eq!(&rows[0][4], "12.346");

        assert!(Report::new("other").append_csv(&path, "").is_err());
    }
}
