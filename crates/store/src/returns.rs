//! Returns: which earlier purchases they take back, in memory that does not depend on how many lines there are.
//!
//! Lines of a source that can be taken back, and those that take back, are sorted by what they must agree in, then by
//! time and reading order. A return takes back the latest earlier line of just its quantity; if there is none, the
//! latest ones until its quantity is used up, the last of them in part. A return without a quantity takes back one line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    DataType, Field, Float64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Result};
use crate::repeats::{HIGH, LOW, Place, halves};
use crate::report::ReturnsReport;
use crate::schema::Table;
use crate::sort::Sorter;
use crate::source::Source;
use crate::stage::{FILE, FIXED, LINE, ROW, TableWriter};

const AT: &str = "#at";
const SOURCE: &str = "#source";
const RETURN: &str = "#return";
const QUANTITY: &str = "#quantity";
const LEFT: &str = "#left";
const SHARE: &str = "#share";

/// What became of a line that was taken back.
pub(crate) struct Taken<'a> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) row: usize,
    /// The line that took it back.
    pub(crate) by: Place,
    /// Whether nothing is left of it.
    pub(crate) whole: bool,
}

/// Finds what the returns of `sources` take back among the staged events. Gives a file of the lines concerned, by row,
/// and counts for every source that declares returns.
pub(crate) fn find(sorter: &Sorter, stage: &Path, sources: &[Source]) -> Result<(PathBuf, Vec<ReturnsReport>)> {
    let mut reports = vec![ReturnsReport::default(); sources.len()];
    let candidates = candidates(stage, sources, &mut reports)?;
    let path = stage.with_extension("taken.parquet");
    let mut writer = TableWriter::temporary(path, edits_schema())?;
    let mut group = Group::default();
    for batch in sorter.sorted(Table::Events, &candidates, &[HIGH, LOW, AT, ROW])? {
        let batch = batch?;
        let whole = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values();
        let (high, low, rows, lines) = (whole(0), whole(1), whole(3), whole(5));
        let files = batch.column(4).as_primitive::<UInt32Type>().values();
        let origin = batch.column(6).as_primitive::<UInt32Type>().values();
        let (is_return, quantity) = (batch.column(7).as_boolean(), batch.column(8).as_primitive::<Float64Type>());
        let mut edits = Edits::default();
        for row in 0..batch.num_rows() {
            let key = [high[row], low[row]];
            if group.key != key {
                group.finish(&mut edits, &mut reports);
                group = Group { key, source: origin[row] as usize, open: Vec::new() };
            }
            let quantity = quantity.is_valid(row).then(|| quantity.value(row));
            let place = (files[row], lines[row]);
            if is_return.value(row) {
                group.take(quantity.map(f64::abs), place, &mut edits, &mut reports);
            } else if quantity.is_none_or(|quantity| quantity > 0.0) {
                group.open.push(Open { row: rows[row], left: quantity, of: quantity, by: None });
            }
        }
        edits.write(&mut writer)?;
    }
    let mut edits = Edits::default();
    group.finish(&mut edits, &mut reports);
    edits.write(&mut writer)?;
    Ok((writer.finish_temporary()?, reports))
}

/// A line that can still be taken back.
struct Open {
    row: u64,
    left: Option<f64>,
    of: Option<f64>,
    by: Option<Place>,
}

/// The lines that agree in their key, as far as they have been read.
#[derive(Default)]
struct Group {
    key: [u64; 2],
    source: usize,
    open: Vec<Open>,
}

impl Group {
    fn take(&mut self, quantity: Option<f64>, by: Place, edits: &mut Edits, reports: &mut [ReturnsReport]) {
        let report = &mut reports[self.source];
        let Some(mut wanted) = quantity else {
            match self.open.pop() {
                Some(open) => {
                    edits.push(open.row, 0.0, 0.0, by);
                    report.withdrawn += 1;
                    report.matched += 1;
                }
                None => report.unmatched += 1,
            }
            return;
        };
        let asked = wanted;
        if let Some(exact) = self.open.iter().rposition(|open| open.left == Some(wanted)) {
            let open = self.open.remove(exact);
            edits.push(open.row, 0.0, 0.0, by);
            report.withdrawn += 1;
            wanted = 0.0;
        }
        while wanted > 0.0
            && let Some(open) = self.open.last_mut()
        {
            let left = open.left.unwrap_or(wanted);
            if left <= wanted {
                edits.push(open.row, 0.0, 0.0, by);
                report.withdrawn += 1;
                wanted -= left;
                self.open.pop();
            } else {
                (open.left, open.by) = (Some(left - wanted), Some(by));
                wanted = 0.0;
            }
        }
        match wanted {
            wanted if wanted <= 0.0 => report.matched += 1,
            wanted if wanted < asked => report.partly += 1,
            _ => report.unmatched += 1,
        }
    }

