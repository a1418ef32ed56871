//! Model presets: small TOML files that say how a model is trained. Read in two stages: what was typed, then a
//! checked [`Preset`] whose numbers make sense.

mod bpr;
mod dice;
mod ease;
mod error;
mod ials;
mod item_knn;
mod softmax_mf;
mod two_tower;

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use bpr::{Bpr, PairDraw};
use dice::Dice;
pub use ease::Ease;
pub use error::PresetError;
pub use ials::{Confidence, Ials};
pub use item_knn::Knn;
pub use softmax_mf::{Loss, Optimizer, PoolDraw, SoftmaxMf};
pub use two_tower::{Base, Factorization, Precision, TwoTower};

/// The presets that come with the program, by name.
const BUILT_IN: [(&str, &str); 6] = [
    ("ials", include_str!("../../../../models/ials.toml")),
    ("softmax-mf", include_str!("../../../../models/softmax-mf.toml")),
    ("two-tower", include_str!("../../../../models/two-tower.toml")),
    ("ease", include_str!("../../../../models/ease.toml")),
    ("bpr", include_str!("../../../../models/bpr.toml")),
    ("item-knn", include_str!("../../../../models/item-knn.toml")),
];

/// The most settings of a search.
pub const MOST_TRIALS: u32 = 10_000;

/// How one model is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preset {
    /// The preset's name: a built-in name, or what its file says, else the stem of its file.
    pub name: String,
    /// When to use it, in a sentence.
    pub when: String,
    /// Numbers per embedding; 0 for models in weights from item to item.
    #[serde(skip_serializing_if = "none")]
    pub dim: usize,
    /// Most passes over the data.
    pub epochs: u32,
    /// Passes without a better validation figure after which training stops.
    pub patience: u32,
    /// Settings of the knobs, the preset among them, that are looked at on the validation part, in small but for the base
    /// of towers; the best is to be trained.
    #[serde(skip_serializing_if = "single")]
    pub trials: u32,
    /// What only this kind of model has.
    #[serde(flatten)]
    pub knobs: Knobs,
}

/// The knobs of each kind of model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Knobs {
    /// Implicit alternating least squares.
    Ials(Ials),
    /// Matrix factorization with cosine scores and a softmax loss.
    SoftmaxMf(SoftmaxMf),
    /// Two towers trained by in-batch softmax.
    TwoTower(TwoTower),
    /// Bayesian personalised ranking.
    Bpr(Bpr),
    /// Ridge regression of every item on the others.
    Ease(Ease),
    /// Items near those the user had.
    ItemKnn(Knn),
}

