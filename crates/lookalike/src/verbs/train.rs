//! `train`: store → model → bundle, evaluated beside its baselines and indexed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;
use jiff::civil::Date;
use lookalike_bundle::{Bundle, Extra, Few, History, ItemRow, Learned, Manifest, Repeat, Row};
use lookalike_dataset::{Dataset, Features};
use lookalike_portrait::Catalogue;
use lookalike_retrieve::{Audit, FEW, IndexSettings, RANKER, Ranker, Recommender, Signals};
use lookalike_store::Project;
use lookalike_train::device::{self, Device, DeviceChoice};
use lookalike_train::{
    Entry, FitError, Fitted, Identity, Knobs, Phase, Plan, Precision, Preset, TwoTower, Verdict, Watch, fit,
};
use serde_json::{Value, json};

use super::evaluate::Evaluation;
use crate::attributes;
use crate::changed::attach_friends;
use crate::cli::{Common, Train};
use crate::cold::untouched;
use crate::failure::{Failure, io};
use crate::few::Chooser;
use crate::judge::{Bench, Choice, Figures, PROTOCOL};
use crate::portraits::{self, Entered};
use crate::ranker::{self, Shortlists};
use crate::run::{self, Run};
use crate::say::{Say, grouped, to_value};
use crate::segments;
use crate::stop::Heeding;
use crate::workspace::Workspace;

