//! A profile on disk: `profiles/2017-10-01/` in the project, replaced as a whole.
//!
//! - `long.parquet`: a row a value, sorted by tag, user and rank: `tag`, `user`, `rank` (from 1; more than one where a
//!   tag has several values a user), `value` (text) or `number`, `figure` (what put a value of several in its place),
//!   `confidence` (0 to 1), `evidence` (events behind it), `expires` (the day from which it no longer counts).
//! - `wide.parquet`: a row a user, a column a tag: numbers, text, or lists of text.
//! - `profile.json`: the format version (1), what it was made from, each tag with its version and what its model was
//!   fitted on and came to, and the hash (BLAKE3) of either file. No time of day is in it: the same store, tags and day give the same bytes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, Float32Array, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    UInt32Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, UInt32Type};
use jiff::civil::Date;
use lookalike_store::Project;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::column::{Column, NONE, Names, Values};
use crate::error::{Error, Result};
use crate::profile::{About, AboutTag, Profile};

/// The folder of a project's profiles.
pub const FOLDER: &str = "profiles";
const MANIFEST: &str = "profile.json";
const LONG: &str = "long.parquet";
const WIDE: &str = "wide.parquet";
const FORMAT: u32 = 1;

/// What `profile.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    hash: String,
    #[serde(flatten)]
    about: About,
    long: Print,
    wide: Print,
}

/// Size and hash of a file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Print {
    bytes: u64,
    blake3: String,
}

/// Where the profile of a day is.
pub fn folder(project: &Project, date: Date) -> PathBuf {
    project.root.join(FOLDER).join(date.to_string())
}

/// The days of which there are profiles, in order.
pub fn days(project: &Project) -> Result<Vec<Date>> {
    let folder = project.root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut days = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Error::reading(&folder))? {
        let name = entry.map_err(Error::reading(&folder))?.file_name();
        days.extend(name.to_str().and_then(|name| name.parse::<Date>().ok()));
    }
    days.sort_unstable();
    Ok(days)
}

/// Writes a profile in the place of the one of that day, and gives its hash.
pub fn write(project: &Project, profile: &Profile) -> Result<String> {
    let target = folder(project, profile.about.as_of);
    let parent = project.root.join(FOLDER);
    std::fs::create_dir_all(&parent).map_err(Error::writing(&parent))?;
    let [next, last] = ["next", "last"].map(|end| parent.join(format!(".{}.{end}", profile.about.as_of)));
    // A run that was killed between the two renames below left the old profile under its second name.
    if last.exists() && !target.exists() {
        std::fs::rename(&last, &target).map_err(Error::writing(&last))?;
    }
    for old in [&next, &last].into_iter().filter(|old| old.exists()) {
        std::fs::remove_dir_all(old).map_err(Error::writing(old))?;
    }
    std::fs::create_dir(&next).map_err(Error::writing(&next))?;
    let long = write_long(&next.join(LONG), profile)?;
    let wide = write_wide(&next.join(WIDE), profile)?;
    let hash = blake3::hash(format!("{}{}", long.blake3, wide.blake3).as_bytes()).to_hex();
    let manifest = Manifest { format: FORMAT, hash: hash.to_string(), about: profile.about.clone(), long, wide };
    let path = next.join(MANIFEST);
    let text =
        serde_json::to_string_pretty(&manifest).map_err(|error| Error::writing(&path)(std::io::Error::other(error)))?;
    let mut file = File::create(&path).map_err(Error::writing(&path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::writing(&path))?;
    if target.exists() {
        std::fs::rename(&target, &last).map_err(Error::writing(&target))?;
    }
    std::fs::rename(&next, &target).map_err(Error::writing(&target))?;
    if last.exists() {
        std::fs::remove_dir_all(&last).map_err(Error::writing(&last))?;
    }
    File::open(&parent).and_then(|parent| parent.sync_all()).map_err(Error::writing(&parent))?;
    Ok(manifest.hash)
}

/// Reads the profile of a day, after a look whether its bytes are those that were written.
pub fn read(project: &Project, date: Date) -> Result<(Profile, String)> {
    let folder = folder(project, date);
    // A run that was killed while it replaced a profile leaves the old one under its second name.
    let last = project.root.join(FOLDER).join(format!(".{date}.last"));
    let folder = if !folder.exists() && last.is_dir() { last } else { folder };
    let path = folder.join(MANIFEST);
    if !path.is_file() {
        return Err(Error::NoProfile { path: folder });
    }
    let text = std::fs::read_to_string(&path).map_err(Error::reading(&path))?;
    let damaged = |what: String| Error::Damaged { path: path.clone(), what };
    let format: serde_json::Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let found = format["format"].as_u64().unwrap_or(0) as u32;
    if found > FORMAT {
        return Err(Error::NewerFormat { path: folder, found, known: FORMAT });
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    for (name, print) in [(LONG, &manifest.long), (WIDE, &manifest.wide)] {
        let path = folder.join(name);
        if print_of(&path)? != *print {
            return Err(Error::Damaged {
                path,
                what: "its bytes do not have the hash that `profile.json` gives".into(),
            });
        }
    }
    let users = read_users(&folder.join(WIDE))?;
    let columns = read_long(&folder.join(LONG), &manifest.about, &users, &folder.join(WIDE))?;
    Ok((Profile { about: manifest.about, users, columns }, manifest.hash))
}

fn print_of(path: &Path) -> Result<Print> {
    let bytes = path.metadata().map_err(Error::reading(path))?.len();
    Ok(Print { bytes, blake3: lookalike_store::hash_file(path)? })
}

fn long_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("tag", DataType::Utf8, false),
        Field::new("user", DataType::Utf8, false),
        Field::new("rank", DataType::UInt32, false),
        Field::new("value", DataType::Utf8, true),
        Field::new("number", DataType::Float64, true),
        Field::new("figure", DataType::Float64, true),
        Field::new("confidence", DataType::Float32, false),
        Field::new("evidence", DataType::UInt32, false),
        Field::new("expires", DataType::Date32, false),
    ]))
}

