//! What a user is told when something does not work: one sentence, a hint where there is one, an exit code.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    wrong_use: bool,
}

impl Failure {
    /// Something that went wrong in a run: exit code 1.
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), hint: None, wrong_use: false }
    }

    /// Something typed wrongly: exit code 2.
    pub fn wrong_use(message: impl Display) -> Self {
        Self { wrong_use: true, ..Self::new(message) }
    }

    /// The same with advice.
    pub fn with_hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    fn of(error: &dyn Error, hint: Option<String>) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some libraries repeat their source in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        Self { message, hint, wrong_use: false }
    }

    /// The same after a first half of the sentence.
    pub fn after(self, start: &str) -> Self {
        Self { message: format!("{start}: {}", self.message), ..self }
    }

    /// The sentence, without `error:`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The advice, without `hint:`.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// 2 for wrong use, else 1.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.wrong_use { 2 } else { 1 })
    }
}

macro_rules! from {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let hint = error.hint();
                Self::of(&error, hint)
            }
        })+
    };
}
from!(
    lookalike_store::Error,
    lookalike_dataset::Error,
    lookalike_portrait::Error,
    lookalike_bundle::BundleError,
    lookalike_train::device::DeviceError,
    lookalike_train::FitError,
    lookalike_train::TuneError,
    lookalike_retrieve::RetrieveError
);

impl From<lookalike_portrait::segment::Error> for Failure {
    fn from(error: lookalike_portrait::segment::Error) -> Self {
        Self::of(&error, None)
    }
}

impl From<lookalike_train::PresetError> for Failure {
    fn from(error: lookalike_train::PresetError) -> Self {
        let wrong_use = matches!(error, lookalike_train::PresetError::Unknown { .. });
        let hint = error.hint();
        Self { wrong_use, ..Self::of(&error, hint) }
    }
}

/// For failures of reading and writing that are not wrapped by a library of ours.
pub fn io<'a, E: Error + 'static>(verb: &'a str, path: &'a std::path::Path) -> impl Fn(E) -> Failure + 'a {
    move |error| Failure::of(&error, None).after(&format!("`{}` cannot be {verb}", path.display()))
}
