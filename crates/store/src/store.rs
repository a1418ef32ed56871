//! The cleaned history of a project, opened for reading: everything is checked before it is used.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimestampMicrosecondType};
use jiff::Timestamp;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::statistics::Statistics;

use crate::consent::Consent;
use crate::error::{Error, Result};
use crate::files::{self, modified};
use crate::manifest::{Manifest, TableEntry};
use crate::project::Project;
use crate::report::Report;
use crate::schema::Table;
use crate::sql::Engine;
use crate::{people, quarantine, swap};

/// Rows of a table, batch by batch.
pub type Rows = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// The store of a project.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    manifest: Manifest,
    /// Files whose hash was found right, with the time of their last change when it was.
    verified: Mutex<Vec<(String, u64)>>,
    consent: Option<Consent>,
    /// What the data are read for, and on which day.
    purpose: (Option<String>, Timestamp),
    /// Whose data may not be used for it, once that is known.
    withheld: Mutex<Option<Arc<HashSet<String>>>>,
    /// Source of edges → which ends are people.
    ends: BTreeMap<String, Vec<String>>,
    /// The footer of the events with the time of the last change when it was read: it is long, and every row group
    /// that is read needs it.
    footers: Mutex<Vec<Footer>>,
}

/// A footer, read once.
#[derive(Debug, Clone)]
struct Footer {
    changed: u64,
    /// Whether text comes as a dictionary.
    coded: bool,
    about: ArrowReaderMetadata,
}

impl Store {
    /// Opens the store of `project`, putting back the old one if a run died while it replaced it.
    ///
    /// Format, lengths, schemas and row counts are checked here; the hash of a table when it is first read. Where the
    /// project asks people, only those are read who allow every purpose; [`Store::for_purpose`] asks for one.
    pub fn open(project: &Project) -> Result<Store> {
        swap::recover(&project.root)?;
        let folder = swap::folder(&project.root);
        if !folder.is_dir() {
            return Err(Error::NoStore { dir: project.root.clone() });
        }
        let manifest = Manifest::read(&folder)?;
        let edges = project.sources.iter().filter(|source| source.table == Table::Edges);
        let store = Store {
            folder,
            manifest,
            verified: Mutex::default(),
            consent: project.consent.clone(),
            purpose: (None, Timestamp::now()),
            withheld: Mutex::default(),
            footers: Mutex::default(),
            ends: edges.map(|source| (source.name.clone(), source.people.clone())).collect(),
        };
        for table in Table::ALL {
            store.check_file(&table.file_name(), |schema| fits(table, schema))?;
        }
        store.check_file(quarantine::FILE, |schema| *schema == *quarantine::schema())?;
        if store.manifest.tables.contains_key(people::FILE) {
            store.check_file(people::FILE, |schema| *schema == *people::schema())?;
        }
        Ok(store)
    }

