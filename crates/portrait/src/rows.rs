//! What an expression of a tag can name: the columns of an event, of the day it happened on, and of its item.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int32Array, RecordBatch, StringArray, UInt32Array, new_null_array,
};
use arrow::compute::{cast, concat, concat_batches, take};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lookalike_store::{Store, Table};

use crate::clock::{self, Clock};
use crate::column::NONE;
use crate::error::{Error, Result};

/// Columns that are made from the time of an event: the local day, its hour and weekday (Monday is 1), and the days
/// from it to the day that is looked from.
const OF_TIME: [(&str, DataType); 4] =
    [("day", DataType::Date32), ("hour", DataType::Int32), ("weekday", DataType::Int32), ("days_ago", DataType::Int32)];

/// Levels of the category that are columns of their own, `category_1` the widest.
const LEVELS: usize = 6;

/// The columns of an event in the store, with their types.
fn of_events() -> Vec<(&'static str, DataType)> {
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let text = ["user", "kind", "item", "session", "channel", "campaign", "text", "source"];
    let numbers = ["value", "quantity", "discount"];
    let texts = text.map(|name| (name, DataType::Utf8)).into_iter();
    texts.chain([("at", at)]).chain(numbers.map(|name| (name, DataType::Float64))).collect()
}

/// Everything an expression can name, and which of it is of the item.
pub(crate) struct Vocabulary {
    pub schema: SchemaRef,
    of_items: BTreeSet<String>,
}

impl Vocabulary {
    pub(crate) fn of(store: &Store) -> Result<Vocabulary> {
        let mut fields: Vec<Field> =
            of_events().into_iter().chain(OF_TIME).map(|(name, kind)| Field::new(name, kind, true)).collect();
        let mut of_items = BTreeSet::new();
        let levels = (1..=LEVELS).map(|level| format!("category_{level}"));
        for name in store.columns(Table::Items)?.into_iter().chain(levels) {
            if fields.iter().all(|field| *field.name() != name) {
                let kind = if name == "price" { DataType::Float64 } else { DataType::Utf8 };
                fields.push(Field::new(&name, kind, true));
                of_items.insert(name);
            }
        }
        Ok(Vocabulary { schema: Arc::new(Schema::new(fields)), of_items })
    }

    /// Whether an expression over these columns is the same for every event of an item.
    pub(crate) fn is_of_item(&self, columns: &BTreeSet<String>) -> bool {
        !columns.is_empty() && columns.is_subset(&self.of_items)
    }

    /// The columns alone that are in use.
    pub(crate) fn narrowed(&self, used: &BTreeSet<String>) -> SchemaRef {
        let kept = self.schema.fields().iter().filter(|field| used.contains(field.name())).cloned();
        Arc::new(Schema::new(kept.collect::<Vec<_>>()))
    }
}

/// The items with the columns that are in use.
pub(crate) struct Items {
    /// One row an item, and one without anything at the end for what is no item.
    pub batch: RecordBatch,
    places: HashMap<String, u32>,
}

impl Items {
    /// Reads those columns of the items that `used` names.
    pub(crate) fn read(store: &Store, vocabulary: &Vocabulary, used: &BTreeSet<String>) -> Result<Items> {
        let wanted: BTreeSet<String> = used.intersection(&vocabulary.of_items).cloned().collect();
        let schema = vocabulary.narrowed(&wanted);
        if wanted.is_empty() {
            return Ok(Items { batch: RecordBatch::new_empty(schema), places: HashMap::new() });
        }
        let category = |name: &str| name == "category" || name.starts_with("category_");
        let stored = store.columns(Table::Items)?;
        let mut read = vec!["item"];
        read.extend(stored.iter().map(String::as_str).filter(|name| *name != "item" && wanted.contains(*name)));
        if wanted.iter().any(|name| category(name)) && !read.contains(&"category") {
            read.push("category");
        }
        let (mut batches, mut places) = (Vec::new(), HashMap::new());
        for batch in store.scan(Table::Items, &read)? {
            let batch = batch?;
            let ids = batch.column(0).as_string::<i32>();
            for id in ids.iter().flatten() {
                let place = places.len() as u32;
                places.insert(id.to_owned(), place);
            }
            let columns = schema.fields().iter().map(|field| item_column(&batch, field)).collect();
            batches.push(RecordBatch::try_new(schema.clone(), columns).map_err(Error::compute("the table of items"))?);
        }
        let nothing = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        batches.push(RecordBatch::try_new(schema.clone(), nothing).map_err(Error::compute("the table of items"))?);
        let batch = concat_batches(&schema, &batches).map_err(Error::compute("the table of items"))?;
        Ok(Items { batch, places })
    }

