//! Ctrl-C: work that can stop in good order is asked to; anything else ends at once, which is safe because files
//! are only ever replaced whole.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

static ASKED: AtomicBool = AtomicBool::new(false);
static HEEDED: AtomicBool = AtomicBool::new(false);

/// Installs the handler.
pub fn watch() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        let heeded = HEEDED.load(Ordering::SeqCst);
        if ASKED.swap(true, Ordering::SeqCst) || !heeded {
            leave();
        }
    })
    .map_err(|error| Failure::new(format!("the handler for Ctrl-C cannot be installed: {error}")))
}

/// 130 is what shells expect of a program that ended by Ctrl-C.
#[expect(clippy::exit, reason = "there is no caller to return to from a signal handler's thread")]
fn leave() {
    std::process::exit(130);
}

/// While this lives, Ctrl-C only sets [`asked`]; a second Ctrl-C still ends the program at once.
pub struct Heeding;

impl Heeding {
    pub fn start() -> Self {
        HEEDED.store(true, Ordering::SeqCst);
        Self
    }

    /// Whether Ctrl-C was pressed.
    pub fn asked(&self) -> bool {
        ASKED.load(Ordering::SeqCst)
    }
}

impl Drop for Heeding {
    fn drop(&mut self) {
        HEEDED.store(false, Ordering::SeqCst);
    }
}
