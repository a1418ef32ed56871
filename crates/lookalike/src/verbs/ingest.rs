//! `ingest`: the sources into the store.

use lookalike_store::{Project, Store};

use crate::cli::Common;
use crate::failure::Failure;
use crate::say::Say;
use crate::workspace;

pub fn run(common: &Common, say: &Say) -> Result<(), Failure> {
    let project = Project::open(&common.project)?;
    if project.sources.is_empty() {
        let failure = Failure::new(format!("project `{}` has no sources to ingest", project.name));
        return Err(failure.with_hint("its split names its files directly: run `train`"));
    }
    if let Some(store) = unchanged(&project)? {
        say.line(workspace::report_text(store.report()));
        say.remark("nothing has changed since: the store is what its sources give");
        return say.json(store.report());
    }
    let report = workspace::ingest(&project, say)?;
    say.line(workspace::report_text(&report));
    say.json(&report)
}

/// The store, if it is whole and its sources would give the same again.
fn unchanged(project: &Project) -> Result<Option<Store>, Failure> {
    // A store that cannot be opened or is damaged is built anew, whatever the reason.
    let Ok(store) = Store::open(project) else { return Ok(None) };
    Ok((store.is_stale(project)?.is_none() && store.is_whole()).then_some(store))
}
