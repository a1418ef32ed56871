//! The day that is looked from, and what time it was where the project is.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::error::{Error, Result};

const DAY: i64 = 86_400_000_000;

/// The first moment that is not looked at, and the offsets of the project's zone before it.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// The day.
    pub date: Date,
    /// Its midnight in the project's zone, in microseconds since 1970: what happens from then on is not seen.
    pub end: i64,
    /// Days from 1970 to the day.
    pub day: i32,
    /// From which microsecond on which offset from UTC counts, in microseconds.
    offsets: Vec<(i64, i64)>,
}

impl Clock {
    /// The clock of someone who looks from the beginning of `date`, to events not before `first` (microseconds).
    pub(crate) fn new(zone: &TimeZone, date: Date, first: i64) -> Result<Clock> {
        let midnight = date.to_zoned_datetime(zone.clone()).map_err(|_| Error::NoEvents)?;
        let end = midnight.timestamp().as_microsecond();
        let start = Timestamp::from_microsecond(first.min(end)).unwrap_or(Timestamp::UNIX_EPOCH);
        let micros = |seconds: i32| i64::from(seconds) * 1_000_000;
        let mut offsets = vec![(i64::MIN, micros(zone.to_offset(start).seconds()))];
        for change in zone.following(start).take_while(|change| change.timestamp().as_microsecond() < end) {
            offsets.push((change.timestamp().as_microsecond(), micros(change.offset().seconds())));
        }
        Ok(Clock { date, end, day: days(date), offsets })
    }

    /// What the clock on the wall showed, in microseconds since its 1970.
    pub(crate) fn local(&self, at: i64) -> i64 {
        let after = self.offsets.partition_point(|(from, _)| *from <= at);
        at + self.offsets[after.saturating_sub(1)].1
    }

    /// Days from 1970 to the local day of a moment.
    pub(crate) fn local_day(&self, at: i64) -> i32 {
        self.local(at).div_euclid(DAY) as i32
    }
}

/// Days from 1970 to a date.
pub(crate) fn days(date: Date) -> i32 {
    let epoch = civil::date(1970, 1, 1);
    epoch.until(date).map_or(0, |span| span.get_days())
}

/// The date so many days after 1970.
pub(crate) fn date(days: i32) -> Date {
    let epoch = civil::date(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().days(i64::from(days))).unwrap_or(epoch)
}

/// The local date of a moment in microseconds.
pub(crate) fn local_date(zone: &TimeZone, at: i64) -> Date {
    let instant = Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    instant.to_zoned_datetime(zone.clone()).date()
}

/// Hour of the day, from 0.
pub(crate) fn hour(local: i64) -> i32 {
    (local.rem_euclid(DAY) / 3_600_000_000) as i32
}

/// Day of the week, Monday as 1.
pub(crate) fn weekday(day: i32) -> i32 {
    // 1970-01-01 was a Thursday.
    (day + 3).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn local_time_is_that_of_the_time_zone_library(at in 1_400_000_000_000_000_i64..1_600_000_000_000_000) {
            for name in ["America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "UTC"] {
                let zone = TimeZone::get(name).unwrap_or(TimeZone::UTC);
                let clock = Clock::new(&zone, civil::date(2021, 1, 1), 1_400_000_000_000_000);
                let clock = clock.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let instant = Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
                let wall = instant.to_zoned_datetime(zone);
                prop_assert_eq!(clock.local_day(at), days(wall.date()));
                prop_assert_eq!(hour(clock.local(at)), i32::from(wall.hour()));
                prop_assert_eq!(weekday(clock.local_day(at)), i32::from(wall.weekday().to_monday_one_offset()));
                prop_assert_eq!(date(clock.local_day(at)), wall.date());
            }
        }
    }
}
