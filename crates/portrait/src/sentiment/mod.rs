//! What a text says of how content its writer is: from −1, not at all, to 1.
//!
//! Where texts come with ratings, a model learns from these which words are those of content people; where they do not,
//! a small lexicon of this program says it. Everything here is a pure function of texts: who wrote them, and when, is
//! elsewhere.
//!
//! # How a text is read
//!
//! A text is scored by a model that has not seen it: texts are dealt into [`FOLDS`] by a hash of what they say, and each
//! part is scored by the model of the others. So the figures of a [`Learned`] are those of the scores that are given.
//! The model is a logistic regression over TF-IDF ([`Linear::logistic`]), with a naive Bayes ([`Linear::bayes`]) and the
//! lexicon told beside it; where it ranks the rated texts no better than the lexicon does, the lexicon is kept.

mod lexicon;
mod linear;
mod newton;
mod words;

use lookalike_measure::auc;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

pub use lexicon::lexicon;
pub use linear::Linear;
pub use words::words;

/// Into how many parts texts are dealt.
pub const FOLDS: u64 = 5;
/// Fewest texts of either kind from which something is learned.
pub const LEAST: usize = 50;
/// Most texts that are learned from: more would change little and cost much.
pub const MOST: usize = 20_000;
/// How much an error weighs against the size of the weights in a logistic regression.
pub const STRENGTH: f64 = 10.0;

/// What stands behind the sentiment of a profile, and how well it tells the rated texts apart: each figure is the chance
/// that a text with a good rating is scored above one with a bad rating (AUC), out of fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// What scores texts.
    pub method: Method,
    /// Texts with a good or a bad rating.
    pub rated: usize,
    /// Share of these that are good.
    pub positive: f64,
    /// Of the logistic regression; `None` where there was too little to learn from.
    pub logistic: Option<f64>,
    /// Of the naive Bayes.
    pub bayes: Option<f64>,
    /// Of the lexicon.
    pub lexicon: Option<f64>,
}

/// What scores texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Words with a sign, as they ship with the program.
    Lexicon,
    /// A logistic regression, learned from ratings.
    Logistic,
}

/// What scores texts, ready to do so.
#[derive(Debug, Clone)]
pub struct Reader {
    /// A model a fold; none where the lexicon scores.
    models: Vec<Linear>,
}

/// Log-odds out of fold, a number a text, in the order of the texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// Of the logistic regression.
    pub logistic: Vec<f64>,
    /// Of the naive Bayes.
    pub bayes: Vec<f64>,
}

/// A text and whether its rating is good.
pub type Rated = (String, bool);

/// Lessens texts that are gathered to be learned from, where they have become many more than will be.
pub(crate) fn keep(texts: &mut Vec<Rated>) {
    if texts.len() > 2 * MOST {
        order(texts);
    }
}

/// Sorts by hash and keeps the first: which ones, and in which order, does not depend on how the texts came.
fn order(texts: &mut Vec<Rated>) {
    texts.sort_by_cached_key(|(text, positive)| (XxHash3_64::oneshot(text.as_bytes()), *positive));
    texts.truncate(MOST);
}

/// The part that a text is dealt into.
fn fold(text: &str) -> u64 {
    XxHash3_64::oneshot(text.as_bytes()) % FOLDS
}

impl Reader {
    /// One that knows the lexicon alone.
    pub fn untaught() -> Reader {
        Reader { models: Vec::new() }
    }

    /// Learns from rated texts, in whichever order they come; of more than [`MOST`] those with the least hashes.
    pub fn learn(mut texts: Vec<Rated>) -> (Reader, Learned) {
        order(&mut texts);
        let labels: Vec<bool> = texts.iter().map(|(_, positive)| *positive).collect();
        let good = labels.iter().filter(|label| **label).count();
        // Scores and labels have one length and are finite.
        let figure = |scores: &[f64]| auc(scores, &labels).ok().flatten().map(rounded);
        let by_lexicon: Vec<f64> = texts.par_iter().map(|(text, _)| lexicon(text)).collect();
        let mut learned = Learned {
            method: Method::Lexicon,
            rated: texts.len(),
            positive: rounded(good as f64 / texts.len().max(1) as f64),
            logistic: None,
            bayes: None,
            lexicon: figure(&by_lexicon),
        };
        if good.min(labels.len() - good) < LEAST {
            return (Reader::untaught(), learned);
        }
        let folds: Vec<u64> = texts.iter().map(|(text, _)| fold(text)).collect();
        let said: Vec<&str> = texts.iter().map(|(text, _)| text.as_str()).collect();
        let models = models(&said, &labels, &folds);
        let folded = out_of_fold(&models, &said, &folds);
        (learned.logistic, learned.bayes) = (figure(&folded.logistic), figure(&folded.bayes));
        if learned.logistic <= learned.lexicon {
            return (Reader::untaught(), learned);
        }
        learned.method = Method::Logistic;
        (Reader { models: models.into_iter().map(|(logistic, _)| logistic).collect() }, learned)
    }

