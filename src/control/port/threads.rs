//! Threads of the process (spec: operations §3.3).

use std::fmt::Write;

/// A thread as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRow {
    id: u32,
    name: String,
    state: char,
}

impl ThreadRow {
    /// Reads the text of `/proc/self/task/<id>/stat`.
    pub fn parse(stat: &str) -> Option<Self> {
        // A name may have any characters.
        let (id, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        Some(Self {
            id: id.parse().ok()?,
            name: name.to_owned(),
            state: rest.chars().next()?,
        })
    }
}

/// The answer to `threads`.
pub fn threads(rows: &[ThreadRow]) -> String {
    let mut out = format!("Threads: {}\n", rows.len());
    for ThreadRow { id, name, state } in rows {
        let state = match state {
            'R' => "ThreadRunning",
            'Z' | 'X' => "ThreadFinished",
            'D' => "ThreadBlocked BlockedOnDisk",
            _ => "ThreadBlocked BlockedOnKernel",
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "ThreadId {id} ({state}) {name}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_read_and_shown() {
        let rows: Vec<_> = ["17 (shard-0) R 1 2 3", "18 (a) b (c) S 1", "torn", "19 (x"]
            .into_iter()
            .filter_map(ThreadRow::parse)
            .collect();
        assert_eq!(
            threads(&rows),
            "Threads: 2\nThreadId 17 (ThreadRunning) shard-0\n\
             ThreadId 18 (ThreadBlocked BlockedOnKernel) a) b (c\n"
        );
    }
}
