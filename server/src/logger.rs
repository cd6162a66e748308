//! The server's log, in the lines that Redis's users and tools know: `pid:M 23 Nov 2026 06:25:08.123 * message`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How much a line matters; `loglevel` sets the least that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// For developers.
    Debug,
    /// Rarely useful, but not a mess.
    Verbose,
    /// What one wants in production.
    #[default]
    Notice,
    /// Only what is important.
    Warning,
}

impl Level {
    fn mark(self) -> char {
        match self {
            Level::Debug => '.',
            Level::Verbose => '-',
            Level::Notice => '*',
            Level::Warning => '#',
        }
    }
}

/// Where the lines go.
#[derive(Debug)]
pub struct Logger {
    least: Level,
    file: Option<(PathBuf, File)>,
}

impl Logger {
    /// Writes to `path` (appending), or to standard output when it is empty.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, least: Level) -> io::Result<Self> {
        let file = if path.as_os_str().is_empty() {
            None
        } else {
            Some((path.to_owned(), OpenOptions::new().append(true).create(true).open(path)?))
        };
        Ok(Logger { least, file })
    }

    /// Sets the least level that is written.
    pub fn set_level(&mut self, least: Level) {
        self.least = least;
    }

    /// Opens the file again, after log rotation has moved it away (SIGHUP).
    pub fn reopen(&mut self) {
        if let Some((path, file)) = &mut self.file
            && let Ok(fresh) = OpenOptions::new().append(true).create(true).open(path)
        {
            *file = fresh;
        }
    }

    /// Writes one line. A log that cannot be written is no reason to stop serving.
    pub fn log(&mut self, level: Level, message: &str) {
        if level < self.least {
            return;
        }
        let line =
            format!("{}:M {} {} {message}\n", std::process::id(), timestamp(SystemTime::now()), level.mark());
        self.raw(&line);
    }

    /// Writes text as it is: the banner.
    pub fn raw(&mut self, text: &str) {
        let _ = match &mut self.file {
            Some((_, file)) => file.write_all(text.as_bytes()),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }
}

/// `23 Nov 2026 06:25:08.123`, in UTC.
fn timestamp(now: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    format!(
        "{day:02} {} {year} {:02}:{:02}:{:02}.{:03}",
        MONTHS[month - 1],
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// Year, month (1..=12) and day of the Gregorian calendar, from days since 1970-01-01. The year is counted from March,
/// so that the leap day is its last.
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_follow_the_calendar() {
        for (seconds, expected) in [
            (0, "01 Jan 1970 00:00:00.000"),
            (951_782_399, "28 Feb 2000 23:59:59.000"),
            (951_782_400, "29 Feb 2000 00:00:00.000"),
            (1_795_415_108, "23 Nov 2026 06:25:08.000"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
