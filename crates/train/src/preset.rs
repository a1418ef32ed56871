//! Model presets: small TOML files that say how a model is trained. Read in two stages: what was typed, then a
//! checked [`Preset`] whose numbers make sense.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The presets that come with the program, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("ials", include_str!("../../../models/ials.toml")),
    ("two-tower", include_str!("../../../models/two-tower.toml")),
];

/// How one model is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preset {
    /// The preset's name: a built-in name or the stem of its file.
    pub name: String,
    /// When to use it, in a sentence.
    pub when: String,
    /// Numbers per embedding.
    pub dim: usize,
    /// Most passes over the data.
    pub epochs: u32,
    /// Passes without a better validation figure after which training stops.
    pub patience: u32,
    /// What only this kind of model has.
    #[serde(flatten)]
    pub knobs: Knobs,
}

/// The knobs of each kind of model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Knobs {
    /// Implicit alternating least squares.
    Ials(Ials),
    /// Two towers trained by in-batch softmax.
    TwoTower(TwoTower),
}

/// Knobs of implicit ALS, as in Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks"
/// (RecSys 2022).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ials {
    /// Weight α0 of every user-item pair, seen or not.
    pub alpha0: f32,
    /// Strength λ of the regularisation.
    pub reg: f32,
    /// How much of it grows with a row's frequency: λ·(n + α0·N)^ν.
    pub nu: f32,
    /// The weight of a seen pair, from the summed weight of its events.
    pub confidence: Confidence,
}

/// How the summed weight n of a pair's events becomes its weight in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// 1, however often it happened.
    One,
    /// ln(1 + n) / ln 2, which is 1 for a single event.
    Log,
    /// n itself.
    Linear,
}

impl Confidence {
    /// The weight in the loss for a summed weight of events.
    pub fn weigh(self, n: f32) -> f32 {
        match self {
            Self::One => 1.0,
            Self::Log => (1.0 + n).log2(),
            Self::Linear => n,
        }
    }
}

/// Knobs of the two-tower model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TwoTower {
    /// Widths of the hidden layers of each tower.
    pub towers: Vec<usize>,
    /// Attribute fields to use; `*` stands for all of them.
    pub features: Vec<String>,
    /// Pairs per step.
    pub batch: usize,
    /// Step size of the embedding tables (row-wise Adagrad).
    pub lr: f32,
    /// Step size of the tower weights (Adam).
    pub tower_lr: f32,
    /// Temperature: cosine scores are divided by it.
    pub tau: f32,
    /// Whether scores are corrected for how often an item is drawn as a negative.
    pub logq: bool,
}

/// Why a preset cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// Neither a built-in name nor a file.
    #[error("there is no model `{name}`; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("`{file}`, line {line}: {message}")]
    Parse {
        /// The file or the preset's name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A key that this kind of model does not have.
    #[error("`{file}`, line {line}: unknown key `{key}`")]
    Key {
        /// The file or the preset's name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The nearest known key.
        nearest: Option<String>,
    },
    /// A number outside its range.
    #[error("`{file}`: `{key}` is {value}, it must be {allowed}")]
    Value {
        /// The file or the preset's name.
        file: String,
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        allowed: &'static str,
    },
}

