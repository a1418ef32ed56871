//! `ingest`: the sources into the store.

use lookalike_store::Project;

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
    let report = workspace::ingest(&project, say)?;
    say.line(workspace::report_text(&report));
    say.json(&report)
}
