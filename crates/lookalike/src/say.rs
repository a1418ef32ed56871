//! The one printer: results on stdout, progress and remarks on stderr.
#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

use std::cell::OnceCell;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// Where everything a user reads comes from.
pub struct Say {
    quiet: bool,
    json: bool,
    /// The first result that could not be written.
    lost: OnceCell<std::io::Error>,
}

impl Say {
    pub fn new(quiet: bool, json: bool) -> Self {
        Self { quiet, json, lost: OnceCell::new() }
    }

    /// A line of the result, for people. With `--json` results are the document alone.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            self.out(text.as_ref());
        }
    }

    /// The result as one JSON document, where it was asked for.
    pub fn json(&self, document: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            self.out(&format!("{:#}", to_value(document)?));
        }
        Ok(())
    }

    fn out(&self, text: &str) {
        match writeln!(std::io::stdout().lock(), "{text}") {
            // A reader that goes away (`| head`) is no failure.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(self.lost.set(error)),
            _ => {}
        }
    }

    /// Whether every result arrived; a full disk under stdout is a failure, though the work was done.
    pub fn arrived(self) -> Result<(), Failure> {
        match self.lost.into_inner() {
            Some(error) => Err(Failure::new(format!("the result cannot be written to stdout: {error}"))),
            None => Ok(()),
        }
    }

    /// A remark beside the result.
    pub fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// The last words of a failed command.
    pub fn failure(failure: &Failure) {
        eprintln!("error: {}", failure.message());
        if let Some(hint) = failure.hint() {
            eprintln!("hint: {hint}");
        }
    }

    /// A bar on stderr; invisible with `--quiet` or where stderr is no terminal.
    pub fn bar(&self, what: &str, total: u64) -> ProgressBar {
        let bar = self.hidden_or(ProgressBar::new(total));
        let style = "{msg:<24} {wide_bar} {pos}/{len}  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }

    /// A spinner with a count, for work whose amount is not known.
    pub fn counter(&self, what: &str) -> ProgressBar {
        let bar = self.hidden_or(ProgressBar::no_length());
        if let Ok(style) = ProgressStyle::with_template("{msg:<24} {spinner} {human_pos}  {per_sec}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn hidden_or(&self, bar: ProgressBar) -> ProgressBar {
        if self.quiet { ProgressBar::hidden() } else { bar }
    }
}

/// A result as JSON whose numbers have at most 15 digits: so many come back from a file exactly as they went in
/// (`serde_json` may miss the 17th), and an `f32` of 0.1 reads 0.1.
pub fn to_value(result: &impl Serialize) -> Result<Value, Failure> {
    let text = serde_json::to_string(result).and_then(|text| serde_json::from_str(&text));
    let mut value = text.map_err(|error| Failure::new(format!("a result is no JSON: {error}")))?;
    shorten(&mut value);
    Ok(value)
}

fn shorten(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(values) => values.values_mut().for_each(shorten),
        Value::Number(number) if number.is_f64() => {
            if let Some(Ok(short)) = number.as_f64().map(|number| format!("{number:.14e}").parse::<f64>()) {
                *value = short.into();
            }
        }
        _ => {}
    }
}

/// Rows under a header, columns aligned: the first and those that hold words to the left, the others to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let word = |cell: &String| cell.starts_with(char::is_alphabetic);
    let words: Vec<bool> = (0..header.len())
        .map(|column| column == 0 || rows.iter().filter_map(|row| row.get(column)).any(word))
        .collect();
    let line = |cells: Vec<&str>| {
        let cell = |(column, cell): (usize, &str)| match words[column] {
            true => format!("{cell:<width$}", width = widths[column]),
            false => format!("{cell:>width$}", width = widths[column]),
        };
        cells.into_iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [line(header.to_vec())].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

/// `1469307` as `1,469,307`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for (at, digit) in digits[first..].chars().enumerate() {
        if at % 3 == 0 && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 7, 999, 1000, 1_469_307].map(grouped), ["0", "7", "999", "1,000", "1,469,307"]);
    }

    #[test]
    fn numbers_come_back_as_they_went_in() {
        let first = to_value(&[0.1f32 as f64, 1.0 / 3.0, 0.44450354609929077, 1e-9, 5.0, 123_456.789]);
        let text = |value: &Value| value.to_string();
        let again = first.as_ref().map(|value| serde_json::from_str::<Value>(&text(value)));
        assert!(matches!((&first, &again), (Ok(first), Ok(Ok(again))) if first == again));
        assert!(matches!(to_value(&[0.1f32, 3.0]), Ok(value) if text(&value) == "[0.1,3.0]"));
    }

    #[test]
    fn columns_align() {
        let rows = [vec!["ials".to_owned(), "0.5".to_owned()], vec!["popularity".to_owned(), "0.25".to_owned()]];
        assert_eq!(table(&["model", "recall"], &rows), "model       recall\nials           0.5\npopularity    0.25");
    }
}