impl Preset {
    /// The built-in preset of this name, or the preset in this file if the name ends in `.toml`.
    pub fn load(name: &str) -> Result<Self, PresetError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, &format!("models/{name}.toml"), text);
        }
        if !name.ends_with(".toml") {
            let known = BUILT_IN.map(|(name, _)| format!("`{name}`")).join(", ");
            return Err(PresetError::Unknown { name: name.to_owned(), known });
        }
        let path = Path::new(name);
        let text =
            std::fs::read_to_string(path).map_err(|source| PresetError::Read { path: path.to_owned(), source })?;
        let stem = path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&stem, name, &text)
    }

    /// Every built-in preset.
    pub fn built_in() -> impl Iterator<Item = Result<Self, PresetError>> {
        BUILT_IN.iter().map(|(name, _)| Self::load(name))
    }

    /// The preset with knobs drawn from the ranges that are worth trying. Ranges are wide: they shall hold a good setting
    /// of any data set, and a search among some draws finds it.
    #[must_use]
    pub fn draw(&self, seed: u64) -> Self {
        Self { knobs: self.knobs.draw(&mut Dice::new(seed)), ..self.clone() }
    }

    /// The same kind of model with knobs by how many users and items there are, and how many pairs of them; none where it has no
    /// such rule.
    pub(crate) fn by_data(&self, shape: [usize; 2], pairs: usize) -> Option<Self> {
        match &self.knobs {
            Knobs::Ials(knobs) => Some(Self { knobs: Knobs::Ials(knobs.by_data(shape, pairs)), ..self.clone() }),
            _ => None,
        }
    }

    /// The preset with a model of this size, trained for at most so many epochs.
    pub(crate) fn resized(&self, dim: usize, epochs: u32) -> Self {
        let mut resized = Self { dim, epochs, ..self.clone() };
        if let Knobs::Ials(Ials { block: Some(block), .. }) = &mut resized.knobs {
            *block = dim.min(*block);
        }
        resized
    }

    /// The text of a file that [`Preset::load`] reads back as this preset.
    pub fn to_toml(&self) -> Result<String, PresetError> {
        #[derive(Serialize)]
        struct File<'a> {
            #[serde(flatten)]
            common: Common,
            #[serde(flatten)]
            epochs: Option<Epochs>,
            #[serde(flatten)]
            knobs: &'a Knobs,
        }
        let Self { dim, epochs, patience, trials, .. } = *self;
        let common = Common { name: Some(self.name.clone()), when: self.when.clone(), trials };
        let epochs = (!self.knobs.one_step()).then_some(Epochs { dim, epochs, patience });
        let text = toml::to_string(&File { common, epochs, knobs: &self.knobs });
        text.map_err(|source| PresetError::Text { name: self.name.clone(), source })
    }

    fn parse(name: &str, file: &str, text: &str) -> Result<Self, PresetError> {
        let at = |span: Option<std::ops::Range<usize>>| 1 + text[..span.map_or(0, |s| s.start)].matches('\n').count();
        let parse = |error: toml::de::Error| PresetError::Parse {
            file: file.to_owned(),
            line: at(error.span()),
            message: error.message().trim_end_matches('.').to_owned(),
        };
        let table: toml::Table = toml::from_str(text).map_err(parse)?;
        let kind = table.get("kind").and_then(toml::Value::as_str).unwrap_or_default();
        let own = Knobs::keys(kind);
        let common: &[&str] = if one_step(kind) {
            &["kind", "name", "when", "trials"]
        } else {
            &["kind", "name", "when", "trials", "dim", "epochs", "patience"]
        };
        known(&table, common, own, text, file)?;
        if let Some(base) = table.get("base").and_then(toml::Value::as_table) {
            let kind = base.get("kind").and_then(toml::Value::as_str).unwrap_or_default();
            // A kind that is no factorization is complained about as such, and not for its keys.
            let own = if Base::KINDS.contains(&kind) { Knobs::keys(kind) } else { &[] };
            known(base, Base::KEYS, own, text, file)?;
        }
        let Common { name: own_name, when, trials } = toml::from_str(text).map_err(parse)?;
        let given: Epochs = match one_step(kind) {
            true => Epochs { dim: 0, epochs: 1, patience: 1 },
            false => toml::from_str(text).map_err(parse)?,
        };
        let Epochs { dim, epochs, patience } = given;
        let check = Check { file, dim };
        let name = own_name.as_deref().unwrap_or(name);
        // A run's folder is called so.
        let plain = name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !name.starts_with('.');
        check.that(
            own_name.is_none() || plain && !name.is_empty(),
            "name",
            name,
            "letters, digits, `-`, `_` and `.`",
        )?;
        check.that((1..=MOST_TRIALS).contains(&trials), "trials", trials, "from 1 to 10000")?;
        if !one_step(kind) {
            check.that((1..=1024).contains(&dim), "dim", dim, "from 1 to 1024")?;
            check.that(epochs >= 1, "epochs", epochs, "at least 1")?;
            check.that(patience >= 1, "patience", patience, "at least 1")?;
        }
        let knobs: Knobs = toml::from_str(text).map_err(|error| match culprit(&table, kind) {
            Some(key) => {
                let message = format!("`{key}`: {}", error.message().trim_end_matches('.'));
                PresetError::Parse { file: file.to_owned(), line: line_of(&key, text), message }
            }
            None => parse(error),
        })?;
        knobs.check(&check)?;
        Ok(Self { name: name.to_owned(), when, dim, epochs, patience, trials, knobs })
    }
}

