//! From a project folder to its store and its data set, ingesting first where that is needed.

use std::time::Instant;

use jiff::Timestamp;
use lookalike_dataset::Dataset;
use lookalike_store::{Phase, Project, Report, Split, Store};

use crate::cli::Common;
use crate::failure::Failure;
use crate::say::{Say, grouped, table};

/// A project with its store up to date; the store is absent where a split is given as files.
pub struct Workspace {
    pub project: Project,
    pub store: Option<Store>,
    /// Seconds spent on bringing the store up to date.
    pub ingest_seconds: f64,
}

impl Workspace {
    /// Opens the project and ingests its sources if the store is missing or older than they are.
    pub fn open(common: &Common, say: &Say) -> Result<Self, Failure> {
        let start = Instant::now();
        let project = Project::open(&common.project)?;
        let given = matches!(project.interactions.split, Split::Given { .. });
        let store = match given && project.sources.is_empty() {
            true => None,
            false => Some(up_to_date(&project, say)?),
        };
        Ok(Self { project, store, ingest_seconds: start.elapsed().as_secs_f64() })
    }

    /// The data set that models are trained on and judged by.
    pub fn dataset(&self) -> Result<Dataset, Failure> {
        Ok(lookalike_dataset::load(&self.project, self.store.as_ref())?)
    }

    /// What the data is told apart by: the contents of the store, what counts, and how it is split.
    pub fn data_hash(&self) -> Result<String, Failure> {
        Ok(lookalike_dataset::fingerprint(&self.project, self.store.as_ref())?)
    }
}

fn up_to_date(project: &Project, say: &Say) -> Result<Store, Failure> {
    if let Ok(store) = Store::open(project)
        && store.is_stale(project)?.is_none()
    {
        return Ok(for_training(store));
    }
    let report = ingest(project, say)?;
    say.line(report_text(&report));
    say.line("");
    Ok(for_training(Store::open(project)?))
}

/// The store without those who today do not allow that a model learns from them.
fn for_training(store: Store) -> Store {
    store.for_purpose("training", Timestamp::now())
}

/// Ingests with a counter on stderr.
pub fn ingest(project: &Project, say: &Say) -> Result<Report, Failure> {
    let bar = say.bar("", 1);
    let report = lookalike_store::ingest(project, &mut |progress| {
        let verb = if progress.stage == Phase::Reading { "reading" } else { "writing" };
        bar.set_message(format!("{verb} {}", progress.name));
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    Ok(report?)
}

/// What an ingest did, as two tables.
pub fn report_text(report: &Report) -> String {
    let (mut rows, mut reasons) = (Vec::new(), String::new());
    for (name, source) in &report.sources {
        let counts = [source.lines, source.kept, source.fixed, source.quarantined].map(grouped);
        rows.push([vec![name.clone()], counts.into()].concat());
        for (reason, lines) in &source.reasons {
            reasons.push_str(&format!("\n  {name}: {} × {reason}", grouped(*lines)));
        }
    }
    let tables: Vec<String> = report.tables.iter().map(|(name, rows)| format!("{name} {}", grouped(*rows))).collect();
    let table = table(&["source", "in", "kept", "fixed", "quarantined"], &rows);
    format!("{table}{reasons}\nstore: {}", tables.join(", "))
}
