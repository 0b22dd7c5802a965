//! Points in time as ISO 8601 text, as the statistics file has them.

use time::{Date, Month, OffsetDateTime, Time};

/// Digits of a second's fraction that matter: the clock has nanoseconds.
const FRACTION_DIGITS: usize = 9;

/// Nanoseconds since the Unix epoch of `2026-11-22T16:18:38[.867823562]Z`; digits beyond
/// nanoseconds are dropped.
pub fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, parse_fraction(fraction)?),
        None => (time, 0),
    };
    let [hour, minute, second] = numbers(time, ':')?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(year.try_into().ok()?, month, day.try_into().ok()?).ok()?;
    let time = Time::from_hms_nano(
        hour.try_into().ok()?,
        minute.try_into().ok()?,
        second.try_into().ok()?,
        fraction,
    )
    .ok()?;
    let nanos = date.with_time(time).assume_utc().unix_timestamp_nanos();
    i64::try_from(nanos).ok()
}

fn numbers(text: &str, separator: char) -> Option<[u32; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let plain = part.len() >= 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| plain)
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn parse_fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = digits.get(..digits.len().min(FRACTION_DIGITS))?;
    format!("{kept:0<FRACTION_DIGITS$}").parse().ok()
}

/// The text of nanoseconds since the Unix epoch, without zeros at the end of a fraction.
pub fn format(nanos: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos.into())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let fraction = match time.nanosecond() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    let (hour, minute, second) = time.to_hms();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}