    /// What a text says, from −1 to 1; `None` for a text without a word.
    ///
    /// Of a model it is 2p − 1, where p is the chance of a good rating; of the lexicon see [`lexicon`].
    pub fn sentiment(&self, text: &str) -> Option<f64> {
        words(text).next()?;
        Some(match self.models.get(fold(text) as usize) {
            // 2p − 1 of log-odds z is tanh(z / 2).
            Some(model) => (model.log_odds(text) / 2.0).tanh(),
            None => lexicon(text),
        })
    }
}

/// Four digits: what a reader of the figure can use, and what every reader of the file reads as the same bits.
fn rounded(figure: f64) -> f64 {
    (figure * 1e4).round() / 1e4
}

/// Both models of each fold, learned from the texts of the others.
fn models(texts: &[&str], positive: &[bool], folds: &[u64]) -> Vec<(Linear, Linear)> {
    let learn = |fold: u64| {
        let others: Vec<usize> = (0..texts.len()).filter(|at| folds[*at] != fold).collect();
        let said: Vec<&str> = others.iter().map(|at| texts[*at]).collect();
        let labels: Vec<bool> = others.iter().map(|at| positive[*at]).collect();
        (Linear::logistic(&said, &labels, STRENGTH), Linear::bayes(&said, &labels))
    };
    let count = folds.iter().max().map_or(0, |last| last + 1);
    (0..count.max(FOLDS)).into_par_iter().map(learn).collect()
}

fn out_of_fold(models: &[(Linear, Linear)], texts: &[&str], folds: &[u64]) -> Folded {
    let score = |(text, fold): (&&str, &u64)| {
        let (logistic, bayes) = &models[*fold as usize];
        (logistic.log_odds(text), bayes.log_odds(text))
    };
    let (logistic, bayes) = texts.par_iter().zip(folds).map(score).unzip();
    Folded { logistic, bayes }
}

/// Scores each text by models of the texts in other folds. The three slices have one length; folds count from 0.
pub fn folded(texts: &[&str], positive: &[bool], folds: &[u64]) -> Folded {
    out_of_fold(&models(texts, positive, folds), texts, folds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Texts whose word `good` or `bad` is hidden among words that say nothing.
    fn rated(n: usize) -> Vec<Rated> {
        let word = |n: usize, positive: bool| {
            let sign = if positive { "zorp" } else { "blik" };
            format!("thing{} was {sign} for number {n} and thing{}", n % 7, n % 11)
        };
        (0..n).map(|n| (word(n, n % 3 > 0), n % 3 > 0)).collect()
    }

    #[test]
    fn what_ratings_teach_is_found_in_other_texts() {
        let (reader, learned) = Reader::learn(rated(600));
        assert_eq!((learned.method, learned.rated), (Method::Logistic, 600));
        assert_eq!((learned.logistic, learned.lexicon), (Some(1.0), Some(0.5)));
        assert!(reader.sentiment("it is zorp").unwrap() > 0.2);
        assert!(reader.sentiment("it is blik").unwrap() < -0.2);
        assert_eq!(reader.sentiment(" … !"), None);
    }

    #[test]
    fn the_order_of_texts_does_not_matter() {
        let (mut texts, first) = (rated(300), Reader::learn(rated(300)));
        texts.reverse();
        let second = Reader::learn(texts);
        assert_eq!(first.1, second.1);
        for text in ["zorp thing1", "blik", "number 4 was"] {
            assert_eq!(first.0.sentiment(text), second.0.sentiment(text));
        }
    }

    #[test]
    fn few_ratings_or_one_sided_ones_leave_the_lexicon() {
        for texts in [rated(60), rated(600).into_iter().filter(|(_, good)| *good).collect(), Vec::new()] {
            let (reader, learned) = Reader::learn(texts);
            assert_eq!((learned.method, learned.logistic), (Method::Lexicon, None));
            assert!(reader.sentiment("I love it").unwrap() > 0.0);
        }
    }

    /// What ratings teach here, the lexicon knows already.
    #[test]
    fn a_lexicon_that_ranks_as_well_is_kept() {
        let text = |n: usize| {
            (format!("{} number {n}", if n.is_multiple_of(2) { "love it" } else { "hate it" }), n.is_multiple_of(2))
        };
        let (_, learned) = Reader::learn((0..200).map(text).collect());
        assert_eq!((learned.method, learned.lexicon), (Method::Lexicon, Some(1.0)));
    }
}
