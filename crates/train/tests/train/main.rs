//! Whole training runs on small data with planted groups: what is learned, that runs repeat and resume to the bit, and
//! that a GPU learns what the CPU learns.
#![allow(clippy::unwrap_used)]

mod gpu;

use std::path::{Path, PathBuf};

use lookalike_bundle::{ItemRow, Learned, Matrix, Row, UserRow};
use lookalike_dataset::{Builder, Csr, Dataset, Described, FeaturesBuilder, HeldOut, Part};
use lookalike_train::device::{Device, DeviceChoice, open};
use lookalike_train::{
    Base, Bpr, Confidence, Ease, Entry, Factorization, FitError, Fitted, Ials, Identity, Knn, Knobs, Loss, Optimizer,
    PairDraw, Phase, PoolDraw, Popularity, Precision, Preset, Scorer, SoftmaxMf, TwoTower, Verdict, Watch, fit,
};
use tempfile::TempDir;

const USERS: usize = 97;
const ITEMS: usize = 131;
const GROUPS: usize = 4;

/// A SplitMix64 generator: seeded, small, and good enough for test data.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}

/// Users of four groups of taste: nine in ten of their items are of their group. Items tell their group as a feature.
fn planted(seed: u64) -> Dataset {
    let (mut random, mut builder) = (Random(seed), Builder::default());
    for user in 0..USERS {
        for n in 0..30 {
            let group = if random.below(10) == 0 { random.below(GROUPS) } else { user % GROUPS };
            let item = random.below(ITEMS / GROUPS) * GROUPS + group;
            let part = match n {
                0..15 => Part::Earlier(0),
                15..20 => Part::Train,
                20..25 => Part::Validation,
                _ => Part::Test,
            };
            builder.push(&format!("u{user:03}"), &format!("i{item:03}"), 1.0, part);
        }
    }
    let describe = |_: &_, items: &lookalike_bundle::Vocab<ItemRow>| {
        let mut described = Described::nothing(items.len());
        let mut features = FeaturesBuilder::default();
        for row in 0..items.len() {
            let row = ItemRow::new(row as u32);
            let number: usize = items.id(row)[1..].parse().unwrap();
            features.push(row, "aisle", &format!("{}", number % GROUPS));
        }
        described.item_features = features;
        Ok(described)
    };
    builder.finish("planted".into(), describe).unwrap()
}

fn ials() -> Preset {
    let knobs = Ials { alpha0: 0.1, reg: 0.1, nu: 1.0, confidence: Confidence::Log, block: None };
    preset("ials", 9, Knobs::Ials(knobs))
}

fn two_tower() -> Preset {
    let knobs = TwoTower {
        towers: vec![17],
        features: vec!["*".into()],
        tags: Vec::new(),
        history: 5,
        half_life: 0.0,
        attention: true,
        trend: true,
        taste: true,
        friends: false,
        id_dropout: [0.1, 0.1],
        cosine: true,
        batch: 129,
        negatives: 31,
        hard: 40,
        lr: 0.05,
        tower_lr: 0.002,
        decay: 0.1,
        tau: 0.1,
        precision: Precision::Single,
        logq: true,
        base: None,
    };
    preset("two-tower", 12, Knobs::TwoTower(knobs))
}

/// Towers that add to a factorization.
fn two_tower_beside_ials() -> Preset {
    let Knobs::TwoTower(knobs) = two_tower().knobs else { panic!("not a two-tower") };
    let Knobs::Ials(ials) = ials().knobs else { panic!("not implicit ALS") };
    let base = Base { dim: 7, epochs: 4, stretches: 1, knobs: Factorization::Ials(ials) };
    let knobs = TwoTower { base: Some(base), id_dropout: [1.0, 0.3], batch: 37, lr: 0.02, tau: 1.0, ..knobs };
    preset("beside-ials", 3, Knobs::TwoTower(knobs))
}

fn bpr(draw: PairDraw) -> Preset {
    let knobs = Bpr { draw, tries: 9, batch: 129, lr: 0.1, reg: 0.01 };
    preset("bpr", 12, Knobs::Bpr(knobs))
}

fn softmax(loss: Loss, optimizer: Optimizer) -> Preset {
    let knobs = SoftmaxMf {
        loss,
        tau: 0.2,
        negative_weight: 1.0,
        margin: 0.2,
        negatives: 67,
        draw: PoolDraw::Uniform,
        confidence: Confidence::One,
        batch: 501,
        lr: if optimizer == Optimizer::Adam { 0.02 } else { 0.1 },
        l2: 0.0,
        dropout: 0.1,
        optimizer,
    };
    preset("softmax-mf", 12, Knobs::SoftmaxMf(knobs))
}

