//! The three Parquet tables of a bundle: users, items and history.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    UInt32Array,
};
use arrow::datatypes::{Float32Type, UInt32Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::BundleError;
use crate::history::History;
use crate::rows::{ItemRow, Row, UserRow, Vocab};

/// What is known of an item beside its id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemInfo {
    /// Its name for people.
    pub title: Option<String>,
    /// Its category path, widest first; empty if unknown.
    pub category: Vec<String>,
    /// Its brand.
    pub brand: Option<String>,
}

type Columns = Vec<(&'static str, ArrayRef, bool)>;

fn encode(columns: Columns) -> Result<Vec<u8>, ParquetError> {
    encode_all(columns, std::iter::empty())
}

/// A table of several batches with the same columns.
fn encode_all(first: Columns, rest: impl Iterator<Item = Columns>) -> Result<Vec<u8>, ParquetError> {
    let batch = RecordBatch::try_from_iter_with_nullable(first)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    for columns in rest {
        writer.write(&RecordBatch::try_from_iter_with_nullable(columns)?)?;
    }
    writer.close()?;
    Ok(bytes)
}

fn ids<R: Row>(vocab: &Vocab<R>) -> Columns {
    let rows = UInt32Array::from_iter_values(0..vocab.len() as u32);
    let ids = StringArray::from_iter_values(vocab.ids());
    vec![("row", Arc::new(rows), false), ("id", Arc::new(ids), false)]
}

pub(crate) fn encode_users(users: &Vocab<UserRow>) -> Result<Vec<u8>, ParquetError> {
    encode(ids(users))
}

pub(crate) fn encode_items(items: &Vocab<ItemRow>, info: &[ItemInfo]) -> Result<Vec<u8>, ParquetError> {
    let titles: StringArray = info.iter().map(|item| item.title.as_deref()).collect();
    let brands: StringArray = info.iter().map(|item| item.brand.as_deref()).collect();
    let mut categories = ListBuilder::new(StringBuilder::new());
    for item in info {
        item.category.iter().for_each(|level| categories.values().append_value(level));
        categories.append(!item.category.is_empty());
    }
    let mut columns = ids(items);
    columns.push(("title", Arc::new(titles), true));
    columns.push(("category", Arc::new(categories.finish()), true));
    columns.push(("brand", Arc::new(brands), true));
    encode(columns)
}

/// Entries of a history that are columns at a time: as many as a row group takes, so that it does not show in the file.
const ENTRIES: usize = 1 << 20;

pub(crate) fn encode_history(history: &History) -> Result<Vec<u8>, ParquetError> {
    let columns = |entries: Vec<(UserRow, ItemRow, f32)>| -> Columns {
        let users = UInt32Array::from_iter_values(entries.iter().map(|entry| entry.0.get()));
        let items = UInt32Array::from_iter_values(entries.iter().map(|entry| entry.1.get()));
        let weights = Float32Array::from_iter_values(entries.iter().map(|entry| entry.2));
        vec![
            ("user_row", Arc::new(users), false),
            ("item_row", Arc::new(items), false),
            ("weight", Arc::new(weights), false),
        ]
    };
    let mut entries = history.entries();
    let mut next = || entries.by_ref().take(ENTRIES).collect::<Vec<_>>();
    let first = columns(next());
    encode_all(first, std::iter::from_fn(|| Some(next()).filter(|more| !more.is_empty()).map(columns)))
}

/// A table being read: its batches, and the file for messages.
struct Table<'a> {
    path: &'a Path,
    batches: Vec<RecordBatch>,
}

impl<'a> Table<'a> {
    fn open(path: &'a Path) -> Result<Self, BundleError> {
        let file = File::open(path).map_err(BundleError::io("read", path))?;
        let read = || -> Result<Vec<RecordBatch>, ParquetError> {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
            reader.map(|batch| batch.map_err(ParquetError::from)).collect()
        };
        let batches = read().map_err(|source| BundleError::Parquet { path: path.to_owned(), source })?;
        Ok(Self { path, batches })
    }

    /// One column of all batches, as the type that `cast` gives.
    fn column<'b, A: 'b>(
        &'b self,
        column: &'static str,
        kind: &'static str,
        nulls: bool,
        cast: impl Fn(&'b ArrayRef) -> Option<&'b A>,
    ) -> Result<Vec<&'b A>, BundleError> {
        let batches = self.batches.iter().map(|batch| {
            let array = batch.column_by_name(column).filter(|array| nulls || array.null_count() == 0);
            array.and_then(&cast).ok_or_else(|| BundleError::Column { path: self.path.to_owned(), column, kind })
        });
        batches.collect()
    }

