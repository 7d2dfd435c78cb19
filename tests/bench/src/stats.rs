//! Figures of several rounds.

/// One figure as it came out in each round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds(Vec<f64>);

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(rounds: I) -> Self {
        Self(rounds.into_iter().collect())
    }
}

impl Rounds {
    /// Adds a round.
    pub fn push(&mut self, round: f64) {
        self.0.push(round);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// The median; of an even number, the mean of the two in the middle. Not a number of none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.get(middle) {
            None => f64::NAN,
            Some(high) if sorted.len() % 2 == 1 => *high,
            Some(high) => (sorted.get(middle - 1).unwrap_or(high) + high) / 2.0,
        }
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// This over `other`, round by round.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(ours, theirs)| ours / theirs).collect()
    }

    /// Median and range, each with as many digits as are worth reading.
    #[must_use]
    pub fn show(&self) -> String {
        if self.0.len() < 2 {
            return short(self.median());
        }
        let (median, min, max) = (self.median(), self.min(), self.max());
        format!("{} ({} to {})", short(median), short(min), short(max))
    }
}

/// A number with three or more significant digits, thousands apart.
#[must_use]
pub fn short(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    let digits = text.trim_start_matches('-');
    if digits.contains('.') || digits.len() < 4 || !number.is_finite() {
        return text;
    }
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if number < 0.0 { "-" } else { "" };
    format!("{sign}{grouped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rounds: &[f64]) -> Rounds {
        rounds.iter().copied().collect()
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(of(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(of(&[]).median().is_nan());
        let ratios = of(&[6.0, 2.0]).over(&of(&[2.0, 1.0]));
        assert_eq!(ratios, of(&[3.0, 2.0]));
        assert_eq!((ratios.min(), ratios.max()), (2.0, 3.0));
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0.00"),
            (9.876, "9.88"),
            (98.76, "98.8"),
            (987.6, "988"),
            (9_876.0, "9,876"),
            (1_234_567.0, "1,234,567"),
            (-1_000.0, "-1,000"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
        assert_eq!(of(&[1.0, 2.0, 4.0]).show(), "2.00 (1.00 to 4.00)");
        assert_eq!(of(&[1.0]).show(), "1.00");
    }
}
