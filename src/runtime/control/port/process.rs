//! The process as the kernel shows it. Its files are small and made of memory.

use crate::control::port::{ProcessFacts, ThreadRow};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{Duration, Instant};

/// Memory and time used by a process that started at this time.
pub fn facts(started: Instant) -> ProcessFacts {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let mut facts = ProcessFacts {
        cpu: Duration::try_from(cpu).unwrap_or_default(),
        elapsed: started.elapsed(),
        ..ProcessFacts::default()
    };
    facts.read_memory(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    facts
}

/// The threads, by their numbers.
pub fn threads() -> Vec<ThreadRow> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let row = |task: fs::DirEntry| {
        // A thread may have ended meanwhile.
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        ThreadRow::parse(&stat)
    };
    tasks.flatten().filter_map(row).collect()
}