pub fn run(common: &Common, args: &Train, say: &Say) -> Result<(), Failure> {
    let start = Instant::now();
    let mut preset = Preset::load(&args.model)?;
    if args.tune.is_some() && args.resume {
        let failure = Failure::wrong_use("`--tune` searches from the start and does not go with `--resume`");
        return Err(
            failure.with_hint("once a search is over, `--model` with the `preset.toml` it left resumes training")
        );
    }
    let device = open(&common.device, &preset)?;
    let workspace = Workspace::open(common, say)?;
    let run = Run(args.run.clone().unwrap_or_else(|| {
        let folder = workspace.project.root.join("runs").join(&preset.name);
        folder.strip_prefix(".").map(Path::to_owned).unwrap_or(folder)
    }));
    if args.resume && preset.trials > 1 && run.preset().exists() {
        // The search is over, and this is what it found; where it was for another model, the checkpoint will be one of that.
        let found = Preset::load(&run.preset().to_string_lossy())?;
        preset = if found.name == preset.name { found } else { preset };
    }
    if let Some(epochs) = args.epochs.filter(|_| !preset.knobs.one_step()) {
        preset.epochs = epochs;
    }
    let stretches = match &preset.knobs {
        Knobs::TwoTower(TwoTower { base: Some(base), .. }) => base.stretches,
        _ => 0,
    };
    let mut data = workspace.dataset_in_stretches(stretches)?;
    let entered = match &preset.knobs {
        Knobs::TwoTower(knobs) => Some(enrich(&mut data, &workspace, knobs)?),
        _ => None,
    };
    let segments = segments(&data, &workspace, &preset)?;
    std::fs::create_dir_all(&run.0).map_err(io("created", &run.0))?;
    let plan = preset.plan(&data);
    let with_index = plan.indexed(Plan::available());
    introduce(&data, &preset, (&plan, with_index), &device, entered.as_ref(), say);

    let hash = workspace.data_hash()?;
    // A run is not resumed after its tags became others: they are learned from like the data.
    let read = match &entered {
        Some(entered) if !entered.tags.is_empty() => {
            data.portraits.iter().fold(hash.clone(), |read, portrait| read + " " + &portrait.fingerprint())
        }
        _ => hash.clone(),
    };
    let identity = Identity { seed: common.seed, data: &read };
    let mut trials = None;
    if args.tune.is_some() || preset.trials > 1 && !args.resume {
        let tuned = super::tune::search(&data, &preset, args.tune, &device, common.seed, &run, say)?;
        (preset, trials) = (tuned.best, Some(tuned.trials));
    }
    let few = Chooser::new(&data, &segments, common.seed)?;
    let timed = workspace.store.is_some() && test_day(&workspace.project).is_some() && data.full.len() <= RANKED;
    let mut observer = Observer::new((&data, few), &device, common.seed, run.log(), say);
    if timed {
        observer.bench = observer.bench.keeping();
    }
    let fitted = fit(&data, &preset, &device, identity, &run.checkpoint(), args.resume, &mut observer);
    let stopped = match (&fitted, args.tune) {
        (Err(FitError::Stopped { kept, .. }), Some(_)) => Some(super::tune::continued(&run, *kept)),
        _ => None,
    };
    let fitted = observer.end(fitted).map_err(|failure| match stopped {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    })?;
    if fitted.best_epoch == 0 {
        say.line("the towers add nothing to their base on the validation part: the model is its base");
    }
    let fit_seconds = fitted.log.iter().map(|entry| entry.seconds).sum::<f64>();

    let late = Instant::now();
    let spinner = say.counter("evaluating, indexing");
    let identity = Identity { data: &hash, ..identity };
    let mut bundle = bundle(&data, &workspace, &preset, &device, identity, &fitted)?;
    segments::attach(&mut bundle, &segments)?;
    rank(&mut bundle, &data, &workspace, &device, &fitted)?;
    // Both run on all threads; neither depends on how they are shared.
    let settings = IndexSettings { seed: common.seed, ..IndexSettings::default() };
    let (evaluation, built) = std::thread::scope(|scope| {
        let index = scope.spawn(|| {
            let start = Instant::now();
            let built = with_index.then(|| super::index::build(&bundle, settings).transpose()).flatten()?;
            Some(built.map(|built| (built, start.elapsed().as_secs_f64())))
        });
        let evaluation = Evaluation::of(&data, &bundle, common.seed);
        let seconds = late.elapsed().as_secs_f64();
        let built = index.join().unwrap_or_else(|_| Some(Err(Failure::new("building the index failed unexpectedly"))));
        ((evaluation, seconds), built)
    });
    let (evaluation, evaluate_seconds) = (evaluation.0?, evaluation.1);
    bundle.manifest.metrics = to_value(&evaluation.models)?;
    // A model whose index falls short is still a model: it is kept, and answers exactly.
    let mut attach = |((bytes, audit), seconds): ((Vec<u8>, Audit), f64)| {
        super::index::attach(&mut bundle, bytes, &audit)?;
        Ok((audit, seconds))
    };
    let indexed = built.map(|built| built.and_then(&mut attach)).transpose();
    bundle.write(&run.bundle())?;
    remove(&run.checkpoint())?;
    spinner.finish_and_clear();

    say.line(evaluation.text(&bundle));
    if let Some(line) = behind(&evaluation, &preset) {
        say.line(line);
    }
    let indexed =
        indexed.map_err(|failure| failure.after(&format!("{} is complete but for its index", run.shown())))?;
    let (audit, index_seconds) = indexed.unzip();
    say.line(match &audit {
        Some(audit) => super::index::text(audit),
        None if with_index => super::index::none(&bundle),
        None => format!("index: none yet; `lookalike index --run {}` builds it alone", run.shown()),
    });
    say.line(examples(&data, &bundle)?);
    say.line(format!("run: {}", run.shown()));
    say.line(next(&bundle, &run));
    say.json(&json!({
        "run": run.shown(),
        "device": device.name(),
        "seconds": {
            "ingest": workspace.ingest_seconds,
            "fit": fit_seconds,
            "evaluate": evaluate_seconds,
            "index": index_seconds,
            "total": start.elapsed().as_secs_f64(),
        },
        "epochs": fitted.log.len(),
        "best_epoch": fitted.best_epoch,
        "trials": to_value(&trials)?,
        "memory": to_value(&plan)?,
        "peak_rss_bytes": peak_rss_bytes(),
        "metrics": to_value(&evaluation)?,
        "index": to_value(&audit)?,
    }))
}