    /// The row of each of these items, and one more; `NONE` where the item is not known.
    fn rows(&self, items: &StringArray) -> Vec<u32> {
        let known = |item: Option<&str>| item.and_then(|item| self.places.get(item)).copied().unwrap_or(NONE);
        items.iter().map(known).chain([NONE]).collect()
    }
}

/// A column of the items: as it is stored, or the path of categories as text, or a level of it.
fn item_column(batch: &RecordBatch, field: &Field) -> ArrayRef {
    let level = field.name().strip_prefix("category_").and_then(|level| level.parse::<usize>().ok());
    let paths = batch.column_by_name("category").and_then(|paths| paths.as_list_opt::<i32>());
    match (batch.column_by_name(field.name()), paths) {
        (Some(column), _) if field.name() != "category" => column.clone(),
        (_, Some(paths)) => {
            let text = |path: Option<ArrayRef>| -> Option<String> {
                let path = path?;
                let steps: Vec<&str> = path.as_string::<i32>().iter().flatten().collect();
                match level {
                    Some(level) => steps.get(level.checked_sub(1)?).map(|step| (*step).to_owned()),
                    None => (!steps.is_empty()).then(|| steps.join(" > ")),
                }
            };
            Arc::new(paths.iter().map(text).collect::<StringArray>())
        }
        (_, None) => new_null_array(field.data_type(), batch.num_rows()),
    }
}

/// What is read of the store.
pub(crate) struct Rows {
    /// Columns: `user` and `at` first.
    pub read: Vec<&'static str>,
}

impl Rows {
    /// For expressions over the columns `used`; `item` and `kind` say whether these are needed beside them.
    pub(crate) fn new(used: &BTreeSet<String>, item: bool, kind: bool) -> Rows {
        let mut read = vec!["user", "at"];
        for (name, _) in of_events() {
            if !read.contains(&name) && (used.contains(name) || name == "item" && item || name == "kind" && kind) {
                read.push(name);
            }
        }
        Rows { read }
    }

    /// Reads all columns of the events, whether an expression uses them or not.
    pub(crate) fn read_everything(&mut self) {
        let more = of_events().into_iter().map(|(name, _)| name).filter(|name| !self.read.contains(name));
        let more: Vec<_> = more.collect();
        self.read.extend(more);
    }
}

/// How often an expression must be evaluated, by the columns it looks at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Way {
    /// Once an item.
    Items,
    /// Once a text of this column.
    Texts(String),
    /// Once a day.
    Days,
    /// Once an hour of the day.
    Hours,
    /// Once for rows in a row in which all its columns are the same.
    Runs,
    /// For every row.
    Rows,
}

impl Vocabulary {
    /// The rarest way there is for an expression over these columns.
    pub(crate) fn way(&self, columns: &BTreeSet<String>) -> Way {
        let day = |name: &String| ["day", "days_ago", "weekday"].contains(&name.as_str());
        let texts = of_events().into_iter().filter(|(_, kind)| *kind == DataType::Utf8).map(|(name, _)| name);
        let texts: Vec<&str> = texts.collect();
        let text = |name: &String| texts.contains(&name.as_str());
        let mut names = columns.iter();
        match names.next() {
            None => Way::Rows,
            Some(_) if self.is_of_item(columns) => Way::Items,
            Some(_) if columns.iter().all(day) => Way::Days,
            Some(only) if columns.len() == 1 && only == "hour" => Way::Hours,
            Some(only) if columns.len() == 1 && text(only) => Way::Texts(only.clone()),
            Some(_) if columns.iter().all(|name| day(name) || text(name) || name == "hour") => Way::Runs,
            Some(_) => Way::Rows,
        }
    }
}

/// A column of text: the texts, and the place of each row's among them; a place behind them all where there is none.
#[derive(Clone)]
pub(crate) struct Text {
    pub texts: StringArray,
    pub places: Vec<u32>,
}