/// That a table has no key but these. A kind that does not exist has none of its own, and is not complained about here.
fn known(table: &toml::Table, common: &[&str], own: &[&str], text: &str, file: &str) -> Result<(), PresetError> {
    let known: Vec<&str> = common.iter().chain(own).copied().collect();
    let unknown = table.keys().find(|key| !known.contains(&key.as_str()));
    let Some(key) = unknown.filter(|_| !own.is_empty()) else { return Ok(()) };
    let line = line_of(key, text);
    let nearest = known.iter().max_by(|a, b| strsim::jaro(a, key).total_cmp(&strsim::jaro(b, key)));
    let nearest = nearest.map(|&nearest| nearest.to_owned());
    Err(PresetError::Key { file: file.to_owned(), line, key: key.clone(), nearest })
}

/// The line of a key, from 1; that of a key of the base, `base.key`, stands below its header.
fn line_of(path: &str, text: &str) -> usize {
    let header = |line: &str| line.trim_start().starts_with("[base]");
    let (key, below) = match path.strip_prefix("base.") {
        Some(key) => (key, text.lines().position(header).unwrap_or(0)),
        None => (path, 0),
    };
    let says = |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    let found = text.lines().enumerate().skip(below).find(|(_, line)| says(line) || path == "base" && header(line));
    1 + found.map_or(below, |(nth, _)| nth)
}

/// A preset that comes with the program, as a table.
fn built_in(kind: &str) -> Option<toml::Table> {
    BUILT_IN.iter().find(|(name, _)| *name == kind).and_then(|(_, text)| toml::from_str(text).ok())
}

/// The key whose value keeps the knobs of a kind from being read: that which a built-in value in its place mends. What reads
/// the knobs knows their kind only late, and then not any more where in the text they stood.
fn culprit(table: &toml::Table, kind: &str) -> Option<String> {
    let sound = built_in(kind)?;
    let with = |table: &toml::Table, key: &str, value: toml::Value| {
        let mut mended = table.clone();
        mended.insert(key.to_owned(), value);
        mended
    };
    let mends = |key: &str, value: &toml::Value| with(table, key, value.clone()).try_into::<Knobs>().is_ok();
    let key = table.keys().find(|key| sound.get(*key).is_some_and(|value| mends(key, value)))?;
    let Some(base) = table.get(key).and_then(toml::Value::as_table) else { return Some(key.clone()) };
    let of_kind = base.get("kind").and_then(toml::Value::as_str).and_then(built_in).unwrap_or_default();
    let inner = base.keys().find(|inner| {
        let value = of_kind.get(*inner).or_else(|| sound.get(key)?.get(inner.as_str()));
        value.is_some_and(|value| mends(key, &with(base, inner, value.clone()).into()))
    });
    Some(inner.map_or_else(|| key.clone(), |inner| format!("{key}.{inner}")))
}

/// What every kind of model has.
#[derive(Deserialize, Serialize)]
struct Common {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    when: String,
    #[serde(default = "one", skip_serializing_if = "single")]
    trials: u32,
}

/// What every kind has that learns embeddings, epoch after epoch.
#[derive(Deserialize, Serialize)]
struct Epochs {
    dim: usize,
    epochs: u32,
    patience: u32,
}

fn one() -> u32 {
    1
}

fn single(trials: &u32) -> bool {
    *trials == 1
}

fn none(dim: &usize) -> bool {
    *dim == 0
}

/// Whether a kind is solved in one step, on the CPU, and has weights from item to item in the place of embeddings.
fn one_step(kind: &str) -> bool {
    ["ease", "item-knn"].contains(&kind)
}

impl Knobs {
    /// Whether the model is solved in one step, on the CPU, and has weights from item to item in the place of embeddings.
    pub fn one_step(&self) -> bool {
        matches!(self, Self::Ease(_) | Self::ItemKnn(_))
    }