/// The device for a preset: a model that is solved in one step runs on the CPU, whatever else there is.
fn open(choice: &DeviceChoice, preset: &Preset) -> Result<Device, Failure> {
    match choice {
        _ if !preset.knobs.one_step() => Ok(device::open(choice)?),
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Device::cpu(format!("where `{}` is solved", preset.name))),
        DeviceChoice::Gpu | DeviceChoice::Named(_) => {
            let failure = Failure::wrong_use(format!("`{}` is solved on the CPU and takes no GPU", preset.name));
            Err(failure.with_hint("leave `--device` out"))
        }
    }
}

/// What only towers read: titles, portraits of users, and how long ago things happened.
fn enrich(data: &mut Dataset, workspace: &Workspace, knobs: &TwoTower) -> Result<Entered, Failure> {
    if let Some(store) = &workspace.store
        && let Some(ages) = lookalike_dataset::ages(&workspace.project, store, data)?
    {
        data.ages = ages;
    }
    attributes::enter(data, &knobs.features)?;
    portraits::enter(data, workspace, &knobs.tags, &knobs.features)
}

/// The segments that users are in: none by attributes that a sensitive tag reads, unless towers were told to read them.
fn segments(data: &Dataset, workspace: &Workspace, preset: &Preset) -> Result<Features, Failure> {
    if data.user_features.is_empty() {
        return Ok(Features::none(data.users.len()));
    }
    let asked = match &preset.knobs {
        Knobs::TwoTower(knobs) => &knobs.features[..],
        _ => &[],
    };
    Ok(segments::of(data, &portraits::guarded(&Catalogue::open(&workspace.project)?, asked)))
}

fn introduce(
    data: &Dataset,
    preset: &Preset,
    (plan, with_index): (&Plan, bool),
    device: &Device,
    entered: Option<&Entered>,
    say: &Say,
) {
    let count = |number: usize| grouped(number as u64);
    say.line(format!("device: {} ({})", device.name(), device.why()));
    if matches!(&preset.knobs, Knobs::TwoTower(knobs) if knobs.precision == Precision::Mixed) && !device.has_half() {
        say.line("        `precision` is single after all: this device has no other");
    }
    let what = match preset.dim {
        0 => "weights from item to item".to_owned(),
        dim => format!("{dim} numbers per embedding"),
    };
    say.line(format!("model: {}, {what}. {}", preset.name, preset.when));
    say.line(format!(
        "data: {} users, {} items, {} pairs to learn from, then {} more up to the test part",
        count(data.full.rows_in_use()),
        count(data.items.len()),
        count(data.train.len()),
        count(data.full.len() - data.train.len()),
    ));
    if data.without_item > 0 {
        say.line(format!("      {} events name no item and are left out", grouped(data.without_item)));
    }
    if let Knobs::TwoTower(knobs) = &preset.knobs {
        attributes::lines(data, &knobs.features).into_iter().for_each(|line| say.line(line));
    }
    entered.into_iter().flat_map(Entered::lines).for_each(|line| say.line(line));
    let others = data.users.len() - data.full.rows_in_use();
    if others > 0 {
        say.line(format!("      {} more users have no history, and something else is known of them", count(others)));
    }
    if !data.friendships.is_empty() {
        let with = data.friendships.rows().filter(|&user| !data.friendships.cols(user).is_empty()).count();
        say.line(format!("      {} users have friends among the users", count(with)));
    }
    let has = Plan::available().map_or(String::new(), |bytes| format!(" of {} free", gigabytes(bytes)));
    let values = if plan.values > 0 {
        format!(", {} of it for what enters towers", gigabytes(plan.values))
    } else {
        String::new()
    };
    let (takes, later) = match with_index {
        true => (plan.total, String::new()),
        false => {
            let with = gigabytes(plan.total);
            (plan.unindexed, format!("; an index is left for later, with which it would be {with}"))
        }
    };
    say.line(format!("memory: about {}{has}{values}{later}", gigabytes(takes)));
    say.line("");
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// The day on which the test part begins, where the split is by time.
fn test_day(project: &Project) -> Option<Date> {
    project.interactions.split.ends(&project.timezone, 0)?.pop()
}

/// Epochs are chosen by ndcg at this depth, on new items.
pub(super) const CHOSEN_AT: usize = 10;

/// Shows progress, judges epochs and keeps `log.jsonl`.
struct Observer<'a> {
    bench: Bench<'a>,
    few: Option<Chooser<'a>>,
    log: std::path::PathBuf,
    say: &'a Say,
    stop: Heeding,
    bar: Option<(Phase, u32, ProgressBar)>,
    failure: Option<Failure>,
}