    fn u32s(&self, column: &'static str) -> Result<impl Iterator<Item = u32> + '_, BundleError> {
        let arrays = self.column(column, "u32", false, |array| array.as_primitive_opt::<UInt32Type>())?;
        Ok(arrays.into_iter().flat_map(|array| array.values().iter().copied()))
    }

    fn f32s(&self, column: &'static str) -> Result<impl Iterator<Item = f32> + '_, BundleError> {
        let arrays = self.column(column, "f32", false, |array| array.as_primitive_opt::<Float32Type>())?;
        Ok(arrays.into_iter().flat_map(|array| array.values().iter().copied()))
    }

    fn texts(
        &self,
        column: &'static str,
        nulls: bool,
    ) -> Result<impl Iterator<Item = Option<String>> + '_, BundleError> {
        let arrays = self.column(column, "utf8", nulls, |array| array.as_string_opt::<i32>())?;
        Ok(arrays.into_iter().flat_map(|array| array.iter().map(|text| text.map(str::to_owned))))
    }

    fn lists(&self, column: &'static str) -> Result<Vec<Vec<String>>, BundleError> {
        let wrong = || BundleError::Column { path: self.path.to_owned(), column, kind: "list of utf8" };
        let arrays: Vec<&ListArray> = self.column(column, "list of utf8", true, |array| array.as_list_opt::<i32>())?;
        let mut lists = Vec::new();
        for array in arrays {
            for list in array.iter() {
                lists.push(match list {
                    Some(list) => {
                        let texts = list.as_string_opt::<i32>().ok_or_else(wrong)?;
                        texts.iter().map(|text| text.map(str::to_owned).ok_or_else(wrong)).collect::<Result<_, _>>()?
                    }
                    None => Vec::new(),
                });
            }
        }
        Ok(lists)
    }

    fn vocab<R: Row>(&self) -> Result<Vocab<R>, BundleError> {
        for (expected, found) in self.u32s("row")?.enumerate() {
            if found as usize != expected {
                return Err(BundleError::RowOrder { path: self.path.to_owned(), found, expected });
            }
        }
        let ids = self.texts("id", false)?.flatten().collect();
        Vocab::new(ids).map_err(|source| BundleError::Vocab { path: self.path.to_owned(), source })
    }
}

pub(crate) fn read_users(path: &Path) -> Result<Vocab<UserRow>, BundleError> {
    Table::open(path)?.vocab()
}

pub(crate) fn read_items(path: &Path) -> Result<(Vocab<ItemRow>, Vec<ItemInfo>), BundleError> {
    let table = Table::open(path)?;
    let (titles, brands) = (table.texts("title", true)?, table.texts("brand", true)?);
    let rest = titles.zip(table.lists("category")?).zip(brands);
    let info = rest.map(|((title, category), brand)| ItemInfo { title, category, brand }).collect();
    Ok((table.vocab()?, info))
}

pub(crate) fn read_history(path: &Path, users: usize, items: usize) -> Result<History, BundleError> {
    let table = Table::open(path)?;
    let pairs = table.u32s("user_row")?.zip(table.u32s("item_row")?).zip(table.f32s("weight")?);
    let entries = pairs.map(|((user, item), weight)| (UserRow::new(user), ItemRow::new(item), weight));
    History::new(users, items, entries).map_err(|source| BundleError::History { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn histories_longer_than_a_batch_come_back() {
        for len in [0, 1, ENTRIES, ENTRIES + 3] {
            let users = len.div_ceil(1000);
            let entry =
                |at: usize| (UserRow::new((at / 1000) as u32), ItemRow::new((at % 1000) as u32), (at % 7) as f32);
            let history = History::new(users, 1000, (0..len).map(entry)).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), encode_history(&history).unwrap()).unwrap();
            assert!(read_history(file.path(), users, 1000).unwrap() == history, "{len}");
            let groups = ParquetRecordBatchReaderBuilder::try_new(file.reopen().unwrap()).unwrap();
            assert_eq!(groups.metadata().num_row_groups(), len.div_ceil(ENTRIES), "{len}");
        }
    }
}
