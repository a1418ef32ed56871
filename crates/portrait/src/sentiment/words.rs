//! Texts in words.

/// The words of a text in lower case: runs of two and more letters, digits and underscores, as the expression
/// `\b\w\w+\b` finds them. Chinese is written without spaces: of a run of Han characters every two neighbours are a
/// word, and one that stands alone is a word too.
pub fn words(text: &str) -> impl Iterator<Item = String> + use<> {
    let mut found = Vec::new();
    let mut run = String::new();
    let mut han: Vec<char> = Vec::new();
    for letter in text.chars().flat_map(char::to_lowercase).chain([' ']) {
        if is_han(letter) {
            end(&mut run, &mut found);
            han.push(letter);
            continue;
        }
        match han.len() {
            0 => {}
            1 => found.push(han[0].to_string()),
            _ => found.extend(han.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
        han.clear();
        match letter.is_alphanumeric() || letter == '_' {
            true => run.push(letter),
            false => end(&mut run, &mut found),
        }
    }
    found.into_iter()
}

/// Keeps a run that is a word.
fn end(run: &mut String, found: &mut Vec<String>) {
    let word = std::mem::take(run);
    if word.chars().nth(1).is_some() {
        found.push(word);
    }
}

/// Whether a character is Chinese writing.
pub(super) fn is_han(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_languages() {
        let of = |text: &str| words(text).collect::<Vec<_>>();
        assert_eq!(of("I didn't LOVE it, a_b 5'2\" Größe"), ["didn", "love", "it", "a_b", "größe"]);
        assert_eq!(of("质量很好。好!nice裙子XL"), ["质量", "量很", "很好", "好", "nice", "裙子", "xl"]);
        assert_eq!(of("… a ! 5"), Vec::<String>::new());
    }
}