impl Text {
    /// From text or a dictionary of it.
    pub(crate) fn of(column: &ArrayRef) -> Result<Text> {
        let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let column = cast(column, &coded).map_err(Error::compute("the columns of the events"))?;
        let column = column.as_dictionary::<Int32Type>();
        let (texts, keys) = (column.values().as_string::<i32>().clone(), column.keys());
        let none = texts.len() as u32;
        let place = |(key, valid): (&i32, bool)| if valid { *key as u32 } else { none };
        let places = match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => keys.values().iter().zip(nulls).map(place).collect(),
            None => keys.values().iter().map(|key| *key as u32).collect(),
        };
        Ok(Text { texts, places })
    }

    /// The text of a row; empty where there is none.
    pub(crate) fn value(&self, row: usize) -> &str {
        let place = self.places[row] as usize;
        if place < self.texts.len() { self.texts.value(place) } else { "" }
    }
}

/// Whether two arrays are the same one, so that what is known of the first holds for the second.
pub(crate) fn same(a: &StringArray, b: &StringArray) -> bool {
    a.len() == b.len()
        && a.value_data().as_ptr() == b.value_data().as_ptr()
        && a.value_offsets().as_ptr() == b.value_offsets().as_ptr()
}

/// A batch of events as it was read, and what expressions can name of it.
pub(crate) struct Batch<'a> {
    stored: &'a RecordBatch,
    clock: &'a Clock,
    items: &'a Items,
    texts: Vec<(String, Text)>,
    /// Microseconds since 1970.
    pub at: Vec<i64>,
    /// Days from 1970 to the local day.
    pub days: Vec<i32>,
    hours: OnceCell<Vec<i32>>,
    item_rows: OnceCell<UInt32Array>,
    /// As of [`ItemRows`], for the texts of `item`.
    known: Arc<Vec<u32>>,
}

/// The row in the table of items of each text that a batch has for `item`, and one more; `NONE` where there is none.
/// The batches of a row group share these texts, and looking them up costs more than all else.
#[derive(Default)]
pub(crate) struct ItemRows {
    found: Option<(StringArray, Arc<Vec<u32>>)>,
}

impl ItemRows {
    fn of(&mut self, texts: &StringArray, items: &Items) -> Arc<Vec<u32>> {
        match &self.found {
            Some((known, rows)) if same(known, texts) => rows.clone(),
            _ => {
                let rows = Arc::new(items.rows(texts));
                self.found = Some((texts.clone(), rows.clone()));
                rows
            }
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        stored: &'a RecordBatch,
        clock: &'a Clock,
        items: &'a Items,
        item_rows: &mut ItemRows,
    ) -> Result<Batch<'a>> {
        let at = stored.column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let days = at.iter().map(|at| clock.local_day(*at)).collect();
        let mut texts = Vec::new();
        for (field, column) in stored.schema_ref().fields().iter().zip(stored.columns()) {
            if matches!(field.data_type(), DataType::Utf8 | DataType::Dictionary(..)) {
                texts.push((field.name().clone(), Text::of(column)?));
            }
        }
        let item = texts.iter().find(|(name, _)| name == "item").filter(|_| items.batch.num_columns() > 0);
        let known = item.map(|(_, text)| item_rows.of(&text.texts, items)).unwrap_or_default();
        let (hours, item_rows) = (OnceCell::new(), OnceCell::new());
        Ok(Batch { stored, clock, items, texts, at, days, hours, item_rows, known })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&Text> {
        self.texts.iter().find(|(own, _)| own == name).map(|(_, text)| text)
    }

    /// The row of the item of each text of `item`, and one more.
    pub(crate) fn known_items(&self) -> &[u32] {
        &self.known
    }

    pub(crate) fn hours(&self) -> &[i32] {
        let hour = |at: &i64| clock::hour(self.clock.local(*at));
        self.hours.get_or_init(|| self.at.iter().map(hour).collect())
    }

    /// The row of each event's item; none where the event has no item or the item is not known.
    fn item_rows(&self) -> &UInt32Array {
        self.item_rows.get_or_init(|| match self.text("item") {
            Some(text) => {
                let row = |place: &u32| Some(self.known[*place as usize]).filter(|row| *row != NONE);
                text.places.iter().map(row).collect()
            }
            None => UInt32Array::new_null(self.at.len()),
        })
    }

    /// The batch that an expression over the columns of `schema` sees: all rows, or these alone.
    pub(crate) fn rows(&self, schema: &SchemaRef, rows: Option<&[u32]>) -> Result<RecordBatch> {
        let failed = || Error::compute("the columns of the events");
        let some = rows.map(|rows| UInt32Array::from(rows.to_vec()));
        let of = |column: &ArrayRef| match &some {
            Some(rows) => take(column, rows, None).map_err(failed()),
            None => Ok(column.clone()),
        };
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let name = field.name().as_str();
            columns.push(match (of_day(name, self.days.iter().copied(), self.clock), self.text(name)) {
                (Some(column), _) => of(&column)?,
                (_, Some(text)) => {
                    let place =
                        |row: usize| Some(text.places[row]).filter(|place| (*place as usize) < text.texts.len());
                    let places: UInt32Array = match rows {
                        Some(rows) => rows.iter().map(|row| place(*row as usize)).collect(),
                        None => (0..text.places.len()).map(place).collect(),
                    };
                    take(&text.texts, &places, None).map_err(failed())?
                }
                _ if name == "hour" => of(&(Arc::new(Int32Array::from(self.hours().to_vec())) as ArrayRef))?,
                _ => match (self.stored.column_by_name(name), self.items.batch.column_by_name(name)) {
                    (Some(column), _) => of(column)?,
                    (None, Some(column)) => of(&take(column, self.item_rows(), None).map_err(failed())?)?,
                    _ => new_null_array(field.data_type(), rows.map_or(self.at.len(), <[u32]>::len)),
                },
            });
        }
        let count = rows.map_or(self.at.len(), <[u32]>::len);
        batch_of(schema, columns, count)
    }

