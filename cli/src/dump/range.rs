//! Ranges of indexes as they are written on a command line.

use std::ops::Bound;
use std::str::FromStr;

/// A range of indexes; all of them by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexes {
    pub(crate) first: Bound<u64>,
    pub(crate) end: Bound<u64>,
}

impl Default for Indexes {
    fn default() -> Self {
        Self { first: Bound::Unbounded, end: Bound::Unbounded }
    }
}

impl FromStr for Indexes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let wrong = || format!("{text:?} is no index; ranges are 7, 3..9, 3..=9, 3.. and ..9");
            text.trim().parse::<u64>().map_err(|_| wrong())
        };
        let Some((first, end)) = text.split_once("..") else {
            let index = number(text)?;
            return Ok(Self { first: Bound::Included(index), end: Bound::Included(index) });
        };
        let first = match first.trim() {
            "" => Bound::Unbounded,
            first => Bound::Included(number(first)?),
        };
        let end = match (end.trim(), end.trim().strip_prefix('=')) {
            ("", _) => Bound::Unbounded,
            (_, Some(last)) => Bound::Included(number(last)?),
            (end, None) => Bound::Excluded(number(end)?),
        };
        Ok(Self { first, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Bound::{Excluded, Included, Unbounded};

    #[test]
    fn every_form_is_read_and_nothing_else() {
        for (text, first, end) in [
            ("7", Included(7), Included(7)),
            ("3..9", Included(3), Excluded(9)),
            ("3..=9", Included(3), Included(9)),
            ("3..", Included(3), Unbounded),
            ("..9", Unbounded, Excluded(9)),
            ("..=18446744073709551615", Unbounded, Included(u64::MAX)),
            ("..", Unbounded, Unbounded),
        ] {
            assert_eq!(text.parse(), Ok(Indexes { first, end }), "{text}");
        }
        for bad in ["", "x", "-1", "3...9", "3..=", "1..2..3", "18446744073709551616"] {
            assert!(bad.parse::<Indexes>().is_err(), "{bad}");
        }
    }
}
