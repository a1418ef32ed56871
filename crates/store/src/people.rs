//! People at ingest: one id for each of them, and nothing of those who asked to be forgotten.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::clean::{Cleaner, Raw, Verdicts, text};
use crate::error::{Error, Result};
use crate::files::Input;
use crate::forgotten::Forgotten;
use crate::identity::{Links, People};
use crate::project::Project;
use crate::read::Reader;
use crate::schema::Table;
use crate::source::Source;
use crate::stage::TableWriter;

/// Name of the file in the store: which ids are another id's person.
pub(crate) const FILE: &str = "identity.parquet";

pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("id"), text("person")]))
}

/// Reads the edges that say who is one person. It comes before everything else is read, so that every other line can be
/// given its person as soon as it is read.
pub(crate) fn find(project: &Project, inputs: &[Input]) -> Result<People> {
    let Some(identity) = &project.identity else { return Ok(People::default()) };
    let mut links = Links::new(identity);
    for input in inputs {
        let source = &project.sources[input.source];
        let may = source.kinds().is_none_or(|kinds| kinds.contains(&identity.kind.as_str()));
        if source.table != Table::Edges || !may || source.people.len() < 2 {
            continue;
        }
        let mut reader = Reader::open(&input.path, input.format, &source.needed())?;
        let mut cleaner = Cleaner::new(source, &[]);
        while let Some(raw) = reader.next()? {
            let (rows, verdicts) = cleaner.clean(&input.path, &raw)?;
            let [from, to, kinds] = ["from", "to", "kind"].map(|name| rows.column_by_name(name));
            let (Some(from), Some(to), Some(kinds)) = (from, to, kinds) else { continue };
            let [from, to, kinds] = [from, to, kinds].map(|column| column.as_string::<i32>());
            for row in (0..rows.num_rows()).filter(|&row| verdicts.bad(row).is_none()) {
                if kinds.value(row) == identity.kind {
                    links.link(from.value(row), to.value(row));
                }
            }
        }
    }
    Ok(links.finish(&project.forgotten))
}

/// Puts the person in the place of their other ids, and refuses the lines of those who asked to be forgotten.
pub(crate) fn settle(
    project: &Project,
    people: &People,
    source: &Source,
    rows: RecordBatch,
    raw: &RecordBatch,
    verdicts: &mut Verdicts,
) -> Result<RecordBatch> {
    let forgotten = &project.forgotten;
    if people.of.is_empty() && forgotten.is_empty() {
        return Ok(rows);
    }
    let mut columns = rows.columns().to_vec();
    for name in &source.people {
        let Ok(index) = rows.schema_ref().index_of(name) else { continue };
        let rule = format!("`{name}` is another id of the same person");
        let ids = columns[index].as_string::<i32>();
        let settled = ids.iter().enumerate().map(|(row, id)| {
            let id = id?;
            let person = people.person(id);
            if person != id {
                verdicts.fix(row, &rule);
            }
            if forgotten.holds(id) || forgotten.holds(person) || people.is_gone(person) {
                verdicts.forget(row);
            }
            Some(person)
        });
        columns[index] = Arc::new(settled.collect::<StringArray>());
    }
    if !forgotten.is_empty() {
        silence(forgotten, raw, verdicts);
    }
    let failed = |error| Error::Read { path: source.path.clone().into(), source: std::io::Error::other(error) };
    RecordBatch::try_new(rows.schema(), columns).map_err(failed)
}

/// A refused line may name somebody in the wrong place; then nothing of it is kept either.
fn silence(forgotten: &Forgotten, raw: &RecordBatch, verdicts: &mut Verdicts) {
    let refused: Vec<usize> =
        (0..raw.num_rows()).filter(|&row| verdicts.bad(row).is_some() && !verdicts.is_silent(row)).collect();
    if refused.is_empty() {
        return;
    }
    for (field, array) in raw.schema_ref().fields().iter().zip(raw.columns()) {
        // What cannot be shown as text is no id.
        let Ok(cells) = text(&Raw { file: Path::new(""), name: field.name(), array }) else { continue };
        for &row in &refused {
            if cells.is_valid(row) && forgotten.holds(cells.value(row)) {
                verdicts.silence(row);
            }
        }
    }
}

/// Writes down which ids are another id's person.
pub(crate) fn write(people: &People, folder: &Path) -> Result<u64> {
    let path = folder.join(FILE);
    let mut pairs: Vec<(&String, &String)> = people.of.iter().filter(|(_, person)| !people.is_gone(person)).collect();
    pairs.sort_unstable();
    let column = |texts: Vec<&String>| -> ArrayRef { Arc::new(StringArray::from_iter_values(texts)) };
    let (ids, persons) = pairs.into_iter().unzip();
    let batch = RecordBatch::try_new(schema(), vec![column(ids), column(persons)]);
    let mut writer = TableWriter::lasting(path.clone(), schema())?;
    writer.write(&batch.map_err(|error| Error::write_parquet(&path)(error.into()))?)?;
    let rows = writer.rows;
    writer.finish()?;
    Ok(rows)
}
