//! Files of plain pairs (user, item), as they come with a split that others have made.

use std::path::{Path, PathBuf};

use arrow::array::{Array, Float64Array, StringArray, TimestampMicrosecondArray};
use jiff::tz::TimeZone;

use crate::clean::{Raw, Verdicts, id, number, sentence, time};
use crate::error::{Error, Result};
use crate::project::{At, Format};
use crate::read::{RawBatch, Reader};

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
    let format = Format::of(path).ok_or_else(|| Error::Line {
        file: path.to_owned(),
        line: 1,
        reason: "the extension is none of `csv`, `tsv`, `jsonl`, `parquet`".to_owned(),
    })?;
    let reader = Reader::open(path, format, &["user".to_owned(), "item".to_owned()])?;
    let at = At { column: "at".to_owned(), stored_as: zone.clone(), format: None, unit: None };
    Ok(PairReader { file: path.to_owned(), reader, at, over: false })
}

struct PairReader {
    file: PathBuf,
    reader: Reader,
    at: At,
    over: bool,
}

impl Iterator for PairReader {
    type Item = Result<Pairs>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.reader.next().and_then(|raw| raw.map(|raw| self.pairs(&raw)).transpose()).transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl PairReader {
    fn pairs(&self, raw: &RawBatch) -> Result<Pairs> {
        let column =
            |name: &'static str| raw.columns.column_by_name(name).map(|array| Raw { file: &self.file, name, array });
        let mut verdicts = Verdicts::new(raw.lines.len());
        let mut ids = |name| -> Result<StringArray> {
            // The reader was opened with both id columns as needed ones, so each batch has them.
            let Some(raw) = column(name) else { return Ok(StringArray::new_null(0)) };
            let ids = id(&raw, &mut verdicts)?;
            let rule = format!("`{name}` is empty");
            (0..ids.len()).filter(|row| ids.is_null(*row)).for_each(|row| verdicts.reject(row, &rule, ""));
            Ok(ids)
        };
        let (user, item) = (ids("user")?, ids("item")?);
        let weight = column("weight").map(|raw| number(&raw, &mut verdicts)).transpose()?;
        let at = column("at").map(|raw| time(&raw, &self.at, &mut verdicts)).transpose()?;
        let bad = (0..raw.lines.len())
            .find_map(|row| verdicts.bad(row).map(|(rule, detail)| (raw.lines[row], sentence(rule, detail))));
        let broken = raw.broken.iter().map(|line| (line.line, sentence(&line.rule, &line.detail)));
        match broken.chain(bad).min() {
            Some((line, reason)) => Err(Error::Line { file: self.file.clone(), line, reason }),
            None => Ok(Pairs { user, item, weight, at }),
        }
    }
}