    /// Writes down what is left of the lines that were taken back in part.
    fn finish(&mut self, edits: &mut Edits, reports: &mut [ReturnsReport]) {
        for open in self.open.drain(..) {
            if let (Some(by), Some(left), Some(of)) = (open.by, open.left, open.of) {
                edits.push(open.row, left, left / of, by);
                reports[self.source].reduced += 1;
            }
        }
    }
}

/// Lines that were taken back: row, quantity left, share left, place of the return.
#[derive(Default)]
struct Edits {
    rows: Vec<u64>,
    left: Vec<f64>,
    share: Vec<f64>,
    files: Vec<u32>,
    lines: Vec<u64>,
}

impl Edits {
    fn push(&mut self, row: u64, left: f64, share: f64, by: Place) {
        self.rows.push(row);
        self.left.push(left);
        self.share.push(share);
        self.files.push(by.0);
        self.lines.push(by.1);
    }

    fn write(self, writer: &mut TableWriter) -> Result<()> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(self.rows)),
            Arc::new(Float64Array::from(self.left)),
            Arc::new(Float64Array::from(self.share)),
            Arc::new(UInt32Array::from(self.files)),
            Arc::new(UInt64Array::from(self.lines)),
        ];
        writer.write(&RecordBatch::try_new(edits_schema(), columns).map_err(internal)?)
    }
}

fn edits_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        field(ROW, DataType::UInt64),
        field(LEFT, DataType::Float64),
        field(SHARE, DataType::Float64),
        field(FILE, DataType::UInt32),
        field(LINE, DataType::UInt64),
    ]))
}

fn candidates_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        field(HIGH, DataType::UInt64),
        field(LOW, DataType::UInt64),
        field(AT, DataType::Int64),
        field(ROW, DataType::UInt64),
        field(FILE, DataType::UInt32),
        field(LINE, DataType::UInt64),
        field(SOURCE, DataType::UInt32),
        field(RETURN, DataType::Boolean),
        Field::new(QUANTITY, DataType::Float64, true),
    ]))
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Read { path: PathBuf::from("returns"), source: std::io::Error::other(error) }
}

fn read(path: &Path) -> Result<(SchemaRef, ParquetRecordBatchReader)> {
    let input = std::fs::File::open(path).map_err(Error::read(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(Error::parquet(path))?;
    let schema = builder.schema().clone();
    Ok((schema, builder.with_batch_size(8192).build().map_err(Error::parquet(path))?))
}

/// Writes a file of the staged events that can be taken back or take back, with hashes of what they must agree in.
fn candidates(stage: &Path, sources: &[Source], reports: &mut [ReturnsReport]) -> Result<PathBuf> {
    let path = stage.with_extension("returns.parquet");
    let mut writer = TableWriter::temporary(path, candidates_schema())?;
    for batch in read(stage)?.1 {
        let batch = batch.map_err(|error| Error::parquet(stage)(error.into()))?;
        let text = |name: &str| batch.column_by_name(name).map(|column| column.as_string::<i32>());
        let at = batch.column_by_name("at").map(|column| column.as_primitive::<TimestampMicrosecondType>());
        let quantities = batch.column_by_name("quantity").map(|column| column.as_primitive::<Float64Type>());
        let (Some(origins), Some(kinds), Some(at), Some(quantities)) = (text("source"), text("kind"), at, quantities)
        else {
            continue;
        };
        let mut keys: (Vec<u64>, Vec<u64>) = Default::default();
        let mut chosen = Vec::new();
        let (mut origin, mut taking, mut quantity) = (Vec::new(), Vec::new(), Vec::new());
        let mut named = Named::new(sources);
        for row in 0..batch.num_rows() {
            let Some((number, source)) = named.source(origins.value(row)) else { continue };
            let Some(returns) = &source.returns else { continue };
            let is_return = kinds.value(row) == returns.kind;
            if !is_return && kinds.value(row) != returns.of {
                continue;
            }
            reports[number].lines += u64::from(is_return);
            let parts = returns.key.iter().map(|name| text(name).filter(|c| c.is_valid(row)).map(|c| c.value(row)));
            match halves(&source.name, parts) {
                Some([high, low]) => {
                    keys.0.push(high);
                    keys.1.push(low);
                    chosen.push(row);
                    origin.push(number as u32);
                    taking.push(is_return);
                    quantity.push(quantities.is_valid(row).then(|| quantities.value(row)));
                }
                // What names nobody or nothing takes nothing back.
                None => reports[number].unmatched += u64::from(is_return),
            }
        }
        let (Some(rows), Some(files), Some(lines)) =
            (batch.column_by_name(ROW), batch.column_by_name(FILE), batch.column_by_name(LINE))
        else {
            continue;
        };
        let whole = |column: &ArrayRef| -> ArrayRef {
            let values = column.as_primitive::<UInt64Type>();
            Arc::new(UInt64Array::from_iter_values(chosen.iter().map(|&row| values.value(row))))
        };
        let files = files.as_primitive::<UInt32Type>();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(keys.0)),
            Arc::new(UInt64Array::from(keys.1)),
            Arc::new(Int64Array::from_iter_values(chosen.iter().map(|&row| at.value(row)))),
            whole(rows),
            Arc::new(UInt32Array::from_iter_values(chosen.iter().map(|&row| files.value(row)))),
            whole(lines),
            Arc::new(UInt32Array::from(origin)),
            Arc::new(BooleanArray::from(taking)),
            Arc::new(Float64Array::from(quantity)),
        ];
        writer.write(&RecordBatch::try_new(candidates_schema(), columns).map_err(internal)?)?;
    }
    writer.finish_temporary()
}

