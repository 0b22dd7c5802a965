//! Whether this machine lets the relay run.

use super::placement;
use super::server::{IO_MEMORY, RunError, shard_count};
use crate::config::Settings;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use io_uring::IoUring;
use std::thread;

/// Whether the kernel gives this process an io_uring: where it does not, executors panic.
pub(super) fn check_io_uring() -> Result<(), RunError> {
    match IoUring::new(1) {
        Ok(_) => Ok(()),
        Err(error) => Err(RunError::Executor(format!("io_uring: {error}"))),
    }
}

/// Makes as many executors as a start would, all at the same time, and gives their number.
pub fn try_executors(settings: &Settings) -> Result<u16, RunError> {
    check_io_uring()?;
    let shards = shard_count(settings, placement::allowed_cores().len());
    let make = move || -> Result<(), RunError> {
        let executors = (0..shards).map(|_| {
            let builder = LocalExecutorBuilder::new(Placement::Unbound);
            builder.io_memory(IO_MEMORY).make()
        });
        executors.collect::<Result<Vec<LocalExecutor>, _>>()?;
        Ok(())
    };
    // What forbids an executor may end the thread that makes it.
    let made = thread::spawn(make).join();
    made.unwrap_or_else(|_| Err(RunError::Executor("io_uring is too old".to_owned())))?;
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ini::IniFile;

    #[test]
    fn io_uring_can_be_used_for_tests() {
        check_io_uring().unwrap();
    }

    #[test]
    fn executors_can_be_made_for_tests() {
        let text = "[TRANSPORT]\nport = 0\n[RELAY]\nshards = 3\n";
        let settings = Settings::from_ini(&IniFile::parse(text).unwrap()).unwrap();
        assert_eq!(try_executors(&settings).unwrap(), 3);
    }
}
