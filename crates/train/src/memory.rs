//! Memory planned before work begins, so that what cannot fit is refused at once.

use crate::fit::FitError;

/// What some work will hold at once.
pub(crate) struct Need {
    /// What takes the memory, as in `… takes 12 bytes`.
    pub(crate) what: String,
    /// How much.
    pub(crate) bytes: u64,
    /// What to do where that is too much.
    pub(crate) hint: &'static str,
}

/// Fails if that takes more than `limit_gib` GiB, or, where that is 0, more than the system says is available. Only
/// Linux says so; elsewhere nothing is refused without a limit.
pub(crate) fn require(need: Need, limit_gib: f32) -> Result<(), FitError> {
    let limit = match limit_gib > 0.0 {
        true => Some((f64::from(limit_gib) * (1u64 << 30) as f64) as u64),
        false => available(),
    };
    fits(need, limit)
}

/// Fails if that takes more than there is, where that is known.
pub(crate) fn fits(need: Need, has: Option<u64>) -> Result<(), FitError> {
    match has {
        Some(has) if need.bytes > has => {
            Err(FitError::Memory { what: need.what, needs: need.bytes, has, hint: need.hint })
        }
        _ => Ok(()),
    }
}

/// Bytes that the system could still give (Linux).
fn available() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Bytes that this process holds (Linux).
pub(crate) fn held() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes that this process could hold in all: what it holds, and what the system could still give (Linux).
pub(crate) fn in_all() -> Option<u64> {
    available()?.checked_add(held()?)
}

/// Bytes that a text like `/proc/meminfo` names under `key`.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_system_is_read() {
        let text = "MemTotal:       24689764 kB\nMemFree:         1234 kB\nMemAvailable:   23118488 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(23_118_488 * 1024));
        assert_eq!(kilobytes("VmPeak:\t   91 kB\nVmRSS:\t      8 kB\n", "VmRSS:"), Some(8192));
        assert_eq!(kilobytes("MemTotal: 1 kB\n", "MemAvailable:"), None);
    }

    #[test]
    fn a_limit_is_kept() {
        let need = |bytes| Need { what: "it".into(), bytes, hint: "less" };
        assert!(require(need(1 << 30), 1.0).is_ok());
        let error = require(need((1 << 30) + 1), 1.0);
        assert!(matches!(error, Err(FitError::Memory { needs: 1_073_741_825, has: 1_073_741_824, .. })));
    }
}
