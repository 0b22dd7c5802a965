//! The file of daily statistics: rows are added, each once, whenever the process ends.

use crate::control::PendingRows;
use crate::control::daily;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Name of the file, in the state directory; the reference writes the same.
pub const DAILY_LOG: &str = "smp-server-stats.daily.log";

/// The file.
#[derive(Debug, Clone)]
pub struct DailyLog {
    directory: PathBuf,
    /// Whether a new file begins with a line of column names.
    header: bool,
}

impl DailyLog {
    /// The file of a state directory.
    pub fn of(state: &Path, header: bool) -> Self {
        Self {
            directory: state.to_owned(),
            header,
        }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.directory.join(DAILY_LOG))
    }

    /// The end of the file, with what must come before a row.
    pub fn end(&self) -> io::Result<PendingRows> {
        let mut file = self.open()?;
        let offset = file.metadata()?.len();
        let text = if offset == 0 && self.header {
            format!("{}\n", daily::header())
        } else {
            line_break(&mut file, offset)?.to_owned()
        };
        Ok(PendingRows { offset, text })
    }

    /// Writes rows where they belong, as far as they are not there; durable when it returns. When
    /// something else is there they are added at the end.
    pub fn write(&self, rows: &PendingRows) -> io::Result<()> {
        let mut file = self.open()?;
        let text = rows.text.as_bytes();
        let mut there = Vec::new();
        file.seek(SeekFrom::Start(rows.offset))?;
        (&file).take(text.len() as u64).read_to_end(&mut there)?;
        let len = file.metadata()?.len();
        if let (true, Some(rest)) = (rows.offset <= len, text.strip_prefix(&*there)) {
            file.seek(SeekFrom::Start(rows.offset + there.len() as u64))?;
            file.write_all(rest)?;
        } else {
            let text = rows.text.trim_start_matches('\n');
            let line_break = line_break(&mut file, len)?;
            file.seek(SeekFrom::Start(len))?;
            file.write_all(format!("{line_break}{text}").as_bytes())?;
        }
        file.sync_all()?;
        File::open(&self.directory)?.sync_all()
    }
}

/// What ends the last line of a file of so many bytes, should it have no end.
fn line_break(file: &mut File, len: u64) -> io::Result<&'static str> {
    let Some(last) = len.checked_sub(1) else {
        return Ok("");
    };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(if byte == *b"\n" { "" } else { "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn log(content: &str, header: bool) -> (TempDir, DailyLog) {
        let dir = tempfile::tempdir().unwrap();
        if !content.is_empty() {
            fs::write(dir.path().join(DAILY_LOG), content).unwrap();
        }
        let log = DailyLog::of(dir.path(), header);
        (dir, log)
    }

    fn placed(log: &DailyLog, rows: &[&str]) -> PendingRows {
        let mut placed = log.end().unwrap();
        rows.iter().for_each(|row| placed.add(row));
        placed
    }

    fn content(log: &DailyLog) -> String {
        fs::read_to_string(log.directory.join(DAILY_LOG)).unwrap()
    }

    #[test]
    fn rows_follow_what_is_there() {
        for (before, header, expected) in [
            ("", false, "1,2\n3,4\n".to_owned()),
            ("", true, format!("{}\n1,2\n3,4\n", daily::header())),
            ("0\n", true, "0\n1,2\n3,4\n".to_owned()),
            ("0", false, "0\n1,2\n3,4\n".to_owned()),
        ] {
            let (_dir, log) = log(before, header);
            for row in ["1,2", "3,4"] {
                log.write(&placed(&log, &[row])).unwrap();
            }
            assert_eq!(content(&log), expected);
        }
    }

    #[test]
    fn whatever_part_was_written_each_row_is_there_once() {
        let (_dir, log) = log("0\n", false);
        let rows = placed(&log, &["1,2", "3,4"]);
        for written in 0..=rows.text.len() {
            let part = format!("0\n{}", &rows.text[..written]);
            fs::write(log.directory.join(DAILY_LOG), part).unwrap();
            log.write(&rows).unwrap();
            assert_eq!(content(&log), "0\n1,2\n3,4\n");
            log.write(&rows).unwrap();
            assert_eq!(content(&log), "0\n1,2\n3,4\n");
        }
        // Later rows change nothing about it.
        let later = placed(&log, &["5,6"]);
        log.write(&later).unwrap();
        log.write(&rows).unwrap();
        assert_eq!(content(&log), "0\n1,2\n3,4\n5,6\n");
    }

    #[test]
    fn a_file_that_was_moved_away_or_changed_gets_the_rows_at_its_end() {
        let (_dir, log) = log("a long line\n", false);
        let rows = placed(&log, &["1,2"]);
        for (changed, expected) in [
            ("", "1,2\n"),
            ("short", "short\n1,2\n"),
            (
                "a long line\nand another",
                "a long line\nand another\n1,2\n",
            ),
        ] {
            fs::write(log.directory.join(DAILY_LOG), changed).unwrap();
            log.write(&rows).unwrap();
            assert_eq!(content(&log), expected);
        }
    }
}