/// A preset of a model that is solved in one step.
fn one_step(name: &str, knobs: Knobs) -> Preset {
    Preset { epochs: 1, patience: 1, ..preset(name, 0, knobs) }
}

fn ease() -> Preset {
    one_step("ease", Knobs::Ease(Ease { reg: 10.0, neighbours: 0, keep: 40, memory_gib: 0.0 }))
}

fn item_knn() -> Preset {
    one_step("item-knn", Knobs::ItemKnn(Knn { neighbours: 20 }))
}

/// The models that learn embeddings, epoch after epoch.
fn by_epochs() -> [Preset; 7] {
    let (sl, bsl) = (softmax(Loss::Sl, Optimizer::Adam), softmax(Loss::Bsl, Optimizer::Adagrad));
    [ials(), two_tower(), two_tower_beside_ials(), bpr(PairDraw::Uniform), bpr(PairDraw::Warp), sl, bsl]
}

/// The same for software adapters, on which every kernel launch takes its time.
fn brief(preset: Preset) -> Preset {
    Preset { epochs: 2, ..preset }
}

fn preset(name: &str, dim: usize, knobs: Knobs) -> Preset {
    Preset { name: name.into(), when: "In a test.".into(), dim, epochs: 6, patience: 3, trials: 1, knobs }
}

/// Share of held-out items that the user never had found among the ten best of `scores`.
fn novel_recall(
    history: &Csr<UserRow, ItemRow>,
    held_out: &HeldOut,
    mut scores: impl FnMut(UserRow) -> Vec<f32>,
) -> f64 {
    let (mut found, mut all) = (0, 0);
    for user in held_out.truth.rows() {
        let had = history.cols(user);
        let novel: Vec<u32> = held_out.truth.cols(user).iter().copied().filter(|item| !had.contains(item)).collect();
        let scores = scores(user);
        let mut order: Vec<u32> = (0..scores.len() as u32).filter(|item| !had.contains(item)).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        found += novel.iter().filter(|item| order[..10].contains(item)).count();
        all += novel.len();
    }
    found as f64 / all as f64
}

/// The scores of every item for a user with this history.
fn scores(learned: &Learned, history: &Csr<UserRow, ItemRow>, user: UserRow) -> Vec<f32> {
    match learned {
        Learned::Embeddings { users, items } => {
            let row = users.row(user.index());
            (0..items.rows()).map(|item| row.iter().zip(items.row(item)).map(|(a, b)| a * b).sum()).collect()
        }
        Learned::ItemWeights(weights) => {
            let mut scores = vec![0.0; weights.items()];
            weights.score(history.cols(user), history.weights(user), &mut scores);
            scores
        }
    }
}

/// Judges by novel recall, and asks to stop once there are `until` epochs.
struct Observer<'a> {
    data: &'a Dataset,
    until: usize,
    epochs: usize,
}

impl Watch for Observer<'_> {
    fn judge(&mut self, learned: &Learned) -> Verdict {
        let train = &self.data.train;
        let figure = novel_recall(train, &self.data.validation, |user| scores(learned, train, user));
        Verdict { figure, note: serde_json::Value::Null, kept: Default::default() }
    }

    fn progress(&mut self, _: Phase, epoch: u32, epochs: u32, done: u64, total: u64) {
        assert!((0..=epochs).contains(&epoch) && (1..=total).contains(&done));
    }

    fn epoch(&mut self, log: &[Entry]) {
        self.epochs = log.len();
    }

    fn stop(&self) -> bool {
        self.epochs >= self.until
    }
}

/// A folder for one checkpoint, and everything else that a run needs.
struct Bench {
    data: Dataset,
    preset: Preset,
    device: Device,
    folder: TempDir,
}

impl Bench {
    fn new(preset: Preset) -> Self {
        Self::on(open(&DeviceChoice::Cpu).unwrap(), preset)
    }

    fn on(device: Device, preset: Preset) -> Self {
        Self { data: planted(1), preset, device, folder: TempDir::new().unwrap() }
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint.safetensors")
    }

    fn fit(&self, resume: bool, until: usize) -> Result<Fitted, FitError> {
        self.fit_as(Identity { seed: 5, data: "planted" }, resume, until)
    }

    fn fit_as(&self, identity: Identity<'_>, resume: bool, until: usize) -> Result<Fitted, FitError> {
        let mut watch = Observer { data: &self.data, until, epochs: 0 };
        fit(&self.data, &self.preset, &self.device, identity, &self.checkpoint(), resume, &mut watch)
    }

    fn whole(&self) -> Fitted {
        self.fit(false, usize::MAX).unwrap()
    }