    /// The first row of each run of rows in which these columns are the same, and the run of each row.
    pub(crate) fn runs(&self, schema: &Schema) -> (Vec<u32>, Vec<u32>) {
        let mut begins = vec![false; self.at.len()];
        for field in schema.fields() {
            match (self.text(field.name()), field.name().as_str()) {
                (Some(text), _) => begin(&text.places, &mut begins),
                (_, "hour") => begin(self.hours(), &mut begins),
                _ => begin(&self.days, &mut begins),
            }
        }
        let (mut firsts, mut runs) = (Vec::new(), Vec::with_capacity(begins.len()));
        for (row, begins) in begins.into_iter().enumerate() {
            if begins || row == 0 {
                firsts.push(row as u32);
            }
            runs.push(firsts.len() as u32 - 1);
        }
        (firsts, runs)
    }
}

fn begin<T: PartialEq>(values: &[T], begins: &mut [bool]) {
    values.windows(2).zip(begins.iter_mut().skip(1)).for_each(|(pair, begins)| *begins |= pair[0] != pair[1]);
}

/// A column that a day alone decides on; `None` if it is another.
fn of_day(name: &str, days: impl Iterator<Item = i32>, clock: &Clock) -> Option<ArrayRef> {
    match name {
        "day" => Some(Arc::new(Date32Array::from_iter_values(days))),
        "days_ago" => Some(Arc::new(days.map(|day| clock.day - day).collect::<Int32Array>())),
        "weekday" => Some(Arc::new(days.map(clock::weekday).collect::<Int32Array>())),
        _ => None,
    }
}

fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
    batch.map_err(Error::compute("the columns of the events"))
}

/// A row a day, from the first to the last.
pub(crate) fn all_days(schema: &SchemaRef, first: i32, last: i32, clock: &Clock) -> Result<RecordBatch> {
    let columns = schema.fields().iter().filter_map(|field| of_day(field.name(), first..=last, clock)).collect();
    batch_of(schema, columns, (last - first + 1) as usize)
}

/// A row an hour of the day.
pub(crate) fn all_hours(schema: &SchemaRef) -> Result<RecordBatch> {
    batch_of(schema, vec![Arc::new(Int32Array::from_iter_values(0..24))], 24)
}

/// A row a text, and one without any at the end.
pub(crate) fn all_texts(schema: &SchemaRef, texts: &StringArray) -> Result<RecordBatch> {
    let none = StringArray::new_null(1);
    let column = concat(&[texts, &none]).map_err(Error::compute("the columns of the events"))?;
    batch_of(schema, vec![column], texts.len() + 1)
}
