//! The events behind the value that a tag has for one user.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use jiff::civil::DateTime;
use lookalike_store::{Project, Store, Table};

use crate::clock::{self, Clock};
use crate::error::Result;
use crate::plan::Plan;
use crate::profile::span;
use crate::tag::Tag;
use jiff::civil::Date;

/// An event that a tag looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it was, by the clock of the project.
    pub at: DateTime,
    /// Its other columns that hold something, in the order of the table.
    pub columns: Vec<(String, String)>,
}

/// The events that count for a tag and a user as of a day, the last `limit` of them, and how many there are.
///
/// Tags that do not look at events have none.
pub fn events(
    project: &Project,
    store: &Store,
    tag: &Tag,
    date: Date,
    user: &str,
    limit: usize,
) -> Result<(Vec<Event>, usize)> {
    if tag.over().is_none() {
        return Ok((Vec::new(), 0));
    }
    let clock = Clock::new(&project.timezone, date, span(store)?.0)?;
    let mut plan = Plan::new(store, clock, &[tag])?;
    plan.rows.read_everything();
    let ends = store.group_ends()?;
    let first = ends.partition_point(|end| end.as_str() < user);
    let last = ends.partition_point(|end| end.as_str() <= user);
    let (mut found, mut count) = (Vec::new(), 0);
    for batch in store.scan_groups(Table::Events, &plan.rows.read, first..last + 1)? {
        let batch = batch?;
        let users = batch.column(0).as_string::<i32>();
        let Some(from) = (0..users.len()).find(|row| users.value(*row) == user) else { continue };
        let own = batch.slice(from, (from..users.len()).take_while(|row| users.value(*row) == user).count());
        let seen = plan.see(&own)?;
        for row in (0..own.num_rows()).filter(|row| seen.counts[0][*row]) {
            count += 1;
            let local = plan.clock.local(seen.at[row]);
            let day = clock::date(local.div_euclid(86_400_000_000) as i32);
            let seconds = local.rem_euclid(86_400_000_000) / 1_000_000;
            let [hour, minute, second] = [seconds / 3600, seconds / 60 % 60, seconds % 60].map(|part| part as i8);
            let mut columns = Vec::new();
            for (field, column) in own.schema_ref().fields().iter().zip(own.columns()).skip(2) {
                let value = match field.data_type() {
                    _ if column.is_null(row) => continue,
                    DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
                    DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
                    _ => continue,
                };
                columns.push((field.name().clone(), value));
            }
            found.push(Event { at: day.at(hour, minute, second, 0), columns });
        }
        let surplus = found.len().saturating_sub(limit);
        found.drain(..surplus);
    }
    Ok((found, count))
}
