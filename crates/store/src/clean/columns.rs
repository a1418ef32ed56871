//! One raw column at a time: text, names, numbers, instants and paths out of whatever the file holds.

use std::path::Path;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};

use super::{Verdicts, is_text};
use crate::error::{Error, Result};
use crate::source::At;
use crate::time::{self, Fault, Instant, Seam};

/// A column of a file and where to find it when it is wrong.
pub(crate) struct Raw<'a> {
    pub(crate) file: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) array: &'a ArrayRef,
}

impl Raw<'_> {
    pub(super) fn wrong_type(&self, wanted: &'static str) -> Error {
        Error::ColumnType {
            file: self.file.to_owned(),
            column: self.name.to_owned(),
            found: self.array.data_type().to_string(),
            wanted,
        }
    }

    fn cast(&self, to: &DataType, wanted: &'static str) -> Result<ArrayRef> {
        cast(self.array, to).map_err(|_| self.wrong_type(wanted))
    }
}

/// The column as text, unchanged; numbers and dates as they are usually written.
pub(crate) fn text(raw: &Raw<'_>) -> Result<StringArray> {
    let simple = raw.array.data_type();
    if simple.is_nested() && !is_text(simple) || simple.is_binary() {
        return Err(raw.wrong_type("text"));
    }
    Ok(raw.cast(&DataType::Utf8, "text")?.as_string::<i32>().clone())
}

/// The column as names: without white space around them, and null where nothing is left.
pub(crate) fn id(raw: &Raw<'_>, verdicts: &mut Verdicts) -> Result<StringArray> {
    let array = text(raw)?;
    let clean = |value: &str| !value.is_empty() && value.trim().len() == value.len();
    if !is_text(raw.array.data_type()) || array.iter().flatten().all(clean) {
        return Ok(array);
    }
    let rule = format!("white space around `{}`", raw.name);
    let trimmed = array.iter().enumerate().map(|(row, value)| {
        let name = value?.trim();
        if name.len() != value?.len() {
            verdicts.fix(row, &rule);
        }
        (!name.is_empty()).then_some(name)
    });
    Ok(trimmed.collect())
}

/// The column as finite numbers.
pub(crate) fn number(raw: &Raw<'_>, verdicts: &mut Verdicts) -> Result<Float64Array> {
    let kind = raw.array.data_type();
    let numbers: Float64Array = if is_text(kind) {
        typed(raw, verdicts, "a number", |text| text.parse::<f64>().ok())?
    } else if kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Null) {
        raw.cast(&DataType::Float64, "number")?.as_primitive::<Float64Type>().clone()
    } else {
        return Err(raw.wrong_type("number"));
    };
    if numbers.iter().flatten().all(f64::is_finite) {
        return Ok(numbers);
    }
    let rule = format!("`{}` is not a finite number", raw.name);
    let finite = numbers.iter().enumerate().map(|(row, number)| {
        let number = number?;
        if !number.is_finite() {
            verdicts.reject(row, &rule, &number.to_string());
        }
        number.is_finite().then_some(number)
    });
    Ok(finite.collect())
}