    /// The keys of a kind; none for a kind that does not exist.
    fn keys(kind: &str) -> &'static [&'static str] {
        match kind {
            "ials" => Ials::KEYS,
            "softmax-mf" => SoftmaxMf::KEYS,
            "two-tower" => TwoTower::KEYS,
            "bpr" => Bpr::KEYS,
            "ease" => Ease::KEYS,
            "item-knn" => Knn::KEYS,
            _ => &[],
        }
    }

    fn draw(&self, dice: &mut Dice) -> Self {
        match self {
            Self::Ials(knobs) => Self::Ials(knobs.draw(dice)),
            Self::SoftmaxMf(knobs) => Self::SoftmaxMf(knobs.draw(dice)),
            Self::TwoTower(knobs) => Self::TwoTower(knobs.draw(dice)),
            Self::Bpr(knobs) => Self::Bpr(knobs.draw(dice)),
            Self::Ease(knobs) => Self::Ease(knobs.draw(dice)),
            Self::ItemKnn(knobs) => Self::ItemKnn(knobs.draw(dice)),
        }
    }

    fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        match self {
            Self::Ials(knobs) => knobs.check(check),
            Self::SoftmaxMf(knobs) => knobs.check(check),
            Self::TwoTower(knobs) => knobs.check(check),
            Self::Bpr(knobs) => knobs.check(check),
            Self::Ease(knobs) => knobs.check(check),
            Self::ItemKnn(knobs) => knobs.check(check),
        }
    }
}

/// Checks the numbers of one preset file.
struct Check<'a> {
    file: &'a str,
    dim: usize,
}