impl<'a> Observer<'a> {
    fn new(
        (data, few): (&'a Dataset, Option<Chooser<'a>>),
        device: &'a Device,
        seed: u64,
        log: std::path::PathBuf,
        say: &'a Say,
    ) -> Self {
        let bench = Bench::to_choose_by(data, device, seed);
        Self { bench, few, log, say, stop: Heeding::start(), bar: None, failure: None }
    }

    /// A log that could not be written ended the run; say so instead of that it was stopped. From here on Ctrl-C ends
    /// the program at once: the last checkpoint is complete.
    fn end<E: Into<Failure>>(mut self, fitted: Result<Fitted, E>) -> Result<Fitted, Failure> {
        if let Some((_, _, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => fitted.map_err(Into::into),
        }
    }
}

impl Watch for Observer<'_> {
    fn judge(&mut self, learned: &Learned) -> Verdict {
        let Choice { figure, weight, lists } = self.bench.choose(learned, CHOSEN_AT);
        let k = self.few.as_ref().and_then(|few| few.choose(learned));
        let said =
            [("repeat_weight", weight), ("few_k", k)].into_iter().filter_map(|(name, number)| Some((name, number?)));
        let note: serde_json::Map<_, _> = said.map(|(name, number)| (name.to_owned(), json!(number))).collect();
        let note = if note.is_empty() { Value::Null } else { note.into() };
        Verdict { figure, note, kept: lists.into_tensors() }
    }

    fn progress(&mut self, phase: Phase, epoch: u32, epochs: u32, done: u64, total: u64) {
        if !matches!(&self.bar, Some((p, e, _)) if (*p, *e) == (phase, epoch)) {
            let what = match (phase, epoch) {
                (Phase::Choose, 0) => "base".to_owned(),
                (Phase::Final, 0) => "final, base".to_owned(),
                (Phase::Choose, _) => format!("epoch {epoch} of at most {epochs}"),
                (Phase::Final, _) => format!("final, epoch {epoch} of {epochs}"),
            };
            if let Some((_, _, bar)) = self.bar.take() {
                bar.finish_and_clear();
            }
            self.bar = Some((phase, epoch, self.say.bar(&what, total)));
        }
        if let Some((_, _, bar)) = &self.bar {
            bar.set_position(done);
        }
    }

    fn epoch(&mut self, log: &[Entry]) {
        let mut text = String::new();
        for entry in log {
            text.push_str(&serde_json::to_string(entry).unwrap_or_default());
            text.push('\n');
        }
        self.failure = run::write_text(&self.log, &text).err();
        let Some(entry) = log.last() else { return };
        let loss = entry.loss.map_or(String::new(), |loss| format!("  loss {loss:.4}"));
        let judged = entry.validation.as_ref().map(|v| format!("  validation ndcg@10 {:.4}", v.figure));
        let phase = if entry.phase == Phase::Final { "final " } else { "" };
        let epoch = if entry.epoch == 0 { "base alone".to_owned() } else { format!("epoch {}", entry.epoch) };
        let line = format!("{phase}{epoch}{loss}{}  {:.1} s", judged.unwrap_or_default(), entry.seconds);
        match &self.bar {
            Some((_, _, bar)) => bar.suspend(|| self.say.remark(line)),
            None => self.say.remark(line),
        }
    }