    fn stop_after(&self, epochs: usize) {
        assert!(matches!(self.fit(false, epochs), Err(FitError::Stopped { .. })));
    }

    /// Why a run does not resume from the checkpoint.
    fn refusal(&self, identity: Identity<'_>) -> String {
        let error = self.fit_as(identity, true, usize::MAX).err().unwrap();
        assert!(error.hint().is_some());
        error.to_string()
    }
}

fn bits(learned: &Learned) -> Vec<u32> {
    let bits = |matrix: &Matrix| matrix.data().iter().map(|number| number.to_bits()).collect::<Vec<_>>();
    match learned {
        Learned::Embeddings { users, items } => [bits(users), bits(items)].concat(),
        Learned::ItemWeights(weights) => {
            let rows = (0..weights.items() as u32).map(ItemRow::new);
            let entries = rows.flat_map(|item| weights.cols(item).iter().zip(weights.values(item)));
            entries.flat_map(|(&col, &value)| [col, value.to_bits()]).collect()
        }
    }
}

/// Everything of two runs is the same but their seconds.
#[track_caller]
fn assert_same(a: &Fitted, b: &Fitted) {
    let log = |fitted: &Fitted| -> Vec<_> {
        fitted.log.iter().map(|entry| Entry { seconds: 0.0, ..entry.clone() }).collect()
    };
    assert_eq!((log(a), a.best_epoch, &a.verdict), (log(b), b.best_epoch, &b.verdict));
    assert!(bits(&a.learned) == bits(&b.learned), "what was learned differs");
    assert!(a.tensors == b.tensors, "tensors differ");
}

fn learns(preset: Preset) {
    let bench = Bench::new(preset);
    let data = &bench.data;
    let fitted = bench.whole();
    let model = novel_recall(&data.full, &data.test, |user| scores(&fitted.learned, &data.full, user));
    let popularity = Popularity::new(&data.full);
    let popular = novel_recall(&data.full, &data.test, |user| {
        let mut scores = vec![0.0; data.items.len()];
        popularity.score(user, &mut scores);
        scores
    });
    assert!(model > 1.5 * popular && model > 0.25, "{model} beside {popular}");
}

#[test]
fn ials_finds_the_planted_groups() {
    learns(ials());
}

#[test]
fn two_tower_finds_the_planted_groups() {
    learns(two_tower());
    learns(two_tower_beside_ials());
}

#[test]
fn bpr_finds_the_planted_groups() {
    learns(bpr(PairDraw::Uniform));
    learns(bpr(PairDraw::Warp));
}

#[test]
fn softmax_mf_finds_the_planted_groups() {
    learns(softmax(Loss::Sl, Optimizer::Adam));
    learns(softmax(Loss::Ccl, Optimizer::Adagrad));
}

#[test]
fn models_of_one_step_find_the_planted_groups() {
    learns(ease());
    learns(item_knn());
}

#[test]
fn a_run_of_one_step_resumes_with_the_same_bits() {
    for preset in [ease(), item_knn()] {
        let bench = Bench::new(preset);
        let whole = bench.whole();
        assert_eq!((whole.log.len(), whole.best_epoch), (2, 1));
        for epochs in 1..=2 {
            assert!(epochs == 2 || matches!(bench.fit(false, epochs), Err(FitError::Stopped { .. })));
            assert_same(&bench.fit(true, usize::MAX).unwrap(), &whole);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for preset in [bpr(PairDraw::Uniform), bpr(PairDraw::Warp), ease(), item_knn()] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Bench::new(preset.clone()).whole())
        };
        assert_same(&run(1), &run(3));
    }
}

#[test]
fn two_runs_leave_the_same_bits() {
    for preset in by_epochs() {
        assert_same(&Bench::new(preset.clone()).whole(), &Bench::new(preset).whole());
    }
}

#[test]
fn another_seed_leaves_other_bits() {
    for preset in by_epochs() {
        let bench = Bench::new(preset);
        let other = bench.fit_as(Identity { seed: 6, data: "planted" }, false, usize::MAX).unwrap();
        assert!(bits(&bench.whole().learned) != bits(&other.learned));
    }
}

/// Stops after every epoch of a run in turn, the last one excepted, and resumes.
fn resumes_everywhere(device: &Device, preset: &Preset) {
    let bench = Bench::on(device.clone(), preset.clone());
    let whole = bench.whole();
    assert!(whole.log.len() > whole.best_epoch as usize && whole.best_epoch > 0);
    for epochs in 1..whole.log.len() {
        bench.stop_after(epochs);
        assert_same(&bench.fit(true, usize::MAX).unwrap(), &whole);
    }
    // The checkpoint of the last epoch is all that a run needs whose bundle could not be written.
    assert_same(&bench.fit(true, usize::MAX).unwrap(), &whole);
}