fn writer(path: &Path, schema: SchemaRef) -> Result<ArrowWriter<File>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("lookalike-portrait {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(Some(1 << 17))
        .build();
    let file = File::create(path).map_err(Error::writing(path))?;
    ArrowWriter::try_new(file, schema, Some(properties)).map_err(Error::parquet(path, true))
}

fn close(path: &Path, writer: ArrowWriter<File>) -> Result<Print> {
    let file = writer.into_inner().map_err(Error::parquet(path, true))?;
    file.sync_all().map_err(Error::writing(path))?;
    print_of(path)
}

/// A part of a tag's rows of `long.parquet`.
#[derive(Default)]
struct LongRows<'a> {
    users: Vec<&'a str>,
    ranks: Vec<u32>,
    values: Vec<Option<&'a str>>,
    numbers: Vec<Option<f64>>,
    figures: Vec<Option<f64>>,
    evidence: Vec<u32>,
}

fn write_long(path: &Path, profile: &Profile) -> Result<Print> {
    let mut writer = writer(path, long_schema())?;
    for (about, column) in profile.about.tags.iter().zip(&profile.columns) {
        let mut rows = LongRows::default();
        for (row, user) in profile.users.iter().enumerate().filter(|(row, _)| column.values.has(*row)) {
            let evidence = column.evidence[row];
            let mut push = |rank, value, number, figure| {
                rows.users.push(user);
                rows.ranks.push(rank);
                rows.values.push(value);
                rows.numbers.push(number);
                rows.figures.push(figure);
                rows.evidence.push(evidence);
            };
            match &column.values {
                Values::Number(numbers) => push(1, None, Some(numbers[row]), None),
                Values::Text { .. } => push(1, column.values.text(row), None, None),
                Values::List { .. } => {
                    for (rank, (value, figure)) in (1..).zip(column.values.list(row)) {
                        push(rank, Some(value), None, Some(figure));
                    }
                }
            }
            if rows.users.len() >= 1 << 16 {
                write_rows(&mut writer, path, about, std::mem::take(&mut rows))?;
            }
        }
        write_rows(&mut writer, path, about, rows)?;
    }
    close(path, writer)
}

fn write_rows(writer: &mut ArrowWriter<File>, path: &Path, about: &AboutTag, rows: LongRows<'_>) -> Result<()> {
    let n = rows.users.len();
    let confidence = rows.evidence.iter().map(|evidence| about.confidence(*evidence) as f32);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![about.name.as_str(); n])),
        Arc::new(StringArray::from(rows.users)),
        Arc::new(UInt32Array::from(rows.ranks)),
        Arc::new(StringArray::from(rows.values)),
        Arc::new(Float64Array::from(rows.numbers)),
        Arc::new(Float64Array::from(rows.figures)),
        Arc::new(confidence.collect::<Float32Array>()),
        Arc::new(UInt32Array::from(rows.evidence)),
        Arc::new(Date32Array::from(vec![clock::days(about.expires); n])),
    ];
    let batch =
        RecordBatch::try_new(long_schema(), columns).map_err(|error| Error::parquet(path, true)(error.into()))?;
    writer.write(&batch).map_err(Error::parquet(path, true))
}

