//! Reading instants: which spellings count as a time, and what a local time without an offset means.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::fmt::{strtime, temporal::Pieces};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::source::{At, Unit};

/// 1900-01-01T00:00:00Z in microseconds since 1970.
const FIRST: i64 = -2_208_988_800_000_000;
/// 2200-01-01T00:00:00Z in microseconds since 1970.
const END: i64 = 7_258_118_400_000_000;

/// A local time that the clock skipped or showed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seam {
    /// Skipped; read as if the clock had not been moved, which is after the gap.
    Gap,
    /// Shown twice; read as the first of the two.
    Fold,
}

/// Why a value is no usable instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not spelled like a time.
    Spelling,
    /// It is before 1900 or not before 2200.
    Range,
}

/// Microseconds since 1970 and the seam that the local time fell into.
pub(crate) type Instant = (i64, Option<Seam>);

/// Refuses instants outside 1900..2200, which are slips of the unit or of the century.
pub(crate) fn in_range(micros: i64) -> Result<i64, Fault> {
    if (FIRST..END).contains(&micros) { Ok(micros) } else { Err(Fault::Range) }
}

/// A count of `unit` since 1970.
pub(crate) fn from_number(number: i64, unit: Unit) -> Result<i64, Fault> {
    let scale = match unit {
        Unit::Second => 1_000_000,
        Unit::Millisecond => 1_000,
        Unit::Microsecond => 1,
    };
    number.checked_mul(scale).ok_or(Fault::Range).and_then(in_range)
}

/// A clock reading in `zone`. Gaps and folds are resolved the way RFC 5545 calendars do ("compatible").
pub(crate) fn from_local(local: DateTime, zone: &TimeZone) -> Result<Instant, Fault> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let seam = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => None,
        AmbiguousOffset::Gap { .. } => Some(Seam::Gap),
        AmbiguousOffset::Fold { .. } => Some(Seam::Fold),
    };
    let instant = ambiguous.compatible().map_err(|_| Fault::Range)?;
    Ok((in_range(instant.as_microsecond())?, seam))
}

/// Microseconds of a clock reading since 1970 on that clock, taken as a reading in `zone`.
pub(crate) fn from_local_micros(micros: i64, zone: &TimeZone) -> Result<Instant, Fault> {
    if *zone == TimeZone::UTC {
        return Ok((in_range(micros)?, None));
    }
    let clock = Timestamp::from_microsecond(micros).map_err(|_| Fault::Range)?;
    from_local(TimeZone::UTC.to_datetime(clock), zone)
}

/// A text as `at` says it is to be read.
pub(crate) fn from_text(text: &str, at: &At) -> Result<Instant, Fault> {
    match (&at.format, at.unit) {
        (Some(pattern), _) => from_pattern(text, pattern, &at.stored_as),
        (None, Some(unit)) => {
            let number = text.parse().map_err(|_| Fault::Spelling)?;
            Ok((from_number(number, unit)?, None))
        }
        (None, None) => from_iso(text, &at.stored_as),
    }
}

/// RFC 3339, `YYYY-MM-DD HH:MM:SS[.frac]` with a blank or `T`, or `YYYY-MM-DD`.
fn from_iso(text: &str, zone: &TimeZone) -> Result<Instant, Fault> {
    let bytes = text.as_bytes();
    // The parser also takes `20170101`, which might as well be a number, and zones in brackets.
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') || bytes.contains(&b'[') {
        return Err(Fault::Spelling);
    }
    let pieces = Pieces::parse(text).map_err(|_| Fault::Spelling)?;
    let local = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    match pieces.to_numeric_offset() {
        Some(offset) => {
            let instant = offset.to_timestamp(local).map_err(|_| Fault::Range)?;
            Ok((in_range(instant.as_microsecond())?, None))
        }
        None => from_local(local, zone),
    }
}

fn from_pattern(text: &str, pattern: &str, zone: &TimeZone) -> Result<Instant, Fault> {
    let parsed = strtime::parse(pattern, text).map_err(|_| Fault::Spelling)?;
    if parsed.offset().is_some() || parsed.timestamp().is_some() {
        let instant = parsed.to_timestamp().map_err(|_| Fault::Spelling)?;
        return Ok((in_range(instant.as_microsecond())?, None));
    }
    let local = match parsed.to_datetime() {
        Ok(local) => local,
        Err(_) => parsed.to_date().map_err(|_| Fault::Spelling)?.to_datetime(Time::midnight()),
    };
    from_local(local, zone)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(format: Option<&str>, unit: Option<Unit>) -> At {
        let stored_as = TimeZone::get("America/New_York").unwrap();
        At { column: "t".to_owned(), stored_as, format: format.map(str::to_owned), unit }
    }

    fn iso(text: &str) -> Result<(String, Option<Seam>), Fault> {
        let (micros, seam) = from_text(text, &at(None, None))?;
        Ok((Timestamp::from_microsecond(micros).unwrap().to_string(), seam))
    }

    #[test]
    fn spellings_of_one_instant() {
        for text in
            ["2017-07-01T08:00:00-04:00", "2017-07-01 08:00:00", "2017-07-01T08:00:00.000", "2017-07-01T12:00:00Z"]
        {
            assert_eq!(iso(text), Ok(("2017-07-01T12:00:00Z".to_owned(), None)), "{text}");
        }
        assert_eq!(iso("2017-07-01"), Ok(("2017-07-01T04:00:00Z".to_owned(), None)));
    }

    #[test]
    fn no_times() {
        for text in
            ["", "20170701", "2017-13-01", "2017-07-01T12:00:00Z[UTC]", "yesterday", "1483228800", "2017-07-01x"]
        {
            assert_eq!(iso(text), Err(Fault::Spelling), "{text}");
        }
    }

    #[test]
    fn a_skipped_hour_is_moved_on_and_a_repeated_one_is_the_first() {
        assert_eq!(iso("2017-03-12 02:30:00"), Ok(("2017-03-12T07:30:00Z".to_owned(), Some(Seam::Gap))));
        assert_eq!(iso("2017-11-05 01:30:00"), Ok(("2017-11-05T05:30:00Z".to_owned(), Some(Seam::Fold))));
    }

    #[test]
    fn the_range_is_1900_to_2200() {
        assert_eq!(iso("1899-12-31T23:59:59Z"), Err(Fault::Range));
        assert_eq!(iso("2200-01-01T00:00:00Z"), Err(Fault::Range));
        assert!(iso("1900-01-01T00:00:00Z").is_ok() && iso("2199-12-31T23:59:59Z").is_ok());
    }

    #[test]
    fn numbers_need_their_unit() {
        assert_eq!(from_text("1483228800", &at(None, Some(Unit::Second))), Ok((1_483_228_800_000_000, None)));
        assert_eq!(from_text("1483228800", &at(None, Some(Unit::Millisecond))), Ok((1_483_228_800_000, None)));
        assert_eq!(from_text("1483228800000000", &at(None, Some(Unit::Second))), Err(Fault::Range));
    }

    #[test]
    fn patterns() {
        let read = |text: &str, pattern| from_text(text, &at(Some(pattern), None));
        assert_eq!(read("01.07.2017", "%d.%m.%Y"), Ok((1_498_881_600_000_000, None)));
        assert_eq!(read("07/01/2017 12:00 +0000", "%m/%d/%Y %H:%M %z"), Ok((1_498_910_400_000_000, None)));
        assert_eq!(read("2017-07-01", "%d.%m.%Y"), Err(Fault::Spelling));
    }
}
