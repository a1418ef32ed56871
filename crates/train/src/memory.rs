//! Memory planned before work begins, so that what cannot fit is refused at once.

use crate::fit::FitError;

/// What some work will hold at once.
pub(crate) struct Plan {
    /// What takes the memory, as in `… takes 12 bytes`.
    pub(crate) what: String,
    /// How much.
    pub(crate) bytes: u64,
    /// What to do where that is too much.
    pub(crate) hint: &'static str,
}

/// Fails if the plan takes more than `limit_gib` GiB, or, where that is 0, more than the system says is available. Only
/// Linux says so; elsewhere nothing is refused without a limit.
pub(crate) fn require(plan: Plan, limit_gib: f32) -> Result<(), FitError> {
    let limit = match limit_gib > 0.0 {
        true => Some((f64::from(limit_gib) * (1u64 << 30) as f64) as u64),
        false => std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)),
    };
    match limit {
        Some(has) if plan.bytes > has => {
            Err(FitError::Memory { what: plan.what, needs: plan.bytes, has, hint: plan.hint })
        }
        _ => Ok(()),
    }
}

/// Bytes that a text like that of `/proc/meminfo` calls available.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read() {
        let text = "MemTotal:       24689764 kB\nMemFree:         1234 kB\nMemAvailable:   23118488 kB\n";
        assert_eq!(available(text), Some(23_118_488 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_limit_is_kept() {
        let plan = |bytes| Plan { what: "it".into(), bytes, hint: "less" };
        assert!(require(plan(1 << 30), 1.0).is_ok());
        let error = require(plan((1 << 30) + 1), 1.0);
        assert!(matches!(error, Err(FitError::Memory { needs: 1_073_741_825, has: 1_073_741_824, .. })));
    }
}