/// Finds sources by name; most often the one asked for last.
struct Named<'a> {
    sources: &'a [Source],
    last: usize,
}

impl<'a> Named<'a> {
    fn new(sources: &'a [Source]) -> Self {
        Named { sources, last: 0 }
    }

    fn source(&mut self, name: &str) -> Option<(usize, &'a Source)> {
        if self.sources.get(self.last).is_none_or(|source| source.name != name) {
            self.last = self.sources.iter().position(|source| source.name == name)?;
        }
        Some((self.last, &self.sources[self.last]))
    }
}

/// Copies the staged events without what was taken back, and tells of each line concerned. Of a line that was taken back
/// in part the quantity is what is left, value and discount are the same share of what they were.
pub(crate) fn apply(
    sorter: &Sorter,
    stage: &Path,
    edits: &Path,
    mut tell: impl FnMut(Taken<'_>) -> Result<()>,
) -> Result<PathBuf> {
    let path = stage.with_extension("settled.parquet");
    let mut edits = sorter.sorted(Table::Events, edits, &[ROW])?.flat_map(edited).peekable();
    let (schema, reader) = read(stage)?;
    let mut writer = TableWriter::temporary(path, schema.clone())?;
    for batch in reader {
        let batch = batch.map_err(|error| Error::parquet(stage)(error.into()))?;
        let Some(numbers) = batch.column_by_name(ROW) else { continue };
        let mut keep = vec![true; batch.num_rows()];
        let mut reduced: Vec<(usize, f64, f64)> = Vec::new();
        for (row, number) in numbers.as_primitive::<UInt64Type>().values().iter().enumerate() {
            let edit = edits.next_if(|next| !matches!(next, Ok(edit) if edit.0 != *number));
            let Some((_, left, share, by)) = edit.transpose()? else { continue };
            keep[row] = left > 0.0;
            if keep[row] {
                reduced.push((row, left, share));
            }
            tell(Taken { batch: &batch, row, by, whole: !keep[row] })?;
        }
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| lessened(column, field.name(), &reduced)).collect();
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(internal)?;
        writer.write(&filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(internal)?)?;
    }
    writer.finish_temporary()
}

/// How a line that was taken back in part was repaired, if nothing else was repaired in it before.
pub(crate) const REDUCED: &str = "taken back in part by a return";

fn lessened(column: &ArrayRef, name: &str, reduced: &[(usize, f64, f64)]) -> ArrayRef {
    if reduced.is_empty() || !["quantity", "value", "discount", FIXED].contains(&name) {
        return column.clone();
    }
    if name == FIXED {
        let mut words: Vec<Option<&str>> = column.as_string::<i32>().iter().collect();
        for (row, ..) in reduced {
            words[*row].get_or_insert(REDUCED);
        }
        return Arc::new(StringArray::from(words));
    }
    let mut numbers: Vec<Option<f64>> = column.as_primitive::<Float64Type>().iter().collect();
    for (row, left, share) in reduced {
        numbers[*row] = numbers[*row].map(|number| if name == "quantity" { *left } else { number * share });
    }
    Arc::new(Float64Array::from(numbers))
}

type Edit = (u64, f64, f64, Place);

fn edited(batch: Result<RecordBatch>) -> Vec<Result<Edit>> {
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => return vec![Err(error)],
    };
    let whole = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values();
    let number = |column: usize| batch.column(column).as_primitive::<Float64Type>().values();
    let files = batch.column(3).as_primitive::<UInt32Type>().values();
    let (rows, left, share, lines) = (whole(0), number(1), number(2), whole(4));
    (0..batch.num_rows()).map(|row| Ok((rows[row], left[row], share[row], (files[row], lines[row])))).collect()
}