    fn stop(&self) -> bool {
        self.failure.is_some() || self.stop.asked()
    }
}

fn bundle(
    data: &Dataset,
    workspace: &Workspace,
    preset: &Preset,
    device: &Device,
    identity: Identity<'_>,
    fitted: &Fitted,
) -> Result<Bundle, Failure> {
    let noted = |name: &str| fitted.verdict.as_ref().and_then(|verdict| verdict.note.get(name)?.as_f64());
    let weight = noted("repeat_weight");
    let blended = |k: f64| {
        format!(
            "for users with n items, at most {FEW}: n / (n + {k}) × the score + {k} / (n + {k}) × ln(1 + how many users like \
             them had the item), both standardised per user; {k} was chosen on the validation part"
        )
    };
    let made_of = |weight| {
        format!(
            "the score (standardised per user) + {weight} × ln(1 + how often the user had the item); {weight} was chosen on \
             the validation part"
        )
    };
    let entries = data.full.pairs().map(|pair| (pair.row, pair.col, pair.weight));
    let history = History::new(data.users.len(), data.items.len(), entries);
    let mut learned = fitted.learned.clone();
    if let Learned::Embeddings { users, .. } = &mut learned {
        untouched(data, preset).into_iter().for_each(|row| users.row_mut(row).fill(0.0));
    }
    let mut bundle = Bundle {
        manifest: Manifest {
            product: env!("CARGO_PKG_VERSION").to_owned(),
            project: workspace.project.name.clone(),
            model: preset.name.clone(),
            preset: to_value(preset)?,
            seed: identity.seed,
            device: device.name().to_owned(),
            data: identity.data.to_owned(),
            split: data.split.clone(),
            learned_before: test_day(&workspace.project).map(|day| day.to_string()),
            protocol: PROTOCOL.to_owned(),
            epochs: preset.epochs,
            best_epoch: fitted.best_epoch,
            repeat: weight.map(|weight| Repeat { weight, made_of: made_of(weight) }),
            few: noted("few_k").map(|k| Few { k, made_of: blended(k) }),
            ranker: None,
            metrics: Value::Null,
            index: None,
        },
        users: data.users.clone(),
        items: data.items.clone(),
        item_info: data.item_info.clone(),
        learned,
        tensors: fitted.tensors.clone(),
        history: history.map_err(|error| Failure::new(format!("the history does not fit the bundle: {error}")))?,
        extra: BTreeMap::new(),
    };
    attach_friends(&mut bundle, data)?;
    Ok(bundle)
}

/// Pairs of users and items for which a ranker is learned, at most: while it is, the times of each take about 100 bytes.
const RANKED: usize = 10_000_000;

/// Learns to rank what the model puts first, where times are known, and puts the ranker into the bundle where it helps.
fn rank(
    bundle: &mut Bundle,
    data: &Dataset,
    workspace: &Workspace,
    device: &Device,
    fitted: &Fitted,
) -> Result<(), Failure> {
    let kept = fitted.verdict.as_ref().and_then(|verdict| Shortlists::from_tensors(&verdict.kept));
    let (Some(lists), Some(store)) = (kept, &workspace.store) else { return Ok(()) };
    let Some([then, now]) = lookalike_dataset::moments(&workspace.project, store, data)? else { return Ok(()) };
    let (seed, weight) = (bundle.manifest.seed, bundle.manifest.repeat.as_ref().map(|repeat| repeat.weight));
    let bench = Bench::to_choose_by(data, device, seed);
    let Some((weights, findings)) = ranker::learn(data, &bundle.item_info, then, &bench, &lists, weight, seed)? else {
        return Ok(());
    };
    if findings.used() {
        // It was judged by the lists of everybody with a history, those with few items among them.
        if weights.ranks_new {
            bundle.manifest.few = None;
        }
        let signals = Signals::new(&bundle.history, &bundle.item_info, now);
        let bytes = Ranker::new(Arc::new(signals), weights).to_bytes()?;
        bundle.extra.insert(RANKER.to_owned(), Extra::Bytes(bytes));
    }
    bundle.manifest.ranker = Some(to_value(&findings)?);
    Ok(())
}

