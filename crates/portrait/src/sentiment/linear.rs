//! Models that weigh the words of a text: log-odds of a good rating, a sum over words.

use std::collections::{BTreeMap, HashMap};

use super::newton::{Rows, fit};
use super::words::words;

/// Fewest texts in which a word must occur.
const OCCURS: u32 = 3;

/// A model that is linear in the words of a text.
#[derive(Debug, Clone)]
pub struct Linear {
    vocabulary: HashMap<String, u32>,
    /// What each word is weighed by before texts are made equally long; `None` where words are counted as they are.
    rarity: Option<Vec<f64>>,
    weights: Vec<f64>,
    constant: f64,
}

/// Texts as counts of words that occur often enough.
struct Counted {
    vocabulary: HashMap<String, u32>,
    rows: Rows,
    /// In how many texts each word occurs.
    texts: Vec<u32>,
}

/// How often each word of a vocabulary occurs in a text, in the order of their numbers.
fn counts(text: &str, vocabulary: &HashMap<String, u32>) -> BTreeMap<u32, f64> {
    let mut counts = BTreeMap::new();
    for word in words(text) {
        if let Some(word) = vocabulary.get(&word) {
            *counts.entry(*word).or_insert(0.0) += 1.0;
        }
    }
    counts
}

fn count(texts: &[&str]) -> Counted {
    let mut occurs: BTreeMap<String, u32> = BTreeMap::new();
    for text in texts {
        let mut own: Vec<String> = words(text).collect();
        own.sort_unstable();
        own.dedup();
        own.into_iter().for_each(|word| *occurs.entry(word).or_default() += 1);
    }
    occurs.retain(|_, texts| *texts >= OCCURS);
    let in_texts = occurs.values().copied().collect();
    let vocabulary: HashMap<String, u32> = occurs.into_keys().zip(0..).collect();
    let mut rows = Rows { begins: vec![0], columns: Vec::new(), values: Vec::new() };
    for text in texts {
        for (word, count) in counts(text, &vocabulary) {
            rows.columns.push(word);
            rows.values.push(count);
        }
        rows.begins.push(rows.columns.len());
    }
    Counted { vocabulary, rows, texts: in_texts }
}

impl Linear {
    /// Logistic regression over TF-IDF: a word counts as often as it occurs times ln((1 + n) / (1 + texts with it)) + 1,
    /// and every text has length 1. `strength` is what an error weighs against the squared weights. Texts and labels have
    /// one length.
    pub fn logistic(texts: &[&str], positive: &[bool], strength: f64) -> Linear {
        let Counted { vocabulary, mut rows, texts: occurs } = count(texts);
        let n = texts.len() as f64;
        let rarity: Vec<f64> = occurs.iter().map(|texts| ((1.0 + n) / (1.0 + f64::from(*texts))).ln() + 1.0).collect();
        rows.columns.iter().zip(&mut rows.values).for_each(|(word, value)| *value *= rarity[*word as usize]);
        for row in 0..texts.len() {
            let values = &mut rows.values[rows.begins[row]..rows.begins[row + 1]];
            let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
            values.iter_mut().for_each(|value| *value /= length);
        }
        let mut weights = fit(&rows, vocabulary.len(), positive, strength);
        let constant = weights.pop().unwrap_or_default();
        Linear { vocabulary, rarity: Some(rarity), weights, constant }
    }

    /// Multinomial naive Bayes over counts, each word counted once more than it occurs. Texts and labels have one length.
    pub fn bayes(texts: &[&str], positive: &[bool]) -> Linear {
        let Counted { vocabulary, rows, .. } = count(texts);
        let mut sides = [vec![1.0; vocabulary.len()], vec![1.0; vocabulary.len()]];
        for (row, yes) in positive.iter().enumerate() {
            for at in rows.begins[row]..rows.begins[row + 1] {
                sides[usize::from(*yes)][rows.columns[at] as usize] += rows.values[at];
            }
        }
        let [no, yes] = sides.each_ref().map(|side| side.iter().sum::<f64>());
        let weigh = |(no_word, yes_word): (&f64, &f64)| (yes_word / yes).ln() - (no_word / no).ln();
        let weights = sides[0].iter().zip(&sides[1]).map(weigh).collect();
        let good = positive.iter().filter(|positive| **positive).count() as f64;
        let constant = (good / (positive.len() as f64 - good)).ln();
        // One kind of text alone makes the odds infinite.
        Linear { vocabulary, rarity: None, weights, constant: constant.clamp(-1e3, 1e3) }
    }

    /// Log-odds that the rating of a text is good.
    pub fn log_odds(&self, text: &str) -> f64 {
        let mut counts = counts(text, &self.vocabulary);
        if let Some(rarity) = &self.rarity {
            counts.iter_mut().for_each(|(word, value)| *value *= rarity[*word as usize]);
            let length = counts.values().map(|value| value * value).sum::<f64>().sqrt();
            counts.values_mut().for_each(|value| *value /= length);
        }
        self.constant + counts.iter().map(|(word, value)| value * self.weights[*word as usize]).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bayes_by_hand() {
        let texts = ["aa bb", "aa", "aa bb bb", "rare"];
        let model = Linear::bayes(&texts, &[true, true, false, false]);
        // `bb` and `rare` occur in too few texts; counts of `aa`: 2 + 1 against 1 + 1, and nothing else counts.
        assert!(model.log_odds("bb rare").abs() < 1e-12);
        assert!(model.log_odds("aa").abs() < 1e-12);
        let texts = ["aa bb", "aa bb", "aa bb bb", "aa"];
        let model = Linear::bayes(&texts, &[true, true, false, false]);
        // good: aa 3, bb 3 of 6; bad: aa 3, bb 3 of 6.
        assert!(model.log_odds("aa bb").abs() < 1e-12);
        let model = Linear::bayes(&texts, &[true, true, true, false]);
        // good: aa 4, bb 5 of 9; bad: aa 2, bb 1 of 3; three to one before any word.
        let expected = 3f64.ln() + (5.0_f64 / 9.0 * 3.0).ln();
        assert!((model.log_odds("bb") - expected).abs() < 1e-12);
    }
}
