//! How a declared attribute enters: as a word, as the tenth that its number falls into, or as the words of a text.
//!
//! A project says so in its sources (`as`). Where it says nothing, a column of numbers with fractions is taken as one of
//! numbers, and one of long texts that hardly two rows share as one of texts. Whole numbers are words until the project says
//! otherwise: most of them are codes.

use std::collections::BTreeMap;

use lookalike_bundle::{ItemInfo, ItemRow, Row};
use lookalike_store::ReadAs;

use crate::{Features, FeaturesBuilder};

/// Parts that numbers are divided into: what is far out, or infinite, is in the first or the last.
const TENTHS: usize = 10;
/// A column is not taken as one of numbers, unasked, if it has no more different values than this.
const FEW: usize = 20;
/// Rows of the table that the words of a text share, whatever words there are.
const BUCKETS: u64 = 4096;
/// Words that the values of a column have at least, on average, to be taken as texts unasked.
const WORDY: usize = 3;

/// The field of titles; it enters only where it is asked for by name.
pub const TITLE: &str = "title";

/// Values of a field, each with the rows that have it and how much it counts there.
pub(crate) type Values = BTreeMap<String, Vec<(u32, f32)>>;

/// What became of a declared field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// As what it entered; nothing if it was left out, since hardly two rows share a value.
    pub read_as: Option<ReadAs>,
    /// Different values that enter: words, tenths or buckets of words.
    pub values: usize,
    /// Rows that have such a value.
    pub rows: usize,
    /// Of numbers, those that are infinite or far out, and so in the first or the last tenth.
    pub far: usize,
    /// Of numbers, those that are none (NaN), and do not enter.
    pub undefined: usize,
    /// Whether it was left out since all rows have the same value, which says nothing of any of them.
    pub same: bool,
}

/// The bounds between the tenths of some numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenths {
    bounds: Vec<f64>,
}

impl Tenths {
    /// Those of some numbers; what is none (NaN) does not count.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.filter(|number| !number.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut bounds: Vec<f64> =
            (1..TENTHS).filter_map(|nth| sorted.get(nth * sorted.len() / TENTHS).copied()).collect();
        bounds.dedup();
        Self { bounds }
    }

    /// The tenth of a number in words: the first whose bound is not below it.
    pub fn name(&self, number: f64) -> String {
        format!("{} of {}", self.bounds.partition_point(|&bound| bound < number), self.bounds.len())
    }

    /// Whether a number is infinite, or further from the middle eight tenths than these are wide.
    pub fn is_far(&self, number: f64) -> bool {
        let (Some(low), Some(high)) = (self.bounds.first(), self.bounds.last()) else { return number.is_infinite() };
        let wide = high - low;
        number.is_infinite() || wide > 0.0 && (number > high + wide || number < low - wide)
    }
}

impl Field {
    /// What is known of a field before its values are looked at.
    fn new(name: &str, read_as: Option<ReadAs>) -> Self {
        Self { name: name.to_owned(), read_as, values: 0, rows: 0, far: 0, undefined: 0, same: false }
    }

    /// The values of a field of so many rows as they enter, and what became of it. `least` is how many rows a value must
    /// have.
    pub(crate) fn read(
        name: &str,
        values: Values,
        read_as: Option<ReadAs>,
        (all, least): (usize, usize),
    ) -> (Values, Field) {
        let read_as = read_as.unwrap_or_else(|| guess(&values, least));
        let mut field = Field::new(name, Some(read_as));
        let mut values = match read_as {
            ReadAs::Word if is_id(&values, least) => {
                field.read_as = None;
                Values::new()
            }
            ReadAs::Word => values,
            ReadAs::Number => tenths(values, &mut field),
            ReadAs::Text => hashed(values),
        };
        values.retain(|_, rows| rows.len() >= least);
        let mut rows: Vec<u32> = values.values().flatten().map(|entry| entry.0).collect();
        rows.sort_unstable();
        rows.dedup();
        field.same = values.len() == 1 && rows.len() == all && all > 1;
        if field.same {
            values.clear();
            rows.clear();
        }
        (field.values, field.rows) = (values.len(), rows.len());
        (values, field)
    }
}

/// Whether most values are of fewer rows than say anything: an id, or free text.
pub(crate) fn is_id(values: &Values, least: usize) -> bool {
    values.values().filter(|rows| rows.len() >= least).count() * 2 < values.len()
}

