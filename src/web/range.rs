//! Parts of files (RFC 9110 §14).

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything: no header, or one that may be ignored.
    Whole,
    /// These bytes.
    Of(Range<usize>),
    /// Bytes that are not there.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `len` bytes. Several ranges count as none.
pub fn part(header: &str, len: usize) -> Part {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        (Err(_), Ok(count)) if first.is_empty() => len.saturating_sub(count)..len,
        _ => return Part::Whole,
    };
    if range.is_empty() {
        Part::Unsatisfiable
    } else {
        Part::Of(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_of_ten_bytes() {
        for (header, expected) in [
            ("bytes=0-3", Part::Of(0..4)),
            ("bytes=8-99", Part::Of(8..10)),
            ("bytes=4-", Part::Of(4..10)),
            ("bytes=-3", Part::Of(7..10)),
            ("bytes=-99", Part::Of(0..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-3", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(header, 10), expected, "{header}");
        }
        assert_eq!(part("bytes=-1", 0), Part::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn parts_lie_within(header in "bytes=[0-9]{0,20}-[0-9]{0,20}|.*", len in 0..100_usize) {
            if let Part::Of(range) = part(&header, len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
