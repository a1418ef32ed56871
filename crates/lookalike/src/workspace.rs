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
    /// The project and those whom models may learn from; see [`Workspace::open_for`].
    pub fn open(common: &Common, say: &Say) -> Result<Self, Failure> {
        Self::open_for(common, "training", say)
    }

    /// Opens the project and ingests its sources if the store is missing or older than they are. The store gives
    /// nothing of people who today do not allow the purpose.
    pub fn open_for(common: &Common, purpose: &str, say: &Say) -> Result<Self, Failure> {
        let start = Instant::now();
        let project = Project::open(&common.project)?;
        let given = matches!(project.interactions.split, Split::Given { .. });
        let store = match given && project.sources.is_empty() {
            true => None,
            false => Some(up_to_date(&project, say)?.for_purpose(purpose, Timestamp::now())),
        };
        Ok(Self { project, store, ingest_seconds: start.elapsed().as_secs_f64() })
    }

    /// The data set that models are trained on and judged by.
    pub fn dataset(&self) -> Result<Dataset, Failure> {
        Ok(lookalike_dataset::load(&self.project, self.store.as_ref())?)
    }

    /// The same with what was known before each of the last stretches of the training part.
    pub fn dataset_in_stretches(&self, stretches: usize) -> Result<Dataset, Failure> {
        Ok(lookalike_dataset::load_in_stretches(&self.project, self.store.as_ref(), stretches)?)
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
        return Ok(store);
    }
    let report = ingest(project, say)?;
    say.line(report_text(&report));
    say.line("");
    Ok(Store::open(project)?)
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
        for (column, lines) in &source.gaps {
            reasons.push_str(&format!("\n  {name}: {} × `{column}` is empty, and kept so", grouped(*lines)));
        }
        if let Some(returns) = &source.returns {
            let [all, matched, partly, unmatched] =
                [returns.lines, returns.matched, returns.partly, returns.unmatched].map(grouped);
            let [whole, part] = [returns.withdrawn, returns.reduced].map(grouped);
            reasons.push_str(&format!(
                "\n  {name}: {all} returns, of which {matched} found all they take back, {partly} a part of it, \
                 {unmatched} nothing; {whole} lines were taken back whole, {part} in part"
            ));
        }
    }
    if let Some(identity) = &report.identity {
        let counts = [identity.ids, identity.people, identity.rejected, identity.ids_apart, identity.too_large];
        let [ids, people, rejected, apart, groups] = counts.map(grouped);
        reasons.push_str(&format!(
            "\nidentity: {ids} ids are {people} people; {rejected} edges name nobody; {apart} ids in {groups} groups too \
             large for a person were left apart"
        ));
    }
    if let Some(consent) = &report.consent {
        let [lines, people, unknown] = [consent.lines, consent.people, consent.unknown].map(grouped);
        reasons
            .push_str(&format!("\nconsent: {lines} rows about {people} people, {unknown} of them otherwise unknown"));
    }
    let tables: Vec<String> = report.tables.iter().map(|(name, rows)| format!("{name} {}", grouped(*rows))).collect();
    let table = table(&["source", "in", "kept", "fixed", "quarantined"], &rows);
    format!("{table}{reasons}\nstore: {}", tables.join(", "))
}