impl PresetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => {
                Some("give one of these names, or the path of a preset that ends in `.toml`".into())
            }
            Self::Key { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Typed {
    Ials {
        when: String,
        dim: usize,
        epochs: u32,
        patience: u32,
        alpha0: f32,
        reg: f32,
        nu: f32,
        confidence: Confidence,
    },
    TwoTower {
        when: String,
        dim: usize,
        epochs: u32,
        patience: u32,
        towers: Vec<usize>,
        features: Vec<String>,
        batch: usize,
        lr: f32,
        tower_lr: f32,
        tau: f32,
        logq: bool,
    },
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

    fn parse(name: &str, file: &str, text: &str) -> Result<Self, PresetError> {
        let at = |span: Option<std::ops::Range<usize>>| 1 + text[..span.map_or(0, |s| s.start)].matches('\n').count();
        let parse = |error: toml::de::Error| PresetError::Parse {
            file: file.to_owned(),
            line: at(error.span()),
            message: error.message().trim_end_matches('.').to_owned(),
        };
        let table: toml::Table = toml::from_str(text).map_err(parse)?;
        let own: &[&str] = match table.get("kind").and_then(toml::Value::as_str) {
            Some("ials") => &["alpha0", "reg", "nu", "confidence"],
            Some("two-tower") => &["towers", "features", "batch", "lr", "tower_lr", "tau", "logq"],
            _ => &[],
        };
        let known: Vec<&str> = ["kind", "when", "dim", "epochs", "patience"].iter().chain(own).copied().collect();
        if let (false, Some(key)) = (own.is_empty(), table.keys().find(|key| !known.contains(&key.as_str()))) {
            let line = 1 + text.lines().position(|line| line.trim_start().starts_with(key.as_str())).unwrap_or(0);
            let nearest = known.iter().max_by(|a, b| strsim::jaro(a, key).total_cmp(&strsim::jaro(b, key)));
            let nearest = nearest.map(|&nearest| nearest.to_owned());
            return Err(PresetError::Key { file: file.to_owned(), line, key: key.clone(), nearest });
        }
        let (when, dim, epochs, patience, knobs) = match toml::from_str(text).map_err(parse)? {
            Typed::Ials { when, dim, epochs, patience, alpha0, reg, nu, confidence } => {
                (when, dim, epochs, patience, Knobs::Ials(Ials { alpha0, reg, nu, confidence }))
            }
            Typed::TwoTower { when, dim, epochs, patience, towers, features, batch, lr, tower_lr, tau, logq } => {
                let knobs = TwoTower { towers, features, batch, lr, tower_lr, tau, logq };
                (when, dim, epochs, patience, Knobs::TwoTower(knobs))
            }
        };
        let preset = Self { name: name.to_owned(), when, dim, epochs, patience, knobs };
        preset.check(file)?;
        Ok(preset)
    }

    fn check(&self, file: &str) -> Result<(), PresetError> {
        let require = |ok: bool, key, value: String, allowed| match ok {
            true => Ok(()),
            false => Err(PresetError::Value { file: file.to_owned(), key, value, allowed }),
        };
        let positive = |key, value: f32| {
            require(value > 0.0 && value.is_finite(), key, value.to_string(), "a finite number above 0")
        };
        require((1..=1024).contains(&self.dim), "dim", self.dim.to_string(), "from 1 to 1024")?;
        require(self.epochs >= 1, "epochs", self.epochs.to_string(), "at least 1")?;
        require(self.patience >= 1, "patience", self.patience.to_string(), "at least 1")?;
        match &self.knobs {
            Knobs::Ials(knobs) => {
                positive("alpha0", knobs.alpha0)?;
                positive("reg", knobs.reg)?;
                require((0.0..=2.0).contains(&knobs.nu), "nu", knobs.nu.to_string(), "from 0 to 2")
            }
            Knobs::TwoTower(knobs) => {
                let widths = knobs.towers.iter().all(|width| (1..=4096).contains(width));
                require(widths, "towers", format!("{:?}", knobs.towers), "a list of widths from 1 to 4096")?;
                require((2..=65_536).contains(&knobs.batch), "batch", knobs.batch.to_string(), "from 2 to 65536")?;
                positive("lr", knobs.lr)?;
                positive("tower_lr", knobs.tower_lr)?;
                positive("tau", knobs.tau)
            }
        }
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
        assert_eq!(Preset::built_in().map(|preset| preset.unwrap().name).collect::<Vec<_>>(), ["ials", "two-tower"]);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest() {
        assert_eq!(error(("alpha0", "alpha")), "`mine.toml`, line 8: unknown key `alpha`; did you mean `alpha0`?");
    }

    #[test]
    fn wrong_types_values_and_missing_keys_name_the_key() {
        assert!(error(("dim = 96", "dim = \"big\"")).starts_with("`mine.toml`, line "));
        assert!(error(("reg = 0.01", "reg = nan")).contains("`reg` is NaN"));
        assert!(error(("dim = 96", "dim = 0")).contains("`dim` is 0, it must be from 1 to 1024"));
        assert!(error(("nu = 1.0", "")).contains("nu"));
    }

    #[test]
    fn an_unknown_model_lists_those_there_are() {
        let error = Preset::load("deepfm").unwrap_err().to_string();
        assert_eq!(error, "there is no model `deepfm`; there are `ials`, `two-tower`");
    }
}
