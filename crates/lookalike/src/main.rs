//! `lookalike`: from purchases to embeddings, an index and recommendations. This file is the table of contents:
//! one verb, one file under `verbs/`.

mod aid;
mod attributes;
mod buckets;
mod changed;
mod cli;
mod cold;
mod explain;
mod failure;
mod few;
mod history;
mod judge;
mod lists;
mod portraits;
mod ranker;
mod run;
mod say;
mod segments;
mod stop;
mod table;
mod verbs;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Verb};
use crate::failure::Failure;
use crate::say::Say;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let say = Say::new(cli.common.quiet, cli.common.json);
    match stop::watch().and_then(|()| perform(&cli, &say)).and_then(|()| say.arrived()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Say::failure(&failure);
            failure.exit_code()
        }
    }
}

fn perform(cli: &Cli, say: &Say) -> Result<(), Failure> {
    let common = &cli.common;
    match &cli.verb {
        Verb::Ingest => verbs::ingest::run(common, say),
        Verb::Profile(args) => verbs::profile::run(common, args, say),
        Verb::Segment(verb) => verbs::segment::run(common, verb, say),
        Verb::Train(args) => verbs::train::run(common, args, say),
        Verb::Evaluate(args) => verbs::evaluate::run(common, args, say),
        Verb::Index(args) => verbs::index::run(common, args, say),
        Verb::Recommend(args) => verbs::recommend::run(common, args, say),
        Verb::Similar(args) => verbs::similar::run(args, say),
        Verb::Check(what) => verbs::check::run(common, what, say),
        Verb::Forget(args) => verbs::forget::run(common, args, say),
        Verb::Show(args) => verbs::show::run(common, args, say),
    }
}
