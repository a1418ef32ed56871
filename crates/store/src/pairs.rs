//! Files of plain pairs (user, item): as they come with a split that others have made, and histories of those who were
//! not in training.

use std::path::{Path, PathBuf};

use arrow::array::{Array, Float64Array, StringArray, TimestampMicrosecondArray};
use jiff::tz::TimeZone;

use crate::clean::{Raw, Verdicts, id, number, sentence, time};
use crate::error::{Error, Result};
use crate::read::{RawBatch, Reader};
use crate::source::{At, Format};

/// A batch of pairs; all arrays are equally long.
#[derive(Debug, Clone)]
pub struct Pairs {
    /// User ids, never null.
    pub user: StringArray,
    /// Item ids, never null.
    pub item: StringArray,
    /// Finite weights, null where there is none; `None` if the file has no column `weight`.
    pub weight: Option<Float64Array>,
    /// Instants in UTC, null where there is none; `None` if the file has no column `at`.
    pub at: Option<TimestampMicrosecondArray>,
}

/// Reads the columns `user`, `item` and, where there are such, `weight` and `at` of a csv, tsv, jsonl or Parquet file.
///
/// Ids may be text or whole numbers. A split is taken as it is or not at all: the first line that cannot be
/// used is an error that names it. A time without offset is one of `zone`.
pub fn read_pairs(path: &Path, zone: &TimeZone) -> Result<impl Iterator<Item = Result<Pairs>> + use<>> {
    let at = At { column: "at".to_owned(), stored_as: zone.clone(), format: None, unit: None };
    let pairs = move |lines: &mut Lines<'_>| {
        Ok(Pairs {
            user: lines.ids("user")?.unwrap_or_else(|| StringArray::new_null(0)),
            item: lines.ids("item")?.unwrap_or_else(|| StringArray::new_null(0)),
            weight: lines.weight()?,
            at: lines.column("at").map(|raw| time(&raw, &at, &mut lines.verdicts)).transpose()?,
        })
    };
    batches(path, &["user", "item"], pairs)
}

/// A batch of a history; all arrays are equally long.
#[derive(Debug, Clone)]
pub struct Events {
    /// Ids of those whose history it is, never null; `None` if the file has no such column.
    pub whose: Option<StringArray>,
    /// Ids of what they had, never null.
    pub what: StringArray,
    /// Finite weights above 0, null where there is none; `None` if the file has no column `weight`.
    pub weight: Option<Float64Array>,
}

/// Reads a history: the column `what` and, where there are such, `whose` and `weight` of a csv, tsv, jsonl or Parquet
/// file. Ids may be text or whole numbers. The first line that cannot be used is an error that names it.
pub fn read_history(
    path: &Path,
    whose: &'static str,
    what: &'static str,
) -> Result<impl Iterator<Item = Result<Events>> + use<>> {
    let events = move |lines: &mut Lines<'_>| {
        let (whose, what) = (lines.ids(whose)?, lines.ids(what)?.unwrap_or_else(|| StringArray::new_null(0)));
        let weight = lines.weight()?;
        for row in weight.iter().flat_map(|weights| (0..weights.len()).filter(|&row| weights.value(row) <= 0.0)) {
            if weight.as_ref().is_some_and(|weights| weights.is_valid(row)) {
                lines.verdicts.reject(row, "`weight` is not above 0", "");
            }
        }
        Ok(Events { whose, what, weight })
    };
    batches(path, &[what], events)
}

/// What `make` makes of each batch of a file that has the columns `needed`.
fn batches<T, M>(path: &Path, needed: &[&str], make: M) -> Result<PairReader<M>>
where
    M: FnMut(&mut Lines<'_>) -> Result<T>,
{
    let format = Format::of(path).ok_or_else(|| Error::Line {
        file: path.to_owned(),
        line: 1,
        reason: "the extension is none of `csv`, `tsv`, `jsonl`, `parquet`".to_owned(),
    })?;
    let needed: Vec<String> = needed.iter().map(|&name| name.to_owned()).collect();
    Ok(PairReader { file: path.to_owned(), reader: Reader::open(path, format, &needed)?, make, over: false })
}

struct PairReader<M> {
    file: PathBuf,
    reader: Reader,
    make: M,
    over: bool,
}

impl<T, M: FnMut(&mut Lines<'_>) -> Result<T>> Iterator for PairReader<M> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.reader.next().and_then(|raw| raw.map(|raw| self.batch(&raw)).transpose()).transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<T, M: FnMut(&mut Lines<'_>) -> Result<T>> PairReader<M> {
    fn batch(&mut self, raw: &RawBatch) -> Result<T> {
        let mut lines = Lines { file: &self.file, raw, verdicts: Verdicts::new(raw.lines.len()) };
        let made = (self.make)(&mut lines)?;
        let verdicts = lines.verdicts;
        let bad = (0..raw.lines.len())
            .find_map(|row| verdicts.bad(row).map(|(rule, detail)| (raw.lines[row], sentence(rule, detail))));
        let broken = raw.broken.iter().map(|line| (line.line, sentence(&line.rule, &line.detail)));
        match broken.chain(bad).min() {
            Some((line, reason)) => Err(Error::Line { file: self.file.clone(), line, reason }),
            None => Ok(made),
        }
    }
}

/// A batch of lines, and which of them cannot be used.
struct Lines<'a> {
    file: &'a Path,
    raw: &'a RawBatch,
    verdicts: Verdicts,
}

impl<'a> Lines<'a> {
    fn column(&self, name: &'static str) -> Option<Raw<'a>> {
        self.raw.columns.column_by_name(name).map(|array| Raw { file: self.file, name, array })
    }

    /// Ids of a column, if the file has it; an empty one makes its line unusable.
    fn ids(&mut self, name: &'static str) -> Result<Option<StringArray>> {
        let Some(raw) = self.column(name) else { return Ok(None) };
        let ids = id(&raw, &mut self.verdicts)?;
        let rule = format!("`{name}` is empty");
        (0..ids.len()).filter(|row| ids.is_null(*row)).for_each(|row| self.verdicts.reject(row, &rule, ""));
        Ok(Some(ids))
    }

    fn weight(&mut self) -> Result<Option<Float64Array>> {
        self.column("weight").map(|raw| number(&raw, &mut self.verdicts)).transpose()
    }
}