impl Check<'_> {
    fn that(&self, ok: bool, key: &'static str, value: impl Display, allowed: &'static str) -> Result<(), PresetError> {
        match ok {
            true => Ok(()),
            false => Err(PresetError::Value { file: self.file.to_owned(), key, value: value.to_string(), allowed }),
        }
    }

    fn positive(&self, key: &'static str, value: f32) -> Result<(), PresetError> {
        self.that(value > 0.0 && value.is_finite(), key, value, "a finite number above 0")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(change: (&str, &str)) -> String {
        let text = BUILT_IN[0].1.replace(change.0, change.1);
        let error = Preset::parse("ials", "mine.toml", &text).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn built_in_presets_are_valid() {
        assert_eq!(
            Preset::built_in().map(|preset| preset.unwrap().name).collect::<Vec<_>>(),
            ["ials", "softmax-mf", "two-tower", "ease", "bpr", "item-knn"]
        );
    }

    #[test]
    fn what_follows_from_the_data_is_a_valid_preset() {
        for (users, items, pairs) in
            [(52_204, 54_194, 284_530), (6_038, 3_533, 575_000), (1, 1, 1), (0, 0, 0), (9, 1, 9)]
        {
            let preset = Preset::load("ials").unwrap().by_data([users, items], pairs).unwrap();
            let Knobs::Ials(Ials { alpha0, reg, nu, .. }) = preset.knobs else { panic!("another kind") };
            preset.knobs.check(&Check { file: "by data", dim: preset.dim }).unwrap();
            let (users, items, pairs) = (users.max(1) as f32, items.max(1) as f32, pairs.max(1) as f32);
            assert!((alpha0 * alpha0 * users * items / pairs - 1.0).abs() < 1e-4 && nu == 1.0);
            // What holds a user of average length.
            let length = pairs / users;
            assert!((reg * (length + alpha0 * items) - length.sqrt() / 2.0).abs() < 1e-4 * length);
        }
        assert!(Preset::load("ease").unwrap().by_data([9, 9], 20).is_none());
    }

    #[test]
    fn the_keys_of_a_kind_are_its_knobs() {
        for mut preset in Preset::built_in().map(Result::unwrap) {
            if let Knobs::Ials(knobs) = &mut preset.knobs {
                knobs.block = Some(1);
            }
            let toml::Value::Table(mut knobs) = toml::Value::try_from(&preset.knobs).unwrap() else { unreachable!() };
            let kind = knobs.remove("kind").unwrap();
            let mut keys = Knobs::keys(kind.as_str().unwrap()).to_vec();
            keys.sort_unstable();
            assert_eq!(knobs.keys().collect::<Vec<_>>(), keys);
        }
    }

    #[test]
    fn what_is_drawn_is_valid_and_comes_back_from_its_text() {
        for preset in Preset::built_in().map(Result::unwrap) {
            let draws: Vec<_> = (0..50).map(|seed| preset.draw(seed)).collect();
            assert!(draws == (0..50).map(|seed| preset.draw(seed)).collect::<Vec<_>>());
            assert!(draws.iter().any(|draw| *draw != draws[0]), "{}", preset.name);
            for preset in draws.into_iter().chain([preset]) {
                let text = preset.to_toml().unwrap();
                assert_eq!(Preset::parse("preset", "preset.toml", &text).unwrap(), preset, "{text}");
            }
        }
    }

    #[test]
    fn the_text_of_a_preset_is_short_to_read() {
        let preset = Preset::load("ials").unwrap();
        let text = preset.to_toml().unwrap();
        assert!(text.starts_with("name = \"ials\"\nwhen = ") && text.contains("reg = 0.18\n"), "{text}");
    }

    #[test]
    fn a_name_that_is_no_folder_is_refused() {
        for name in ["../there", "", ".hidden", "a/b"] {
            let named = format!("kind = \"ials\"\nname = {name:?}");
            assert!(error(("kind = \"ials\"", &named)).contains("`name` is"), "{name}");
        }
    }

    #[test]
    fn a_smaller_model_is_solved_in_blocks_that_fit() {
        let mut preset = Preset::load("ials").unwrap();
        let Knobs::Ials(knobs) = &mut preset.knobs else { unreachable!() };
        knobs.block = Some(100);
        assert!(matches!(
            preset.resized(32, 3),
            Preset { dim: 32, epochs: 3, knobs: Knobs::Ials(Ials { block: Some(32), .. }), .. }
        ));
        assert_eq!(preset.resized(128, 12), preset);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest() {
        assert_eq!(error(("alpha0", "alpha")), "`mine.toml`, line 9: unknown key `alpha`; did you mean `alpha0`?");
    }

    #[test]
    fn a_base_is_a_factorization_with_knobs_of_its_own() {
        let error = |from: &str, to: &str| {
            let text = BUILT_IN[2].1.replace(from, to);
            Preset::parse("towers", "mine.toml", &text).unwrap_err().to_string()
        };
        assert!(error("kind = \"ials\"", "kind = \"ease\"").contains("`ease`"));
        assert!(error("stretches", "stretchs").contains("unknown key `stretchs`"));
        assert!(error("stretches = 3", "stretches = 0").contains("`base.stretches` is 0"));
        assert!(error("\"single\"", "\"half\"").contains("`precision`: unknown variant `half`, expected `single` or"));
        assert!(error("nu = 0.5", "nu = true").contains("`base.nu`: invalid type: boolean"));
        // Not the line of the towers' own `dim`, and not the first knob of the base.
        let below = 1 + BUILT_IN[2].1.lines().position(|line| line == "dim = 128").unwrap();
        let message = error("dim = 128", "dim = \"x\"");
        assert!(message.starts_with(&format!("`mine.toml`, line {below}: `base.dim`: invalid type")), "{message}");
        assert!(error("stretches = 3", "stretches = []").contains("`base.stretches`: invalid type"));
    }

    #[test]
    fn wrong_types_values_and_missing_keys_name_the_key() {
        assert!(error(("dim = 128", "dim = \"big\"")).starts_with("`mine.toml`, line "));
        assert!(error(("trials = 2", "trials = 0")).contains("`trials` is 0, it must be from 1 to 10000"));
        assert!(error(("reg = 0.18", "reg = nan")).contains("`reg` is NaN"));
        assert!(error(("dim = 128", "dim = 0")).contains("`dim` is 0, it must be from 1 to 1024"));
        assert!(error(("nu = 0.5", "")).contains("nu"));
        let message = error(("reg = 0.18", "reg = \"low\""));
        let line = 1 + BUILT_IN[0].1.lines().position(|line| line.starts_with("reg")).unwrap();
        assert!(message.starts_with(&format!("`mine.toml`, line {line}: `reg`: invalid type: string")), "{message}");
        for (block, dim) in [("0", "128"), ("129", "128"), ("8", "7")] {
            let knobs = format!("dim = {dim}\nblock = {block}");
            let message = error(("dim = 128", &knobs));
            assert!(message.contains(&format!("`block` is {block}, it must be from 1 to `dim`")), "{message}");
        }
    }

    #[test]
    fn an_unknown_model_lists_those_there_are() {
        let error = Preset::load("deepfm").unwrap_err().to_string();
        let known = "`ials`, `softmax-mf`, `two-tower`, `ease`, `bpr`, `item-knn`";
        assert_eq!(error, format!("there is no model `deepfm`; there are {known}"));
    }
}
