//! What became of each line of a batch: kept as it was, repaired, or refused. The first word on a line counts.

/// Why a line of somebody who asked to be forgotten is refused.
pub(crate) const FORGOTTEN: &str = "its person asked to be forgotten";

/// One verdict per row of a batch.
pub(crate) struct Verdicts {
    fixed: Vec<Option<String>>,
    bad: Vec<Option<(String, String)>>,
    /// Rows of people who asked to be forgotten: nothing of what they say may be kept.
    silent: Vec<bool>,
}

impl Verdicts {
    pub(crate) fn new(rows: usize) -> Self {
        Verdicts { fixed: vec![None; rows], bad: vec![None; rows], silent: vec![false; rows] }
    }

    /// The line was repaired; `rule` says how, in the same words for all such lines.
    pub(crate) fn fix(&mut self, row: usize, rule: &str) {
        self.fixed[row].get_or_insert_with(|| rule.to_owned());
    }

    /// The line is refused; `rule` says why, `value` is what stood there.
    pub(crate) fn reject(&mut self, row: usize, rule: &str, value: &str) {
        self.bad[row].get_or_insert_with(|| {
            let short: String = value.chars().take(80).collect();
            (rule.to_owned(), if short.is_empty() { short } else { format!("`{short}`") })
        });
    }

    /// The line is about somebody who asked to be forgotten. That outweighs all that was found before, and what was found.
    pub(crate) fn forget(&mut self, row: usize) {
        self.bad[row] = Some((FORGOTTEN.to_owned(), String::new()));
        self.silent[row] = true;
    }

    /// Nothing of what the line says may be kept, though it stays refused for what it was refused for.
    pub(crate) fn silence(&mut self, row: usize) {
        self.silent[row] = true;
        if let Some((_, detail)) = &mut self.bad[row] {
            detail.clear();
        }
    }

    /// Whether nothing of what the line says may be kept.
    pub(crate) fn is_silent(&self, row: usize) -> bool {
        self.silent[row]
    }

    /// How row was repaired, if it was.
    pub(crate) fn fixed(&self, row: usize) -> Option<&str> {
        self.fixed[row].as_deref()
    }

    /// Why the row is refused, if it is: rule and detail.
    pub(crate) fn bad(&self, row: usize) -> Option<(&str, &str)> {
        self.bad[row].as_ref().map(|(rule, detail)| (rule.as_str(), detail.as_str()))
    }
}

/// Rule and detail as one sentence.
pub(crate) fn sentence(rule: &str, detail: &str) -> String {
    if detail.is_empty() { rule.to_owned() } else { format!("{rule}: {detail}") }
}
