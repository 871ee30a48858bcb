//! Medians and spreads. Means hide the disk's second mode, so there are none.

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The median; 0 of nothing.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = middle.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(upper);
    f64::midpoint(lower, upper)
}

/// A figure over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// The middle of the rounds.
    pub median: f64,
    /// The lowest round.
    pub low: f64,
    /// The highest round.
    pub high: f64,
    /// How many rounds there were.
    pub rounds: usize,
}

impl Spread {
    /// The spread of `samples`, `None` of nothing.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let low = samples.iter().copied().reduce(f64::min)?;
        let high = samples.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(samples), low, high, rounds: samples.len() })
    }

    /// From lowest to highest, as a part of the median.
    pub fn relative(&self) -> f64 {
        if self.median > 0.0 { (self.high - self.low) / self.median } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_not_the_mean() {
        assert!((median(&[1.0, 100.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(&[7.0]) - 7.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_spread_goes_from_the_lowest_to_the_highest_round() {
        let spread = Spread::of(&[10.0, 12.0, 9.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high, spread.rounds), (9.0, 10.0, 12.0, 3));
        assert!((spread.relative() - 0.3).abs() < 1e-9);
        assert_eq!(Spread::of(&[]), None);
    }
}