/// Values that were typed: white space around them is removed, and what `parse` does not take is refused.
fn typed<T, A: FromIterator<Option<T>>>(
    raw: &Raw<'_>,
    verdicts: &mut Verdicts,
    wanted: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<A> {
    let array = text(raw)?;
    let fixed = format!("white space around `{}`", raw.name);
    let wrong = format!("`{}` is not {wanted}", raw.name);
    let parsed = array.iter().enumerate().map(|(row, value)| {
        let value = value?;
        let trimmed = value.trim();
        if trimmed.len() != value.len() {
            verdicts.fix(row, &fixed);
        }
        if trimmed.is_empty() {
            return None;
        }
        let parsed = parse(trimmed);
        if parsed.is_none() {
            verdicts.reject(row, &wrong, value);
        }
        parsed
    });
    Ok(parsed.collect())
}

/// The column as instants, read as `at` says.
pub(crate) fn time(raw: &Raw<'_>, at: &At, verdicts: &mut Verdicts) -> Result<TimestampMicrosecondArray> {
    let kind = raw.array.data_type();
    let instants: Vec<Option<Result<Instant, Fault>>> = if is_text(kind) {
        typed::<_, Vec<_>>(raw, verdicts, "a time", |text| Some(time::from_text(text, at)))?
    } else if kind.is_integer() {
        let Some(unit) = at.unit else { return Err(raw.wrong_type("timestamp")) };
        let numbers: Int64Array = raw.cast(&DataType::Int64, "timestamp")?.as_primitive::<Int64Type>().clone();
        let read = |number| time::from_number(number, unit).map(|micros| (micros, None));
        (0..numbers.len())
            .map(|row| match (raw.array.is_valid(row), numbers.is_valid(row)) {
                (true, true) => Some(read(numbers.value(row))),
                (true, false) => Some(Err(Fault::Range)),
                (false, _) => None,
            })
            .collect()
    } else if matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null) {
        let absolute = matches!(kind, DataType::Timestamp(_, Some(_)));
        let zone = if absolute { Some("UTC".into()) } else { None };
        let array = raw.cast(&DataType::Timestamp(TimeUnit::Microsecond, zone), "timestamp")?;
        let micros = array.as_primitive::<TimestampMicrosecondType>();
        let read = |micros: i64| match absolute {
            true => time::in_range(micros).map(|micros| (micros, None)),
            false => time::from_local_micros(micros, &at.stored_as),
        };
        // A cast that overflows leaves a gap where there was a value.
        (0..micros.len())
            .map(|row| match (raw.array.is_valid(row), micros.is_valid(row)) {
                (true, true) => Some(read(micros.value(row))),
                (true, false) => Some(Err(Fault::Range)),
                (false, _) => None,
            })
            .collect()
    } else {
        return Err(raw.wrong_type("timestamp"));
    };
    Ok(settle(raw, instants, verdicts)?.with_timezone("UTC"))
}

fn settle(
    raw: &Raw<'_>,
    instants: Vec<Option<Result<Instant, Fault>>>,
    verdicts: &mut Verdicts,
) -> Result<TimestampMicrosecondArray> {
    let mut values: Option<StringArray> = None;
    let mut settled = Vec::with_capacity(instants.len());
    for (row, instant) in instants.into_iter().enumerate() {
        settled.push(match instant {
            None => None,
            Some(Ok((micros, seam))) => {
                match seam {
                    Some(Seam::Gap) => {
                        verdicts.fix(row, &format!("`{}` is in an hour that the clock skipped", raw.name))
                    }
                    Some(Seam::Fold) => {
                        verdicts.fix(row, &format!("`{}` is in an hour that the clock showed twice", raw.name))
                    }
                    None => {}
                }
                Some(micros)
            }
            Some(Err(fault)) => {
                let rule = match fault {
                    Fault::Spelling => format!("`{}` is not a time", raw.name),
                    Fault::Range => format!("`{}` is outside the years 1900 to 2199", raw.name),
                };
                if values.is_none() {
                    values = Some(text(raw)?);
                }
                verdicts.reject(row, &rule, values.as_ref().map_or("", |values| values.value(row)));
                None
            }
        });
    }
    Ok(TimestampMicrosecondArray::from(settled))
}

/// Several columns as the steps of a path, gaps left out; null where there is no step.
pub(super) fn path(raws: &[Raw<'_>]) -> Result<ListArray> {
    let steps: Vec<StringArray> = raws.iter().map(text).collect::<Result<_>>()?;
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in 0..raws[0].array.len() {
        let mut any = false;
        for step in steps.iter().filter(|step| step.is_valid(row)) {
            builder.values().append_value(step.value(row));
            any = true;
        }
        builder.append(any);
    }
    Ok(builder.finish())
}

/// Several columns as one text, divided by commas, gaps left out; null where there is nothing.
pub(super) fn joined(raws: &[Raw<'_>]) -> Result<StringArray> {
    let parts: Vec<StringArray> = raws.iter().map(text).collect::<Result<_>>()?;
    let rows = (0..raws[0].array.len()).map(|row| {
        let words: Vec<&str> = parts.iter().filter(|part| part.is_valid(row)).map(|part| part.value(row)).collect();
        (!words.is_empty()).then(|| words.join(", "))
    });
    Ok(rows.collect())
}