    /// Another reader of the same store.
    pub fn reader(&self) -> Store {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Store {
            folder: self.folder.clone(),
            manifest: self.manifest.clone(),
            verified: Mutex::new(verified),
            consent: self.consent.clone(),
            purpose: self.purpose.clone(),
            withheld: Mutex::new(withheld),
            ends: self.ends.clone(),
            footers: Mutex::new(self.footers.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// The same store, read for one purpose on the day `as_of`. A purpose that the project does not name is held to
    /// all that it names.
    pub fn for_purpose(self, purpose: &str, as_of: Timestamp) -> Store {
        Store { purpose: (Some(purpose.to_owned()), as_of), withheld: Mutex::default(), ..self }
    }

    /// The users whose data may not be used for `purpose` on the day `as_of`; nobody where the project asks nobody.
    pub fn withheld(&self, purpose: &str, as_of: Timestamp) -> Result<HashSet<String>> {
        let Some(consent) = &self.consent else { return Ok(HashSet::new()) };
        for table in [Table::Users, Table::Events] {
            self.verify(&table.file_name())?;
        }
        consent.withheld(&self.folder, purpose, as_of)
    }

    /// The users whose data this store does not give, for the purpose that it is read for.
    pub fn withheld_here(&self) -> Result<Arc<HashSet<String>>> {
        let mut known = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        // No purpose has no name, so that it is held to all there are.
        let found = Arc::new(self.withheld(self.purpose.0.as_deref().unwrap_or_default(), self.purpose.1)?);
        *known = Some(found.clone());
        Ok(found)
    }

    /// Why the store no longer is what its sources would give, or `None` if it is.
    ///
    /// It compares what the project file declares, and of each source file the length and the time of the last
    /// change; only a file whose time is another is read again.
    pub fn is_stale(&self, project: &Project) -> Result<Option<String>> {
        if self.manifest.declared != project.ingest_hash() {
            return Ok(Some("the sources in `lookalike.toml` were changed".to_owned()));
        }
        if self.manifest.forgotten != project.forgotten_hash() {
            return Ok(Some("somebody asked to be forgotten".to_owned()));
        }
        let mut known = self.manifest.files.iter().peekable();
        for source in &project.sources {
            let paths = files::paths(project, source)?;
            if paths.is_empty() {
                return Ok(Some(format!("`{}` is missing", source.path)));
            }
            for path in paths {
                let shown = files::shown(project, &path);
                let Some(print) = known.next_if(|print| print.path == shown) else {
                    return Ok(Some(format!("`{shown}` is new, or a file before it is gone")));
                };
                if !print.unchanged(&path)? {
                    return Ok(Some(format!("`{shown}` was changed")));
                }
            }
        }
        Ok(known.next().map(|print| format!("`{}` is gone", print.path)))
    }

    /// Whether every file still has the bytes that were written.
    pub fn is_whole(&self) -> bool {
        self.manifest.tables.keys().all(|name| self.verify(name).is_ok())
    }

    /// What the ingest did.
    pub fn report(&self) -> &Report {
        &self.manifest.report
    }

    /// A hash of the contents of the four tables and of whose part in them is not given, in hexadecimal: a grant can end
    /// without a new line, and what was made with that person's data must not be taken for current then.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for table in Table::ALL {
            if let Some(entry) = self.manifest.tables.get(&table.file_name()) {
                hasher.update(entry.blake3.as_bytes());
            }
        }
        // Where it cannot be found out, no table can be read either, and reading says why.
        let withheld = self.withheld_here().unwrap_or_default();
        let mut withheld: Vec<&String> = withheld.iter().collect();
        withheld.sort_unstable();
        for user in withheld {
            hasher.update(user.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Number of rows of a table, whoever may be read.
    pub fn rows(&self, table: Table) -> u64 {
        self.manifest.tables.get(&table.file_name()).map_or(0, |entry| entry.rows)
    }

    /// Names of the columns of a table, attributes after the canonical ones.
    pub fn columns(&self, table: Table) -> Result<Vec<String>> {
        self.columns_of(&table.file_name())
    }

    /// The columns of a table with their types.
    pub fn schema(&self, table: Table) -> Result<SchemaRef> {
        Ok(open_parquet(&self.path(&table.file_name()))?.schema().clone())
    }

    /// Which ends of the edges of a source are people; `None` if there is no such source any more.
    pub(crate) fn people_of(&self, source: &str) -> Option<&[String]> {
        self.ends.get(source).map(Vec::as_slice)
    }

    pub(crate) fn columns_of(&self, name: &str) -> Result<Vec<String>> {
        let path = self.path(name);
        let schema = open_parquet(&path)?.schema().clone();
        Ok(schema.fields().iter().map(|field| field.name().clone()).collect())
    }

    /// The rows of a table in its order, `columns` in the order in which they are named here.
    ///
    /// Columns are `Utf8`, `Float64`, `Timestamp(µs, UTC)` or `List<Utf8>`. Nothing is given of people who do not allow
    /// the purpose that the store is read for.
    pub fn scan(&self, table: Table, columns: &[&str]) -> Result<Rows> {
        self.scan_allowed(table, columns, None, false)
    }

    /// The one place that sees to it that nothing is given of people who do not allow the purpose.
    fn scan_allowed(&self, table: Table, columns: &[&str], groups: Option<Range<usize>>, coded: bool) -> Result<Rows> {
        let withheld = self.withheld_here()?;
        let mut people = if withheld.is_empty() { Vec::new() } else { table.people() };
        let asked = columns.len();
        if table == Table::Edges && !people.is_empty() {
            people.push("source".to_owned());
        }
        let all: Vec<&str> = columns.iter().copied().chain(people.iter().map(String::as_str)).collect();
        let ends = self.ends.clone();
        let batches = match groups {
            Some(groups) if table == Table::Events => self.scan_footed(&all, groups, coded)?,
            groups => self.scan_file(&table.file_name(), &all, groups)?,
        };
        let path = self.path(&table.file_name());
        Ok(Box::new(batches.map(move |batch| {
            let batch = batch?;
            if people.is_empty() {
                return Ok(batch);
            }
            let own: Vec<usize> = (0..asked).collect();
            let keep = BooleanArray::from(allowed(&batch, asked, &people, &withheld, &ends));
            let kept = batch.project(&own).and_then(|batch| filter_record_batch(&batch, &keep));
            kept.map_err(|error| Error::parquet(&path)(error.into()))
        })))
    }

    /// Ids of the items for which a condition in SQL over the columns of their table is true. The category is the text
    /// of its path there, widest first, with ` > ` between.
    pub fn items_where(&self, condition: &str) -> Result<Vec<String>> {
        let columns = self.columns(Table::Items)?;
        let failed = |source| Error::ItemCondition {
            expression: condition.to_owned(),
            columns: columns.clone(),
            source: Box::new(source),
        };
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let (mut compiled, mut ids) = (None, Vec::new());
        for batch in self.scan(Table::Items, &names)? {
            let batch = with_paths_as_text(batch?);
            let test = match &mut compiled {
                Some(test) => test,
                None => compiled.insert(Engine::new().condition(condition, &batch.schema()).map_err(failed)?),
            };
            let hits = test.evaluate(&batch).map_err(failed)?;
            let (hits, items) = (hits.as_boolean(), batch.column_by_name("item").map(|items| items.as_string::<i32>()));
            for row in (0..hits.len()).filter(|&row| hits.is_valid(row) && hits.value(row)) {
                ids.extend(items.map(|items| items.value(row).to_owned()));
            }
        }
        Ok(ids)
    }

    /// The lines that were set aside: `source`, `file`, `line` (`UInt64`), `reason`, `raw`.
    pub fn quarantine(&self) -> Result<Rows> {
        self.scan_file(quarantine::FILE, &["source", "file", "line", "reason", "raw"], None)
    }

    /// Number of row groups of a table: the parts in which [`Store::scan_groups`] reads it.
    pub fn groups(&self, table: Table) -> Result<usize> {
        Ok(open_parquet(&self.path(&table.file_name()))?.metadata().num_row_groups())
    }

    /// As [`Store::scan`], of these row groups alone.
    pub fn scan_groups(&self, table: Table, columns: &[&str], groups: Range<usize>) -> Result<Rows> {
        self.scan_allowed(table, columns, Some(groups), false)
    }

    /// As [`Store::scan_groups`] of the events, but text is `Dictionary(Int32, Utf8)`: the batches of a row group share
    /// the texts of a column, and each row has the place of its own among them. Texts may stand there that no row has.
    pub fn scan_coded(&self, columns: &[&str], groups: Range<usize>) -> Result<Rows> {
        self.scan_allowed(Table::Events, columns, Some(groups), true)
    }

    /// Row groups of the events by the footer that was read once.
    fn scan_footed(&self, columns: &[&str], groups: Range<usize>, coded: bool) -> Result<Rows> {
        let name = Table::Events.file_name();
        self.verify(&name)?;
        let path = self.path(&name);
        let changed = modified(&path.metadata().map_err(Error::read(&path))?);
        let mut footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = footers.iter().find(|footer| footer.changed == changed && footer.coded == coded);
        let about = match known {
            Some(footer) => footer.about.clone(),
            None => {
                let about = footer(&path, coded)?;
                footers.push(Footer { changed, coded, about: about.clone() });
                about
            }
        };
        drop(footers);
        let file = File::open(&path).map_err(Error::read(&path))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, about);
        rows_of(path, builder, columns, Some(groups))
    }

    /// Microseconds since 1970 of the first and of the last event; `None` if there is none.
    pub fn span(&self) -> Result<Option<(i64, i64)>> {
        let mut span: Option<(i64, i64)> = None;
        let mut take_in = |least: i64, most: i64| {
            span = Some(span.map_or((least, most), |(first, last)| (first.min(least), last.max(most))));
        };
        let path = self.path(&Table::Events.file_name());
        self.verify(&Table::Events.file_name())?;
        let file = open_parquet(&path)?;
        let at = file.schema().index_of("at").ok().filter(|_| self.withheld_here().is_ok_and(|none| none.is_empty()));
        let groups = file.metadata().row_groups().iter().map(|group| {
            match group.columns().get(at?).and_then(|column| column.statistics()) {
                Some(Statistics::Int64(at)) => Some((*at.min_opt()?, *at.max_opt()?)),
                _ => None,
            }
        });
        if let Some(groups) = groups.collect::<Option<Vec<_>>>() {
            groups.into_iter().for_each(|(least, most)| take_in(least, most));
            return Ok(span);
        }
        // Somebody is withheld, and the file does not tell their events apart.
        for batch in self.scan(Table::Events, &["at"])? {
            let batch = batch?;
            let at = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            if let (Some(least), Some(most)) = (arrow::compute::min(at), arrow::compute::max(at)) {
                take_in(least, most);
            }
        }
        Ok(span)
    }

    /// The last user of each row group of the events.
    pub fn group_ends(&self) -> Result<Vec<String>> {
        let metadata = open_parquet(&self.path(&Table::Events.file_name()))?.metadata().clone();
        let mut ends = Vec::with_capacity(metadata.num_row_groups());
        for (group, about) in metadata.row_groups().iter().enumerate() {
            // Events are sorted by user, so the greatest is the last; a very long id may stand there cut short.
            let end = match about.columns().first().and_then(|users| users.statistics()) {
                Some(Statistics::ByteArray(users)) if users.max_is_exact() => {
                    users.max_opt().and_then(|user| user.as_utf8().ok()).map(str::to_owned)
                }
                _ => None,
            };
            ends.push(match end {
                Some(end) => end,
                None => self.last_user(group)?,
            });
        }
        Ok(ends)
    }

    fn last_user(&self, group: usize) -> Result<String> {
        let mut last = String::new();
        for batch in self.scan_file(&Table::Events.file_name(), &["user"], Some(group..group + 1))? {
            let batch = batch?;
            let users = batch.column(0).as_string::<i32>();
            if let Some(row) = users.len().checked_sub(1) {
                last = users.value(row).to_owned();
            }
        }
        Ok(last)
    }

    pub(crate) fn scan_file(&self, name: &str, columns: &[&str], groups: Option<Range<usize>>) -> Result<Rows> {
        self.verify(name)?;
        self::columns(&self.path(name), columns, groups)
    }

    /// The person that an id stands for, and all ids of that person, the person's own first.
    pub fn ids_of(&self, id: &str) -> Result<Vec<String>> {
        if !self.manifest.tables.contains_key(people::FILE) {
            return Ok(vec![id.to_owned()]);
        }
        let (mut person, mut pairs) = (id.to_owned(), Vec::new());
        for batch in self.scan_file(people::FILE, &["id", "person"], None)? {
            let batch = batch?;
            let [ids, people] = [0, 1].map(|column| batch.column(column).as_string::<i32>());
            for (other, own) in ids.iter().zip(people).filter_map(|(id, person)| Some((id?, person?))) {
                if other == id {
                    person = own.to_owned();
                }
                pairs.push((other.to_owned(), own.to_owned()));
            }
        }
        let others = pairs.into_iter().filter(|(_, own)| *own == person).map(|(other, _)| other);
        Ok([person.clone()].into_iter().chain(others).collect())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn entry(&self, name: &str) -> Result<&TableEntry> {
        let missing = || self.damaged(crate::manifest::FILE, format!("it does not mention `{name}`"));
        self.manifest.tables.get(name).ok_or_else(missing)
    }

    fn damaged(&self, name: &str, what: impl Into<String>) -> Error {
        Error::Damaged { path: self.path(name), what: what.into() }
    }

    fn check_file(&self, name: &str, fits: impl Fn(&Schema) -> bool) -> Result<()> {
        let (path, entry) = (self.path(name), self.entry(name)?);
        let bytes = path.metadata().map_err(Error::read(&path))?.len();
        if bytes != entry.bytes {
            return Err(self.damaged(name, format!("it has {bytes} bytes instead of {}", entry.bytes)));
        }
        let file = open_parquet(&path)?;
        let rows = file.metadata().file_metadata().num_rows();
        if u64::try_from(rows) != Ok(entry.rows) {
            return Err(self.damaged(name, format!("it has {rows} rows instead of {}", entry.rows)));
        }
        if !fits(file.schema()) {
            return Err(self.damaged(name, "its columns are not those of the table"));
        }
        Ok(())
    }

    /// Compares a file with its hash unless that was done since it was last written.
    fn verify(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let mark = (name.to_owned(), modified(&path.metadata().map_err(Error::read(&path))?));
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.contains(&mark) {
            return Ok(());
        }
        if files::hash_file(&path)? != self.entry(name)?.blake3 {
            return Err(self.damaged(name, "its bytes do not have the hash that `store.json` gives"));
        }
        verified.push(mark);
        Ok(())
    }
}

/// The rows of a Parquet file, `columns` in the order in which they are named here.
pub(crate) fn columns(path: &Path, columns: &[&str], groups: Option<Range<usize>>) -> Result<Rows> {
    rows_of(path.to_owned(), open_parquet(path)?, columns, groups)
}

fn rows_of(
    path: PathBuf,
    mut builder: ParquetRecordBatchReaderBuilder<File>,
    columns: &[&str],
    groups: Option<Range<usize>>,
) -> Result<Rows> {
    let mut batch_rows = 1 << 16;
    if let Some(groups) = groups {
        let count = builder.metadata().num_row_groups();
        builder = builder.with_row_groups(groups.filter(|group| *group < count).collect());
        // Who reads groups one by one may want no more than the beginning of one.
        batch_rows = 1 << 13;
    }
    let schema = builder.schema().clone();
    let mut indices = Vec::with_capacity(columns.len());
    for column in columns {
        let found = schema.fields().iter().map(|field| field.name().clone()).collect();
        let missing = |_| Error::MissingColumn { file: path.clone(), column: (*column).to_owned(), found };
        indices.push(schema.index_of(column).map_err(missing)?);
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), indices.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(Error::parquet(&path))?;
    // The reader gives columns in the order of the file; this brings them into the order asked for.
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let order: Vec<usize> = indices.iter().filter_map(|index| sorted.binary_search(index).ok()).collect();
    Ok(Box::new(reader.map(move |batch| {
        batch.and_then(|batch| batch.project(&order)).map_err(|error| Error::parquet(&path)(error.into()))
    })))
}

/// For every row whether nobody in it is withheld. The columns from `first` on name people, the last of them perhaps the
/// source, which says which of the others do.
fn allowed(
    batch: &RecordBatch,
    first: usize,
    people: &[String],
    withheld: &HashSet<String>,
    ends: &BTreeMap<String, Vec<String>>,
) -> Vec<bool> {
    let column = |name: &str| {
        let at = people.iter().position(|column| column == name)?;
        Some(batch.column(first + at))
    };
    let sources = column("source").and_then(|sources| sources.as_string_opt::<i32>());
    let mut keep = vec![true; batch.num_rows()];
    for name in people.iter().filter(|name| *name != "source") {
        let Some(ids) = column(name) else { continue };
        let named = named(ids, withheld);
        for (row, keep) in keep.iter_mut().enumerate().filter(|(row, _)| named[*row]) {
            // An end of an edge whose source is gone from the project file is taken for a person.
            let source = sources.and_then(|sources| ends.get(sources.value(row)));
            if source.is_none_or(|ends| ends.contains(name)) {
                *keep = false;
            }
        }
    }
    keep
}

/// Where a column of ids, text or a dictionary of it, names one of `people`.
fn named(ids: &ArrayRef, people: &HashSet<String>) -> Vec<bool> {
    let among = |texts: &StringArray| -> Vec<bool> {
        texts.iter().map(|id| id.is_some_and(|id| people.contains(id))).collect()
    };
    if let Some(texts) = ids.as_string_opt::<i32>() {
        return among(texts);
    }
    match ids.as_dictionary_opt::<Int32Type>().and_then(|coded| Some((coded, coded.values().as_string_opt::<i32>()?))) {
        Some((coded, texts)) => {
            let among = among(texts);
            coded.keys().iter().map(|key| key.is_some_and(|key| among[key as usize])).collect()
        }
        // What cannot be read is taken for somebody who is withheld.
        None => vec![true; ids.len()],
    }
}

fn open_parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(Error::read(path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path))
}

/// The footer of a Parquet file; `coded` asks for text as a dictionary.
fn footer(path: &Path, coded: bool) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(Error::read(path))?;
    let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(Error::parquet(path))?;
    if !coded {
        return Ok(plain);
    }
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = plain.schema().fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(Field::clone(field).with_data_type(dictionary.clone())),
        _ => field.clone(),
    });
    let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), plain.schema().metadata().clone()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    ArrowReaderMetadata::try_new(plain.metadata().clone(), options).map_err(Error::parquet(path))
}

/// Whether the canonical columns come first and only text follows them.
fn fits(table: Table, schema: &Schema) -> bool {
    let canonical = table.schema::<&str>(&[]);
    let own = canonical.fields().len();
    let fields = schema.fields();
    fields.len() >= own
        && fields[..own] == canonical.fields()[..]
        && (table.takes_attributes() || fields.len() == own)
        && fields[own..].iter().all(|field| *field.data_type() == DataType::Utf8)
}

/// The same rows with every list of texts as one text.
fn with_paths_as_text(batch: RecordBatch) -> RecordBatch {
    let text = |column: &ArrayRef| match column.as_list_opt::<i32>() {
        Some(lists) => {
            let joined = |list: ArrayRef| list.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(" > ");
            Arc::new(lists.iter().map(|list| list.map(joined)).collect::<StringArray>()) as ArrayRef
        }
        None => column.clone(),
    };
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    let columns = names.zip(batch.columns().iter().map(text)).map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap_or(batch)
}