/// As what a field is taken of which nothing is said.
fn guess(values: &Values, least: usize) -> ReadAs {
    let numbers: Vec<f64> = values.keys().filter_map(|value| number(value)).collect();
    let broken = |number: &f64| number.fract() != 0.0; // so of what is infinite or none
    if values.len() > FEW && numbers.len() * 10 >= values.len() * 9 && numbers.iter().any(broken) {
        return ReadAs::Number;
    }
    let words: usize = values.keys().map(|value| value.split_whitespace().count()).sum();
    match is_id(values, least) && words >= WORDY * values.len() {
        true => ReadAs::Text,
        false => ReadAs::Word,
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// Numbers by their tenths; what is no number at all, such as `unknown`, stays a word.
fn tenths(values: Values, field: &mut Field) -> Values {
    let each = values.iter().filter_map(|(value, rows)| Some((number(value)?, rows.len())));
    let tenths = Tenths::of(each.flat_map(|(number, rows)| std::iter::repeat_n(number, rows)));
    let mut read = Values::new();
    for (value, rows) in values {
        let name = match number(&value) {
            Some(number) if number.is_nan() => {
                field.undefined += rows.len();
                continue;
            }
            Some(number) => {
                field.far += if tenths.is_far(number) { rows.len() } else { 0 };
                tenths.name(number)
            }
            None => value,
        };
        read.entry(name).or_default().extend(rows);
    }
    read.values_mut().for_each(|rows| rows.sort_unstable_by_key(|entry| entry.0));
    read
}

/// Texts by their words and pairs of neighbouring words, in [`BUCKETS`]; those of a row have length 1.
fn hashed(values: Values) -> Values {
    let mut of_row: BTreeMap<u32, BTreeMap<u64, f32>> = BTreeMap::new();
    for (text, rows) in values {
        let buckets = buckets(&text);
        for (row, _) in rows {
            let counts = of_row.entry(row).or_default();
            buckets.iter().for_each(|&bucket| *counts.entry(bucket).or_default() += 1.0);
        }
    }
    let mut read = Values::new();
    for (row, counts) in of_row {
        let length = counts.values().map(|count| count * count).sum::<f32>().sqrt();
        for (bucket, count) in counts {
            read.entry(format!("words {bucket:04}")).or_default().push((row, count / length));
        }
    }
    read
}

/// The buckets of the words of a text and of the pairs of neighbouring ones.
fn buckets(text: &str) -> Vec<u64> {
    let words = words(text);
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    words.iter().cloned().chain(pairs).map(|gram| hash(&gram) % BUCKETS).collect()
}

/// Letters and digits in a row, in lower case; of scripts without spaces between words, every sign.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for sign in text.chars() {
        let alone = matches!(sign, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}');
        if (alone || !sign.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        match sign {
            _ if alone => words.push(sign.to_string()),
            _ if sign.is_alphanumeric() => word.extend(sign.to_lowercase()),
            _ => {}
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The first eight bytes of a BLAKE3 hash: the same on every machine, and evenly spread.
fn hash(text: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The titles of items as features, and what became of them.
pub fn titles(items: &[ItemInfo]) -> (Features, Field) {
    let mut builder = FeaturesBuilder::default();
    builder.read_as(TITLE, ReadAs::Text);
    for (row, title) in (0u32..).zip(items).filter_map(|(row, info)| Some((row, info.title.as_deref()?))) {
        builder.push(ItemRow::new(row), TITLE, title);
    }
    let (features, mut fields) = builder.declared(items.len(), 2);
    (features, fields.pop().unwrap_or_else(|| Field::new(TITLE, None)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str], read_as: Option<ReadAs>) -> (Features, Field) {
        let mut builder = FeaturesBuilder::default();
        if let Some(read_as) = read_as {
            builder.read_as("x", read_as);
        }
        (0u32..).zip(values).for_each(|(row, value)| builder.push(ItemRow::new(row), "x", value));
        let (features, mut fields) = builder.declared(values.len(), 2);
        (features, fields.pop().unwrap())
    }

    fn texts(numbers: impl Iterator<Item = f64>) -> Vec<String> {
        numbers.map(|number| number.to_string()).collect()
    }

    fn of(values: &[String], read_as: Option<ReadAs>) -> (Features, Field) {
        read(&values.iter().map(String::as_str).collect::<Vec<_>>(), read_as)
    }

    #[test]
    fn numbers_become_tenths_and_what_is_far_out_weighs_no_more() {
        let mut values = texts((0..40).map(|n| f64::from(n) + 0.5));
        values.extend(["inf", "-inf", "1e300", "NaN", "unknown", "unknown"].map(str::to_owned));
        let (features, field) = of(&values, None);
        assert_eq!((field.read_as, field.far, field.undefined), (Some(ReadAs::Number), 3, 1));
        let value = |row: usize| features.bag(row).iter().map(|&v| features.names()[v as usize].clone());
        assert_eq!(value(40).chain(value(42)).collect::<Vec<_>>(), ["x=9 of 9", "x=9 of 9"]);
        assert_eq!(
            value(41).chain(value(0)).chain(value(44)).collect::<Vec<_>>(),
            ["x=0 of 9", "x=0 of 9", "x=unknown"]
        );
        assert!(
            features.bag(43).is_empty() && (0..46).all(|row| features.weighed(row).all(|(_, weight)| weight == 1.0))
        );
        assert_eq!((field.values, field.rows), (11, 45));
    }

    #[test]
    fn what_all_rows_have_is_left_out() {
        let (features, field) = read(&["here"; 5], None);
        assert!(field.same && features.is_empty() && (field.values, field.rows) == (0, 0));
        // Where some have it and others nothing, it tells them apart.
        let mut builder = FeaturesBuilder::default();
        (0u32..4).for_each(|row| builder.push(ItemRow::new(row), "x", "here"));
        let (features, fields) = builder.declared(5, 2);
        assert!(!fields[0].same && features.names() == ["x=here"]);
    }

    #[test]
    fn whole_numbers_are_words_until_it_is_said_that_they_are_numbers() {
        let values = texts((0..60).map(|n| f64::from(n % 30)));
        assert_eq!(of(&values, None).1.values, 30);
        let (_, field) = of(&values, Some(ReadAs::Number));
        assert_eq!((field.read_as, field.values, field.far), (Some(ReadAs::Number), 10, 0));
        // Few different ones are words whatever they look like, and it can be said of many that they are.
        assert_eq!(of(&texts((0..60).map(|n| f64::from(n % 3) / 2.0)), None).1.read_as, Some(ReadAs::Word));
        let values = texts((0..60).map(|n| f64::from(n % 30) / 4.0));
        assert_eq!(of(&values, None).1.read_as, Some(ReadAs::Number));
        assert_eq!(of(&values, Some(ReadAs::Word)).1.values, 30);
    }

    #[test]
    fn numbers_that_are_all_alike_or_none_have_no_tenths() {
        assert_eq!(of(&texts([f64::INFINITY; 3].into_iter()), Some(ReadAs::Number)).1.far, 3);
        assert_eq!(of(&texts([f64::NAN; 3].into_iter()), Some(ReadAs::Number)).1.values, 0);
        assert!(of(&texts([2.0; 3].into_iter()), Some(ReadAs::Number)).1.same);
    }

    #[test]
    fn titles_that_are_alike_share_rows() {
        let titles = [
            "Fresh whole milk 1 L",
            "fresh WHOLE milk, 2 l",
            "Stainless steel frying pan",
            "steel pan 24 cm",
            "全脂牛奶",
            "脱脂牛奶",
        ];
        let (features, field) = read(&titles, Some(ReadAs::Text));
        assert_eq!(field.read_as, Some(ReadAs::Text));
        let shared = |a: usize, b: usize| features.bag(a).iter().filter(|v| features.bag(b).contains(v)).count();
        // fresh, whole, milk, l and two pairs; steel and pan; 脂, 牛, 奶 and two pairs.
        assert_eq!((shared(0, 1), shared(2, 3), shared(4, 5)), (6, 2, 5));
        assert_eq!((shared(0, 2), shared(1, 4)), (0, 0));
    }

    #[test]
    fn long_texts_that_hardly_two_rows_share_are_texts_and_ids_are_left_out() {
        let prose: Vec<String> = (0..9).map(|n| format!("a very long story number {n}")).collect();
        assert_eq!(of(&prose, None).1.read_as, Some(ReadAs::Text));
        let ids: Vec<String> = (0..9).map(|n| format!("sku-{n}")).collect();
        let (features, field) = of(&ids, None);
        assert_eq!((features.len(), field.read_as, field.rows), (0, None, 0));
    }

    proptest! {
        #[test]
        fn tenths_are_what_plain_counting_finds(numbers in proptest::collection::vec(-50i32..50, 1..80)) {
            let numbers: Vec<f64> = numbers.into_iter().map(f64::from).collect();
            let tenths = Tenths::of(numbers.iter().copied());
            for &number in &numbers {
                // As many different bounds are below a number as there are tenths that end below it.
                let below = |nth: &usize| {
                    let rank = nth * numbers.len() / 10;
                    let mut sorted = numbers.clone();
                    sorted.sort_by(f64::total_cmp);
                    sorted[rank] < number
                };
                let mut ends: Vec<i64> = (1..10).filter(below).map(|nth| {
                    let mut sorted = numbers.clone();
                    sorted.sort_by(f64::total_cmp);
                    sorted[nth * numbers.len() / 10] as i64
                }).collect();
                ends.dedup();
                let begins = format!("{} of ", ends.len());
                prop_assert!(tenths.name(number).starts_with(&begins));
            }
        }

        #[test]
        fn texts_keep_to_their_buckets_and_to_length_one(texts in proptest::collection::vec("[a-d ]{0,12}", 2..30)) {
            let (features, _) = of(&texts, Some(ReadAs::Text));
            prop_assert!(features.len() <= BUCKETS as usize);
            for row in 0..texts.len() {
                let length: f32 = features.weighed(row).map(|(_, weight)| weight * weight).sum();
                // What a single text has leaves no more than the rest.
                prop_assert!(length <= 1.0 + 1e-4);
            }
        }
    }
}
