//! TOML as it was typed, read key by key so that every complaint can name file, line and key.
//!
//! A [`Section`] remembers which keys were asked for; [`Section::finish`] then refuses the others and
//! names the nearest of those that there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result, listed, nearest};
use crate::expression::Expression;

/// The text of a TOML file and where it stands.
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::read(path))?;
        Ok(Document { path: path.to_owned(), text })
    }

    /// A text that is at hand; errors name it by `path`.
    pub fn of(path: &Path, text: &str) -> Self {
        Document { path: path.to_owned(), text: text.to_owned() }
    }

    /// The tables and values of the text.
    pub fn parse(&self) -> Result<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            self.error(offset, error.message().trim_end_matches('.').to_owned(), None)
        })
    }

    fn line(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn error(&self, offset: usize, message: String, hint: Option<String>) -> Error {
        Error::Config { path: self.path.clone(), line: self.line(offset), message, hint }
    }
}

/// One table of the document.
pub struct Section<'a> {
    document: &'a Document,
    key: String,
    offset: usize,
    entries: BTreeMap<&'a str, (usize, &'a Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
}

/// One value of the document and the dotted key it stands under.
#[derive(Clone)]
pub struct Entry<'a> {
    document: &'a Document,
    key: String,
    offset: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Section<'a> {
    /// The outermost table.
    pub fn root(document: &'a Document, table: &'a Spanned<DeTable<'a>>) -> Self {
        Section::new(document, String::new(), 0, table.get_ref())
    }

    fn new(document: &'a Document, key: String, offset: usize, table: &'a DeTable<'a>) -> Self {
        let entries = table.iter().map(|(name, value)| (name.get_ref().as_ref(), (name.span().start, value))).collect();
        Section { document, key, offset, entries, known: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// The value of a key, if it was typed.
    pub fn take(&mut self, name: &'static str) -> Option<Entry<'a>> {
        self.known.push(name);
        self.entries.remove(name).map(|(offset, value)| self.entry(name, offset, value))
    }

    /// The value of a key that must be there.
    pub fn require(&mut self, name: &'static str) -> Result<Entry<'a>> {
        if let Some(entry) = self.take(name) {
            return Ok(entry);
        }
        // What stands there instead may be this very key, misspelt.
        let like = |word: &str| strsim::normalized_damerau_levenshtein(word, name) >= 0.7;
        let misspelt = self.entries.iter().find(|(word, _)| like(word));
        Err(match misspelt {
            Some((word, (offset, _))) => unknown(self.document, *offset, "key", &self.path(word), word, &[name]),
            None => self.document.error(self.offset, format!("the key `{}` is missing", self.path(name)), None),
        })
    }

    /// All entries that are left, in the order in which they were typed.
    pub fn rest(&mut self) -> Vec<(String, Entry<'a>)> {
        let mut rest: Vec<_> = std::mem::take(&mut self.entries).into_iter().collect();
        rest.sort_by_key(|(_, (offset, _))| *offset);
        rest.into_iter().map(|(name, (offset, value))| (name.to_owned(), self.entry(name, offset, value))).collect()
    }

    /// Refuses keys that nobody asked for.
    pub fn finish(self) -> Result<()> {
        let Some((name, (offset, _))) = self.entries.iter().min_by_key(|(_, (offset, _))| *offset) else {
            return Ok(());
        };
        Err(unknown(self.document, *offset, "key", &self.path(name), name, &self.known))
    }

    fn entry(&self, name: &str, offset: usize, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        Entry { document: self.document, key: self.path(name), offset, value: value.get_ref() }
    }
}

fn unknown<S: AsRef<str>>(
    document: &Document,
    offset: usize,
    what: &str,
    shown: &str,
    word: &str,
    known: &[S],
) -> Error {
    let hint = match nearest(word, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("what may stand here: {}", listed(known)),
    };
    document.error(offset, format!("unknown {what} `{shown}`"), Some(hint))
}

impl<'a> Entry<'a> {
    /// Line of the value, from 1.
    pub fn line(&self) -> usize {
        self.document.line(self.offset)
    }

    /// An error about this entry; `message` goes on after the key, such as "is not a date".
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.document.error(self.offset, format!("`{}` {message}", self.key), None)
    }

    /// An error about a word that is none of `known`.
    pub fn unknown<S: AsRef<str>>(&self, what: &str, word: &str, known: &[S]) -> Error {
        let shown = format!("{word}` in `{}", self.key);
        unknown(self.document, self.offset, what, &shown, word, known)
    }

    fn wrong(&self, wanted: &str) -> Error {
        self.error(format_args!("is {}, not {wanted}", article(self.value.type_str())))
    }

    /// A text that is not empty.
    pub fn text(&self) -> Result<String> {
        match self.value {
            DeValue::String(text) if !text.trim().is_empty() => Ok(text.clone().into_owned()),
            DeValue::String(_) => Err(self.error("is empty")),
            _ => Err(self.wrong("a text")),
        }
    }

    /// A text, or a date without quotes.
    pub fn date_text(&self) -> Result<String> {
        match self.value {
            DeValue::Datetime(date) => Ok(date.to_string()),
            _ => self.text(),
        }
    }

    /// True or false.
    pub fn truth(&self) -> Result<bool> {
        match self.value {
            DeValue::Boolean(truth) => Ok(*truth),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// A number, whole or not.
    pub fn number(&self) -> Result<f64> {
        let text = match self.value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.wrong("a number")),
        };
        text.parse().map_err(|_| self.wrong("a number"))
    }

    /// A whole number of at least `least`.
    pub fn whole(&self, least: u32) -> Result<u32> {
        let DeValue::Integer(number) = self.value else { return Err(self.wrong("a whole number")) };
        let wanted = || self.error(format_args!("is {}, not a whole number from {least}", number.as_str()));
        let value = u32::from_str_radix(number.as_str(), number.radix()).map_err(|_| wanted())?;
        if value < least { Err(wanted()) } else { Ok(value) }
    }

    /// One text or a list of texts.
    pub fn texts(&self) -> Result<Vec<String>> {
        let texts: Vec<String> = self.entries()?.iter().map(Entry::text).collect::<Result<_>>()?;
        if texts.is_empty() { Err(self.error("is an empty list")) } else { Ok(texts) }
    }

    /// The parts of a list; a single text is a list of one.
    pub fn entries(&self) -> Result<Vec<Entry<'a>>> {
        let array = match self.value {
            DeValue::Array(array) => array,
            DeValue::String(_) => return Ok(vec![self.clone()]),
            _ => return Err(self.wrong("a text or a list of texts")),
        };
        let part = |value: &'a Spanned<DeValue<'a>>| Entry {
            offset: value.span().start,
            value: value.get_ref(),
            ..self.clone()
        };
        Ok(array.iter().map(part).collect())
    }

    /// A text that may be empty.
    pub(crate) fn any_text(&self) -> Result<String> {
        match self.value {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => Err(self.wrong("a text")),
        }
    }

    /// SQL, with its place.
    pub(crate) fn expression(&self) -> Result<Expression> {
        let (file, line) = (self.document.path.clone(), self.line());
        Ok(Expression { text: self.text()?, file, line, key: self.key.clone() })
    }

    /// A number that is neither infinite nor none.
    pub fn finite(&self) -> Result<f64> {
        let number = self.number()?;
        if number.is_finite() { Ok(number) } else { Err(self.error(format_args!("is {number}, not a finite number"))) }
    }

    /// Whether it is one text.
    pub fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// A table of its own.
    pub fn section(&self) -> Result<Section<'a>> {
        match self.value {
            DeValue::Table(table) => Ok(Section::new(self.document, self.key.clone(), self.offset, table)),
            _ => Err(self.wrong("a table")),
        }
    }
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}
