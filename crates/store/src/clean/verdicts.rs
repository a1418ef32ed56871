//! What became of each line of a batch: kept as it was, repaired, or refused. The first word on a line counts.

/// One verdict per row of a batch.
pub(crate) struct Verdicts {
    fixed: Vec<Option<String>>,
    bad: Vec<Option<(String, String)>>,
}

impl Verdicts {
    pub(crate) fn new(rows: usize) -> Self {
        Verdicts { fixed: vec![None; rows], bad: vec![None; rows] }
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
