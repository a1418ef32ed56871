//! A small lexicon of our own, in English and Chinese, for texts without ratings.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::words::{is_han, words};

const TEXT: &str = include_str!("lexicon.txt");

/// How many words after it a `not` reaches, and how many Chinese characters.
const REACH: usize = 3;
/// Characters of the longest Chinese entry that is looked for.
const LONGEST: usize = 4;

/// What a word does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    Says(f64),
    Not,
    Very,
}

fn entries() -> &'static HashMap<&'static str, Entry> {
    static ENTRIES: OnceLock<HashMap<&'static str, Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let mut entries = HashMap::new();
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let entry = match words.next() {
                Some("not") => Entry::Not,
                Some("very") => Entry::Very,
                Some(number) => number.parse().map_or(Entry::Very, Entry::Says),
                None => continue,
            };
            entries.extend(words.map(|word| (word, entry)));
        }
        entries
    })
}

/// What a text says by the signs of its words, from −1 to 1: s / (a + 2), where s is the sum of what the words count and
/// a that of their sizes. A word counts the other way round within three words behind a `not`, with half its weight, for
/// "not good" is less than bad; half as much again right behind a `very`. 0 if no word has a sign.
pub fn lexicon(text: &str) -> f64 {
    let entries = entries();
    let (mut sum, mut size) = (0.0, 0.0);
    // Words since the last `not`, and whether the last word was a `very`.
    let (mut since, mut very) = (usize::MAX, false);
    let mut meet = |entry: Option<Entry>, length: usize, since: &mut usize, very: &mut bool| {
        let more = if *very { 1.5 } else { 1.0 };
        *since = since.saturating_add(length);
        *very = false;
        match entry {
            Some(Entry::Not) => *since = 0,
            Some(Entry::Very) => *very = true,
            Some(Entry::Says(counts)) => {
                let counts = more * if *since <= REACH { -0.5 * counts } else { counts };
                sum += counts;
                size += counts.abs();
            }
            None => {}
        }
    };
    let lower: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let mut at = 0;
    while at < lower.len() {
        let han = is_han(lower[at]);
        let run = lower[at..].iter().take_while(|letter| is_han(**letter) == han).count();
        let part = &lower[at..at + run];
        at += run;
        if !han {
            let part: String = part.iter().collect();
            words(&part).for_each(|word| meet(entries.get(word.as_str()).copied(), 1, &mut since, &mut very));
            continue;
        }
        let mut from = 0;
        while from < part.len() {
            let longest = (1..=LONGEST.min(part.len() - from)).rev().find_map(|length| {
                let word: String = part[from..from + length].iter().collect();
                entries.get(word.as_str()).map(|entry| (*entry, length))
            });
            let (entry, length) = longest.map_or((None, 1), |(entry, length)| (Some(entry), length));
            meet(entry, length, &mut since, &mut very);
            from += length;
        }
        // What ends a run of Chinese ends a clause as well.
        since = usize::MAX;
    }
    sum / (size + 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_both_languages() {
        for text in
            ["I love this dress", "perfect fit, great quality", "质量很好,非常满意", "裙子好看又显瘦", "No problem"]
        {
            assert!(lexicon(text) > 0.0, "{text}: {}", lexicon(text));
        }
        for text in
            ["It broke, waste of money", "not good", "I didn't like it", "太差了,退货", "不喜欢", "没有好评", "不好"]
        {
            assert!(lexicon(text) < 0.0, "{text}: {}", lexicon(text));
        }
        for text in ["", "a table of four legs", "桌子四条腿"] {
            assert_eq!(lexicon(text), 0.0);
        }
        assert!(lexicon("very good") > lexicon("good"));
        assert!(lexicon("not good") > lexicon("terrible"));
    }

    #[test]
    fn no_word_has_two_meanings() {
        let mut met = HashMap::new();
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let Some(head) = words.next() else { continue };
            assert!(head == "not" || head == "very" || head.parse::<f64>().is_ok_and(|counts| counts.abs() <= 2.0));
            for word in words {
                assert_eq!(met.insert(word, head), None, "{word} stands there twice");
                assert!(word.to_lowercase() == word, "{word}");
                assert!(!word.starts_with(is_han) || word.chars().count() <= LONGEST, "{word}");
            }
        }
        assert!(met.len() > 400);
    }
}
