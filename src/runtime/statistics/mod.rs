//! Statistics outlive the process: the control executor keeps them in their files.

mod daily_log;
mod keeper;
mod record_file;

/// Name of the file of metrics, in the state directory; the reference writes the same.
pub const METRICS_FILE: &str = "smp-server-metrics.txt";

pub use daily_log::DAILY_LOG;
pub use keeper::{StatisticsFiles, keep, save};
pub use record_file::{FILE as RECORD_FILE, RecordFile, RecordFileError};