/// Items shown per list of an example.
const SHOWN: usize = 8;

/// Three users with what they had most often and what is recommended to them; a tick marks what they then had.
fn examples(data: &Dataset, bundle: &Bundle) -> Result<String, Failure> {
    let mut users: Vec<_> = data.test.truth.rows().filter(|&user| !data.test.truth.cols(user).is_empty()).collect();
    users.sort_by_key(|&user| (bundle.history.items(user).len(), user));
    let picked: Vec<_> = [1, 2, 3].iter().filter_map(|quarter| users.get(users.len() * quarter / 4).copied()).collect();
    if picked.is_empty() {
        return Ok(String::new());
    }
    let (ranker, plain) = (Ranker::of_bundle(bundle)?, Recommender::new(bundle));
    let recommender = match &ranker {
        Some(ranker) => plain.ranked(ranker),
        None => plain,
    };
    let lists = recommender.for_users(&picked, SHOWN);
    let mut text = String::new();
    for (user, hits) in picked.iter().zip(lists) {
        let mut had: Vec<_> = bundle.history.items(*user).iter().zip(bundle.history.weights(*user)).collect();
        had.sort_by(|a, b| b.1.total_cmp(a.1));
        had.truncate(SHOWN);
        let rows: Vec<_> = had.iter().map(|&(&item, _)| ItemRow::new(item)).collect();
        let had = run::titles(bundle, &rows).into_iter().zip(&had).map(|(name, (_, n))| format!("{name} (×{n})"));
        let rows: Vec<_> = hits.iter().map(|hit| hit.row).collect();
        let got = run::titles(bundle, &rows).into_iter().zip(&rows).map(|(name, row)| {
            let tick = data.test.truth.cols(*user).binary_search(&row.get()).map_or("", |_| " ✓");
            format!("{name}{tick}")
        });
        text.push_str(&format!(
            "\nuser {}\n  had most often: {}\n  recommended:    {}",
            bundle.users.id(*user),
            had.collect::<Vec<_>>().join("; "),
            got.collect::<Vec<_>>().join("; ")
        ));
    }
    text.push_str("\n  (new to the user; ✓ = the user had it in the test part, which the model never saw)\n");
    Ok(text)
}

/// What to do where a model is not worth its training: another that learns nothing is ahead of it.
fn behind(evaluation: &Evaluation, preset: &Preset) -> Option<String> {
    let (model, others) = evaluation.models.split_first()?;
    let figure = |figures: &Figures| figures.shown.ndcg_10;
    let best = others.iter().filter(|other| !other.name.starts_with(&model.name));
    let best = best.max_by(|a, b| figure(a).total_cmp(&figure(b))).filter(|best| figure(best) > figure(model))?;
    let name = &preset.name;
    Some(format!(
        "{} is ahead of {name} on new items: its knobs do not suit these data; `lookalike train --model {name} --tune 8` searches \
         for others on the validation part",
        best.name
    ))
}

/// The next two commands to try.
fn next(bundle: &Bundle, run: &Run) -> String {
    let user = bundle.users.ids().first().map_or("ID", String::as_str);
    let popular = {
        let mut times = vec![0u32; bundle.items.len()];
        bundle.history.entries().for_each(|(_, item, _)| times[item.index()] += 1);
        let most = (0..times.len()).max_by_key(|&item| times[item]).unwrap_or(0);
        bundle.items.ids().get(most).map_or("ID", String::as_str)
    };
    format!(
        "next: lookalike recommend --run {run} --user {user}\n      lookalike similar --run {run} --item {popular}",
        run = run.shown()
    )
}

fn remove(checkpoint: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(checkpoint) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("removed", checkpoint)(error)),
        _ => Ok(()),
    }
}

/// The most memory this process had in use, where the system tells (Linux).
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