fn write_wide(path: &Path, profile: &Profile) -> Result<Print> {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let kind = |column: &Column| match column.values {
        Values::Number(_) => DataType::Float64,
        Values::Text { .. } => DataType::Utf8,
        Values::List { .. } => list.clone(),
    };
    let tags = profile.about.tags.iter().zip(&profile.columns);
    let tags = tags.map(|(about, column)| Field::new(&about.name, kind(column), true));
    let schema =
        Arc::new(Schema::new([Field::new("user", DataType::Utf8, false)].into_iter().chain(tags).collect::<Vec<_>>()));
    let mut writer = writer(path, schema.clone())?;
    for start in (0..profile.users.len()).step_by(1 << 16) {
        let rows = start..(start + (1 << 16)).min(profile.users.len());
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(profile.users[rows.clone()].iter().map(Some).collect::<StringArray>())];
        for column in &profile.columns {
            columns.push(match &column.values {
                Values::Number(_) => {
                    Arc::new(rows.clone().map(|row| column.values.number(row)).collect::<Float64Array>())
                }
                Values::Text { .. } => {
                    Arc::new(rows.clone().map(|row| column.values.text(row)).collect::<StringArray>())
                }
                Values::List { .. } => {
                    let mut lists = ListBuilder::new(StringBuilder::new());
                    for row in rows.clone() {
                        column.values.list(row).for_each(|(name, _)| lists.values().append_value(name));
                        lists.append(column.values.has(row));
                    }
                    Arc::new(lists.finish())
                }
            });
        }
        let batch =
            RecordBatch::try_new(schema.clone(), columns).map_err(|error| Error::parquet(path, true)(error.into()))?;
        writer.write(&batch).map_err(Error::parquet(path, true))?;
    }
    close(path, writer)
}

fn batches(path: &Path, columns: &[&str]) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let file = File::open(path).map_err(Error::reading(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path, false))?;
    let mask = parquet::arrow::ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(1 << 16).build().map_err(Error::parquet(path, false))?;
    let path = path.to_owned();
    Ok(reader.map(move |batch| batch.map_err(|error| Error::parquet(&path, false)(error.into()))))
}

fn read_users(path: &Path) -> Result<Vec<String>> {
    let mut users = Vec::new();
    for batch in batches(path, &["user"])? {
        users.extend(batch?.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(users)
}

/// The columns of all tags; which type each has is that of its column in the wide table.
fn read_long(path: &Path, about: &About, users: &[String], wide: &Path) -> Result<Vec<Column>> {
    let file = File::open(wide).map_err(Error::reading(wide))?;
    let schema = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(wide, false))?.schema().clone();
    let damaged = |what: &str| Error::Damaged { path: path.to_owned(), what: what.to_owned() };
    let mut readers = Vec::with_capacity(about.tags.len());
    for tag in &about.tags {
        let field = schema.field_with_name(&tag.name).map_err(|_| damaged("a tag has no column in the wide table"))?;
        let values = match field.data_type() {
            DataType::Float64 => Values::Number(vec![f64::NAN; users.len()]),
            DataType::Utf8 => Values::Text { codes: vec![NONE; users.len()], names: Vec::new() },
            _ => Values::List {
                offsets: vec![0; users.len() + 1],
                codes: Vec::new(),
                figures: Vec::new(),
                names: Vec::new(),
            },
        };
        readers.push((Column { values, evidence: vec![0; users.len()] }, Names::default()));
    }
    let (mut place, mut row) = (0, 0);
    for batch in batches(path, &["tag", "user", "value", "number", "figure", "evidence"])? {
        let batch = batch?;
        let text = |index: usize| batch.column(index).as_string::<i32>();
        let (tags, ids, values) = (text(0), text(1), text(2));
        let (numbers, figures) =
            (batch.column(3).as_primitive::<Float64Type>(), batch.column(4).as_primitive::<Float64Type>());
        let evidence = batch.column(5).as_primitive::<UInt32Type>();
        for line in 0..batch.num_rows() {
            while about.tags.get(place).is_some_and(|tag| tag.name != tags.value(line)) {
                (place, row) = (place + 1, 0);
            }
            let (column, names) = readers.get_mut(place).ok_or_else(|| damaged("it has a tag too many"))?;
            while users.get(row).is_some_and(|user| user != ids.value(line)) {
                row += 1;
            }
            if row == users.len() {
                return Err(damaged("it has a user too many"));
            }
            column.evidence[row] = evidence.value(line);
            match &mut column.values {
                Values::Number(all) => all[row] = numbers.value(line),
                Values::Text { codes, .. } => codes[row] = names.code(values.value(line)),
                Values::List { offsets, codes, figures: all, .. } => {
                    codes.push(names.code(values.value(line)));
                    all.push(figures.value(line));
                    offsets[row + 1] += 1;
                }
            }
        }
    }
    let finish = |(mut column, found): (Column, Names)| {
        match &mut column.values {
            Values::Text { names, .. } => *names = found.names,
            Values::List { names, offsets, .. } => {
                *names = found.names;
                (1..offsets.len()).for_each(|row| offsets[row] += offsets[row - 1]);
            }
            Values::Number(_) => {}
        }
        column
    };
    Ok(readers.into_iter().map(finish).collect())
}