#[test]
fn a_run_resumes_after_every_epoch_with_the_same_bits() {
    for preset in by_epochs() {
        resumes_everywhere(&open(&DeviceChoice::Cpu).unwrap(), &preset);
    }
}

#[test]
fn a_run_resumes_again_and_again() {
    for preset in [two_tower(), two_tower_beside_ials()] {
        let bench = Bench::new(preset);
        let whole = bench.whole();
        bench.stop_after(1);
        for epochs in 2..whole.log.len() {
            assert!(matches!(bench.fit(true, epochs), Err(FitError::Stopped { .. })));
        }
        assert_same(&bench.fit(true, usize::MAX).unwrap(), &whole);
    }
}

#[test]
fn towers_that_add_nothing_leave_their_base() {
    let mut preset = two_tower_beside_ials();
    let Knobs::TwoTower(knobs) = &mut preset.knobs else { panic!("not a two-tower") };
    // So small that no list changes.
    (knobs.lr, knobs.tower_lr) = (1e-12, 1e-12);
    let fitted = Bench::new(preset.clone()).whole();
    assert_eq!((fitted.best_epoch, fitted.log.last().unwrap().epoch), (0, 0));
    let Learned::Embeddings { items, .. } = &fitted.learned else { panic!("no embeddings") };
    let mut towers = (0..items.rows()).flat_map(|row| &items.row(row)[items.cols() - preset.dim..]);
    assert!(items.data().iter().any(|&number| number != 0.0) && towers.all(|&number| number == 0.0));
}

#[test]
fn towers_beside_a_base_need_a_past() {
    let mut bench = Bench::new(two_tower_beside_ials());
    bench.data.earlier.clear();
    let error = bench.fit(false, usize::MAX).err().unwrap();
    assert!(error.to_string().starts_with("nothing is known from before the last stretch"), "{error}");
    assert!(error.hint().unwrap().contains("validation_days"));
}

#[test]
fn patience_ends_the_choice_and_the_earliest_best_epoch_wins() {
    let mut preset = ials();
    (preset.epochs, preset.patience) = (30, 2);
    let fitted = Bench::new(preset).whole();
    let figures: Vec<f64> = fitted.log.iter().filter_map(|entry| Some(entry.validation.as_ref()?.figure)).collect();
    let best = figures.iter().copied().fold(0.0, f64::max);
    assert_eq!(figures.iter().position(|&figure| figure == best), Some(fitted.best_epoch as usize - 1));
    assert!(figures.len() == 30 || figures.len() == fitted.best_epoch as usize + 2);
}

#[test]
fn a_checkpoint_of_another_seed_or_other_data_is_refused() {
    let bench = Bench::new(ials());
    bench.stop_after(2);
    assert!(bench.refusal(Identity { seed: 6, data: "planted" }).contains("another seed"));
    assert!(bench.refusal(Identity { seed: 5, data: "grown" }).contains("another data"));
}

#[test]
fn a_checkpoint_of_another_preset_is_refused() {
    let mut bench = Bench::new(ials());
    bench.stop_after(2);
    bench.preset.dim += 1;
    assert!(bench.refusal(Identity { seed: 5, data: "planted" }).contains("another preset"));
}

#[test]
fn nothing_to_resume_from_is_an_error() {
    assert!(Bench::new(ials()).refusal(Identity { seed: 5, data: "planted" }).contains("there is no checkpoint"));
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_anywhere_in_a_checkpoint_is_refused() {
    let bench = Bench::new(ials());
    bench.stop_after(1);
    let length = std::fs::metadata(bench.checkpoint()).unwrap().len() as usize;
    for place in (0..length).step_by(length / 97) {
        change(&bench.checkpoint(), |bytes| bytes[place] ^= 0x10);
        let error = bench.fit(true, usize::MAX).err().unwrap();
        assert!(matches!(error, FitError::Checkpoint(_)), "byte {place}: {error}");
        change(&bench.checkpoint(), |bytes| bytes[place] ^= 0x10);
    }
    assert_same(&bench.fit(true, usize::MAX).unwrap(), &Bench::new(ials()).whole());
}

#[test]
fn a_truncated_checkpoint_is_refused() {
    let bench = Bench::new(two_tower());
    bench.stop_after(1);
    change(&bench.checkpoint(), |bytes| bytes.truncate(bytes.len() / 2));
    assert!(matches!(bench.fit(true, usize::MAX), Err(FitError::Checkpoint(_))));
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_run() {
    let bench = Bench::new(ials());
    std::fs::create_dir(bench.checkpoint()).unwrap();
    let error = bench.fit(false, usize::MAX).err().unwrap().to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");
}
