//! A checksum that stands inside the bytes it covers: `blake3=` and 64 hexadecimal digits.
//!
//! The digits are those of the BLAKE3 hash of the same bytes with every digit replaced by `0`. So one file carries
//! its own proof, and a flipped or missing byte anywhere in it is noticed. The first mark in the bytes counts.

const MARK: &[u8] = b"blake3=";
const DIGITS: usize = 64;
/// A seal that is not filled in yet; the bytes to be sealed hold it once.
pub(crate) const BLANK: &str = "blake3=0000000000000000000000000000000000000000000000000000000000000000";

/// Fills in the first blank of `bytes`.
pub(crate) fn seal(bytes: &mut [u8]) {
    if let Some(at) = digits(bytes) {
        let hash = blake3::hash(bytes).to_hex();
        bytes[at..at + DIGITS].copy_from_slice(hash.as_bytes());
    }
}

/// Whether `bytes` hold a seal that fits them.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    let Some(at) = digits(bytes) else { return false };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..at]).update(&BLANK.as_bytes()[MARK.len()..]).update(&bytes[at + DIGITS..]);
    hasher.finalize().to_hex().as_bytes() == &bytes[at..at + DIGITS]
}

/// Where the digits of the first seal begin.
fn digits(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    (bytes.len() >= at + DIGITS).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_or_missing_byte_breaks_the_seal() {
        let mut bytes = format!("before {BLANK} after").into_bytes();
        seal(&mut bytes);
        assert!(holds(&bytes) && !holds(&bytes[..bytes.len() - 1]));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(!holds(&flipped), "byte {at}");
        }
    }
}
